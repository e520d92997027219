"""What the program does, from Python: ``from globa_tui import open_index, analyze, open_run, merge, check``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path


def _require_ours() -> None:
    """Refuse to work on another project's ``analysis`` or ``store``, which a notebook's folder may well have."""
    home = Path(__file__).absolute().parent.parent
    for name in ("analysis", "store"):
        loaded = getattr(sys.modules.get(name), "__file__", None)
        spec = find_spec(name) if loaded is None else None
        found = loaded or (spec.origin if spec is not None else None)
        if found is None or not Path(found).samefile(home / name / "__init__.py"):
            msg = (
                f"globa_tui needs its own package {name!r} in {home / name}, but Python finds {found}; "
                "start where no other package of that name is found"
            )
            raise ImportError(msg)


_require_ours()

from globa_tui.jobs.check import CheckReport, check_output  # noqa: E402
from globa_tui.jobs.merge import MergeOptions, MergeResult, run_merge  # noqa: E402
from globa_tui.jobs.progress import Progress  # noqa: E402
from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings, EngineChoice  # noqa: E402
from globa_tui.jobs.sources import open_index as _open_index  # noqa: E402
from globa_tui.recipe import Recipe  # noqa: E402
from store.checkpoints import Index  # noqa: E402
from store.run import Run, run_folder  # noqa: E402

Source = str | PathLike[str]
"""A model folder, a ``.safetensors`` file, a LoRA adapter's folder or a Hub id."""

__all__ = [
    "AnalysisSettings",
    "CheckReport",
    "EngineChoice",
    "Index",
    "MergeResult",
    "Progress",
    "Recipe",
    "Run",
    "analyze",
    "check",
    "merge",
    "open_index",
    "open_run",
]


def open_index(base: Source, fine_tuned: Sequence[Source], *, vocab: str = "base", download: bool = False) -> Index:
    """Index a base and its fine-tunes from their headers alone.

    Parameters
    ----------
    base, fine_tuned
        The models.
    vocab
        Whose tokens a merged model has where they differ: base, union, ft1, ft2 and so on.
    download
        Whether a Hub model that is not cached may be fetched.

    Returns
    -------
    Its `layers` pair every tensor, its `findings` say what does not fit; `require_mergeable` raises then.

    Raises
    ------
    CheckpointError
        When a source cannot be read.
    """
    return _open_index(fspath(base), [fspath(one) for one in fine_tuned], vocab=vocab, download=download)


def analyze(
    base: Source,
    fine_tuned: Sequence[Source],
    store: Source,
    settings: AnalysisSettings | None = None,
    *,
    fresh: bool = False,
    download: bool = False,
    engine: EngineChoice | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> Run:
    """Analyse every weight matrix into a run folder, in this process; a run that was begun is gone on with.

    Parameters
    ----------
    base, fine_tuned
        The models.
    store
        The run's folder; ``.globa`` is added.
    settings
        Thresholds, basis and precision.
    fresh
        Throw away what the folder holds.
    download
        Whether a Hub model that is not cached may be fetched.
    engine
        Threads, and whether to compute on a Ray cluster; None computes here.
    progress
        Called after every layer.

    Returns
    -------
    The run. A layer that could not be analysed has the status ``failed`` and says why in its record.

    Raises
    ------
    MismatchError, CheckpointError, RunError, DiskFullError
        As the command; what was finished stays.
    """
    from globa_tui.jobs.analyze import run_analysis

    folder = run_folder(fspath(store))
    sources = tuple(fspath(one) for one in fine_tuned)
    place = engine or EngineChoice()
    request = AnalysisRequest(fspath(base), sources, folder, settings or AnalysisSettings(), fresh, download, place)
    run_analysis(request, progress)
    return Run.open(folder)


def open_run(path: Source) -> Run:
    """Open a run folder or a packed file: `records()` has the numbers of every layer, `arrays(index)` its arrays.

    Raises
    ------
    RunError
        When there is none, or it is damaged.
    """
    return Run.open(fspath(path))


def merge(
    recipe: Recipe,
    out: Source,
    *,
    overwrite: bool = False,
    device: str = "auto",
    download: bool = False,
    allow_failed: bool = False,
    check: bool = True,
    engine: EngineChoice | None = None,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> MergeResult:
    """Merge as a recipe says into a model folder, which is complete or absent.

    Parameters
    ----------
    recipe
        ``Recipe(run=…)`` to merge from an analysis, ``Recipe(base=…, fine_tuned=…, method=…)`` from checkpoints.
    out
        The folder to make.
    overwrite
        Replace it when it is there.
    device
        auto, cpu, cuda, cuda:N, or several with commas.
    download
        Whether a Hub model that is not cached may be fetched.
    allow_failed
        Merge layers whose analysis failed like vectors; NaN and infinity pass through.
    check
        Look at the result once more; what was found is in `MergeResult.check`.
    engine
        As for `analyze`.
    progress
        Called after every tensor.

    Raises
    ------
    OutputExistsError, MismatchError, CheckpointError, RunError, DiskFullError
        As the command; nothing appears as `out`.
    """
    options = MergeOptions(
        overwrite=overwrite,
        device=device,
        download=download,
        allow_failed=allow_failed,
        check=check,
        engine=engine or EngineChoice(),
    )
    return run_merge(recipe, Path(fspath(out)), options, progress)


def check(out: Source, against: Sequence[Source] = ()) -> CheckReport:
    """Check a merged model: `failed` says whether anything did, `items` what, `largest()` what moved farthest.

    Parameters
    ----------
    out
        The model.
    against
        Base and fine-tunes; empty means those of its recipe.
    """
    return check_output(Path(fspath(out)), tuple(fspath(one) for one in against))
