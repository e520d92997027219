"""What an analysis is asked to do. Free of torch, so that the terminal interface and the command line can hold it."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

Basis = Literal["canonical", "anchored", "lapack"]
Precision = Literal["float32", "float64"]

Pairs = Literal["anchor", "all"]
EngineName = Literal["local", "ray"]

ENGINES: tuple[EngineName, ...] = ("local", "ray")
BASES: tuple[Basis, ...] = ("canonical", "anchored", "lapack")
PRECISIONS: tuple[Precision, ...] = ("float32", "float64")
PAIRS: tuple[Pairs, ...] = ("anchor", "all")


class SettingsError(ValueError):
    """A setting is outside its range; the message names the flag, the value and the range."""


@dataclass(frozen=True)
class AnalysisSettings:
    """Settings of the GLOBA analysis. Tuples hold one value per fine-tune, in order; one value serves all."""

    svd_energy: tuple[float, ...] = (0.90, 0.99)
    """Share of ‖τ_i‖² that the truncated task vector may keep, in (0, 1]. Higher keeps more rank and costs more."""
    eta: tuple[float, ...] = (0.95, 0.80)
    """Share of the energy of Ĉ_i that pruning keeps, in (0, 1]. Lower leaves fewer entries and more empty rows."""
    basis_energy: float = 0.999
    """Share of Σσ² of the concatenated singular vectors that the global basis keeps, in (0, 1]."""
    basis: Basis = "canonical"
    """How the global basis is chosen inside clusters of equal singular values."""
    anchor: int = 1
    """Number (from 1) of the fine-tune whose matrix plays C̃_1."""
    pairs: Pairs = "anchor"
    """Which fine-tunes are compared two by two: each other one with the anchor, or all with all, in both directions."""
    include: tuple[str, ...] = ()
    """Regular expressions; when given, only tensors that match one of them are analysed."""
    exclude: tuple[str, ...] = ()
    """Regular expressions; tensors that match one of them are not analysed."""
    vocab: str = "base"
    """Whose tokens the embeddings have where vocabularies differ: base, union, or ft1, ft2 and so on."""
    device: str = "auto"
    """auto, cpu, cuda (all), cuda:N, or several with commas. Not part of a run's identity: any may resume it."""
    precision: Precision = "float32"
    """Precision of the decompositions. float64 costs about twice the time and memory."""
    factors: bool = True
    """Keep U_g, V_g and C in the store, so that a merge needs no decomposition."""

    _IDENTITY_FREE = ("device",)

    def __post_init__(self) -> None:
        for flag, values in (("--svd-energy", self.svd_energy), ("--eta", self.eta)):
            _require_shares(flag, values)
        _require_shares("--basis-energy", (self.basis_energy,))
        _require_choice("--basis", self.basis, BASES)
        _require_choice("--precision", self.precision, PRECISIONS)
        _require_choice("--pairs", self.pairs, PAIRS)
        require_vocab(self.vocab)
        if self.anchor < 1:
            msg = f"--anchor is {self.anchor}: fine-tunes are counted from 1"
            raise SettingsError(msg)
        for flag, patterns in (("--include", self.include), ("--exclude", self.exclude)):
            for pattern in patterns:
                _require_regex(flag, pattern)

    def for_tasks(self, tasks: int) -> AnalysisSettings:
        """These settings with one value per fine-tune, checked against their number."""
        if tasks < 2:
            msg = "GLOBA compares fine-tunes: name two or more, or merge one by --method task_arithmetic"
            raise SettingsError(msg)
        if self.anchor > tasks:
            msg = f"--anchor is {self.anchor}, but there are {tasks} fine-tunes"
            raise SettingsError(msg)
        return dataclasses.replace(
            self,
            svd_energy=_spread("--svd-energy", self.svd_energy, tasks, AnalysisSettings.svd_energy),
            eta=_spread("--eta", self.eta, tasks, AnalysisSettings.eta),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for the store's manifest and for recipes."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def identity(self) -> dict[str, Any]:
        """The settings that a result depends on: what a resumed run must have in common."""
        younger = {"vocab": "base", "pairs": "anchor"}
        free = {*self._IDENTITY_FREE, *(name for name, default in younger.items() if getattr(self, name) == default)}
        return {name: value for name, value in self.to_dict().items() if name not in free}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AnalysisSettings:
        """Read what `to_dict` wrote; unknown names are an error."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            msg = f"unknown analysis setting {unknown[0]!r}; known are {', '.join(sorted(known))}"
            raise SettingsError(msg)
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        read = {name: _of_kind(name, value, getattr(cls, name)) for name, value in plain.items()}
        return cls(**cast("dict[str, Any]", read))


@dataclass(frozen=True)
class EngineChoice:
    """Where and with how many threads a job computes. Whoever starts the job says so, never a run or a recipe."""

    name: EngineName = "local"
    """local, or ray for a cluster."""
    threads: int = 0
    """Threads of the job here, or of each task on a cluster; 0 is torch's own choice here, and one on a cluster."""
    ray_address: str = ""
    """Address of a running cluster; empty takes RAY_ADDRESS, or starts one on this machine."""

    def __post_init__(self) -> None:
        _require_choice("--engine", self.name, ENGINES)
        if self.threads < 0:
            msg = f"--threads is {self.threads}; give a number from 1, or 0 for torch's own choice"
            raise SettingsError(msg)
        if self.ray_address and self.name != "ray":
            msg = "--ray-address is given without --engine ray; add it, or leave out the address"
            raise SettingsError(msg)

    def argv(self) -> list[str]:
        """Arguments of the job runner that give this choice again."""
        return ["--engine", self.name, "--threads", str(self.threads), "--ray-address", self.ray_address]


@dataclass(frozen=True)
class AnalysisRequest:
    """One analysis to run: which checkpoints, with which settings, into which run folder."""

    base: str
    fine_tuned: tuple[str, ...]
    store: Path
    settings: AnalysisSettings = field(default_factory=AnalysisSettings)
    fresh: bool = False
    """Throw away what the folder holds and start again."""
    download: bool = False
    """Allow a Hub id to be downloaded when it is not in the local cache."""
    engine: EngineChoice = field(default_factory=EngineChoice)

    def argv(self) -> list[str]:
        """Arguments of the job runner that give this request again."""
        line = ["--store", str(self.store), "--settings", json.dumps(self.settings.to_dict())]
        line += [*self.engine.argv(), *["--fresh"] * self.fresh, *["--download"] * self.download]
        return [*line, "--", self.base, *self.fine_tuned]


def _of_kind(name: str, value: object, default: object) -> object:
    """The value, when it is of the default's kind: runs and recipes come from strangers."""
    one: object = (default[0] if default else "") if isinstance(default, tuple) else default
    items = value if isinstance(default, tuple) else (value,)
    if not isinstance(items, tuple) or not all(_is_like(item, one) for item in items):
        msg = f"analysis setting {name} is {value!r:.80}: expected something like {default!r}"
        raise SettingsError(msg)
    read = tuple(float(cast("float", item)) if isinstance(one, float) else item for item in items)
    return read if isinstance(default, tuple) else read[0]


def _is_like(value: object, default: object) -> bool:
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < sys.float_info.max
    return type(value) is type(default)


def _require_shares(flag: str, values: tuple[float, ...]) -> None:
    if not values:
        msg = f"{flag} has no value; give one share in (0, 1] for all fine-tunes or one for each"
        raise SettingsError(msg)
    for value in values:
        if not 0.0 < value <= 1.0:
            msg = f"{flag} is {value}: a share of energy lies in (0, 1]"
            raise SettingsError(msg)


def _require_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        msg = f"{flag} is {value!r}; choose one of {', '.join(choices)}"
        raise SettingsError(msg)


def require_vocab(value: str) -> None:
    """Refuse what names no vocabulary."""
    if not re.fullmatch(r"base|union|ft[1-9][0-9]{0,3}", value):
        msg = f"--vocab is {value!r}; choose base, union, or ft1, ft2 and so on"
        raise SettingsError(msg)


def _require_regex(flag: str, pattern: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(pattern)
    except (re.error, OverflowError, Warning) as error:
        msg = f"{flag} {pattern!r} is not a regular expression: {error}"
        raise SettingsError(msg) from None


def _spread(flag: str, values: tuple[float, ...], tasks: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """One value per fine-tune: a single one serves all, and the last default serves every further fine-tune."""
    if len(values) == tasks:
        return values
    if len(values) == 1:
        return values * tasks
    if values == default and len(values) < tasks:
        return values + values[-1:] * (tasks - len(values))
    msg = f"{flag} has {len(values)} values for {tasks} fine-tunes; give one value for all or one for each"
    raise SettingsError(msg)
