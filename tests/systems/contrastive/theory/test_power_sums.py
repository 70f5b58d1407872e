"""Averages of polynomials in power sums, against the average over all batches of a small discrete law."""

from itertools import product

import numpy as np
import pytest

from clhd.systems.contrastive.theory.diffusion.power_sums import add, average_batches, multiply, power_sum

WEIGHTS = np.array([0.2, 0.5, 0.3])
FUNCTIONS = np.array([[1.0, -1.0, 1.0], [0.4, 2.0, -0.3], [1.5, 0.2, 0.7]])  # the first has the average 0


def enumerate_average(polynomial, batch):
    total = 0.0
    for nodes in product(range(len(WEIGHTS)), repeat=batch):
        sums = FUNCTIONS[:, list(nodes)].sum(axis=1)
        value = sum(factor * np.prod(sums[list(functions)]) for functions, factor in polynomial.items())
        total += WEIGHTS[list(nodes)].prod() * value
    return total


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
@pytest.mark.parametrize("centred", [(), (0,)])
def test_averages_of_polynomials_are_those_over_all_batches(batch, centred):
    linear = power_sum(0, 2.0)
    cubic = add((1.0, multiply(power_sum(1), power_sum(0), power_sum(2))), (-0.5, multiply(power_sum(1), power_sum(1))))
    polynomials = [linear, {(): 3.0}, {}, multiply(linear, linear), cubic, multiply(cubic, cubic)]
    found = average_batches(polynomials, list(FUNCTIONS), WEIGHTS, batch, centred)
    expected = [enumerate_average(polynomial, batch) for polynomial in polynomials]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_rounding_errors_of_a_centred_function_are_removed():
    functions = [FUNCTIONS[0] + 1e-9, FUNCTIONS[1]]
    assert average_batches([power_sum(0)], functions, WEIGHTS, 4, (0,))[0] == 0.0
    assert average_batches([power_sum(0)], functions, WEIGHTS, 4)[0] == pytest.approx(4e-9)
