"""The stages agree: projected chain with full simulation, simulation with the limit, at rates the theory predicts.

Seeds and levels are fixed beforehand. Every test that could pass for want of power has its counterpart: a wrong variant
of the chain that must be rejected.
"""

import numpy as np
import pytest
from scipy import stats

import clhd
from clhd.systems.contrastive.model.activations import ACTIVATIONS
from clhd.systems.contrastive.model.losses import LOSSES
from clhd.systems.contrastive.theory.diffusion.fluctuations import predict_fluctuations
from tests.systems.contrastive.simulation.naive_chain import naive_chain
from tests.systems.contrastive.simulation.repeated_runs import run_full_repeatedly

LEVEL = 1e-5
SIGMAS = stats.norm.isf(LEVEL / 2)


def model(**changes):
    settings = {
        "latents": (clhd.ThreePoint(second_moment=1.5, kurtosis=1.5),),
        "learning_rate": 0.5,
        "weight_decay": 0.6,
        "base_noise_variance": 0.5,
        "augmentation_noise_variance": 0.5,
        "noise_correlation": -0.5,
    }
    return clhd.ContrastiveModel(**(settings | changes))


SKEWED = clhd.TwoPoint(second_moment=1.2, skewness=1.0)
TWO_SKEWED = (SKEWED, clhd.Atoms(values=[-0.7, 1.4], weights=[0.6, 0.4]))

# (model, dimension, overlap, time, replicas): a few hundred steps each in the full engine.
SAME_LAW = {
    "least dimension, one feature": (model(), 3, [0.5], 4, 4000),
    "least dimension, two features": (model(latents=TWO_SKEWED), 4, [0.5, -0.2], 4, 4000),
    "asymmetric latents": (model(latents=TWO_SKEWED, noise_correlation=0.7), 20, [0.3, 0.4], 6, 3000),
    "relu": (model(activation="relu", latents=(SKEWED,), weight_decay=2.0), 10, [0.4], 3, 3000),
    "sphere": (model(constraint="sphere", weight_decay=0, latents=TWO_SKEWED), 8, [0.4, 0.1], 5, 3000),
    "spectral": (model(loss="spectral", latents=(SKEWED,)), 10, [0.4], 4, 10_000),
    "infonce": (model(loss="infonce", latents=(SKEWED,)), 8, [0.4], 4, 10_000),
    "infonce, four negatives": (
        model(loss="infonce", temperature=0.5, negatives=4, latents=TWO_SKEWED),
        12,
        [0.3, 0.4],
        4,
        10_000,
    ),
    "larger dimension": (model(latents=TWO_SKEWED), 200, [0.3, 0.2], 2, 1500),
}


@pytest.mark.parametrize("case", SAME_LAW)
def test_projected_chain_has_the_law_of_the_full_simulation(case):
    system, dimension, overlap, time, replicas = SAME_LAW[case]
    full = run_full_repeatedly(system, dimension, overlap, time * dimension, replicas)
    run = clhd.simulate_sgd(system, dimension=dimension, overlap=overlap, time=[time], replicas=20_000).isel(time=0)
    projected = run.overlap.values, run.squared_norm.values
    pairs = [(full[0][:, j], projected[0][:, j]) for j in range(system.features)]
    pairs.append(tuple(overlaps[:, 0] / np.sqrt(squared_norm) for overlaps, squared_norm in (full, projected)))
    if not system.is_sphere:
        pairs.append((full[1], projected[1]))
    for one, other in pairs:
        # Rounded, because relu has steps without an update: an atom that rounding errors would split.
        assert stats.ks_2samp(np.round(one, 9), np.round(other, 9)).pvalue > LEVEL


LIMITS = {
    "spectral": model(loss="spectral", latents=TWO_SKEWED),
    "spectral, relu": model(loss="spectral", activation="relu", latents=(SKEWED,), learning_rate=0.1),
    "spectral, polynomial": model(
        loss="spectral", activation=(0.1, 1.0, 0.1, -0.05), latents=(SKEWED,), learning_rate=0.1
    ),
    "spectral, linear on the sphere": model(
        loss="spectral", activation="linear", constraint="sphere", weight_decay=0, latents=TWO_SKEWED
    ),
    "infonce": model(loss="infonce", latents=TWO_SKEWED),
    "infonce, low temperature": model(loss="infonce", temperature=0.3),
    "infonce, four negatives": model(loss="infonce", temperature=0.5, negatives=4, latents=TWO_SKEWED),
    "infonce, erf on the sphere": model(
        loss="infonce", negatives=8, activation="erf", constraint="sphere", weight_decay=0, latents=(SKEWED,)
    ),
}


def test_every_loss_and_activation_has_a_row():
    assert {system.loss for system, *_ in SAME_LAW.values()} == set(LOSSES)
    assert {system.loss for system in LIMITS.values()} == set(LOSSES) - {"bilinear"}  # further tests below are of it
    assert {system.activation for system in LIMITS.values()} >= set(ACTIVATIONS)


@pytest.mark.parametrize("case", LIMITS)
def test_sgd_of_every_loss_converges_to_its_ode(case):
    system, dimension, replicas = LIMITS[case], 10_000, 256
    start = {"overlap": [0.4, 0.3][: system.features], "time": [1.0, 4.0]}
    limit = clhd.integrate_ode(system, **start)
    run = clhd.simulate_sgd(system, dimension=dimension, replicas=replicas, seed=3, **start)
    averaging_error = limit.averaging_error if "averaging_error" in limit else 0.0
    assert np.max(averaging_error) < 2e-3, "no power: the theory is not known well enough"
    for name in ("overlap", "squared_norm", "cosine_similarity"):
        # The bias is a number of order one, here taken as 5, times 1 / n.
        error = np.sqrt(run[name].var("replica", ddof=1) / replicas + averaging_error**2)
        assert np.all(np.abs(run[name].mean("replica") - limit[name]) < SIGMAS * error + 5 / dimension), name


WRONG = {
    "a chain without the chi-square fluctuation": {"fluctuating_rest": False},
    "a chain without the noise along the weights": {"along_weights": False},
    "a chain without the covariance of the views in the rest": {"covariance_in_rest": False},
    "a chain with a wrong noise covariance": {"noise_covariance": 0.4},
}


def moments(overlap, squared_norm):
    """Moments that tell laws apart, one column each: of q, r and their second order."""
    q, r = np.asarray(overlap), np.asarray(squared_norm)
    q_centre, r_centre = q - 0.3, r - 0.8  # near the means, so that the squares are nearly variances
    return np.stack([q, r, q_centre**2, r_centre**2, q_centre * r_centre], axis=1)


def differences(one, other):
    """Differences of the mean moments, in standard errors."""
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    return (one.mean(axis=0) - other.mean(axis=0)) / error


def test_moments_agree_at_200_000_replicas_and_reject_every_wrong_chain():
    dimension, replicas, steps = 8, 200_000, 8
    # Large steps, so that the second order in eta / n, which the wrong variants touch, is seen; equal noise in the two
    # views, so that its covariance matters most.
    system = model(learning_rate=2.0, noise_correlation=1.0, base_noise_variance=0.2, augmentation_noise_variance=1.0)
    overlap, squared_norm = run_full_repeatedly(system, dimension, (0.4,), steps, replicas)
    reference = moments(overlap[:, 0], squared_norm)
    projected = clhd.simulate_sgd(
        system, dimension=dimension, overlap=[0.4], time=[steps / dimension], replicas=replicas
    ).isel(time=0)
    right = moments(projected.overlap[:, 0], projected.squared_norm)
    assert np.all(np.abs(differences(right, reference)) < SIGMAS)
    for name, variant in WRONG.items():
        q, r = naive_chain(system, dimension, [0.4], 1.0, steps, replicas, np.random.default_rng(11), **variant)
        assert np.abs(differences(moments(q[:, 0], r), reference)).max() > 2 * SIGMAS, name


def test_the_bias_of_the_mean_falls_like_one_over_n():
    # Halfway to the fixed point, where the bias of q and S is largest in units of their spread; that of r is below
    # 0.1 / n there, too small to fit. Bias / error ~ sqrt(replicas / n), so the replicas grow with n. A step costs the
    # same in any dimension, so most replicas are spent on the left end of the line, where runs are short: the slope is
    # known better than from 400 n replicas at each of six dimensions up to 1000, at a quarter of their cost.
    time, dimensions, names = 3.0, np.array([30, 60, 125, 250, 500]), ["overlap", "cosine_similarity"]
    replicas = dimensions * np.array([2000, 400, 400, 400, 400])
    limit = clhd.integrate_ode(model(), overlap=[0.4], time=[time])
    bias, error = np.empty((2, len(names), len(dimensions)))
    for k, n in enumerate(dimensions):
        run = clhd.simulate_sgd(model(), dimension=n, overlap=[0.4], time=[time], replicas=replicas[k], seed=1)
        for i, name in enumerate(names):
            values = run[name].values.ravel()
            bias[i, k] = values.mean() - limit[name].values.item()
            error[i, k] = values.std() / np.sqrt(len(values))
    assert np.all(np.abs(bias) > 8 * error), "no power: the bias is not seen"
    for b, e in zip(bias, error, strict=True):
        (slope, _), covariance = np.polyfit(np.log(dimensions), np.log(np.abs(b)), 1, w=np.abs(b) / e, cov="unscaled")
        # The next order, bias (1 + k / n) with k of order one, bends the line by about k / 30 at its left end.
        assert abs(slope + 1) < 0.1 + SIGMAS * np.sqrt(covariance[0, 0])


# (dimension, replicas): the spread is known to 1 / sqrt(2 replicas), the O(1/n) corrections must be smaller.
SPREADS = [(10_000, 2048), (100_000, 512), (1_000_000, 256)]


@pytest.mark.parametrize(("time", "largest"), [(1.0, 1_000_000), (15.0, 10_000)], ids=["on the way", "fixed point"])
def test_the_spread_is_that_of_the_fluctuation_theory(time, largest):
    system = model(latents=(clhd.ThreePoint(second_moment=1.5, kurtosis=1.2), SKEWED))
    start = [0.35, 0.2]
    predicted = predict_fluctuations(system, start, 1.0, [0.0, time])
    assert np.all(predicted.covariance[0] == 0)
    covariance = predicted.covariance.values[-1]
    similarity = predicted.cosine_similarity_covariance.values[-1]
    for n, replicas in SPREADS:
        if n > largest:
            continue
        run = clhd.simulate_sgd(system, dimension=n, overlap=start, time=[time], replicas=replicas, seed=2)
        state = np.column_stack([run.overlap.values[:, 0], run.squared_norm.values[:, 0]])
        # n Cov in the frame in which the prediction is the identity: it then has a Wishart law.
        frame = np.linalg.inv(np.linalg.cholesky(covariance))
        measured = n * frame @ np.cov(state.T) @ frame.T
        size = len(measured)
        error = np.sqrt((1 + np.eye(size)) / (replicas - 1))
        assert np.all(np.abs(measured - np.eye(size)) < SIGMAS * error), n
        spread = n * run.cosine_similarity.values[:, 0].var(axis=0, ddof=1) / np.diag(similarity)
        assert np.all(np.abs(spread - 1) < SIGMAS * np.sqrt(2 / (replicas - 1))), n


def test_the_spread_falls_like_the_root_of_n():
    system, start, time = model(), [0.4], 2.0
    dimensions = np.array([300, 1000, 3000, 10_000, 30_000, 100_000])
    replicas = 1024
    spread = [
        clhd.simulate_sgd(system, dimension=int(n), overlap=start, time=[time], replicas=replicas)
        .cosine_similarity.values[:, 0, 0]
        .std()
        for n in dimensions
    ]
    slope = np.polyfit(np.log(dimensions), np.log(spread), 1)[0]
    # Each log spread has error 1 / sqrt(2 R); corrections of relative size 1/n are below it from n = 300 on.
    error = 1 / np.sqrt(2 * replicas) / np.sqrt(np.sum((np.log(dimensions) - np.log(dimensions).mean()) ** 2))
    assert abs(slope + 0.5) < SIGMAS * error
