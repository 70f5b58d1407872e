"""The projected chain: its law, and the promise that a replica's bits depend on its point and replica alone."""

import threading

import numpy as np
import pytest
from scipy import stats

import clhd
from clhd.errors import SimulationStopped
from clhd.systems.contrastive.model.activations import ACTIVATIONS
from clhd.systems.contrastive.model.latents import SAMPLERS
from clhd.systems.contrastive.model.losses import LOSSES
from clhd.systems.contrastive.simulation.lockstep import LANES
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected import LaneGroup
from clhd.systems.contrastive.simulation.sgd import simulate_points
from tests.systems.contrastive.simulation.naive_chain import naive_chain

# Rejection level of every two-sample test here, chosen beforehand; there are about 60 of them.
LEVEL = 1e-5
REPLICAS = 20_000

SKEWED = clhd.TwoPoint(second_moment=0.8, skewness=1.5)
SHIFTED = clhd.Atoms(values=[-0.5, 0.3, 1.0, 2.0], weights=[0.4, 0.3, 0.2, 0.1])


def model(**changes):
    settings = {
        "latents": (clhd.ThreePoint(second_moment=1.5, kurtosis=2.0),),
        "learning_rate": 0.7,
        "weight_decay": 0.4,
        "base_noise_variance": 0.6,
        "augmentation_noise_variance": 0.9,
        "noise_correlation": -0.8,
    }
    return clhd.ContrastiveModel(**(settings | changes))


LAWS = {
    "one feature, least dimension": (model(), 3, [0.5]),
    "one feature": (model(), 12, [0.5]),
    "skewed and shifted latents": (model(latents=(SKEWED, SHIFTED)), 4, [0.5, -0.3]),
    "signs": (model(latents=(clhd.ThreePoint(second_moment=1.5), clhd.ThreePoint(second_moment=0.6))), 6, [0.4, -0.3]),
    "a sign beside other atoms": (model(latents=(SKEWED, clhd.ThreePoint())), 6, [0.4, 0.3]),
    "more signs than one word has": (
        model(loss="infonce", negatives=6, latents=(clhd.ThreePoint(), clhd.ThreePoint(second_moment=0.5))),
        6,
        [0.4, 0.3],
    ),
    "continuous latents": (
        model(latents=(clhd.Gaussian(second_moment=1.2), clhd.Laplace(second_moment=0.7), clhd.Uniform())),
        9,
        [0.4, 0.3, -0.2],
    ),
    "six features": (model(latents=(clhd.ThreePoint(kurtosis=1.5),) * 6), 8, [0.3, 0.1, 0, 0, -0.1, 0.2]),
    "relu": (model(activation="relu", latents=(SHIFTED,)), 5, [0.4]),
    "erf": (model(activation="erf"), 5, [0.4]),
    "polynomial": (model(activation=[0.1, 1.0, 0.1, -0.02], learning_rate=0.05), 6, [0.4]),
    "spectral": (model(loss="spectral", latents=(SKEWED,)), 4, [0.5]),
    "infonce": (model(loss="infonce", latents=(SKEWED,)), 4, [0.5]),
    "infonce, four negatives": (
        model(loss="infonce", temperature=0.3, negatives=4, latents=(SKEWED, SHIFTED)),
        5,
        [0.4, -0.3],
    ),
    "infonce, 16 negatives": (model(loss="infonce", temperature=2.0, negatives=16), 5, [0.4]),
    "linear on the sphere": (
        model(activation="linear", constraint="sphere", weight_decay=0, latents=(SKEWED, SKEWED)),
        7,
        [0.4, 0.2],
    ),
    "opposite noise in the views": (
        model(base_noise_variance=0, noise_correlation=-1),
        6,
        [0.4],
    ),
    "equal noise in the views": (model(noise_correlation=1), 6, [0.4]),
    "no noise": (model(base_noise_variance=0, augmentation_noise_variance=0), 5, [0.4]),
}


def test_every_sampler_activation_and_loss_has_a_row_in_the_table_of_laws():
    chains = [chain for chain, *_ in LAWS.values()]
    assert {law.sampler for chain in chains for law in chain.latents} == set(SAMPLERS)
    assert {chain.activation for chain in chains} >= set(ACTIVATIONS)
    assert {chain.loss for chain in chains} == set(LOSSES)


def assert_same_law(first, second):
    """Kolmogorov-Smirnov on rounded numbers: steps without an update leave an atom, which rounding must not split."""
    assert stats.ks_2samp(np.round(first, 9), np.round(second, 9)).pvalue > LEVEL


@pytest.mark.parametrize("case", LAWS)
def test_the_kernel_has_the_law_of_the_chain_as_defined(case):
    chain, dimension, overlap = LAWS[case]
    steps = 3 * dimension
    data = clhd.simulate_sgd(chain, dimension=dimension, overlap=overlap, time=[3], replicas=REPLICAS, seed=1)
    q, r = naive_chain(chain, dimension, overlap, 1.0, steps, REPLICAS, np.random.default_rng(2))
    got = data.isel(time=0)
    for j in range(chain.features):
        assert_same_law(got.overlap[:, j], q[:, j])
    if not chain.is_sphere:
        assert_same_law(got.squared_norm, r)
        assert_same_law(got.cosine_similarity[:, 0], q[:, 0] / np.sqrt(r))


def test_random_starts_have_the_law_of_a_gaussian_weight_vector():
    n, count = 6, 40_000
    chain = model(latents=(SKEWED, SKEWED))
    data = clhd.simulate_sgd(chain, dimension=n, initial="random", squared_norm=0.7, time=[0], replicas=count)
    weights = np.sqrt(0.7) * np.random.default_rng(3).standard_normal((count, n))
    # Any orthogonal features will do: take xi_j = sqrt(n) times the j-th unit vector.
    q, r = weights[:, :2] / np.sqrt(n), np.mean(weights**2, axis=1)
    got = data.isel(time=0)
    assert_same_law(got.overlap[:, 0], q[:, 0])
    assert_same_law(got.squared_norm, r)
    assert_same_law(got.cosine_similarity[:, 1], q[:, 1] / np.sqrt(r))
    product = got.overlap[:, 0] * got.overlap[:, 1]
    assert abs(product.mean()) < stats.norm.isf(LEVEL / 2) * product.std() / np.sqrt(count)


def points_of_many_kinds():
    return [
        Point(model=model(noise_correlation=rho, learning_rate=eta), dimension=n, overlap=start, seed=5)
        for rho in (-0.5, 0.3)
        for eta in (0.2, 0.9)
        for n in (5, 40)
        for start in ((0.3,), None)
    ]


def test_the_bits_of_a_replica_do_not_depend_on_what_shares_its_lanes():
    points, times = points_of_many_kinds(), [0, 1, 4.5]
    together = simulate_points(points, times, range(150))
    for k, point in enumerate(points):
        alone = simulate_points([point], times, range(150))[0]
        assert np.array_equal(together[k], alone)
    backwards = simulate_points(points[::-1], times, range(149, -1, -1))
    assert np.array_equal(together, backwards[::-1, ::-1])


def test_more_replicas_and_more_times_keep_the_bits_of_the_first():
    few = clhd.simulate_sgd(model(), dimension=30, overlap=[0.3], time=[2, 5], replicas=32)
    many = clhd.simulate_sgd(model(), dimension=30, overlap=[0.3], time=[0, 1, 2, 3.3, 5], replicas=600)
    assert few.equals(many.sel(time=[2, 5], replica=range(32)))


def test_threads_do_not_change_bits():
    settings = {"dimension": 20, "overlap": [0.3], "time": [1, 6], "replicas": 3 * LANES + 5}
    one = clhd.simulate_sgd(model(), **settings, threads=1)
    assert one.equals(clhd.simulate_sgd(model(), **settings, threads=2))


def test_the_seed_and_every_parameter_choose_another_stream():
    settings = {"dimension": 50, "overlap": [0.3], "time": [1], "replicas": 3}
    base = clhd.simulate_sgd(model(), **settings)
    assert base.equals(clhd.simulate_sgd(model(), **settings))
    for other in (
        clhd.simulate_sgd(model(), **settings, seed=1),
        clhd.simulate_sgd(model(noise_correlation=-0.8 + 1e-15), **settings),
        clhd.simulate_sgd(model(), **(settings | {"overlap": [0.3 + 1e-16]})),
    ):
        assert not np.any(base.overlap.values == other.overlap.values)


def test_segments_do_not_change_bits():
    point = points_of_many_kinds()[0]
    whole, parts = LaneGroup([(point, range(7))]), LaneGroup([(point, range(7))])
    whole.advance(100)
    for steps in (1, 0, 60, 39):
        parts.advance(steps)
    assert np.array_equal(whole.order_parameters(), parts.order_parameters())


def test_the_sphere_stays_on_the_sphere_and_the_square_of_the_overlap_below_the_norm():
    on_sphere = model(activation="relu", constraint="sphere", weight_decay=0, latents=(SKEWED, SHIFTED))
    data = clhd.simulate_sgd(on_sphere, dimension=4, initial="random", time=np.arange(1, 30), replicas=300)
    assert np.all(data.squared_norm == 1)
    free = clhd.simulate_sgd(model(), dimension=3, overlap=[0.9], time=np.arange(1, 30), replicas=300)
    for run in (data, free):
        excess = (run.overlap**2).sum("feature") / run.squared_norm - 1
        # Equality is reached only by rounding: a few hundred steps of a few units in the last place.
        assert float(excess.max()) < 1e-12


def test_mirrored_latents_and_start_give_the_mirrored_law():
    settings = {"dimension": 10, "time": [3], "replicas": REPLICAS}
    mirrored = clhd.TwoPoint(second_moment=0.8, skewness=-1.5)
    right = clhd.simulate_sgd(model(latents=(SKEWED,)), overlap=[0.4], **settings)
    left = clhd.simulate_sgd(model(latents=(mirrored,)), overlap=[-0.4], **settings)
    assert_same_law(right.overlap.values.ravel(), -left.overlap.values.ravel())


def test_divergence_is_recorded_and_disturbs_no_other_replica():
    explosive = model(activation=[0.0, 1.0, 0.0, 1.0], learning_rate=0.5, weight_decay=0)
    data = clhd.simulate_sgd(explosive, dimension=20, overlap=[0.2], time=np.arange(0, 40), replicas=200, seed=4)
    lost = data.diverged.values
    assert lost.any()
    assert np.isfinite(data.squared_norm.values[:, 0]).all()
    assert np.array_equal(lost, np.isnan(data.overlap.values).any(axis=(1, 2)))
    missing = np.isnan(data.squared_norm.values)
    assert np.array_equal(missing, np.logical_or.accumulate(missing, axis=1))


def test_a_collapsed_unit_has_no_cosine_similarity():
    data = clhd.simulate_sgd(model(), dimension=10, overlap=[0.0], squared_norm=0.0, time=[0, 2], replicas=3)
    assert np.all(data.squared_norm == 0)
    assert np.all(np.isnan(data.cosine_similarity))
    assert not data.diverged.any()


def test_a_running_simulation_can_be_stopped():
    asked = threading.Event()
    point = Point(model=model(), dimension=10**6, overlap=(0.3,))

    def should_stop():
        asked.set()
        return True

    with pytest.raises(SimulationStopped, match="stopped"):
        simulate_points([point], [10_000], range(1000), should_stop=should_stop)  # hours, if it did not stop
    assert asked.is_set()


BAD_INPUT = {
    "dimension": ({"dimension": 2}, "dimension = 2: must be a whole number, 3 or more"),
    "replicas": ({"replicas": 0}, "replicas = 0: must be a whole number, 1 or more"),
    "unsorted times": ({"time": [2, 1]}, "time = .2, 1.: must be one or more times, 0 or later, in strictly"),
    "negative time": ({"time": [-1, 1]}, "time = .-1, 1.: must be one or more times, 0 or later"),
    "no time": ({"time": []}, "time = ..: must be one or more times"),
    "norm": ({"overlap": [1.1]}, "overlap = .1.1.: the sum of its squares, 1.21, must not exceed squared_norm = 1"),
    "not a number": ({"overlap": [float("nan")]}, "overlap = .*: must hold finite numbers only"),
    "length": ({"overlap": [0.1, 0.2]}, "overlap = .*: must be a list of 1 number"),
    "no overlap": ({"overlap": None}, "overlap = None: must be given with initial = 'fixed'"),
    "overlap of a random start": ({"initial": "random"}, "overlap = .*: must not be given with initial = 'random'"),
    "engine": ({"engine": "exact"}, "engine = 'exact': must be one of conditioned, full, projected"),
    "initial": ({"initial": "warm"}, "initial = 'warm': must be one of fixed, random"),
    "seed": ({"seed": -1}, "seed = -1: must be a whole number, 0 or more"),
    "threads": ({"threads": 0}, "threads = 0: must be a whole number, 1 or more"),
    "elastic net": (
        {"model": model(l1_penalty=0.1)},
        "l1_penalty = 0.1: the projected engine needs 0.0; use engine = 'full'",
    ),
    "noise law": (
        {"model": model(noise_law="rademacher")},
        "noise_law = 'rademacher': the projected engine needs 'gaussian'; use engine = 'full'",
    ),
    "feature law": (
        {"model": model(latents=(SKEWED, SHIFTED), feature_law="rademacher"), "dimension": 11, "overlap": [0.3, 0.1]},
        "dimension = 11: must be a multiple of 2",
    ),
    "impossible features": (
        {"model": model(feature_law="sparse", feature_fraction=0.001), "engine": "full"},
        "feature_fraction",
    ),
    "sphere": (
        {"model": model(constraint="sphere", weight_decay=0), "squared_norm": 2.0},
        "squared_norm = 2.0: must be 1 with constraint = 'sphere'",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(case):
    change, message = BAD_INPUT[case]
    settings = {"model": model(), "dimension": 10, "overlap": [0.3], "time": [1]} | change
    with pytest.raises(clhd.ClhdError, match=message):
        clhd.simulate_sgd(settings.pop("model"), **settings)
