"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from globa_tui.jobs.settings import AnalysisSettings, EngineChoice

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Run folder (RUN or RUN.globa).")]
ReadableRun = Annotated[str, typer.Argument(metavar="RUN", help="Run folder (RUN or RUN.globa), or a packed .h5 file.")]
SourceArguments = Annotated[
    list[str],
    typer.Argument(
        metavar="BASE FT1 FT2",
        show_default=False,
        help="The base, then its fine-tunes: model folders, .safetensors files, LoRA adapters or Hub ids "
        "(org/name[@revision]).",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks; errors stay.")]
DownloadOption = Annotated[
    bool, typer.Option("--download", help="Download a Hub id that is not in the local cache.", show_default=False)
]
DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda (all there are), cuda:N, or cuda:0,cuda:1.", metavar="DEVICE"),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", metavar="N", help="Threads to compute with; 0 is torch's own choice.")
]
EngineOption = Annotated[
    str, typer.Option("--engine", metavar="NAME", help="local, or ray for a cluster (needs the extra named ray).")
]
RayAddressOption = Annotated[
    str | None,
    typer.Option(
        "--ray-address", metavar="ADDRESS", help="A running Ray cluster.  [default: RAY_ADDRESS, or one started here]"
    ),
]

SvdEnergyOption = Annotated[
    str, typer.Option("--svd-energy", metavar="E,E", help="Share of each task vector's energy to keep, in (0, 1].")
]
EtaOption = Annotated[
    str | None,
    typer.Option(
        "--eta", metavar="E,E", help="Share of each matrix's energy that pruning keeps.  [default: 0.95,0.80]"
    ),
]
BasisEnergyOption = Annotated[
    float, typer.Option("--basis-energy", metavar="E", help="Share of energy that the global basis keeps.")
]
BasisOption = Annotated[str, typer.Option("--basis", help="canonical, anchored or lapack.", metavar="NAME")]
AnchorOption = Annotated[int, typer.Option("--anchor", help="The fine-tune that plays task 1.", metavar="N")]
PairsOption = Annotated[
    str, typer.Option("--pairs", metavar="WHICH", help="Compare each fine-tune with the anchor, or all with all.")
]
IncludeOption = Annotated[
    list[str] | None, typer.Option("--include", metavar="REGEX", help="Analyse only tensors that match; repeatable.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="REGEX", help="Leave out tensors that match; repeatable.")
]
VocabOption = Annotated[
    str,
    typer.Option("--vocab", metavar="NAME", help="Whose tokens, where vocabularies differ: base, union, ft1, ft2 ..."),
]
PrecisionOption = Annotated[str, typer.Option("--precision", help="float32 or float64.", metavar="DTYPE")]
FactorsOption = Annotated[
    bool, typer.Option("--factors/--no-factors", help="Keep the bases and matrices, so that merging needs no SVD.")
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Throw away what the run holds and start again.", show_default=False)
]
AnalysisPresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Published --eta (appendix Table 1): 7b-math-code, 7b-math-instruct, 7b-instruct-code, 13b-math-code, "
        "13b-math-instruct or 13b-instruct-code.",
    ),
]


def analysis_settings(
    *,
    svd_energy: str,
    eta: str | None,
    basis_energy: float,
    basis: str,
    anchor: int,
    pairs: str,
    include: list[str] | None,
    exclude: list[str] | None,
    device: str,
    precision: str,
    factors: bool,
    preset: str | None,
    vocab: str,
) -> AnalysisSettings:
    """Analysis settings from the values of the options; a given --eta goes before the preset's."""
    from globa_tui.jobs.settings import AnalysisSettings
    from globa_tui.presets import analysis_preset
    from globa_tui.values import parse_numbers

    values: dict[str, object] = {
        "svd_energy": parse_numbers("--svd-energy", svd_energy),
        "basis_energy": basis_energy,
        "basis": basis,
        "anchor": anchor,
        "pairs": pairs,
        "include": tuple(include or ()),
        "exclude": tuple(exclude or ()),
        "device": device,
        "precision": precision,
        "factors": factors,
        "vocab": vocab,
    }
    if preset is not None:
        values["eta"] = analysis_preset(preset).eta
    if eta is not None:
        values["eta"] = parse_numbers("--eta", eta)
    return AnalysisSettings.from_dict(values)


def engine_choice(engine: str, threads: int, ray_address: str | None) -> EngineChoice:
    """Where to compute, from the values of the options."""
    from globa_tui.jobs.settings import EngineChoice

    return EngineChoice(engine, threads, ray_address or "")  # type: ignore[arg-type]


def split_sources(sources: list[str]) -> tuple[str, tuple[str, ...]]:
    """The base and its fine-tunes."""
    from globa_tui.diagnostics import UsageError

    if len(sources) < 3:
        msg = f"{len(sources)} checkpoint(s) given; name the base and at least two fine-tunes of it"
        raise UsageError(msg)
    return sources[0], tuple(sources[1:])


def run_path(name: str) -> Path:
    """Where the run of that name is kept."""
    from store.run import run_folder

    return run_folder(name)
