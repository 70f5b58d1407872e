"""Losses: their forces are minus the gradient, and their averages are those of the forces."""

from collections.abc import Callable
from itertools import product

import mpmath
import numpy as np
import pytest

from clhd.model.activations import activate, find_activation
from clhd.model.losses import LOSSES, combine, forces
from clhd.model.losses.base import Monomial

mpmath.mp.dps = 40

# L as a function of the outputs h_1 .. h_V; a new loss needs a row here.
FORMULAS: dict[str, Callable] = {
    "bilinear": lambda h: -h[0] * h[1] + h[0] * h[2],
}
# Neither odd nor even, all derivatives different: an exchange of two of them cannot go unnoticed.
QUADRATIC = (0.3, 1.0, 0.7)


def evaluate_forces(name: str, z: np.ndarray) -> np.ndarray:
    """Delta of shape (view, lanes) for pre-activations of the same shape."""
    h, d, delta = np.empty_like(z), np.empty_like(z), np.full_like(z, np.nan)
    for v in range(len(z)):
        activate(find_activation(QUADRATIC).code, np.array(QUADRATIC), z[v], h[v], d[v])
    forces(LOSSES[name].code, h, d, delta)
    return delta


def test_every_loss_has_a_row_in_the_table_of_formulas() -> None:
    assert set(FORMULAS) == set(LOSSES)


@pytest.mark.parametrize("name", FORMULAS)
def test_forces_are_minus_the_gradient_of_the_loss(name: str) -> None:
    views = LOSSES[name].views
    z = np.random.default_rng(7).normal(scale=2, size=(views, 20))
    delta = evaluate_forces(name, z)
    for lane, v in product(range(z.shape[1]), range(views)):

        def loss_along(x: mpmath.mpf, lane: int = lane, v: int = v) -> mpmath.mpf:
            point = [mpmath.mpf(float(y)) for y in z[:, lane]]
            point[v] = x
            return FORMULAS[name]([sum(c * y**k for k, c in enumerate(QUADRATIC)) for y in point])

        exact = -mpmath.diff(loss_along, mpmath.mpf(float(z[v, lane])))
        assert delta[v, lane] == pytest.approx(float(exact), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("name", FORMULAS)
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
    alignment, gradient_variance = combine(loss.code, s2, kappa, mean, moment, drift)

    # All combinations of one positive pair and one view of each of the other samples.
    rows = [
        ([y, z, *(o[1] for o in others)], [c, c, *(o[0] for o in others)], w * np.prod([o[3] for o in others]))
        for c, y, z, w in samples
        for others in product(samples, repeat=loss.views - 2)
    ]
    z = np.array([row[0] for row in rows]).T.copy()
    c = np.array([row[1] for row in rows])
    weights = np.array([row[2] for row in rows])
    assert weights.sum() == pytest.approx(1)
    noise = s2 * np.eye(loss.views)
    noise[0, 1] = noise[1, 0] = kappa
    delta = evaluate_forces(name, z)

    step = 1e-5
    jacobian = np.empty((loss.views, loss.views, z.shape[1]))
    for u in range(loss.views):
        shift = np.zeros_like(z)
        shift[u] = step
        jacobian[u] = (evaluate_forces(name, z + shift) - evaluate_forces(name, z - shift)) / (2 * step)

    np.testing.assert_allclose(drift, np.einsum("k,vk,kvj->j", weights, delta, c), rtol=1e-12)
    np.testing.assert_allclose(gradient_variance, np.einsum("k,uv,uk,vk", weights, noise, delta, delta), rtol=1e-12)
    # Central differences of a polynomial of degree 3 in each argument: error step^2 + rounding / step.
    np.testing.assert_allclose(alignment, np.einsum("k,uv,uvk", weights, noise, jacobian), rtol=1e-8)
