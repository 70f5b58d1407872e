"""Products in a fixed order, also where their blocks do not divide them."""

import numpy as np
import pytest

from clhd.core.products import add_product, add_rows, dot, transpose


@pytest.mark.parametrize("rows", [0, 1, 2, 4, 5, 9])
@pytest.mark.parametrize("inner", [0, 1, 3, 4, 7, 8])
def test_a_product_is_added_also_where_its_blocks_do_not_divide_it(rows: int, inner: int) -> None:
    random = np.random.default_rng(7)
    left, right, out = random.normal(size=(rows, inner)), random.normal(size=(inner, 5)), np.ones((rows, 5))
    add_product(out, left, right)
    np.testing.assert_allclose(out, 1 + left @ right, rtol=1e-13)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 13])
def test_rows_are_added_also_where_five_do_not_divide_their_number(count: int) -> None:
    random = np.random.default_rng(8)
    rows, out, chosen = random.normal(size=(6, 3)), np.ones(3), random.integers(6, size=count)
    add_rows(out, rows, chosen)
    np.testing.assert_allclose(out, 1 + rows[chosen].sum(0), rtol=1e-13)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_a_scalar_product_is_a_sum_also_where_four_do_not_divide_its_length(count: int) -> None:
    one, two = np.random.default_rng(9).normal(size=(2, count))
    assert dot(one, two) == pytest.approx(np.sum(one * two), rel=1e-13, abs=1e-15)


def test_a_transpose_has_rows_of_its_own():
    matrix = np.random.default_rng(10).normal(size=(3, 5))
    found = transpose(matrix)
    np.testing.assert_array_equal(found, matrix.T)
    assert found.flags.c_contiguous
