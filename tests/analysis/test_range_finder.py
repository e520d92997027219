"""Randomised subspace iteration against the full decomposition, and when it must not be used."""

import pytest
import torch

from analysis import decompose, range_finder
from analysis.accuracy import Accuracy, accuracy_bound, images_of, measure_accuracy
from analysis.decompose import TruncatedSVD, truncated_svd
from analysis.layer import LayerOptions, analyse_layer
from analysis.product import Product, truncated_svd_of_product
from tests.analysis.matrices import decaying, gaussian, generator, relative, with_spectrum

EXACT = {torch.float64: 1e-10, torch.float32: 1e-6}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def noisy(shape: tuple[int, int]) -> torch.Tensor:
    """Rank 12 and, far below, noise of full rank: an adapter merged into 16-bit weights."""
    return with_spectrum(*shape, decaying(12, 0.5), 1) + gaussian(*shape, seed=2, scale=1e-4)


CASES = {
    "noise below": (noisy, 0.99),
    "within the noise": (noisy, 0.9),
    "low rank": (lambda shape: with_spectrum(*shape, decaying(12, 0.5), 1), 0.99),
    "steep": (lambda shape: with_spectrum(*shape, 0.8 ** torch.arange(300, dtype=torch.float64), 1), 0.99),
}


def without_range(matrix: torch.Tensor, energy: float, monkeypatch: pytest.MonkeyPatch) -> TruncatedSVD:
    with monkeypatch.context() as patch:
        patch.setattr(range_finder, "SMALLEST_SIDE", 1 << 30)
        return truncated_svd(matrix, energy)


@DTYPES
@pytest.mark.parametrize("shape", [(300, 420), (420, 300)])
@pytest.mark.parametrize("name", CASES)
def test_it_finds_what_a_full_decomposition_finds(name, shape, dtype, monkeypatch):
    make, energy = CASES[name]
    matrix = make(shape).to(dtype)
    found = truncated_svd(matrix, energy)
    wanted = without_range(matrix, energy, monkeypatch)
    assert (found.method, wanted.method) == ("range", "gram")
    assert found.rank == wanted.rank
    assert relative(found.singular_values, wanted.singular_values) <= EXACT[dtype]
    for side in ("left", "right"):
        one, two = getattr(found, side).double(), getattr(wanted, side).double()
        assert relative(one @ one.T, two @ two.T) <= EXACT[dtype]
        assert relative(one.T @ one, torch.eye(found.rank)) <= EXACT[dtype]
    assert found.total_energy == pytest.approx(float(matrix.double().square().sum()))
    assert found.accuracy.within(dtype)


@DTYPES
@pytest.mark.parametrize("shape", [(300, 420), (420, 300)])
def test_strong_directions_beyond_the_rank_are_handed_on(shape, dtype):
    """Those above a tenth of σ_1, exact or nearly so; the others of the sketch are left alone."""
    values = torch.cat([torch.linspace(1.0, 0.5, 14), torch.full((6,), 0.05)])
    matrix = with_spectrum(*shape, values, 1).to(dtype)
    found = truncated_svd(matrix, 0.6)
    assert found.method == "range"
    assert found.beyond is not None
    left, right = (
        torch.cat(both, dim=1).double() for both in zip((found.left, found.right), found.beyond, strict=True)
    )
    assert found.rank < 14
    assert left.shape[1] == right.shape[1] == 14
    u, _, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
    assert (u[:, :14].mT @ left).abs().diagonal().tolist() == pytest.approx([1.0] * 14, abs=1e-5)
    assert (vt[:14] @ right).abs().diagonal().tolist() == pytest.approx([1.0] * 14, abs=1e-5)


def test_a_spectrum_that_is_not_whole_says_so():
    part, whole = truncated_svd(noisy((300, 420)).float(), 0.99), truncated_svd(gaussian(300, 420, 1).float(), 0.99)
    assert (part.method, part.spectrum_complete, part.known_total) == ("range", False, part.total_energy)
    assert part.rank <= part.spectrum.shape[0] < 300
    assert (whole.method, whole.spectrum_complete, whole.known_total) == ("gram", True, None)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_squares_that_leave_the_range_of_float32_do_not_matter(scale):
    plain, scaled = (truncated_svd((size * noisy((300, 420))).float(), 0.99) for size in (1.0, scale))
    assert (scaled.method, scaled.rank, scaled.spectrum_complete) == ("range", plain.rank, False)
    assert relative(scaled.singular_values / scale, plain.singular_values) <= 1e-6


@pytest.mark.parametrize("energy", [0.99, 1.0])
def test_an_exactly_low_rank_has_a_whole_spectrum_with_zeros(energy):
    values = decaying(12, 0.5)
    found = truncated_svd(with_spectrum(300, 420, values, 1).float(), energy)
    assert (found.method, found.spectrum_complete) == ("range", True)
    assert found.rank == (12 if energy == 1.0 else 11)
    assert found.spectrum.shape == (300,)
    assert relative(found.spectrum[:12], values) <= 1e-6
    assert not found.spectrum[12:].any()


@pytest.mark.parametrize(
    ("matrix", "energy"),
    [
        (gaussian(300, 420, 1), 0.9),  # the energy is spread wide
        (noisy((300, 420)), 1.0),  # the noise is wanted too
        (with_spectrum(300, 420, decaying(300, 0.7), 1), 0.9),  # slow convergence
        (with_spectrum(200, 420, decaying(12), 1), 0.9),  # small
    ],
)
def test_full_decompositions_are_taken_where_they_are_cheaper(matrix, energy):
    assert truncated_svd(matrix.float(), energy).method in ("gram", "svd")


@DTYPES
def test_a_layer_that_breaks_the_gram_matrix_takes_lapack_and_is_right(dtype):
    values = torch.cat([decaying(6), 1e-7 * decaying(30, 0.2)]).double()
    matrix = with_spectrum(280, 300, values, 1)
    found = truncated_svd(matrix.to(dtype), 1.0)
    assert found.method == "svd" if dtype == torch.float64 else found.rank == 6
    base, tuned = torch.zeros_like(matrix), 0.5 * matrix
    result = analyse_layer(base, [matrix, tuned], LayerOptions((1.0, 1.0), (1.0, 1.0), dtype=torch.float64))
    assert [svd.method for svd in result.svds] == ["svd", "svd"]
    assert [svd.rank for svd in result.svds] == [36, 36]
    rebuilt = result.left.vectors @ result.pruned[0] @ result.right.vectors.T
    small = result.svds[0]
    assert relative(small.singular_values[6:], values[6:]) <= 1e-7
    assert relative(rebuilt, matrix) <= 1e-10
    assert all(svd.accuracy.within(torch.float64) for svd in result.svds)


def test_a_missed_bound_falls_back_to_lapack(monkeypatch):
    matrix = gaussian(300, 420, 1).float()
    wrong = Accuracy(residual=1e-3, orthogonality=0.0)
    monkeypatch.setattr(decompose, "measure_accuracy", lambda *arguments: wrong)
    found = truncated_svd(matrix, 0.9)
    assert found.method == "svd"
    assert found.accuracy == wrong


@pytest.mark.parametrize(
    ("squares", "energy", "total", "count"),
    [
        ([8, 4, 2, 1, 0.125], 0.75, 16, 3),  # two hold 0.75 of 16, and one more says so
        ([8, 4, 2, 1, 0.125], 0.25, 16, 1),
        ([8, 4, 2, 1.5, 0.75], 0.875, 16, 4),  # the last one outside is half of the last one wanted
        ([8, 4, 2, 1.5, 0.5], 0.875, 16, 4),
        ([8, 4, 2, 1.5, 1.0], 0.875, 16, None),
        ([8, 4, 1, 0.5, 0.125], 1.0, 13.875, 3),  # what is missing is half of (8/4)² × 1/8: all above that
        ([8, 4, 1, 0.5, 0.125], 1.0, 14.0, None),
        ([8, 4, 1, 0.5, 0.125], 0.5, 26, None),  # three hold half of it, but a fourth is below the numerical rank
        ([8, 4, 0.75, 0.3, 0.0625], 1.0, 13.125, 3),
        ([8, 4, 2, 1], 0.9375, 15, None),  # the sketch ends with the last one wanted
    ],
)
def test_what_decides_the_rank_is_wanted(squares, energy, total, count):
    """One value more than is kept, or all above a quarter of σ_1; None where the sketch cannot tell."""
    assert range_finder._wanted(torch.tensor(squares, dtype=torch.float64), energy, float(total), 0.25) == count


@pytest.mark.parametrize(("dtype", "share"), [(torch.float64, 1e-11), (torch.float32, 1e-8)])
def test_convergence_is_a_share_of_the_smallest_wanted(dtype, share):
    squares = torch.tensor([100.0, 25.0, 4.0, 1.0, 0.5], dtype=torch.float64)
    assert range_finder._tolerance(squares, 3, dtype) == pytest.approx(4 * share)
    squares[1:] = 1e-9
    assert range_finder._tolerance(squares, 3, dtype) == pytest.approx(5000 * torch.finfo(torch.float64).eps)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_products_do_not_depend_on_the_chunk(chunk):
    matrix, space, outputs = gaussian(40, 6, 1).float(), gaussian(6, 3, 2), gaussian(40, 3, 3)
    assert relative(range_finder.forward(matrix, space, 0.5, chunk), 2 * matrix.double() @ space) <= 1e-14
    assert relative(range_finder.backward(matrix, outputs, 0.5, chunk), 2 * matrix.double().T @ outputs) <= 1e-14


def test_the_same_sketch_every_time():
    matrix = noisy((300, 420)).float()
    one, two = truncated_svd(matrix, 0.99), truncated_svd(matrix.clone(), 0.99)
    assert torch.equal(one.left, two.left)
    assert torch.equal(one.spectrum, two.spectrum)


def test_eigenvectors_that_do_not_converge_leave_it_to_the_others(monkeypatch):
    def fail(*arguments, **options):
        raise decompose.LinAlgError("no convergence")

    monkeypatch.setattr(torch.linalg, "eigh", fail)
    assert truncated_svd(noisy((300, 420)).float(), 0.99).method == "svd"


def test_accuracy_sees_what_is_wrong():
    matrix = gaussian(60, 40, 1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    good = measure_accuracy(images_of(matrix, chunk=16), left, values, right.T)
    assert good.residual <= 1e-14
    assert good.orthogonality <= 1e-14
    assert good.within(torch.float64)
    noise = 1e-4 * torch.randn(60, 40, dtype=torch.float64, generator=generator(3))
    for spoilt in (
        (left + noise, values, right.T),
        (left, values * 1.0001, right.T),
        (left, values, right.T + noise[:40]),
    ):
        bad = measure_accuracy(images_of(matrix), *spoilt)
        assert 3e-5 <= max(bad.residual, bad.orthogonality) <= 3e-3
        assert not bad.within(torch.float32)
        assert bad == measure_accuracy(images_of(matrix), *spoilt), "the probes are the same every time"
        assert measure_accuracy(images_of(matrix), *(part[..., :1] for part in spoilt)).residual >= 3e-6
    defect = measure_accuracy(images_of(matrix), left + noise, values, right.T).orthogonality
    exact = float(((left + noise).T @ (left + noise) - torch.eye(40)).norm()) / 40**0.5
    assert 0.5 * exact <= defect <= 2 * exact
    assert not Accuracy(float("nan"), 0.0).within(torch.float32)
    assert accuracy_bound(torch.float64) < accuracy_bound(torch.float32)


@DTYPES
def test_factors_say_the_same_as_the_product(dtype):
    product = Product(gaussian(300, 8, 1).to(dtype), gaussian(8, 420, 2).to(dtype))
    factors, dense = truncated_svd_of_product(product, 0.99, dtype), truncated_svd(product.dense(dtype), 0.99)
    assert (factors.method, dense.method) == ("factors", "range")
    assert factors.accuracy.within(dtype)
    assert (factors.rank, factors.spectrum_complete) == (dense.rank, True)
    assert factors.total_energy == pytest.approx(dense.total_energy)
    assert relative(factors.singular_values, dense.singular_values) <= EXACT[dtype]
