"""Global bases: one orthonormal coordinate system for the singular vectors of all tasks."""

from analysis.basis.anchored import anchored_basis
from analysis.basis.angles import PrincipalAngles, principal_angles
from analysis.basis.canonical import canonical_basis
from analysis.basis.lapack import lapack_basis
from analysis.basis.side import SideBasis, cluster_tolerance, find_clusters

__all__ = [
    "PrincipalAngles",
    "SideBasis",
    "anchored_basis",
    "canonical_basis",
    "cluster_tolerance",
    "find_clusters",
    "lapack_basis",
    "principal_angles",
]
