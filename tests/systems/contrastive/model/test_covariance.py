"""The covariance loss: its forces are minus the gradient, and for two samples they are those of a known product."""

from itertools import product

import numpy as np
import pytest

from clhd.systems.contrastive.model.activations import activate, find_activation
from clhd.systems.contrastive.model.losses.covariance import DECORRELATIONS, SQUARE, forces

# Neither odd nor even, all derivatives different: an exchange of two of them cannot go unnoticed.
QUADRATIC = find_activation((0.3, 1.0, 0.7))


def loss(h: np.ndarray, centred: bool, weight: np.ndarray) -> np.ndarray:
    """F of shape (lanes,) for outputs of shape (unit, view, lanes), by its definition."""
    first, second = h[:, ::2], h[:, 1::2]
    count = first.shape[1]
    if centred:
        first, second = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
        count -= 1
    covariance = np.einsum("ibl,jbl->ijl", first, second) / count
    own = np.einsum("iil->l", covariance)
    return -own + weight * (np.sum(covariance**2, axis=(0, 1)) - np.einsum("iil->l", covariance**2))


def evaluate(z: np.ndarray, centred: bool, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, derivatives and forces of shape (unit, view, lanes) for pre-activations of the same shape."""
    units, views, lanes = z.shape
    h, d, delta = np.empty_like(z), np.empty_like(z), np.full_like(z, np.nan)
    for k, v in product(range(units), range(views)):
        activate(QUADRATIC.code, QUADRATIC.coefficient_array, z[k, v], h[k, v], d[k, v])
    forces(centred, SQUARE, weight, h, d, np.empty(lanes), np.empty((units, units, lanes)), delta)
    return h, d, delta


@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize(("batch", "centred"), [(2, True), (5, True), (1, False), (3, False)])
def test_forces_are_minus_the_gradient_of_the_loss(units: int, batch: int, centred: bool) -> None:
    rng = np.random.default_rng(7)
    z, weight = rng.normal(size=(units, 2 * batch, 20)), rng.uniform(0, 2, size=20)
    delta = evaluate(z, centred, weight)[2]
    for k, v in product(range(units), range(2 * batch)):
        shift = np.zeros((units, 2 * batch, 1))
        shift[k, v] = 1e-5
        up, down = (loss(evaluate(z + sign * shift, centred, weight)[0], centred, weight) for sign in (1, -1))
        # The loss is a polynomial of degree 8: the central difference errs by about 1e-10 of its third derivative.
        np.testing.assert_allclose(delta[k, v], (down - up) / 2e-5, rtol=1e-6, atol=1e-6)


def test_with_two_samples_the_loss_is_a_product_of_differences() -> None:
    # F = -(1/2) (h_1 of a - h_1 of b) (h_2 of a - h_2 of b), h_v the output for view v.
    z = np.random.default_rng(8).normal(size=(1, 4, 50))
    h, d, delta = evaluate(z, True, np.zeros(50))
    (a1, a2, b1, b2), (da1, da2, db1, db2) = h[0], d[0]
    np.testing.assert_allclose(loss(h, True, np.zeros(50)), -0.5 * (a1 - b1) * (a2 - b2), rtol=1e-12, atol=1e-13)
    expected = [da1 * (a2 - b2), da2 * (a1 - b1), -db1 * (a2 - b2), -db2 * (a1 - b1)]
    np.testing.assert_allclose(delta[0], 0.5 * np.array(expected), rtol=1e-12, atol=1e-13)


def test_there_is_one_penalty_and_another_needs_a_theory_of_its_own() -> None:
    # `PairFlow` of the theory, and with it the fixed points, fluctuations and critical penalty of two units, are those
    # of the square: they must refuse any other.
    assert set(DECORRELATIONS) == {"square"}


def test_one_unit_has_no_penalty() -> None:
    z = np.random.default_rng(9).normal(size=(1, 6, 10))
    np.testing.assert_array_equal(evaluate(z, True, np.zeros(10))[2], evaluate(z, True, np.full(10, 3.0))[2])
