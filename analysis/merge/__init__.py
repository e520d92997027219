"""Merge methods on task vectors: one file each, one signature, found through one registry.

A method takes the task vectors of one tensor and returns the delta to add to the base. GLOBA is not among them: it
works on an analysis (`analysis.merge.globa`).
"""

from collections.abc import Mapping

from analysis.errors import OptionsError
from analysis.merge.alignmerge_b import alignmerge_b
from analysis.merge.alignmerge_o import ALIGNMERGE_O
from analysis.merge.context import BLOCK, Preparation, Role, TensorContext, TensorPasses
from analysis.merge.dare_linear import DARE_LINEAR
from analysis.merge.dare_ties import DARE_TIES
from analysis.merge.iso_c import ISO_C
from analysis.merge.iso_cts import ISO_CTS
from analysis.merge.linear import LINEAR
from analysis.merge.method import MergeMethod
from analysis.merge.parameter import Parameter
from analysis.merge.slerp import SLERP
from analysis.merge.task_arithmetic import TASK_ARITHMETIC
from analysis.merge.ties import TIES
from analysis.merge.tsv_m import TSV_M

__all__ = [
    "BLOCK",
    "METHODS",
    "MergeMethod",
    "Parameter",
    "Preparation",
    "Role",
    "TensorContext",
    "TensorPasses",
    "merge_method",
]

_ALONE = {
    method.name: method
    for method in (
        LINEAR,
        TASK_ARITHMETIC,
        TIES,
        DARE_LINEAR,
        DARE_TIES,
        SLERP,
        TSV_M,
        ISO_C,
        ISO_CTS,
        ALIGNMERGE_O,
    )
}

METHODS: Mapping[str, MergeMethod] = {**_ALONE, "alignmerge_b": alignmerge_b(_ALONE)}


def merge_method(name: str) -> MergeMethod:
    """Find a method by name, in any case, with hyphens or underscores.

    Raises
    ------
    OptionsError
        If there is none of that name; the message lists all.
    """
    found = METHODS.get(name.replace("-", "_").lower())
    if found is None:
        msg = f"unknown merge method {name!r}; choose globa or one of {', '.join(METHODS)}"
        raise OptionsError(msg)
    return found
