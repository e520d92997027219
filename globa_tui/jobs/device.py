"""The device of a job that computes on one."""

from __future__ import annotations

import torch

from globa_tui.engine.devices import resolve_devices


def resolve_device(name: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; the first where a name stands for several.

    Raises
    ------
    SettingsError
        If the name is unknown or the machine does not have it.
    """
    return resolve_devices(name)[0]
