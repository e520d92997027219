"""Errors of the mathematics, named by what the reader can do about them."""


class AnalysisError(Exception):
    """Something a tensor or an option does not allow; the message has both values and the cure."""


class NotFiniteError(AnalysisError):
    """A tensor holds NaN or infinity. The layer fails; the others go on."""


class DecompositionError(AnalysisError):
    """No driver could decompose the matrix."""


class OptionsError(AnalysisError, ValueError):
    """An option is outside its range."""
