"""The truncated SVD on chosen spectra, by both of its ways."""

import pytest
import torch

from analysis import decompose
from analysis.decompose import truncated_svd
from analysis.errors import DecompositionError, LinAlgError, NotFiniteError, OptionsError
from tests.analysis.matrices import decaying, gaussian, relative, with_spectrum

EXACT = {torch.float64: 1e-12, torch.float32: 1e-6}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "cols"), [(40, 25), (25, 40), (30, 30), (1, 7), (7, 1)])
def test_it_equals_the_chosen_spectrum(dtype, rows, cols):
    values = decaying(min(rows, cols), 0.5)
    matrix = with_spectrum(rows, cols, values, 1).to(dtype)
    found = truncated_svd(matrix, 1.0)
    assert relative(found.spectrum, values) <= EXACT[dtype]
    assert relative((found.left.double() * found.singular_values) @ found.right.double().T, matrix) <= EXACT[dtype]
    for vectors in (found.left, found.right):
        wide = vectors.double()
        assert float((wide.T @ wide - torch.eye(found.rank)).abs().max()) <= 10 * EXACT[dtype]


@pytest.mark.parametrize(("rows", "cols"), [(40, 25), (25, 40)])
def test_truncation_loses_just_the_energy_it_may(rows, cols):
    matrix = with_spectrum(rows, cols, decaying(25, 0.5), 1)
    found = truncated_svd(matrix, 0.9)
    rest = matrix - (found.left * found.singular_values) @ found.right.T
    total = float(matrix.norm()) ** 2
    assert found.energy + float(rest.norm()) ** 2 == pytest.approx(total)
    assert found.energy <= 0.9 * total < found.energy + float(found.spectrum[found.rank]) ** 2


def test_a_spectrum_that_breaks_the_gram_matrix_takes_lapack():
    values = torch.tensor([1.0, 0.5, 1e-7, 5e-8], dtype=torch.float64)
    matrix = with_spectrum(30, 20, values, 1)
    found = truncated_svd(matrix, 1.0)
    assert found.method == "svd"
    assert found.rank == 4
    assert relative(found.singular_values[2:], values[2:]) <= 1e-8
    assert truncated_svd(matrix, 0.99).method == "gram"


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e15])
def test_the_cheap_way_is_taken_wherever_it_is_good(scale):
    """The smallest kept value may be 1e-5 of the largest in float32 and 1e-2 in float64, whatever the scale."""
    steep = with_spectrum(30, 20, scale * torch.tensor([1.0, 0.1, 1e-3], dtype=torch.float64), 1)
    assert [truncated_svd(steep.to(dtype), 1.0).method for dtype in (torch.float32, torch.float64)] == ["gram", "svd"]
    flat = truncated_svd(scale * with_spectrum(20, 20, decaying(20, 0.5), 1), 1.0)
    assert (flat.method, flat.rank, flat.spectrum_complete, flat.known_total) == ("gram", 20, True, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_agree(dtype, monkeypatch):
    matrix = gaussian(50, 30, 1).to(dtype)
    gram = truncated_svd(matrix, 0.95)
    monkeypatch.setattr(decompose, "_resolved", lambda dtype: 2.0)
    svd = truncated_svd(matrix, 0.95)
    assert (gram.method, svd.method) == ("gram", "svd")
    assert gram.rank == svd.rank
    for side in ("left", "right"):
        one, two = getattr(gram, side).double(), getattr(svd, side).double()
        assert relative(one @ one.T, two @ two.T) <= EXACT[dtype]


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (5, 3)])
def test_zero_and_empty_matrices_have_rank_zero(shape):
    found = truncated_svd(torch.zeros(shape), 0.9)
    assert (found.rank, found.energy) == (0, 0.0)
    assert found.left.shape == (shape[0], 0)
    assert found.right.shape == (shape[1], 0)
    assert found.spectrum.tolist() == [0.0] * min(shape)
    assert found.spectrum.dtype == found.singular_values.dtype == torch.float64
    assert (found.method, found.total_energy, found.spectrum_complete) == ("gram", 0.0, True)


def test_input_is_left_alone():
    matrix = gaussian(9, 6, 1)
    before = matrix.clone()
    truncated_svd(matrix, 0.9)
    assert torch.equal(matrix, before)


@pytest.mark.parametrize("energy", [0.0, -0.1, 1.01, float("nan")])
def test_an_energy_outside_its_range_is_refused(energy):
    for matrix in (torch.ones(2, 2), torch.zeros(2, 2)):
        with pytest.raises(OptionsError, match="energy is"):
            truncated_svd(matrix, energy)


def test_nan_is_named():
    with pytest.raises(NotFiniteError, match="2 NaN or infinite entries of 6"):
        truncated_svd(torch.tensor([[1.0, float("nan"), 2.0], [3.0, float("inf"), 1.0]]), 0.9)


def test_lapack_that_does_not_converge_is_an_error_of_one_line(monkeypatch):
    def fail(*arguments, **options):
        raise LinAlgError("no convergence")

    matrix = gaussian(6, 4, 1)
    monkeypatch.setattr(torch.linalg, "eigh", fail)
    assert truncated_svd(matrix, 1.0).method == "svd"
    monkeypatch.setattr(torch.linalg, "svd", fail)
    with pytest.raises(DecompositionError, match="6×4 matrix did not converge"):
        truncated_svd(matrix, 1.0)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (800, 600)])
def test_what_is_left_out_anyway_does_not_decide_how(shape):
    """A value between the numerical rank and what squares hold is left to LAPACK only where it is kept."""
    values = torch.cat([decaying(min(shape) - 1, 0.3), torch.tensor([5e-6])])
    tau = with_spectrum(*shape, values, 1).float()
    whole = truncated_svd(tau, 1.0)
    assert (whole.method, whole.rank) == ("svd", min(shape))
    for limits, rank in (({"most": 7}, 7), ({"least": 1e-5}, min(shape) - 1), ({"most": 9, "least": 0.9}, 1)):
        found = truncated_svd(tau, 1.0, **limits)
        assert (found.method, found.rank) == ("gram", rank)
        assert found.singular_values.tolist() == pytest.approx(values[:rank].tolist(), rel=1e-5)
        kept = whole.left[:, :rank] * whole.singular_values[:rank].float() @ whole.right[:, :rank].T
        assert relative(found.left * found.singular_values.float() @ found.right.T, kept) <= 2e-6


def test_limits_hold_for_what_a_sketch_finds():
    tau = with_spectrum(700, 600, decaying(12), 1).float()
    found = truncated_svd(tau, 1.0, most=5)
    assert (found.method, found.rank) == ("range", 5)
    assert truncated_svd(tau, 1.0, least=0.5).rank == int((decaying(12) > 0.5).sum())
