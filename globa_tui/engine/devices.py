"""The devices of this machine: names, memory, and copies that overlap with computing."""

from __future__ import annotations

import torch

from globa_tui.jobs.settings import SettingsError

_ALLOCATION_FAILED = ("CUBLAS_STATUS_ALLOC_FAILED", "CUSOLVER_STATUS_ALLOC_FAILED")


def resolve_devices(name: str) -> list[torch.device]:
    """The torch devices for ``auto``, ``cpu``, ``cuda`` (all of them), ``cuda:N``, or several with commas.

    Raises
    ------
    SettingsError
        If a name is unknown or the machine does not have it.
    """
    return [device for one in name.split(",") for device in _resolve(one.strip())]


def _resolve(name: str) -> list[torch.device]:
    count = torch.cuda.device_count()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() and count else "cpu"
    kind, colon, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (colon and not (number.isascii() and number.isdigit())):
        msg = f"--device is {name!r}; choose auto, cpu, cuda, cuda:N, or several as cuda:0,cuda:1"
        raise SettingsError(msg)
    if kind == "mps":
        msg = "--device is 'mps', which has no float64; the decompositions need it, so use cpu"
        raise SettingsError(msg)
    if kind == "cpu":
        return [torch.device("cpu")]
    if int(number or 0) >= count:
        msg = f"--device is {name!r}, but torch {torch.__version__} sees {count} CUDA devices"
        raise SettingsError(msg)
    return [torch.device("cuda", int(number))] if number else [torch.device("cuda", one) for one in range(count)]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, not the machine, lacked memory."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _ALLOCATION_FAILED)


class Copier:
    """Copies tensors to a device; to a GPU through pinned memory in a stream of its own, beside what is computed there.

    Parameters
    ----------
    device
        Where to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device; to be used after `finish`."""
        if self._stream is None:
            return tensor.to(self.device)
        with torch.cuda.stream(self._stream):
            copy = tensor.pin_memory().to(self.device, non_blocking=True)
        # Its memory belongs to the copying stream, which must not reuse it while the other still computes with it.
        copy.record_stream(torch.cuda.default_stream(self.device))
        return copy

    def finish(self) -> None:
        """Wait in the calling thread until all copies have arrived."""
        if self._stream is not None:
            self._stream.synchronize()
