"""Gram matrices and eigenvectors in the memory of the matrix, by their defining equations."""

import pytest
import torch

from analysis.gram import eigenvectors_in_place, gram_matrix, product
from tests.analysis.matrices import decaying, gaussian, relative, with_spectrum


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (300, 40), (1, 1), (3, 600)])
@pytest.mark.parametrize("scale", [1.0, 0.03])
def test_the_lower_triangle_is_that_of_the_gram_matrix(shape, scale):
    matrix = gaussian(*shape, seed=1).float()
    wanted = (matrix.double() / scale).T @ (matrix.double() / scale)
    found = gram_matrix(matrix, scale, chunk=64)
    assert relative(found.tril(), wanted.tril()) < 1e-14


def test_eigenvectors_take_the_memory_of_the_gram_matrix():
    matrix = with_spectrum(60, 40, decaying(40), 2)
    gram = gram_matrix(matrix)
    place, whole = gram.data_ptr(), gram.clone()
    values, vectors = eigenvectors_in_place(gram)
    assert vectors.data_ptr() == place
    assert relative(whole @ vectors, vectors * values) < 1e-14
    assert relative(vectors.T @ vectors, torch.eye(40, dtype=torch.float64)) < 1e-13
    assert relative(values.flip(0).sqrt(), decaying(40)) < 1e-12


def test_a_matrix_of_the_other_layout_is_left_as_it_is():
    gram = (lambda x: x.T @ x)(gaussian(9, 6, seed=3))
    before = gram.clone()
    values, vectors = eigenvectors_in_place(gram)
    assert torch.equal(gram, before)
    assert relative(gram @ vectors, vectors * values) < 1e-13


def test_a_product_is_rounded_once():
    matrix, factor = gaussian(50, 30, seed=4).float(), gaussian(30, 8, seed=5)
    wanted = matrix.double() @ factor
    found = product(matrix, factor, chunk=16)
    assert found.dtype == torch.float32
    assert relative(found.double(), wanted) < 6e-8
    assert relative((matrix @ factor.float()).double(), wanted) > relative(found.double(), wanted)
