"""The SVD of a product of two factors, against NumPy's of the matrix that they make."""

import numpy as np
import pytest
import torch

from analysis.errors import AnalysisError, DecompositionError, NotFiniteError, OptionsError
from analysis.product import Product, require_shape, truncated_svd_of_product
from tests.analysis.matrices import gaussian, relative


def factors(rows: int, rank: int, cols: int, seed: int = 1) -> Product:
    return Product(gaussian(rows, rank, seed), gaussian(rank, cols, seed + 1))


@pytest.mark.parametrize(("rows", "rank", "cols"), [(12, 3, 9), (5, 2, 30), (4, 6, 5)])
def test_it_is_the_svd_of_the_matrix(rows, rank, cols):
    product = factors(rows, rank, cols)
    whole = (product.left @ product.right).numpy()
    found = truncated_svd_of_product(product, 1.0, torch.float64)
    wanted = np.linalg.svd(whole, compute_uv=False)
    assert found.spectrum.tolist() == pytest.approx(wanted.tolist(), abs=1e-15)
    assert found.singular_values.shape[0] == min(rows, rank, cols)
    assert relative((found.left * found.singular_values) @ found.right.T, torch.from_numpy(whole)) <= 1e-12
    assert found.total_energy == pytest.approx(float((whole**2).sum()))


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_not_finite_is_named_with_its_factor(side):
    product = factors(4, 2, 3)
    getattr(product, side)[0, 1] = float("nan")
    with pytest.raises(NotFiniteError, match=rf"the {side} factor holds 1 NaN or infinite entries of"):
        truncated_svd_of_product(product, 0.9, torch.float64)


@pytest.mark.parametrize("energy", [0.0, 1.5, float("nan")])
def test_an_energy_outside_its_range_is_refused(energy):
    with pytest.raises(OptionsError, match="energy is"):
        truncated_svd_of_product(factors(4, 2, 3), energy, torch.float64)


def test_an_svd_that_does_not_converge_says_of_what(monkeypatch):
    def fails(*_, **__):
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(torch.linalg, "svd", fails)
    with pytest.raises(DecompositionError, match=r"a product of rank 2 for 4×3 did not converge"):
        truncated_svd_of_product(factors(4, 2, 3), 0.9, torch.float64)


def test_another_shape_than_the_base_is_refused():
    require_shape(factors(4, 2, 3), (4, 3))
    with pytest.raises(AnalysisError, match=r"the factors make a 4×3 matrix, the base has shape \(3, 4\)"):
        require_shape(factors(4, 2, 3), (3, 4))
