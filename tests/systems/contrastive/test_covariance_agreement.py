"""SGD of the covariance loss and of the orthogonal background against their limit; wrong limits are rejected.

Seeds and levels are fixed beforehand, as in `test_agreement.py`.
"""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import clhd
from clhd.systems.contrastive.theory.states.threshold import growth_rates, uninformative_state

LEVEL = 1e-5
SIGMAS = stats.norm.isf(LEVEL / 2)
SKEWED = clhd.TwoPoint(second_moment=1.2, skewness=1.0)
TWO = (clhd.ThreePoint(second_moment=1.5, kurtosis=1.5), SKEWED)


def model(**changes):
    settings = {
        "latents": TWO,
        "loss": "covariance",
        "background": "orthogonal",
        "learning_rate": 0.5,
        "weight_decay": 0.6,
        "base_noise_variance": 0.7,
        "augmentation_noise_variance": 0.4,
        "noise_correlation": -0.5,
    }
    return clhd.ContrastiveModel(**(settings | changes))


ON_SPHERE = {"constraint": "sphere", "weight_decay": 0.0}
LIMITS = {
    "two samples": model(background="isotropic"),
    "orthogonal, two samples": model(),
    "orthogonal, five samples, erf": model(batch=5, activation="erf", learning_rate=1.5),
    "orthogonal, not centred, one sample": model(batch=1, centred=False),
    "orthogonal, relu": model(activation="relu", weight_decay=2.0, learning_rate=0.2),
    "orthogonal, sphere": model(**ON_SPHERE),
    "bilinear, orthogonal": model(loss="bilinear"),
    "spectral, orthogonal, sphere": model(loss="spectral", **ON_SPHERE),
}
START = {"overlap": [0.4, 0.3], "time": [1.0, 4.0]}


def deviations(run, limit, dimension):
    """Differences of the means over replicas from a limit, over what the test allows: above 1 is too much."""
    shares = []
    for name in ("overlap", "squared_norm", "cosine_similarity"):
        error = run[name].std("replica", ddof=1) / np.sqrt(run.sizes["replica"])
        # The bias is a number of order one, here taken as 5, times 1 / n.
        shares.append(float((np.abs(run[name].mean("replica") - limit[name]) / (SIGMAS * error + 5 / dimension)).max()))
    return max(shares)


@pytest.mark.parametrize("case", LIMITS)
def test_sgd_converges_to_the_ode(case):
    dimension = 10_000
    run = clhd.simulate_sgd(LIMITS[case], dimension=dimension, replicas=256, seed=3, **START)
    assert deviations(run, clhd.integrate_ode(LIMITS[case], **START), dimension) < 1


def test_the_same_runs_reject_wrong_limits():
    dimension, system = 10_000, model()
    run = clhd.simulate_sgd(system, dimension=dimension, replicas=256, seed=3, **START)
    wrong = {
        "base noise along the features": clhd.integrate_ode(replace(system, background="isotropic"), **START),
        "gradient variance of three views": clhd.integrate_ode(
            system, gradient_variance_of=replace(system, loss="bilinear", batch=None, centred=None), **START
        ),
        "gradient variance of a batch of four": clhd.integrate_ode(
            system, gradient_variance_of=replace(system, batch=4), **START
        ),
    }
    for name, limit in wrong.items():
        assert deviations(run, limit, dimension) > 2, name


def test_the_bias_of_the_mean_falls_like_one_over_n():
    # As in test_agreement.py, with the orthogonal background and two samples.
    system = model(latents=TWO[:1])
    # A later time than there: at time 3 the bias of q is 8 standard errors only.
    time, dimensions, names = 6.0, np.array([30, 60, 125, 250]), ["overlap", "cosine_similarity"]
    limit = clhd.integrate_ode(system, overlap=[0.4], time=[time])
    bias, error = np.empty((2, len(names), len(dimensions)))
    for k, n in enumerate(dimensions):
        run = clhd.simulate_sgd(system, dimension=n, overlap=[0.4], time=[time], replicas=400 * n, seed=1)
        for i, name in enumerate(names):
            values = run[name].values.ravel()
            bias[i, k] = values.mean() - limit[name].values.item()
            error[i, k] = values.std() / np.sqrt(len(values))
    assert np.all(np.abs(bias) > 8 * error), "no power: the bias is not seen"
    for b, e in zip(bias, error, strict=True):
        (slope, _), covariance = np.polyfit(np.log(dimensions), np.log(np.abs(b)), 1, w=np.abs(b) / e, cov="unscaled")
        assert abs(slope + 1) < 0.1 + SIGMAS * np.sqrt(covariance[0, 0])


@pytest.mark.parametrize("changes", [{}, {"background": "isotropic", "batch": 4}, ON_SPHERE])
def test_the_spread_is_that_of_the_fluctuation_theory(changes):
    system, n, replicas, start = model(**changes), 10_000, 1024, [0.35, 0.2]
    predicted = clhd.predict_fluctuations(system, start, 1.0, [0.0, 1.0])
    run = clhd.simulate_sgd(system, dimension=n, overlap=start, time=[1.0], replicas=replicas, seed=2)
    state = np.column_stack([run.overlap.values[:, 0], run.squared_norm.values[:, 0]])
    size = 2 if system.is_sphere else 3
    frame = np.linalg.inv(np.linalg.cholesky(predicted.covariance.values[-1, :size, :size]))
    # n Cov in the frame in which the prediction is the identity: it then has a Wishart law.
    measured = n * frame @ np.cov(state[:, :size].T) @ frame.T
    error = np.sqrt((1 + np.eye(size)) / (replicas - 1))
    assert np.all(np.abs(measured - np.eye(size)) < SIGMAS * error)


THRESHOLDS = {
    "orthogonal": model(latents=TWO[:1]),
    "orthogonal, four samples": model(latents=TWO[:1], batch=4, learning_rate=1.0),
    "isotropic": model(latents=TWO[:1], background="isotropic"),
    "orthogonal, sphere": model(latents=TWO[:1], **ON_SPHERE),
}


@pytest.mark.parametrize("kurtosis", [1.0, 3.0])
@pytest.mark.parametrize("case", THRESHOLDS)
def test_the_growth_rate_of_sgd_vanishes_at_the_threshold(case, kurtosis):
    system, start, time, n, replicas = THRESHOLDS[case], 0.03, 1.5, 20_000, 512
    threshold = clhd.learnability_threshold(system)
    m_star, r = float(threshold[0]), threshold.attrs["squared_norm"]
    moments, rates, errors = m_star * np.array([0.8, 1.3]), [], []
    for m in moments:
        learner = replace(system, latents=(clhd.ThreePoint(second_moment=m, kurtosis=kurtosis),))
        run = clhd.simulate_sgd(
            learner, dimension=n, overlap=[start], squared_norm=r, time=[time], replicas=replicas, seed=5
        )
        overlap = run.overlap.values.ravel()
        rates.append(np.log(overlap.mean() / start) / time)
        errors.append(overlap.std(ddof=1) / np.sqrt(replicas) / overlap.mean() / time)
        # q^2 changes the rate by about its own size: 0.03^2, below the error.
        assert abs(rates[-1] - growth_rates(learner, squared_norm=r)[0]) < SIGMAS * errors[-1] + 2 * start**2
    slope = (rates[1] - rates[0]) / (moments[1] - moments[0])
    found = moments[0] - rates[0] / slope
    weights = np.array([moments[1] - found, found - moments[0]]) / (moments[1] - moments[0])
    error = np.hypot(*(weights * errors)) / slope
    assert abs(found - m_star) < SIGMAS * error + 2 * start**2 / slope
    if system.background == "orthogonal":
        state = uninformative_state(system)
        wrong = m_star - state.base_alignment / state.gain
        assert abs(found - wrong) > 2 * SIGMAS * error, "no power: base noise along the features would not be noticed"


def test_a_large_batch_approaches_the_gradient_flow_of_the_average_loss():
    system = model()
    silent = replace(system, base_noise_variance=0.0, augmentation_noise_variance=0.0)
    flow = clhd.integrate_ode(system, gradient_variance_of=silent, **START)
    assert np.all(flow.gradient_variance == 0)
    distances = [
        float(np.abs(clhd.integrate_ode(replace(system, batch=batch), **START).squared_norm - flow.squared_norm).max())
        for batch in (16, 32, 64)
    ]
    ratios = np.array(distances[:-1]) / distances[1:]
    # The gradient variance falls as 1 / B, up to terms of order 1 / B^2.
    np.testing.assert_allclose(ratios, 2, atol=0.2)
