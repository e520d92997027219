"""``globa-tui inspect``."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from globa_tui.cli import options as opt
from globa_tui.cli.open import MouseOption

EXAMPLE = """
globa-tui inspect meta-llama/Llama-2-7b-hf ./wizard-math ./code --store math-code
"""


def inspect(
    sources: opt.SourceArguments,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="RUN", help="Run folder.  [default: named after the fine-tunes, here]"),
    ] = None,
    preset: opt.AnalysisPresetOption = None,
    svd_energy: opt.SvdEnergyOption = "0.90,0.99",
    eta: opt.EtaOption = None,
    basis_energy: opt.BasisEnergyOption = 0.999,
    basis: opt.BasisOption = "canonical",
    anchor: opt.AnchorOption = 1,
    pairs: opt.PairsOption = "anchor",
    include: opt.IncludeOption = None,
    exclude: opt.ExcludeOption = None,
    vocab: opt.VocabOption = "base",
    device: opt.DeviceOption = "auto",
    threads: opt.ThreadsOption = 0,
    engine: opt.EngineOption = "local",
    ray_address: opt.RayAddressOption = None,
    precision: opt.PrecisionOption = "float32",
    factors: opt.FactorsOption = True,
    fresh: opt.FreshOption = False,
    download: opt.DownloadOption = False,
    mouse: MouseOption = True,
) -> int:
    """Open checkpoints in the terminal and start their analysis. An analysis that runs already is joined."""
    from globa_tui.cli.terminal import require_terminal
    from globa_tui.jobs.settings import AnalysisRequest
    from globa_tui.tui import run_inspect

    base, fine_tuned = opt.split_sources(sources)
    store = store or default_store(fine_tuned)
    require_terminal("analyze", *sources, "--store", store)
    settings = opt.analysis_settings(
        svd_energy=svd_energy,
        eta=eta,
        basis_energy=basis_energy,
        basis=basis,
        anchor=anchor,
        pairs=pairs,
        include=include,
        exclude=exclude,
        device=device,
        precision=precision,
        factors=factors,
        preset=preset,
        vocab=vocab,
    ).for_tasks(len(fine_tuned))
    run = opt.run_path(store)
    place = opt.engine_choice(engine, threads, ray_address)
    request = AnalysisRequest(base, fine_tuned, run, settings, fresh, download, place)
    return run_inspect(run, request, mouse=mouse)


def default_store(fine_tuned: tuple[str, ...]) -> str:
    """A run folder in the working folder that is named after the fine-tunes."""
    names = [re.split(r"[/\\]", source.rstrip("/\\").partition("@")[0])[-1] for source in fine_tuned]
    plain = [re.sub(r"[^\w.-]+", "_", name.removesuffix(".safetensors")).strip("._-") or "model" for name in names]
    return "+".join(plain)[:100]
