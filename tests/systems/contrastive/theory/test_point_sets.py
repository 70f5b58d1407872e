"""Averages over a fixed set of points: against quadrature, against a larger set, their symmetries and their error."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

import clhd
from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Atoms, Gaussian, ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.averages.point_sets import POINTS, draw_points
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.threshold import growth_rates

SKEWED = TwoPoint(second_moment=1.2, skewness=0.8)
MODEL = ContrastiveModel(
    latents=(ThreePoint(second_moment=1.5, kurtosis=2.0), SKEWED),
    loss="infonce", temperature=0.5, weight_decay=0.6, noise_correlation=-0.5,
)  # fmt: skip
SPECTRAL = replace(MODEL, loss="spectral", temperature=None, negatives=None)
STATE = np.array([0.5, -0.3, 0.9])


def flow_of(model, scrambling=0, points=POINTS):
    flow = Flow(model)
    flow.points = draw_points(model, scrambling=scrambling, points=points)
    return flow


def packed(flow, state=STATE):
    g, alignment, variance = flow.terms(state[:-1], state[-1])
    return np.array([*g, alignment, variance])


def quadrature(model, state, count=61):
    """g, A = E[sum Delta_v e_v] / r and D of infonce with one negative, by the trapezoid rule in all three noises."""
    q, r = state[:-1], state[-1]
    s2, kappa, temperature = model.noise_variance, model.noise_covariance, model.temperature
    x = np.linspace(-8, 8, count)
    weights = norm.pdf(x) * (x[1] - x[0])
    alpha, beta = math.sqrt(r * (s2 + kappa) / 2), math.sqrt(r * (s2 - kappa) / 2)
    e = (
        alpha * x[:, None, None] + beta * x[:, None],
        alpha * x[:, None, None] - beta * x[:, None],
        math.sqrt(r * s2) * x,
    )
    weight = weights[:, None, None] * weights[:, None] * weights
    total = np.zeros(len(q) + 2)
    values, shares = model.latent_atoms()
    for c, p in zip(values, shares, strict=True):
        for c3, p3 in zip(values, shares, strict=True):
            (h1, d1, _), (h2, d2, _), (h3, d3, _) = (
                model.unit(latent @ q + noise) for latent, noise in zip((c, c, c3), e, strict=True)
            )
            share = expit(h1 * (h3 - h2) / temperature)  # pi_3; pi_2 is the rest
            delta = d1 * (h2 - h3) * share / temperature, h1 * d2 * share / temperature, -h1 * d3 * share / temperature
            square = s2 * sum(x * x for x in delta) + 2 * kappa * delta[0] * delta[1]
            along = sum(x * y for x, y in zip(delta, e, strict=True)) / r
            g = [(delta[0] + delta[1]) * c[j] + delta[2] * c3[j] for j in range(len(q))]
            total += p * p3 * np.array([(weight * f).sum() for f in (*g, along, square)])
    return total


@pytest.mark.parametrize("activation", ["tanh", "erf", "linear", (0.1, 1.0, 0.1, -0.05)], ids=str)
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_the_averages_are_those_of_quadrature_to_their_error(activation, temperature):
    model = replace(MODEL, activation=activation, temperature=temperature)
    sets = np.array([packed(flow_of(model, scrambling)) for scrambling in range(16)])
    error = sets.std(axis=0, ddof=1)
    exact = quadrature(model, STATE, 61 if activation == "tanh" or temperature > 1 else 81)
    # The mean of 16 sets, by Student's law of 15 degrees of freedom at the level 1e-5 for each of 32 numbers (eight
    # cases of four), 3e-4 for all; the quadrature itself is good to 1e-6.
    assert np.all(np.abs(sets.mean(axis=0) - exact) < 6.5 * error / 4 + 1e-6)
    assert np.all(error < 0.02 * np.abs(exact).max())


@pytest.mark.parametrize("negatives", [1, 4, 8])
def test_the_error_falls_and_its_estimate_is_honest(negatives):
    model = replace(MODEL, negatives=negatives)
    reference = np.mean([packed(flow_of(model, 100 + k, 16 * 1024)) for k in range(2)], axis=0)
    small, large = (np.array([packed(flow_of(model, k, points)) for k in range(16)]) for points in (128, 2048))
    # Sixteen times the points: independent ones would gain a factor 4, these not less, but for the 18 % to which each
    # of the two is known.
    assert large.std(axis=0).max() < small.std(axis=0).max() / 4 * 1.5
    for sets in (small, large):
        error = sets.std(axis=0, ddof=1)
        actual = np.sqrt(np.mean((sets - reference) ** 2, axis=0))
        # Both estimate one number from 16 sets, to 18 % each; the reference has an error of its own, a few percent.
        assert np.all((actual > 0.5 * error) & (actual < 2 * error))


@pytest.mark.parametrize("negatives", [1, 4])
@pytest.mark.parametrize(
    "latents",
    [(ThreePoint(kurtosis=2.0), ThreePoint()), (Gaussian(second_moment=1.5),), (ThreePoint(),) * 4],
    ids=["few atoms", "many atoms", "four features"],
)
def test_zero_overlap_stays_exactly_and_signs_are_symmetries(latents, negatives):
    model = replace(MODEL, latents=latents, negatives=negatives)
    flow, p = Flow(model), len(latents)
    q = np.array([0.5, -0.3, 0.2, 0.1])[:p]
    assert np.abs(flow.terms(np.zeros(p), 0.7)[0]).max() < 1e-15
    g, alignment, variance = flow.terms(q, 0.7)
    patterns = [-np.ones(p)] if p > 2 else [np.array([-1.0] * (j + 1) + [1.0] * (p - 1 - j)) for j in range(p)]
    for signs in patterns:
        other = flow.terms(signs * q, 0.7)
        np.testing.assert_allclose(other[0], signs * g, rtol=1e-10, atol=1e-13)  # rounding of the sums
        np.testing.assert_allclose(other[1:], (alignment, variance), rtol=1e-10)


def test_skewed_latents_and_odd_units_are_symmetric_under_the_change_of_all_signs():
    flow = Flow(replace(MODEL, latents=(SKEWED,) * 2, negatives=3))
    g, alignment, variance = flow.terms(STATE[:2], 0.9)
    other = flow.terms(-STATE[:2], 0.9)
    np.testing.assert_allclose(other[0], -g, rtol=1e-10)
    np.testing.assert_allclose(other[1:], (alignment, variance), rtol=1e-10)


def test_the_averages_are_smooth_down_to_norm_zero():
    for model in (MODEL, replace(MODEL, activation=(0.1, 1.0, 0.3), negatives=2)):
        flow = Flow(model)
        zero = packed(flow, np.zeros(3))
        slopes = [(packed(flow, np.array([0.0, 0.0, r])) - zero) / r for r in (1e-6, 1e-4)]
        # Even in sqrt r: the quotients agree to r = 1e-4 times a ratio of derivatives, of order 10, where an odd power
        # would make them differ tenfold. The absolute part is for those that vanish.
        np.testing.assert_allclose(slopes[0], slopes[1], rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("negatives", [1, 4])
def test_at_high_temperature_the_ode_is_that_of_the_bilinear_loss(negatives):
    # T Delta tends to M / (M + 1) times the bilinear force, averaged over the negatives: with M = 1, learning rate
    # 2 T eta and weight decay lam / 2 T give the ODE of the bilinear loss up to 1 / T. g and A for any M.
    # To 1 / T = 1e-4 and the points: they are worth 1e-4 of g and D, and ten times as much of A, in which terms of
    # order 1 leave 0.07. The bounds are an order above.
    temperature, factor = 1e4, (negatives + 1) / negatives
    bilinear = replace(MODEL, loss="bilinear", temperature=None, negatives=None)
    model = replace(MODEL, temperature=temperature, negatives=negatives)
    flow = flow_of(model, 0, 2**14)
    expected = Flow(bilinear).terms(STATE[:-1], STATE[-1])
    g, alignment, variance = flow.terms(STATE[:-1], STATE[-1])
    np.testing.assert_allclose(temperature * factor * g, expected[0], rtol=3e-3)
    assert temperature * factor * alignment == pytest.approx(expected[1], rel=3e-2)
    if negatives == 1:
        assert temperature**2 * factor**2 * variance == pytest.approx(expected[2], rel=3e-3)
        scaled = replace(model, learning_rate=2 * temperature * 0.5, weight_decay=0.6 / (2 * temperature))
        run = {"overlap": [0.4, 0.3], "time": [1.0, 5.0]}
        limit, other = clhd.integrate_ode(scaled, **run), clhd.integrate_ode(bilinear, **run)
        # Five standard errors of five sets, and ten times 1 / T for what it grows to until t = 5.
        assert np.all(np.abs(limit.overlap - other.overlap) < 5 * limit.averaging_error + 10 / temperature)
        assert np.all(limit.averaging_error < 2e-3)  # else the line above would say nothing


def test_without_noise_and_with_one_latent_value_the_averages_are_the_formula():
    law = Atoms(values=(0.8,), weights=(1.0,))
    model = ContrastiveModel(
        latents=(law,), loss="infonce", negatives=3, base_noise_variance=0, augmentation_noise_variance=0
    )
    h, d, _ = (float(x[0]) for x in model.unit(np.array([0.8 * 0.5])))
    # All outputs are alike: pi = 1/4, Delta = (0, 3/4, -1/4, -1/4, -1/4) h h', and c = 0.8 for all.
    g, alignment, variance = Flow(model).terms(np.array([0.5]), 1.0)
    assert g[0] == pytest.approx(0.0, abs=1e-15)
    assert (alignment, variance) == (0.0, 0.0)
    assert h * d > 0.2


def test_the_growth_of_a_small_overlap_is_the_eigenvalue_of_the_jacobian():
    gaussian = replace(MODEL, latents=(Gaussian(second_moment=1.5),))
    for model in (MODEL, SPECTRAL, replace(MODEL, negatives=4), gaussian):
        r = clhd.learnability_threshold(model).attrs["squared_norm"]
        jacobian = Flow(model).jacobian(np.append(np.zeros(model.features), r))
        # Both are finite differences that promise 1e-9, of one and the same set of points.
        np.testing.assert_allclose(growth_rates(model), np.diag(jacobian)[:-1], rtol=0, atol=2e-9)


def test_fixed_points_rest_and_are_where_trajectories_end():
    model = replace(MODEL, latents=(ThreePoint(second_moment=1.5),))
    states = clhd.find_fixed_points(model)
    assert set(states.kind.values) == {"collapsed", "uninformative", "pure"}
    assert float(states.residual.max()) < 1e-10
    end = clhd.integrate_ode(model, overlap=[0.3], time=[200.0]).isel(time=-1)
    pure = states.isel(state=np.flatnonzero(states.stable)[0])
    assert end.overlap.item() == pytest.approx(pure.overlap.item(), abs=1e-7)


def test_several_starts_are_those_of_each_alone():
    starts = np.array([[0.3, 0.2], [0.1, 0.5]])
    both = clhd.integrate_ode(MODEL, overlap=starts, time=[0.5, 1.0], rtol=1e-6)
    assert both.averaging_error.dims == ("start", "time")
    for k, start in enumerate(starts):
        alone = clhd.integrate_ode(MODEL, overlap=start, time=[0.5, 1.0], rtol=1e-6)
        assert alone.equals(both.isel(start=k, drop=True))


def test_the_averaging_error_covers_a_larger_set(monkeypatch):
    model = replace(MODEL, latents=(ThreePoint(second_moment=1.5),), negatives=4)
    run = {"overlap": [0.4], "time": [0.0, 1.0, 4.0], "rtol": 1e-6}
    found = clhd.integrate_ode(model, **run)
    monkeypatch.setattr(
        "clhd.systems.contrastive.theory.averages.point_sets.draw_points.__kwdefaults__",
        {"scrambling": 0, "points": 16 * POINTS},
    )
    monkeypatch.setattr("clhd.systems.contrastive.theory.flow.ode._SCRAMBLINGS", 2)
    better = clhd.integrate_ode(model, **run)
    assert found.averaging_error[0] == 0
    deviation = np.abs(found.overlap - better.overlap).max("feature")
    # An error of four degrees of freedom: Student's law at the level 1e-3.
    assert np.all(deviation <= 8.6 * found.averaging_error)
    assert np.all(better.averaging_error < found.averaging_error + 1e-12)


def test_relu_and_fluctuations_are_refused_with_the_reason():
    with pytest.raises(ClhdError, match="activation = 'relu': must be a smooth one for the theory of loss = 'infonce'"):
        Flow(replace(MODEL, activation="relu"))
    with pytest.raises(
        ClhdError, match=r"loss = 'infonce': .* polynomial losses only \(covariance, bilinear, spectral\)"
    ):
        clhd.predict_fluctuations(MODEL, [0.3, 0.2], 1.0, [1.0])
    with pytest.raises(ClhdError, match="activation = 'relu': fixed points with loss = 'spectral'"):
        clhd.find_fixed_points(replace(SPECTRAL, activation="relu"))
