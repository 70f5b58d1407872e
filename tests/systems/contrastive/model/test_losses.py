"""Losses: their forces are minus the gradient, and their averages are those of the forces."""

from collections.abc import Callable
from itertools import product

import mpmath
import numpy as np
import pytest

from clhd.systems.contrastive.model.activations import activate, find_activation
from clhd.systems.contrastive.model.losses import LOSSES, combine, differentiate_forces, forces
from clhd.systems.contrastive.model.losses.base import Monomial

mpmath.mp.dps = 40


def infonce(temperature: float) -> Callable:
    def loss(h: list) -> mpmath.mpf:
        exponents = [h[0] * other / temperature for other in h[1:]]
        return -exponents[0] + mpmath.log(sum(mpmath.exp(x) for x in exponents))

    return loss


# L as a function of the outputs h_1 .. h_V; a new loss needs a row here.
FORMULAS: dict[str, Callable] = {
    "bilinear": lambda h: -h[0] * h[1] + h[0] * h[2],
    "spectral": lambda h: -2 * h[0] * h[1] + (h[0] * h[2]) ** 2,
    "infonce": infonce(1.0),
}
# Loss, formula, temperature, views.
CASES = [
    ("bilinear", FORMULAS["bilinear"], 1.0, 3),
    ("spectral", FORMULAS["spectral"], 1.0, 3),
    ("infonce", infonce(1.0), 1.0, 3),
    ("infonce", infonce(0.25), 0.25, 4),
    ("infonce", infonce(4.0), 4.0, 10),
]
FACTORISING = [name for name, loss in LOSSES.items() if loss.factorises]
# Neither odd nor even, all derivatives different: an exchange of two of them cannot go unnoticed.
QUADRATIC = (0.3, 1.0, 0.7)


def evaluate_forces(name: str, z: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Delta of shape (view, lanes) for pre-activations of the same shape."""
    h, d, delta = np.empty_like(z), np.empty_like(z), np.full_like(z, np.nan)
    for v in range(len(z)):
        activate(find_activation(QUADRATIC).code, np.array(QUADRATIC), z[v], h[v], d[v])
    forces(LOSSES[name].code, np.full(z.shape[1], temperature), h, d, delta)
    return delta


def test_every_loss_has_a_row_in_the_table_of_formulas_and_a_case() -> None:
    assert set(FORMULAS) == {name for name, *_ in CASES} == set(LOSSES)


@pytest.mark.parametrize(("name", "formula", "temperature", "views"), CASES)
def test_forces_are_minus_the_gradient_of_the_loss(
    name: str, formula: Callable, temperature: float, views: int
) -> None:
    z = np.random.default_rng(7).normal(scale=2, size=(views, 20))
    delta = evaluate_forces(name, z, temperature)
    for lane, v in product(range(z.shape[1]), range(views)):

        def loss_along(x: mpmath.mpf, lane: int = lane, v: int = v) -> mpmath.mpf:
            point = [mpmath.mpf(float(y)) for y in z[:, lane]]
            point[v] = x
            return formula([sum(c * y**k for k, c in enumerate(QUADRATIC)) for y in point])

        exact = -mpmath.diff(loss_along, mpmath.mpf(float(z[v, lane])))
        # Exponents reach 200 at the lowest temperature, and an error of 1e-16 of them is one of the softmax.
        assert delta[v, lane] == pytest.approx(float(exact), rel=2e-13 if name == "infonce" else 1e-13, abs=1e-13)


@pytest.mark.parametrize(
    ("name", "temperature", "views"), [(name, t, views) for name, _, t, views in CASES if name not in FACTORISING]
)
def test_steins_integrand_is_the_derivative_of_the_forces(name: str, temperature: float, views: int) -> None:
    s2, kappa, step = 0.8, 0.3, 1e-5
    z = np.random.default_rng(8).normal(size=(views, 20))
    h, d, s = (np.array(part) for part in find_activation(QUADRATIC)(z))
    sums = np.empty(20)
    differentiate_forces(LOSSES[name].code, np.full(20, temperature), s2, kappa, h, d, s, sums)
    noise = s2 * np.eye(views)
    noise[0, 1] = noise[1, 0] = kappa
    expected = np.zeros(20)
    for u in range(views):
        shift = step * (np.arange(views) == u)[:, None]
        change = evaluate_forces(name, z + shift, temperature) - evaluate_forces(name, z - shift, temperature)
        expected += noise[u] @ change / (2 * step)
    # Central differences: step^2 times third derivatives, of order 1 / T^3, and rounding / step.
    np.testing.assert_allclose(sums, expected, rtol=1e-6, atol=1e-8)


def test_infonce_does_not_overflow_and_tells_a_diverged_lane() -> None:
    h, d = np.array([[1e3, 1e3, 1e3, np.nan, np.inf]] * 4), np.ones((4, 5))
    h[1], h[3] = [1e3, -1e3, 1e3, 1.0, 1.0], [-1e3, 1e3, 1e3, 1.0, 1.0]
    delta = np.empty((4, 5))
    forces(LOSSES["infonce"].code, np.full(5, 1e-3), h, d, delta)
    # Two equal exponents share the weight; the third and the others have none.
    np.testing.assert_allclose(delta[:, 0], np.array([0.0, 0.5, -0.5, 0.0]) * 1e6, atol=1e-9)
    np.testing.assert_allclose(delta[:, 1], np.array([-2e3, 1.0, -0.5e3 / 1e3, -0.5]) * [1e3, 1e6, 1e6, 1e6])
    np.testing.assert_allclose(delta[:, 2], np.array([0.0, 2 / 3, -1 / 3, -1 / 3]) * 1e6, atol=1e-9)
    assert np.isnan(delta[:, 3:]).any(axis=0).all()


def test_at_high_temperature_infonce_is_half_the_bilinear_loss() -> None:
    # M = 1: T L = T log 2 + (h_1 h_3 - h_1 h_2) / 2 + O(1 / T).
    z = np.random.default_rng(9).normal(size=(3, 50))
    half = evaluate_forces("bilinear", z) / 2
    errors = [np.abs(t * evaluate_forces("infonce", z, t) - half).max() for t in (1e3, 1e4)]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)
    assert errors[1] < 0.01 * np.abs(half).max()


@pytest.mark.parametrize("name", FACTORISING)
def test_the_average_of_a_loss_is_made_of_the_averages_of_its_forces(name: str) -> None:
    """g, A and D from `combine` equal the sums that define them, over a finite law of (z_1, .., z_V, c).

    The law is not Gaussian, and need not be: `combine` uses only that the two views of a pair may be exchanged and
    that other samples are independent. Stein's form of A is its definition here.
    """
    rng = np.random.default_rng(11)
    loss = LOSSES[name]
    s2, kappa = 0.8, 0.3

    # A sample: one of three latents of two features, and given it one of four exchangeable pairs of pre-activations.
    latents, latent_weights = rng.normal(size=(3, 2)), np.array([0.2, 0.5, 0.3])
    levels = rng.normal(size=(3, 2))
    samples = [
        (latents[a], levels[a, i], levels[a, j], latent_weights[a] * (0.3 if i == j else 0.2))
        for a, i, j in product(range(3), range(2), range(2))
    ]

    def monomial(exponents: Monomial, z: float) -> float:
        h, d, s = (float(part[0]) for part in find_activation(QUADRATIC)(np.array([z])))
        return h ** exponents[0] * d ** exponents[1] * s ** exponents[2]

    mean = np.array([sum(w * monomial(f, y) * monomial(g, z) for _, y, z, w in samples) for f, g in loss.pairs])
    moment = np.array(
        [
            [sum(w * c[j] * monomial(f, y) * monomial(g, z) for c, y, z, w in samples) for f, g in loss.pairs]
            for j in (0, 1)
        ]
    )
    drift = np.full(2, np.nan)
    alignment, gradient_variance = combine(loss.code, 1, s2, kappa, mean, moment, drift)

    # All combinations of one positive pair and one view of each of the other samples.
    rows = [
        ([y, z, *(o[1] for o in others)], [c, c, *(o[0] for o in others)], w * np.prod([o[3] for o in others]))
        for c, y, z, w in samples
        for others in product(samples, repeat=1)
    ]
    z = np.array([row[0] for row in rows]).T.copy()
    c = np.array([row[1] for row in rows])
    weights = np.array([row[2] for row in rows])
    assert weights.sum() == pytest.approx(1)
    noise = s2 * np.eye(3)
    noise[0, 1] = noise[1, 0] = kappa
    delta = evaluate_forces(name, z)

    step = 1e-5
    jacobian = np.empty((3, 3, z.shape[1]))
    for u in range(3):
        shift = np.zeros_like(z)
        shift[u] = step
        jacobian[u] = (evaluate_forces(name, z + shift) - evaluate_forces(name, z - shift)) / (2 * step)

    np.testing.assert_allclose(drift, np.einsum("k,vk,kvj->j", weights, delta, c), rtol=1e-12)
    np.testing.assert_allclose(gradient_variance, np.einsum("k,uv,uk,vk", weights, noise, delta, delta), rtol=1e-12)
    # Central differences of a polynomial: error step^2 + rounding / step.
    np.testing.assert_allclose(alignment, np.einsum("k,uv,uvk", weights, noise, jacobian), rtol=1e-7)
