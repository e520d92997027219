"""Principal angles and small SVDs through Gram matrices, against LAPACK and chosen angles."""

import math

import pytest
import torch

from analysis.basis import principal_angles
from analysis.basis.angles import complete, gram_svd
from analysis.basis.canonical import polish
from analysis.errors import LinAlgError
from tests.analysis.matrices import defect, generator, orthonormal, relative, with_spectrum

SPECTRA = {
    "fourteen decades": 10.0 ** -torch.linspace(0, 14, 40, dtype=torch.float64),
    "equal": torch.ones(40, dtype=torch.float64),
    "uniform": torch.linspace(1, 0.01, 40, dtype=torch.float64),
    "two levels": torch.cat([torch.ones(20), torch.full((20,), 1e-8)]).double(),
    "all tiny": 1e-12 * torch.linspace(1, 0.01, 40, dtype=torch.float64),
    "half zero": torch.cat([torch.ones(20), torch.zeros(20)]).double(),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("cols", [40, 55])
def test_a_small_svd_equals_lapacks(name, cols):
    matrix = with_spectrum(40, cols, SPECTRA[name], 1)
    found = gram_svd(matrix)
    wanted = torch.linalg.svdvals(matrix)
    kept = found.right.shape[1]
    assert float((found.values - wanted).abs().max()) <= 1e-14 * float(wanted[0])
    assert defect(found.left) <= 1e-13
    assert defect(found.right) <= 1e-9
    assert relative((found.left[:, :kept] * found.values[:kept]) @ found.right.T, matrix) <= 1e-13
    assert torch.equal(gram_svd(matrix, left_only=True).left, found.left)


def test_one_gram_matrix_alone_would_not_do():
    matrix = with_spectrum(40, 55, SPECTRA["fourteen decades"], 1)
    _, vectors = torch.linalg.eigh(matrix @ matrix.T)
    naive = matrix.T @ vectors
    assert defect(naive / naive.norm(dim=0)) > 1e-3
    assert defect(gram_svd(matrix).right) <= 1e-9


@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_scale_does_not_matter(scale):
    matrix = with_spectrum(12, 15, 10.0 ** -torch.linspace(0, 7, 12, dtype=torch.float64), 1)
    one, other = gram_svd(matrix), gram_svd(scale * matrix)
    assert relative(other.values / scale, one.values) <= 1e-14
    assert other.right.shape == one.right.shape


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (1, 5), (4, 0)])
def test_empty_and_thin_matrices(shape):
    found = gram_svd(torch.ones(shape, dtype=torch.float64))
    assert found.left.shape == (shape[0], shape[0])
    assert found.right.shape == (shape[1], min(shape))


def test_lapack_takes_over_when_eigenvectors_do_not_converge(monkeypatch):
    def fail(*arguments, **options):
        raise LinAlgError("no convergence")

    matrix = with_spectrum(40, 55, SPECTRA["uniform"], 1)
    monkeypatch.setattr(torch.linalg, "eigh", fail)
    found = gram_svd(matrix)
    assert relative((found.left * found.values) @ found.right.T, matrix) <= 1e-13


@pytest.mark.parametrize("extra", [(0, 0), (3, 0), (0, 3)])
def test_chosen_angles_come_back(extra):
    degrees = torch.tensor([0.0, 0.001, 1.0, 30.0, 89.0, 89.9999, 90.0], dtype=torch.float64)
    axes, more = orthonormal(40, 14, 1), orthonormal(40, 20, 2)[:, 14:]
    more = torch.linalg.qr(torch.cat([axes, more], dim=1))[0][:, 14:]
    radians = torch.deg2rad(degrees)
    first = torch.cat([axes[:, :7], more[:, : extra[0]]], dim=1)
    second = torch.cat([axes[:, :7] * radians.cos() + axes[:, 7:] * radians.sin(), more[:, 3 : 3 + extra[1]]], dim=1)
    mixed = [space @ orthonormal(space.shape[1], space.shape[1], 3) for space in (first, second)]
    found = principal_angles(mixed[0], mixed[1])
    # The cosine of a small angle does not tell it from zero below √eps.
    assert torch.rad2deg(found.angles).tolist() == pytest.approx(degrees.tolist(), abs=3e-6)
    assert float((found.cosines - radians.cos()).abs().max()) <= 1e-13
    paired = found.first[:, :7].T @ found.cross @ found.second[:, :7]
    assert float((paired - torch.diag(found.cosines)).abs().max()) <= 1e-13
    assert max(defect(found.first), defect(found.second)) <= 1e-10
    again = principal_angles(mixed[1], mixed[0])
    assert torch.allclose(again.cosines, found.swapped().cosines, atol=1e-14)


def test_spaces_that_must_meet_share_exactly_what_they_must():
    """Of 5 and 6 directions among 8 three at least are common and have no angle; here a fourth has nearly none."""
    axes = orthonormal(8, 8, 1)
    close = math.cos(1e-6) * axes[:, 3:4] + math.sin(1e-6) * axes[:, 5:6]
    second = torch.cat([axes[:, :3], close, axes[:, 6:]], dim=1) @ orthonormal(6, 6, 2)
    found = principal_angles(axes[:, :5] @ orthonormal(5, 5, 3), second)
    assert found.versines[:3].tolist() == [0.0] * 3
    assert found.versines[3:].tolist() == pytest.approx([5e-13, 1.0], rel=1e-4, abs=0.0)


def test_small_angles_come_from_every_row_of_a_large_layer():
    axes = orthonormal(2500, 4, 1)
    second = (axes[:, :2] + 1e-6 * axes[:, 2:]) / (1 + 1e-12) ** 0.5
    assert principal_angles(axes[:, :2], second).versines.tolist() == pytest.approx([5e-13] * 2, rel=1e-6, abs=0.0)


def test_completing_adds_the_orthogonal_complement_and_keeps_what_was_there():
    some = orthonormal(9, 4, 1)
    whole = complete(some)
    assert relative(whole[:, :4], some) <= 1e-14
    assert defect(whole) <= 1e-14
    assert complete(orthonormal(5, 5, 1)).shape == (5, 5)
    assert relative(complete(torch.zeros(3, 0, dtype=torch.float64)), torch.eye(3, dtype=torch.float64)) <= 1e-15


def test_polishing_cures_the_weak_columns_and_leaves_the_sound_ones():
    vectors = orthonormal(50, 12, 1)
    spoilt = vectors.clone()
    spoilt[:, 8:] += 1e-3 * torch.randn(50, 4, dtype=torch.float64, generator=generator(2))
    found = polish(spoilt.clone(), 8)
    assert defect(spoilt) > 1e-4
    assert defect(found) <= 1e-14
    assert torch.equal(found[:, :8], vectors[:, :8])
    assert math.isclose(float((found - vectors).norm()), 0.0, abs_tol=2e-2)
