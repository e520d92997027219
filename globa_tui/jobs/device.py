"""Where tensors are computed on."""

from __future__ import annotations

import torch

from globa_tui.jobs.settings import SettingsError


def resolve_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    SettingsError
        If the name is unknown or the machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        msg = f"--device is {name!r}; choose auto, cpu, cuda, cuda:N or mps"
        raise SettingsError(msg)
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        msg = f"--device is {name!r}, but torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices"
        raise SettingsError(msg)
    if kind == "mps":
        msg = "--device is 'mps', which has no float64; the small decompositions need it, so use cpu"
        raise SettingsError(msg)
    return torch.device(name)
