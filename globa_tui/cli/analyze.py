"""``globa-tui analyze``."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from globa_tui.cli import options as opt

if TYPE_CHECKING:
    from globa_tui.cli.progress import Display
    from globa_tui.jobs.analyze import Summary
    from globa_tui.jobs.settings import AnalysisRequest

EXAMPLE = """
globa-tui analyze ./llama-2-7b ./wizard-math ./code --store math-code
globa-tui analyze ./llama-2-70b ./math ./code --store big --engine ray --ray-address auto --threads 4
globa-tui analyze ./base ./ft1 ./ft2 --store attention --include self_attn --eta 0.9
"""


def analyze(
    sources: opt.SourceArguments,
    store: Annotated[str, typer.Option("--store", metavar="RUN", help="Run folder, new or to be resumed.")],
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
    quiet: opt.QuietOption = False,
    as_json: opt.JsonOption = False,
) -> int:
    """Analyse checkpoints layer by layer into RUN. Run it again to resume; finished layers are never lost.

    Comma lists hold one value for each fine-tune, in order; one value serves all.
    """
    import json

    from globa_tui.cli.announce import announce
    from globa_tui.cli.progress import display
    from globa_tui.diagnostics import ExitCode, printable, say
    from globa_tui.jobs.settings import AnalysisRequest

    base, fine_tuned = opt.split_sources(sources)
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
    place = opt.engine_choice(engine, threads, ray_address)
    request = AnalysisRequest(base, fine_tuned, opt.run_path(store), settings, fresh, download, place)
    announce(request, quiet=quiet)
    with display("analysing", quiet=quiet) as shown:
        summary = run_request(request, shown)
    if as_json:
        print(json.dumps({"schema": 1, "run": str(request.store), **asdict(summary)}))
    else:
        print(printable(request.store))
    if not summary.failed:
        return ExitCode.DONE
    names = ", ".join(summary.failed[:3]) + (", ..." if len(summary.failed) > 3 else "")
    say(f"{len(summary.failed)} layers failed: {names}; `globa-tui show {store}` says why")
    return ExitCode.FAILED


def run_request(request: AnalysisRequest, shown: Display) -> Summary:
    """Analyse, and say how to go on when somebody stops it."""
    from globa_tui.cli.signals import stopping_on_term
    from globa_tui.diagnostics import Interrupted, say
    from globa_tui.jobs.reporter import JobCancelledError

    try:
        # Loading torch takes seconds, in which ctrl-C is as likely as later.
        from globa_tui.jobs.analyze import run_analysis

        with stopping_on_term() as watch:
            return run_analysis(request, shown.follow, watch, lambda text: say(f"warning: {text}"))
    except (KeyboardInterrupt, JobCancelledError):
        place = request.engine.argv() if request.engine.name != "local" else []
        again = shlex.join(["globa-tui", "resume", str(request.store), *place])
        msg = f"interrupted; finished layers are kept in {request.store}; go on with: {again}"
        raise Interrupted(msg) from None
