"""Errors of the mathematics, named by what the reader can do about them."""

import torch

# torch raises it but leaves it out of the names that its type stubs export.
LinAlgError: type[RuntimeError] = torch.linalg.LinAlgError  # type: ignore[attr-defined]


class AnalysisError(Exception):
    """Something a tensor or an option does not allow; the message has both values and the cure."""


class NotFiniteError(AnalysisError):
    """A tensor holds NaN or infinity. The layer fails; the others go on."""


class DecompositionError(AnalysisError):
    """No driver could decompose the matrix."""


class OptionsError(AnalysisError, ValueError):
    """An option is outside its range."""
