"""The diffusion matrix against one step of the exact chain and finer quadrature; the covariance against SGD."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.activations import ACTIVATIONS
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Gaussian, Laplace, ThreePoint, TwoPoint
from clhd.systems.contrastive.simulation.sgd import simulate_sgd
from clhd.systems.contrastive.theory.diffusion import diffusion_nodes
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import diffusion_matrix
from clhd.systems.contrastive.theory.diffusion.fluctuations import predict_fluctuations
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points

MODEL = ContrastiveModel(
    latents=(ThreePoint(second_moment=1.5, kurtosis=2.0), TwoPoint(second_moment=1.0, skewness=1.0)),
    learning_rate=0.5, weight_decay=0.6, base_noise_variance=0.5, augmentation_noise_variance=0.6,
    noise_correlation=-0.3,
)  # fmt: skip
SPHERE = replace(MODEL, constraint="sphere", weight_decay=0.0)
# Bonferroni over the elements of all cases: a right matrix fails in 1 of 1000 choices of the seed.
LEVEL = 1e-3


SPECTRAL = replace(MODEL, loss="spectral")
SPECTRAL_SPHERE = replace(SPHERE, loss="spectral")


def forces_once_more(model, z):
    """Forces of the losses with three views, written out once more."""
    h, d, _ = model.unit(z)
    if model.loss == "spectral":
        scaled = h[0] * h[2]
        return 2 * np.stack([d[0] * (h[1] - h[2] * scaled), h[0] * d[1], -h[0] * d[2] * scaled])
    return np.stack([d[0] * (h[1] - h[2]), h[0] * d[1], -h[0] * d[2]])


def one_step(model, q, r, dimension, samples, rng):
    """Increments of (q, r), times the dimension, of one step of the exact projected chain: shape (samples, p + 1)."""
    p, eta, lam = len(q), model.learning_rate, model.weight_decay
    s2, kappa = model.noise_variance, model.noise_covariance
    noise = np.array([[s2, kappa, 0.0], [kappa, s2, 0.0], [0.0, 0.0, s2]])
    values, weights = model.latent_atoms()
    c = values[rng.choice(len(weights), size=(2, samples), p=weights)][[0, 0, 1]]
    normal = np.einsum("uv,vmk->umk", np.linalg.cholesky(noise), rng.standard_normal((3, samples, p + 1)))
    b, t = normal[..., :p], normal[..., p]
    z = (c + b) @ q + math.sqrt(r - q @ q) * t
    delta = forces_once_more(model, z)
    u = np.einsum("vm,vmk->mk", delta, c + b)
    chi_square = rng.chisquare(dimension - p - 1, samples)
    square = (u**2).sum(1) + (delta * t).sum(0) ** 2 + np.einsum("vm,uv,um->m", delta, noise, delta) * chi_square
    keep = 1 - eta * lam / dimension
    overlap = keep * q + eta / dimension * u
    norm = keep**2 * r + 2 * keep * eta / dimension * (delta * z).sum(0) + (eta / dimension) ** 2 * square
    if model.is_sphere:
        overlap, norm = overlap / np.sqrt(norm)[:, None], np.ones(samples)
    return dimension * np.column_stack([overlap - q, norm - r])


BASES = {"norm": MODEL, "sphere": SPHERE, "spectral": SPECTRAL, "spectral-sphere": SPECTRAL_SPHERE}
# No polynomial with the spectral loss: its average is one over events beyond 6 standard deviations, of which a sample
# has none.
ONE_STEP = {
    f"{activation}-{name}": (base, activation)
    for name, base in BASES.items()
    for activation in (*ACTIVATIONS, (0.2, 1.0, 0.1, -0.05))
    if base.loss != "spectral" or isinstance(activation, str)
}


@pytest.mark.parametrize(("base", "activation"), ONE_STEP.values(), ids=ONE_STEP.keys())
def test_diffusion_matrix_is_the_covariance_of_one_step(base, activation):
    model = replace(base, activation=activation)
    q, r, samples = np.array([0.5, -0.3]), 1.0 if base.is_sphere else 1.3, 200_000
    steps = np.concatenate([  # in parts, for memory; the bias of order 1 / n is far below the standard error
        one_step(model, q, r, 10**6, samples // 4, np.random.default_rng([11, part])) for part in range(4)
    ])  # fmt: skip
    centred = steps - steps.mean(axis=0)
    products = centred[:, :, None] * centred[:, None, :]
    error = products.std(axis=0) / math.sqrt(samples)
    expected = diffusion_matrix(model, q, r)
    z = (products.mean(axis=0) - expected)[error > 0] / error[error > 0]
    assert np.all(expected[error == 0] == 0)
    assert np.abs(z).max() < stats.norm.isf(LEVEL / 2 / (10 * 9))
    assert np.linalg.eigvalsh(expected).min() > -1e-12


@pytest.mark.parametrize("loss", ["bilinear", "spectral"])
@pytest.mark.parametrize("correlation", [-0.99, 0.0, 1.0])
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "linear"])
@pytest.mark.parametrize(
    "latents",
    [MODEL.latents, (Gaussian(second_moment=1.5),), (Laplace(second_moment=1.0),)],
    ids=["atoms", "gaussian", "laplace"],
)
def test_quadrature_of_the_diffusion_matrix_has_converged(loss, activation, correlation, latents, monkeypatch):
    model = replace(MODEL, loss=loss, activation=activation, noise_correlation=correlation, latents=latents)
    q, r = np.array([0.5, -0.3])[: len(latents)], 2.0
    matrix = diffusion_matrix(model, q, r)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    monkeypatch.setattr(diffusion_nodes, "_RADIUS", 8.0)
    monkeypatch.setattr(diffusion_nodes, "_DIGITS", 46.0)
    monkeypatch.setattr(diffusion_nodes, "_PANEL_NODES", nodes)
    monkeypatch.setattr(diffusion_nodes, "_PANEL_WEIGHTS", weights)
    monkeypatch.setattr(
        diffusion_nodes, "_project_on_chebyshev_nodes", lambda a, moments, _: diffusion_nodes.LatentPoints(a, moments)
    )
    finer = diffusion_matrix(model, q, r)
    # A covariance is wanted to 1e-6; the largest difference over many more parameters was 4e-7. Of spectral relu the
    # tail beyond the radius, which weighs with its 14th power, is a little more.
    tolerance = 2e-6 if (loss, activation) == ("spectral", "relu") else 1e-6
    assert np.abs(matrix - finer).max() < tolerance * np.abs(finer).max()


@pytest.mark.parametrize("loss", ["bilinear", "spectral"])
@pytest.mark.parametrize("activation", ["linear", (0.2, 1.0, 0.1), (0.2, 1.0, 0.1, -0.05)], ids=str)
def test_the_rule_of_polynomials_is_exact(loss, activation, monkeypatch):
    model = replace(MODEL, activation=activation, loss=loss)
    q, r = np.array([0.5, -0.3]), 1.3
    matrix = diffusion_matrix(model, q, r)
    degree = diffusion_nodes._degree(model)
    monkeypatch.setattr(diffusion_nodes, "_degree", lambda _: degree + 6)
    # Rounding, of terms that are larger than their sum.
    np.testing.assert_allclose(diffusion_matrix(model, q, r), matrix, rtol=1e-9, atol=1e-9 * np.abs(matrix).max())


def test_norm_of_a_linear_unit_at_small_learning_rate_fluctuates_as_wick_says():
    eta, q, r = 1e-6, 0.4, 1.2
    model = replace(MODEL, activation="linear", latents=(Gaussian(second_moment=1.5),), learning_rate=eta)
    variance, covariance = 1.5 * q**2 + r * model.noise_variance, 1.5 * q**2 + r * model.noise_covariance
    # omega = 2 z_1 (z_2 - z_3) with Gaussian z, and psi = 2 eta omega to leading order.
    expected = (2 * eta) ** 2 * 4 * (variance * 2 * variance + covariance**2)
    # The next order in eta is about 1e-6 of it.
    assert diffusion_matrix(model, np.array([q]), r)[1, 1] == pytest.approx(expected, rel=1e-5)


def test_diffusion_matrix_of_collapsed_weights():
    # At r = 0 all outputs are h(0): for h(0) = 0 no force, no noise.
    assert diffusion_matrix(MODEL, np.zeros(2), 0.0) == pytest.approx(np.zeros((3, 3)))
    shifted = replace(MODEL, activation=(0.5, 1.0))
    b, eta = diffusion_matrix(shifted, np.zeros(2), 0.0), 0.5
    # Delta = (0, 1, -1) / 2: u = (c - c_3) / 2, D = 2 s2 / 4.
    expected = eta**2 * (0.25 * 2 * np.diag([1.5, 1.0]) + 0.5 * shifted.noise_variance * np.eye(2))
    assert b[:2, :2] == pytest.approx(expected, abs=1e-12)
    assert b[2] == pytest.approx(np.zeros(3), abs=1e-12)


@pytest.mark.parametrize("base", [MODEL, SPHERE, SPECTRAL], ids=["norm", "sphere", "spectral"])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_covariance_is_that_of_sgd(base, activation):
    decay = 1.5 if base is MODEL and activation == "relu" else base.weight_decay  # keeps relu from diverging
    rate = 0.1 if base is SPECTRAL and activation == "relu" else base.learning_rate
    model = replace(base, activation=activation, weight_decay=decay, learning_rate=rate)
    start, times, n, replicas = [0.5, -0.3], [0.0, 0.5, 1.5], 10_000, 2000
    theory = predict_fluctuations(model, start, 1.0, times)
    runs = simulate_sgd(model, dimension=n, overlap=start, squared_norm=1.0, time=times, replicas=replicas, seed=4)
    pairs = [("cosine_similarity", "cosine_similarity_covariance"), ("overlap", "covariance")]
    for time in (1, 2):
        for variable, covariance in pairs:
            for j in range(2):
                ratio = n * runs[variable].values[:, time, j].var(ddof=1) / theory[covariance].values[time, j, j]
                # Chi-square law of a variance; corrections of order 1 / n = 1e-4 are far below its 3 %.
                tail = stats.chi2.cdf(ratio * (replicas - 1), replicas - 1)
                assert LEVEL / 32 < tail < 1 - LEVEL / 32
    assert np.all(theory.covariance.values[0] == 0)


def test_covariance_at_a_fixed_point_solves_the_stationary_equation():
    states = find_fixed_points(MODEL)
    state = states.isel(state=np.flatnonzero(states.stable)[0])
    q, r = state.overlap.values, float(state.squared_norm)
    c = predict_fluctuations(MODEL, q, r, [0.0, 300.0]).covariance.values[-1]
    jacobian = Flow(MODEL).jacobian(np.append(q, r))
    drift = jacobian @ c
    # The integration has a tolerance of 1e-8, B an error of 1e-7 that is the same on both sides.
    assert drift + drift.T + diffusion_matrix(MODEL, q, r) == pytest.approx(np.zeros((3, 3)), abs=1e-6)


def test_random_start_has_the_covariance_of_gaussian_weights():
    data = predict_fluctuations(MODEL, squared_norm=0.7, time=[0.0, 0.1], initial="random")
    assert data.covariance.values[0] == pytest.approx(np.diag([0.7, 0.7, 2 * 0.7**2]))
    assert data.cosine_similarity_covariance.values[0] == pytest.approx(np.eye(2))
    sphere = predict_fluctuations(SPHERE, time=[0.0, 0.1], initial="random")
    assert sphere.covariance.values[0] == pytest.approx(np.diag([1.0, 1.0, 0.0]))
    assert np.all(sphere.covariance.values[:, 2] == 0)


def test_the_start_is_at_time_zero_whatever_the_first_output_time():
    early = predict_fluctuations(MODEL, [0.3, 0.2], 1.0, [0.0, 1.0, 2.0])
    late = predict_fluctuations(MODEL, [0.3, 0.2], 1.0, [2.0])
    # Both follow the same equation; the integrator's tolerance is 1e-8.
    assert late.covariance.values[0] == pytest.approx(early.covariance.values[2], abs=1e-6)
    assert early.order_parameter.values.tolist() == ["overlap_1", "overlap_2", "squared_norm"]


def test_a_late_output_time_does_not_change_the_early_ones():
    """The ODE is then finished by an implicit method, and escapes within a tiny part of the time."""
    model = ContrastiveModel(latents=(ThreePoint(second_moment=1.5),), learning_rate=0.4, weight_decay=0.3)
    early = predict_fluctuations(model, [1e-6], 1.0, [1.0, 5.0, 100.0, 400.0])
    late = predict_fluctuations(model, [1e-6], 1.0, [1.0, 5.0, 100.0, 400.0, 1e6])
    np.testing.assert_allclose(late.covariance.values[:4], early.covariance.values, rtol=1e-6)
    # The ODE rests there.
    np.testing.assert_allclose(late.covariance.values[4], early.covariance.values[3], rtol=1e-4)


def test_divergence_and_collapse_are_nan():
    linear = replace(MODEL, activation="linear", weight_decay=0.0)
    data = predict_fluctuations(linear, [0.3, 0.2], 1.0, [0.0, 1.0, 500.0])
    assert np.all(np.isfinite(data.covariance.values[:2]))
    assert np.all(np.isnan(data.covariance.values[2]))
    # A linear unit under the spectral loss ends within finite time, before any of its next times.
    ends = predict_fluctuations(replace(SPECTRAL, activation="linear"), [0.3, 0.2], 1.0, [0.0, 5.0, 50.0])
    assert np.all(np.isfinite(ends.covariance.values[0]))
    assert np.all(np.isnan(ends.covariance.values[1:]))
    assert np.all(np.isnan(ends.squared_norm.values[1:]))
    resting = predict_fluctuations(MODEL, [0.0, 0.0], 0.0, [0.0, 1.0])
    assert np.all(np.isnan(resting.cosine_similarity_covariance.values))
    assert np.all(resting.covariance.values == 0)
    ended = predict_fluctuations(replace(MODEL, weight_decay=30.0), [0.3, 0.2], 1.0, [0.0, 1.0, 50.0])
    assert np.all(ended.squared_norm.values[2] == 0)
    assert np.all(np.isnan(ended.cosine_similarity.values[2]))
    assert np.all(np.abs(ended.covariance.values[2]) < 1e-9)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (MODEL, {"overlap": [0.9, 0.9]}, r"overlap = \[0.9, 0.9\]: .*1.62, must not exceed squared_norm = 1"),
        (MODEL, {"overlap": [0.9]}, "must be a list of 2 numbers"),
        (MODEL, {}, "overlap = None: must be given with initial = 'fixed'"),
        (MODEL, {"overlap": [0.1, 0.1], "initial": "random"}, "must not be given with initial = 'random'"),
        (MODEL, {"overlap": [0.1, 0.1], "initial": "free"}, "initial = 'free': must be one of fixed, random"),
        (MODEL, {"overlap": [0.1, 0.1], "time": [1.0, 0.5]}, "strictly increasing"),
        (SPHERE, {"overlap": [0.1, 0.1], "squared_norm": 2.0}, "squared_norm = 2.0: must be 1 with constraint"),
        (replace(MODEL, l1_penalty=0.1), {"overlap": [0.1, 0.1]}, "l1_penalty = 0.1: must be 0"),
    ],
    ids=["norm", "length", "missing", "both", "initial", "time", "sphere", "l1"],
)
def test_refusals(model, arguments, message):
    with pytest.raises(ClhdError, match=message):
        predict_fluctuations(model, **{"time": [0.0, 1.0]} | arguments)


def test_a_loss_whose_noise_is_not_known_is_refused_before_anything_is_integrated(monkeypatch):
    monkeypatch.setattr("clhd.systems.contrastive.theory.diffusion.fluctuations.integrate_direct", None)
    with pytest.raises(ClhdError, match="known for polynomial losses only"):
        predict_fluctuations(replace(MODEL, loss="infonce"), [0.1, 0.1], 1.0, [0.0, 1.0])
