"""A merge of stored factors where the base is and the fine-tunes are not: whether it can be. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from globa_tui.recipe import Recipe
from store.errors import CheckpointError, RunForeignError

if TYPE_CHECKING:
    from store.checkpoints import Index

_KEPT = "stays as the base has it"


def why_fine_tunes(recipe: Recipe, manifest: Mapping[str, Any]) -> str | None:
    """Why a merge from this run reads its fine-tunes; None when their stored factors are all that it takes."""
    settings, findings = manifest.get("settings") or {}, manifest.get("findings")
    codes = [f.get("code") for f in findings if isinstance(f, dict)] if isinstance(findings, list) else []
    if recipe.method != "globa":
        return f"{recipe.method} works on the weights of the fine-tunes"
    if not settings.get("factors", True):
        return "the run keeps no factors (--no-factors)"
    if "vocabulary" in codes or settings.get("vocab", "base") != "base":
        return "their vocabularies differ, so that rows and tokenizers of theirs are needed"
    if not recipe.skip_weights or any(recipe.skip_weights):
        return f"what has no factors is averaged from it; not needed with --skip-weights 0: that {_KEPT}"
    return None


def is_gone(place: str) -> bool:
    """Whether nothing is at this path."""
    try:
        return not Path(place).exists()
    except (OSError, ValueError):
        return True


def absent_fine_tunes(recipe: Recipe, manifest: Mapping[str, Any], fine_tuned: Sequence[str], run: Path) -> bool:
    """Whether the merge goes without the fine-tunes at these places, for one of them is not there.

    Raises
    ------
    CheckpointError
        One is not there and the merge needs it.
    """
    gone = [place for place in fine_tuned if is_gone(place)]
    why = why_fine_tunes(recipe, manifest)
    if gone and why is not None:
        more = f" (nor {len(gone) - 1} more)" if len(gone) > 1 else ""
        msg = f"{gone[0]}: a fine-tune of {run} is not there{more}; say where with --base and --fine-tuned ({why})"
        raise CheckpointError(msg)
    return bool(gone)


def alone(manifest: Mapping[str, Any], base: Index, run: Path) -> Index:
    """The index of the base alone, when its layers are those of the run.

    Raises
    ------
    RunForeignError
        Naming the first layer that differs.
    """
    from store.checkpoints import Finding

    known = [(layer["index"], layer["name"], layer.get("shape")) for layer in manifest["layers"]]
    found = [(layer.index, layer.name, list(layer.shape)) for layer in base.layers]
    if known != found:
        differing = (ours for ours, theirs in zip(found, known, strict=False) if ours != theirs)
        name = next((one[1] for one in differing), "their number")
        msg = f"{run}: its layers are not those of {base.base.path} ({name}); say with --base where that of the run is"
        raise RunForeignError(msg)
    remark = Finding(
        "info", "absent", f"the fine-tunes are not there; merged from stored factors, and what has none {_KEPT}"
    )
    return dataclasses.replace(base, findings=(*base.findings, remark))
