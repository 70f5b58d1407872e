"""The chain in a frame of features and units: its law is that of SGD in n dimensions, and wrong chains are rejected.

Seeds and levels are fixed beforehand. `naive_sgd` is SGD in n dimensions written once more in plain numpy.
"""

import re

import numpy as np
import pytest
from scipy import stats

import clhd
from clhd.systems.contrastive.simulation.chains import choose_chain
from clhd.systems.contrastive.simulation.full import FullReplica
from clhd.systems.contrastive.simulation.lockstep import LANES
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected import LaneGroup
from clhd.systems.contrastive.simulation.sgd import simulate_points
from tests.systems.contrastive.simulation.naive_batch import naive_frame, naive_sgd
from tests.systems.contrastive.simulation.repeated_runs import run_full_repeatedly

# Rejection level of every test of laws here, chosen beforehand; there are about 150 of them.
LEVEL = 1e-5
SIGMAS = stats.norm.isf(LEVEL / 2)
REPLICAS = 20_000

SKEWED = clhd.TwoPoint(second_moment=0.8, skewness=1.5)
SHIFTED = clhd.Atoms(values=[-0.5, 0.3, 1.0], weights=[0.5, 0.3, 0.2])
ORTHOGONAL = {"background": "orthogonal"}
SPHERE = {"constraint": "sphere", "weight_decay": 0}


def model(**changes):
    settings = {
        "latents": (SKEWED,),
        "loss": "covariance",
        "learning_rate": 0.7,
        "weight_decay": 0.4,
        "base_noise_variance": 0.6,
        "augmentation_noise_variance": 0.9,
        "noise_correlation": -0.8,
    }
    return clhd.ContrastiveModel(**(settings | changes))


def two_units(**changes):
    return model(**({"latents": (SKEWED, SHIFTED), "units": 2, "batch": 4, "decorrelation": 1.0} | changes))


TWO = [[0.5, 0.1], [0.2, -0.3]]
# (model, dimension, overlap)
LAWS = {
    "two samples, least dimension": (model(), 3, [0.5]),
    "two samples": (model(), 20, [0.5]),
    "two samples, orthogonal, least dimension": (model(**ORTHOGONAL), 3, [0.5]),
    "two samples, orthogonal": (model(**ORTHOGONAL), 20, [0.5]),
    "orthogonal, base noise alone": (model(**ORTHOGONAL, augmentation_noise_variance=0), 6, [0.5]),
    # Weights without a part along the features, or elsewhere: a chain of one unit must not need its direction.
    "from the feature, base noise alone": (model(**ORTHOGONAL, augmentation_noise_variance=0), 5, [1.0]),
    "from the feature": (model(latents=(SHIFTED,), **ORTHOGONAL), 5, [1.0]),
    "from a direction without feature": (model(latents=(SHIFTED,), **ORTHOGONAL), 5, [0.0]),
    "from a direction without feature, isotropic": (model(latents=(SHIFTED,)), 5, [0.0]),
    "orthogonal, equal views": (model(**ORTHOGONAL, noise_correlation=1), 6, [0.5]),
    "shifted latents, on the sphere": (model(latents=(SHIFTED,), **SPHERE, **ORTHOGONAL), 6, [0.5]),
    "relu": (model(latents=(SHIFTED,), activation="relu", weight_decay=1.5), 6, [0.4]),
    "linear on the sphere": (model(activation="linear", **SPHERE, **ORTHOGONAL), 7, [0.4]),
    "no noise": (model(base_noise_variance=0, augmentation_noise_variance=0), 6, [0.4]),
    # Two features, so that test_covariance_agreement.py needs the same kernel; so do the other losses below.
    "one pair, not centred": (model(batch=1, centred=False, latents=(SHIFTED, SKEWED)), 7, [0.5, -0.3]),
    "two pairs, not centred, orthogonal": (model(centred=False, latents=(SHIFTED,), **ORTHOGONAL), 6, [0.5]),
    "five samples, two features": (model(batch=5, latents=(SKEWED, SHIFTED), **ORTHOGONAL), 8, [0.4, -0.3]),
    "bilinear, orthogonal": (model(loss="bilinear", latents=(SHIFTED, SKEWED), **ORTHOGONAL), 4, [0.5, -0.3]),
    "spectral, orthogonal": (model(loss="spectral", latents=(SKEWED, SHIFTED), **ORTHOGONAL), 9, [0.5, 0.2]),
    "infonce, orthogonal": (
        model(loss="infonce", temperature=0.5, latents=(SKEWED, SHIFTED), **ORTHOGONAL),
        9,
        [0.5, 0.2],
    ),
    "two units, least dimension": (two_units(), 5, TWO),
    "two units, orthogonal": (two_units(**ORTHOGONAL), 12, TWO),
    "two units on the sphere": (two_units(**SPHERE, **ORTHOGONAL), 8, TWO),
    "two units without a penalty": (two_units(decorrelation=0, latents=(SHIFTED, SHIFTED)), 8, TWO),
    "four units, least dimension": (
        model(units=4, decorrelation=0.5, batch=2, latents=(SHIFTED,)),
        6,
        [[0.5], [0.3], [0.1], [-0.2]],
    ),
}


def flatten(overlap, squared_norm):
    """All order parameters, one column each: overlaps, then the squared norm or the lower Gram matrix."""
    overlap, gram = np.asarray(overlap), np.asarray(squared_norm)
    units = 1 if gram.ndim == 1 else gram.shape[1]
    low = np.tril_indices(units)
    return np.column_stack(
        [overlap.reshape(len(overlap), -1), gram.reshape(-1, units, units)[:, low[0], low[1]].reshape(len(gram), -1)]
    )


def assert_same_laws(first, second):
    """Kolmogorov-Smirnov on rounded numbers: steps without an update leave an atom, which rounding must not split."""
    assert first.shape[1] == second.shape[1]
    for one, other in zip(first.T, second.T, strict=True):
        assert stats.ks_2samp(np.round(one, 9), np.round(other, 9)).pvalue > LEVEL


def simulate(system, dimension, overlap, time, **more):
    run = clhd.simulate_sgd(system, dimension=dimension, overlap=overlap, time=[time], **more).isel(time=0)
    return flatten(run.overlap, run.squared_norm)


@pytest.mark.parametrize("case", LAWS)
def test_projected_chain_and_full_engine_have_the_law_of_sgd_in_n_dimensions(case):
    system, dimension, overlap = LAWS[case]
    assert choose_chain(system) is not LaneGroup
    expected = flatten(*naive_sgd(system, dimension, overlap, 3 * dimension, REPLICAS, np.random.default_rng(2)))
    assert_same_laws(simulate(system, dimension, overlap, 3, replicas=REPLICAS, seed=1), expected)
    assert_same_laws(flatten(*run_full_repeatedly(system, dimension, overlap, 3 * dimension, 3000)), expected)


@pytest.mark.parametrize(
    ("system", "overlap"),
    [(model(**ORTHOGONAL), [0.5]), (two_units(**ORTHOGONAL), TWO)],
    ids=["one unit", "two units"],
)
def test_both_engines_have_one_law_in_200_dimensions(system, overlap):
    full = simulate(system, 200, overlap, 2, replicas=1500, engine="full")
    assert_same_laws(simulate(system, 200, overlap, 2, replicas=REPLICAS), full)


def test_without_base_noise_the_background_does_not_matter():
    # One and the same law from two kernels: that of the positive pair, and that of every loss and background.
    changes = {"loss": "bilinear", "base_noise_variance": 0, "latents": (SHIFTED, SKEWED)}
    pair, frame = model(**changes), model(**changes, **ORTHOGONAL)
    assert choose_chain(frame) is not choose_chain(pair)
    one, other = (simulate(system, 10, [0.4, -0.3], 3, replicas=REPLICAS) for system in (pair, frame))
    assert_same_laws(one, other)


# --- moments, and the wrong chains that they reject -------------------------------------------------------------------

# One step so large that its noise decides the squared norms: the second order in eta / n, which some of the wrong
# variants touch, is then seen.
_LARGE_STEPS = {
    "learning_rate": 60.0,
    "weight_decay": 0.05,
    "noise_correlation": 1.0,
    "base_noise_variance": 1.0,
    "augmentation_noise_variance": 0.2,
    "latents": (SHIFTED,),
}
WRONG = {
    "a chain without the fluctuation of the rest": {"fluctuating_rest": False},
    "a chain without the covariance of the views in the rest": {"pair_covariance": False},
    "a chain with base noise along the features": {"base_along_features": True},
    "a chain that keeps the means over the batch": {"keep_means": True},
}
REFERENCES = {
    "one unit": (model(**_LARGE_STEPS, **ORTHOGONAL), 8, [0.4], 200_000),
    "two units": (
        two_units(**(_LARGE_STEPS | {"latents": (SHIFTED, SKEWED), "batch": 2}), **ORTHOGONAL),
        6,
        TWO,
        200_000,
    ),
}


def moments(columns, units):
    """Moments that tell laws apart: all first and second ones, with the logarithms of the squared norms.

    The squared norms themselves have long tails, which hide how they fluctuate.
    """
    low = np.tril_indices(units)
    centred, norms = columns.copy(), columns.shape[1] - len(low[0]) + np.flatnonzero(low[0] == low[1])
    centred[:, norms] = np.log(columns[:, norms])
    first, second = np.triu_indices(columns.shape[1])
    return np.column_stack([centred, centred[:, first] * centred[:, second]])


def differences(one, other):
    """Differences of the mean moments, in standard errors."""
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    return (one.mean(axis=0) - other.mean(axis=0)) / error


@pytest.mark.parametrize("case", REFERENCES)
def test_moments_agree_and_reject_every_wrong_chain(case):
    system, dimension, overlap, replicas = REFERENCES[case]
    steps, units = 1, system.units
    reference = moments(flatten(*run_full_repeatedly(system, dimension, overlap, steps, replicas)), units)
    projected = simulate(system, dimension, overlap, steps / dimension, replicas=replicas)
    assert np.all(np.abs(differences(moments(projected, units), reference)) < SIGMAS)
    for name, variant in {"the right chain": {}, **WRONG}.items():
        chain = naive_frame(system, dimension, overlap, steps, replicas, np.random.default_rng(11), **variant)
        worst = np.abs(differences(moments(flatten(*chain), units), reference)).max()
        assert worst > 2 * SIGMAS if variant else worst < SIGMAS, (name, worst)


# --- starts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["projected", "full"])
@pytest.mark.parametrize("changes", [{}, SPHERE], ids=["free", "sphere"])
def test_random_units_start_as_gaussian_vectors(engine, changes):
    n, count = 6, 40_000 if engine == "projected" else 4000
    norm = 1.0 if changes else 0.7
    run = clhd.simulate_sgd(
        two_units(**changes), dimension=n, initial="random", squared_norm=norm, time=[0], replicas=count, engine=engine
    ).isel(time=0)
    weights = np.sqrt(norm) * np.random.default_rng(3).standard_normal((40_000, 2, n))
    if changes:
        weights *= np.sqrt(n / np.sum(weights**2, axis=2))[..., None]
    gram = np.einsum("rkn,rmn->rkm", weights, weights) / n
    # Any orthogonal features will do: take sqrt(n) times unit vectors.
    expected = flatten(weights[..., :2] / np.sqrt(n), gram)
    got = flatten(run.overlap, run.squared_norm)
    assert_same_laws(np.round(got, 9), np.round(expected, 9))
    assert_same_laws((got[:, :1] * got[:, 5:6]), (expected[:, :1] * expected[:, 5:6]))


@pytest.mark.parametrize("engine", ["projected", "full"])
def test_a_fixed_start_is_met_exactly(engine):
    gram = [[1.0, 0.2], [0.2, 0.8]]
    settings = {"dimension": 9, "time": [0], "replicas": 2, "engine": engine}
    run = clhd.simulate_sgd(two_units(), overlap=TWO, squared_norm=gram, **settings).isel(time=0, replica=1)
    np.testing.assert_allclose(run.overlap, TWO, rtol=0, atol=1e-14)
    np.testing.assert_allclose(run.squared_norm, gram, rtol=0, atol=1e-14)
    # A number is the squared norm of each unit; outside the features the units are orthogonal to each other.
    run = clhd.simulate_sgd(two_units(), overlap=TWO, squared_norm=2.0, **settings).isel(time=0, replica=0)
    expected = np.array(TWO) @ np.array(TWO).T
    np.testing.assert_allclose(run.squared_norm, [[2, expected[0, 1]], [expected[0, 1], 2]], rtol=0, atol=1e-14)


@pytest.mark.parametrize("engine", ["projected", "full"])
def test_equal_units_stay_equal(engine):
    same = [[1.0, 1.0], [1.0, 1.0]]
    settings = {"dimension": 30, "time": [1, 4], "replicas": 5, "engine": engine}
    run = clhd.simulate_sgd(two_units(), overlap=[TWO[0]] * 2, squared_norm=same, **settings)
    np.testing.assert_allclose(run.overlap[:, :, 0], run.overlap[:, :, 1], rtol=0, atol=1e-7)
    np.testing.assert_allclose(run.squared_norm[:, :, 0, 0], run.squared_norm[:, :, 0, 1], rtol=0, atol=1e-7)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_several_units_have_a_dim_of_their_own_and_one_unit_has_none():
    settings = {"dimension": 20, "time": [0, 1], "replicas": 3, "engine": "full", "keep_weights": True}
    several = clhd.simulate_sgd(two_units(), overlap=TWO, **settings)
    assert several.overlap.dims == several.cosine_similarity.dims == ("replica", "time", "unit", "feature")
    assert several.squared_norm.dims == ("replica", "time", "unit", "unit_2")
    assert several.weights.dims == ("replica", "time", "unit", "coordinate")
    assert several.unit.values.tolist() == several.unit_2.values.tolist() == [1, 2]
    from_weights = several.weights.values @ np.swapaxes(several.features.values[:, None], 2, 3) / 20
    np.testing.assert_allclose(several.overlap, from_weights, atol=1e-14)
    norms = np.sqrt(np.diagonal(several.squared_norm.values, axis1=2, axis2=3))
    np.testing.assert_allclose(several.cosine_similarity, several.overlap.values / norms[..., None], rtol=1e-14)
    one = clhd.simulate_sgd(model(), overlap=[0.5], **settings)
    assert one.overlap.dims == ("replica", "time", "feature")
    assert one.squared_norm.dims == ("replica", "time")
    assert one.weights.dims == ("replica", "time", "coordinate")


# --- bits -------------------------------------------------------------------------------------------------------------


def points_of_many_kinds():
    return [
        Point(model=two_units(noise_correlation=rho, decorrelation=penalty), dimension=n, overlap=start, seed=5)
        for rho in (-0.5, 0.3)
        for penalty in (0.0, 2.0)
        for n in (5, 40)
        for start in (TWO, None)
    ]


def test_the_bits_of_a_replica_do_not_depend_on_what_shares_its_lanes():
    points, times = points_of_many_kinds(), [0, 1, 4.5]
    together = simulate_points(points, times, range(100))
    for k, point in enumerate(points):
        assert np.array_equal(together[k], simulate_points([point], times, range(100))[0])
    backwards = simulate_points(points[::-1], times, range(99, -1, -1))
    assert np.array_equal(together, backwards[::-1, ::-1])


def test_threads_segments_times_and_replicas_do_not_change_bits():
    settings = {"dimension": 20, "overlap": TWO}
    one = clhd.simulate_sgd(two_units(), **settings, time=[1, 6], replicas=LANES + 5, threads=1)
    two = clhd.simulate_sgd(two_units(), **settings, time=[0, 1, 3.3, 6], replicas=LANES + 40, threads=2)
    assert one.equals(two.sel(time=[1, 6], replica=one.replica))
    point = points_of_many_kinds()[0]
    whole, parts = (choose_chain(point.model)([(point, range(7))]) for _ in range(2))
    whole.advance(100)
    for steps in (1, 0, 60, 39):
        parts.advance(steps)
    assert np.array_equal(whole.order_parameters(), parts.order_parameters())


@pytest.mark.parametrize("changes", [{}, {"noise_law": "rademacher"}, {"l1_penalty": 0.2}, SPHERE, ORTHOGONAL])
def test_segments_do_not_change_the_bits_of_the_full_engine(changes):
    system = two_units(**changes)
    runs = [FullReplica(system, 70, "key", 0, overlap=np.array(TWO), squared_norm=1.0) for _ in range(2)]
    runs[0].advance(40)
    for steps in (1, 0, 7, 32):
        runs[1].advance(steps)
        runs[1].order_parameters()
    np.testing.assert_array_equal(runs[0].weights, runs[1].weights)


# --- other laws of the noise, and the elastic net ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "law", [{"noise_law": "rademacher"}, {"noise_law": "student_t", "noise_degrees_of_freedom": 6.0}]
)
@pytest.mark.parametrize("background", ["isotropic", "orthogonal"])
def test_noise_of_another_law_has_the_same_limit(law, background):
    # In many dimensions only the covariance of the noise matters: the mean moves as with Gaussian noise, to O(1 / n).
    n, settings = 800, {"overlap": [0.5], "time": [1.0], "replicas": 200}
    gaussian = clhd.simulate_sgd(model(background=background), dimension=n, **settings)
    other = clhd.simulate_sgd(model(background=background, **law), dimension=n, engine="full", **settings)
    for name in ("overlap", "squared_norm"):
        one, two = gaussian[name].values.ravel(), other[name].values.ravel()
        error = np.sqrt(one.var() / len(one) + two.var() / len(two))
        assert abs(one.mean() - two.mean()) < SIGMAS * error + 2 / n


def test_an_l1_penalty_pulls_every_weight_of_every_unit_towards_zero():
    # Without noise and latents nothing but the penalty moves the weights, by eta lam_1 / n in one step.
    still = two_units(
        latents=(clhd.ThreePoint(second_moment=0),) * 2,
        base_noise_variance=0,
        augmentation_noise_variance=0,
        weight_decay=0,
        l1_penalty=0.2,
    )
    run = FullReplica(still, 50, "key", 0, overlap=np.array(TWO), squared_norm=1.0)
    before = run.weights.copy()
    run.advance(1)
    np.testing.assert_allclose(run.weights, before - np.sign(before) * 0.7 * 0.2 / 50, rtol=0, atol=1e-15)


@pytest.mark.parametrize("law", ["gaussian", "rademacher"])
def test_base_noise_of_the_orthogonal_background_leaves_the_overlap_alone(law):
    # Without latents, augmentation and weight decay nothing moves the overlap; w itself does move.
    still = {"latents": (clhd.ThreePoint(second_moment=0),), "augmentation_noise_variance": 0, "weight_decay": 0}
    for background, is_still in (("orthogonal", True), ("isotropic", False)):
        system = model(**still, noise_law=law, background=background)
        run = FullReplica(system, 60, "key", 0, overlap=np.array([0.5]), squared_norm=1.0)
        before = run.weights.copy()
        run.advance(20)
        assert np.abs(run.weights - before).max() > 1e-3
        assert (abs(run.order_parameters()[0].item() - 0.5) < 1e-12) is is_still


# --- divergence and bad input -----------------------------------------------------------------------------------------


def test_divergence_of_one_unit_is_recorded():
    explosive = two_units(activation=[0.0, 1.0, 0.0, 1.0], weight_decay=0)
    run = clhd.simulate_sgd(explosive, dimension=20, overlap=TWO, time=np.arange(0, 20), replicas=200, seed=4)
    missing = np.isnan(run.squared_norm.values).any(axis=(2, 3))
    assert run.diverged.values.any()
    assert np.array_equal(run.diverged, missing.any(axis=1))
    assert np.array_equal(missing, np.logical_or.accumulate(missing, axis=1))
    assert np.array_equal(missing, np.isnan(run.overlap.values).all(axis=(2, 3)))


def test_weights_that_overflow_within_one_call_are_a_silent_divergence():
    noise = {"base_noise_variance": 1, "augmentation_noise_variance": 0.3, "noise_correlation": -1}
    explosive = two_units(activation="linear", learning_rate=2, weight_decay=0, decorrelation=0.3, **noise)
    run = clhd.simulate_sgd(explosive, dimension=5, overlap=TWO, time=[0.4, 2], replicas=40_000, seed=4)
    assert run.diverged.mean() > 0.9


def test_a_start_computed_from_weights_may_miss_the_sphere_by_rounding():
    several = two_units(**SPHERE)
    exact, near, skew = (
        clhd.simulate_sgd(several, dimension=6, overlap=TWO, squared_norm=norms, time=[0, 2], seed=1)
        for norms in ([[1, 0.3], [0.3, 1]], [[1 - 1e-16, 0.3], [0.3, 1 + 3e-16]], [[1, 0.3], [0.3 + 1e-16, 1]])
    )
    assert near.equals(exact)
    # The mean of both entries is taken, and factorised: each number may differ in its last bits.
    np.testing.assert_allclose(skew.squared_norm[0, 0], exact.squared_norm[0, 0], rtol=0, atol=1e-15)
    exact, near = (
        clhd.integrate_ode(model(**SPHERE), overlap=[[0.5]], squared_norm=norms, time=[0, 2])
        for norms in ([1.0], [1 - 1e-15])
    )
    assert near.equals(exact)
    exact, near = (
        clhd.simulate_sgd(model(**SPHERE), dimension=6, overlap=[0.5], squared_norm=norm, time=[0, 2], seed=1)
        for norm in (1.0, 1 - 1e-16)
    )
    assert near.equals(exact)


def test_collapsed_units_stay_collapsed():
    zero = [[0.0, 0.0], [0.0, 0.0]]
    run = clhd.simulate_sgd(two_units(), dimension=10, overlap=zero, squared_norm=0.0, time=[0, 2], replicas=3)
    assert np.all(run.squared_norm == 0)
    assert not run.diverged.any()


BAD_INPUT = {
    "dimension of one unit": ({"model": model(), "dimension": 2}, "dimension = 2: must be a whole number, 3 or more"),
    "dimension of two units": ({"dimension": 4}, "dimension = 4: must be a whole number, 5 or more"),
    "shape": (
        {"overlap": [0.5, 0.1]},
        "overlap = [0.5, 0.1]: must be a row of 2 finite numbers for each of 2 units",
    ),
    "words": ({"overlap": "large"}, "overlap = 'large': must be a row of 2 finite numbers for each of 2 units"),
    "long overlap": (
        {"overlap": [[0.9, 0.9], [0, 0]]},
        (
            "overlap = [[0.9, 0.9], [0.0, 0.0]]: squared_norm - overlap overlap' must have no negative eigenvalue, "
            "and squared_norm is 1.0"
        ),
    ),
    "Gram matrix": (
        {"squared_norm": [[1.0, 0.3], [0.2, 1.0]]},
        "squared_norm = [[1.0, 0.3], [0.2, 1.0]]: must be a number, or symmetric rows of 2 with no negative diagonal",
    ),
    "no Gram matrix": (
        {"squared_norm": []},
        "squared_norm = []: must be a number, or symmetric rows of 2 with no negative diagonal",
    ),
    "sphere": (
        {"model": two_units(**SPHERE), "squared_norm": [[1.0, 0.0], [0.0, 2.0]]},
        "squared_norm = [[1.0, 0.0], [0.0, 2.0]]: must be 1 on its diagonal with constraint = 'sphere'",
    ),
    "random": (
        {"initial": "random", "overlap": None, "squared_norm": [[1.0, 0.0], [0.0, 1.0]]},
        "squared_norm = ((1.0, 0.0), (0.0, 1.0)): must be a number for random weights",
    ),
    "elastic net": (
        {"model": two_units(l1_penalty=0.1)},
        "l1_penalty = 0.1: the projected engine needs 0.0; use engine = 'full'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(case):
    change, message = BAD_INPUT[case]
    settings = {"model": two_units(), "dimension": 10, "overlap": TWO, "time": [1]} | change
    with pytest.raises(clhd.ClhdError, match=f"^{re.escape(message)}$"):
        clhd.simulate_sgd(settings.pop("model"), **settings)
