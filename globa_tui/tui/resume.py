"""The request that resumes the analysis of a run."""

from __future__ import annotations

from dataclasses import replace

from globa_tui.jobs.settings import AnalysisRequest, AnalysisSettings
from globa_tui.tui.model import RunModel


def request_of(model: RunModel, request: AnalysisRequest | None) -> AnalysisRequest:
    """What to start so that only unfinished layers are computed: the request of this session, or the run's own.

    Raises
    ------
    ValueError
        The run is packed, or does not say what it was computed from.
    """
    if request is not None:
        return replace(request, fresh=False)
    if model.packed:
        msg = "A packed run cannot be resumed; resume the folder that it was packed from."
        raise ValueError(msg)
    sources = [str(source.get("source") or source.get("path") or "") for source in (model.base, *model.fine_tuned)]
    if len(sources) < 2 or not all(sources):
        msg = "The run does not say what it was computed from; resume with `globa-tui analyze`."
        raise ValueError(msg)
    settings = AnalysisSettings.from_dict(model.manifest.get("settings") or {})
    return AnalysisRequest(sources[0], tuple(sources[1:]), model.path, settings)
