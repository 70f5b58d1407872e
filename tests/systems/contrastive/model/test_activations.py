"""Activations: h, h' and h'' against 40-digit arithmetic, and the facts that the theory asks for."""

import math

import mpmath
import numpy as np
import pytest
from numpy.polynomial import Polynomial

from clhd.systems.contrastive.model.activations import (
    ACTIVATIONS,
    Activation,
    activate,
    activate_second,
    find_activation,
    parse_activation,
)

mpmath.mp.dps = 40
CUBIC = (0.5, -1.0, 0.25, 2.0)

# h as a formula; a new activation needs a row here.
FORMULAS = {
    "linear": lambda x: x,
    "tanh": mpmath.tanh,
    "erf": lambda x: mpmath.erf(x / mpmath.sqrt(2)),
    "relu": lambda x: max(x, mpmath.mpf(0)),
    CUBIC: lambda x: sum(c * x**k for k, c in enumerate(CUBIC)),
}
# Not at 0, where relu has its kink.
POINTS = np.concatenate([np.linspace(-9, 9, 72), [1e-9, -1e-9]])


def test_every_activation_has_a_row_in_the_table_of_formulas() -> None:
    assert {name for name in FORMULAS if isinstance(name, str)} == set(ACTIVATIONS)


@pytest.mark.parametrize("value", FORMULAS, ids=str)
def test_an_activation_and_its_derivatives_follow_its_formula(value: str | tuple[float, ...]) -> None:
    results = find_activation(value)(POINTS)
    for order, result in enumerate(results):
        exact = np.array([float(mpmath.diff(FORMULAS[value], mpmath.mpf(float(x)), order)) for x in POINTS])
        # erf' amplifies the rounding of x^2 / 2 (40 here); tanh' = 1 - tanh^2 keeps absolute digits only; h itself is
        # good to a few units in the last place.
        np.testing.assert_allclose(
            result,
            exact,
            rtol=1e-15 if order == 0 and value != CUBIC else 5e-15,
            atol=4e-16 if order or value == CUBIC else 0,
        )


@pytest.mark.parametrize("degree", range(1, 10))
def test_a_polynomial_of_any_degree_agrees_with_numpy(degree: int) -> None:
    coefficients = tuple(np.random.default_rng(degree).normal(size=degree + 1).tolist())
    x = np.linspace(-2, 2, 41)
    h, d, s = find_activation(coefficients)(x)
    polynomial = Polynomial(coefficients)
    for result, order in ((h, 0), (d, 1), (s, 2)):
        exact = polynomial.deriv(order)(x)
        np.testing.assert_allclose(result, exact, rtol=1e-13, atol=1e-13 * np.abs(exact).max())


@pytest.mark.parametrize(
    "value",
    [*FORMULAS, (0.0, 1.0), (0.0, 1.0, 0.0, -0.5), (1.0, 0.0, 2.0), (1.0, 1.0)],
    ids=str,
)
def test_the_parity_of_an_activation_is_that_of_its_values(value: str | tuple[float, ...]) -> None:
    activation = find_activation(value)
    h, mirrored = activation(POINTS)[0], activation(-POINTS)[0]
    parity = next((sign for sign in (-1, 1) if np.array_equal(mirrored, sign * h)), 0)
    assert activation.parity == parity


@pytest.mark.parametrize("value", FORMULAS, ids=str)
def test_an_activation_is_called_bounded_exactly_if_it_is(value: str | tuple[float, ...]) -> None:
    activation = find_activation(value)
    assert activation.is_bounded == bool(np.abs(activation(np.array([-1e100, 1e100]))[0]).max() <= 1)


@pytest.mark.parametrize("value", FORMULAS, ids=str)
def test_an_activation_hands_on_what_is_not_a_number_without_a_warning(value: str | tuple[float, ...]) -> None:
    # A diverged replica is recorded by its NaN: no activation may hide it.
    h, *_ = find_activation(value)(np.array([np.nan, 1e200, -1e200]))
    assert np.isnan(h[0])
    assert not np.isnan(h[1:]).any()


def test_an_activation_keeps_the_shape_of_its_argument_and_leaves_it_alone() -> None:
    x = np.linspace(-1, 1, 12).reshape(3, 4)[:, ::2]
    before = x.copy()
    h, d, s = find_activation("tanh")(x)
    np.testing.assert_allclose(h, np.tanh(x), rtol=1e-15)
    assert h.shape == d.shape == s.shape == x.shape
    np.testing.assert_array_equal(x, before)


def test_what_an_activation_returns_for_one_number_depends_on_that_number_alone() -> None:
    # Vector code treats full vectors and the rest of a row apart: the bits must not tell which.
    for value in FORMULAS:
        activation: Activation = find_activation(value)
        together = activation(POINTS)
        alone = [activation(POINTS[i : i + 1]) for i in range(len(POINTS))]
        for order in range(3):
            np.testing.assert_array_equal(together[order], [one[order][0] for one in alone])


def test_the_kernels_are_what_the_activation_calls() -> None:
    activation = find_activation(parse_activation([0, 1, 0.5]))
    x = np.array([-1.0, 0.0, 2.0])
    h, d, s = np.empty(3), np.empty(3), np.empty(3)
    activate(activation.code, activation.coefficient_array, x, h, d)
    activate_second(activation.code, activation.coefficient_array, x, h, d, s)
    np.testing.assert_array_equal([h, d, s], [[-0.5, 0, 4], [0, 1, 3], [1, 1, 1]])
    assert math.isfinite(h.sum())
