"""Weights from the projected chain: their joint law over times against the full engine, and a wrong variant.

Seeds and the level are fixed here: 1e-4 for each case, shared by its comparisons.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import clhd
from clhd.systems.contrastive.simulation import projected_weights
from clhd.systems.contrastive.simulation.full import FullReplica
from clhd.systems.contrastive.simulation.lockstep import LANES
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected_weights import WeightGroup, count_weight_lanes

FloatArray = NDArray[np.float64]

LEVEL = 1e-4
SPHERE: dict[str, Any] = {"constraint": "sphere", "weight_decay": 0.0}


def make_model(**changes: Any) -> clhd.ContrastiveModel:
    settings: dict[str, Any] = {
        "latents": (clhd.TwoPoint(second_moment=1.5, skewness=1.0),),
        "learning_rate": 1.0,
        "weight_decay": 0.4,
        "base_noise_variance": 0.6,
        "augmentation_noise_variance": 0.6,
        "noise_correlation": -0.5,
        "feature_law": "rademacher",
    }
    return clhd.ContrastiveModel(**(settings | changes))


def make_point(n: int, engine: str, **changes: Any) -> Point:
    return Point(model=make_model(**changes), dimension=n, overlap=(0.4,), engine=engine)


def make_start(n: int) -> tuple[FloatArray, FloatArray]:
    """A feature of signs, and weights of squared length n whose part orthogonal to it sits in two coordinates."""
    feature = np.resize([1.0, -1.0, -1.0, 1.0], n)
    weights = 0.4 * feature
    rest = np.zeros(n)
    rest[[0, 1]] = feature[[0, 1]] * [1.0, -1.0]
    return feature, weights + rest * np.sqrt(n * (1 - 0.4**2) / 2)


def summarise(first: FloatArray, second: FloatArray, feature: FloatArray) -> FloatArray:
    """Numbers of the joint law of the weights at two times, shape (runs, numbers)."""
    n = len(feature)
    columns = [first[:, 0], second[:, 0], second[:, 0] - first[:, 0], second[:, 5] - first[:, 5], second[:, 5]]
    columns += [first[:, 5] * second[:, 5], np.sum(first * second, axis=1) / n, np.sum(first[:, 2:5], axis=1)]
    columns += [second @ feature / n, np.sum(second**2, axis=1) / n]
    return np.column_stack(columns)


def run_full(point: Point, steps: int, runs: int) -> FloatArray:
    n = point.dimension
    feature, start = make_start(n)
    run = FullReplica(point.model, n, point.key, 0, overlap=np.array(point.overlap), squared_norm=1.0)
    run.features[:] = feature
    first, second = np.empty((2, runs, n))
    for k in range(runs):
        run.weights[:] = start
        for times in (first, second):
            run.advance(steps)
            times[k] = run.weights
    return summarise(first, second, feature)


def run_chain(point: Point, steps: int, runs: int) -> FloatArray:
    feature, start = make_start(point.dimension)
    parts = []
    for begin in range(0, runs, 125):
        group = WeightGroup([(point, range(begin, begin + 125))])
        group.weights[:], group.features[:] = start, feature
        group._restart()
        times = []
        for _ in range(2):
            group.advance(steps)
            group.draw()
            times.append(group.weights.copy())
        parts.append(summarise(*times, feature))
    return np.concatenate(parts)


def least_pvalue(one: FloatArray, other: FloatArray) -> float:
    pairs = zip(np.round(one, 9).T, np.round(other, 9).T, strict=True)
    return min(float(stats.ks_2samp(a, b).pvalue) for a, b in pairs)


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "three views": ({}, 8),
    "sphere": (SPHERE, 40),
    "a larger dimension": ({}, 200),
    "the letter's batch": ({"loss": "covariance", "background": "orthogonal"}, 8),
}


@pytest.mark.parametrize("case", CASES)
def test_the_weights_at_two_times_have_the_joint_law_of_the_full_engine(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, n = CASES[case]
    steps, runs = n // 2, 3000
    full = run_full(make_point(n, "full", **changes), steps, runs)
    point, level = make_point(n, "projected", **changes), LEVEL / full.shape[1]
    assert least_pvalue(full, run_chain(point, steps, runs)) > level

    # Without the further overlap, the part of the weights orthogonal to the features would be drawn anew.
    right = projected_weights._move

    def forget(
        weights: FloatArray, features: FloatArray, before: FloatArray, state: FloatArray, generator: Any
    ) -> None:
        right(weights, features, np.append(before[:-1], 0.0), state, generator)

    monkeypatch.setattr(projected_weights, "_move", forget)
    assert least_pvalue(full, run_chain(point, steps, runs)) < level


def test_the_weights_have_the_order_parameters_and_the_start_of_the_point() -> None:
    point = make_point(50, "projected")
    run = clhd.simulate_sgd(
        point.model, dimension=50, time=[0, 0.5, 3], overlap=[0.4], replicas=3, engine="projected", keep_weights=True
    )
    np.testing.assert_allclose((run.weights**2).mean("coordinate"), run.squared_norm, rtol=1e-12)
    found = (run.weights * run.features).mean("coordinate").transpose(*run.overlap.dims)
    np.testing.assert_allclose(found, run.overlap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(run.overlap.sel(time=0), 0.4, rtol=0, atol=1e-12)
    assert len(np.unique(run.weights.sel(time=3).values)) == 150


def test_a_replica_does_not_depend_on_its_neighbours() -> None:
    point = make_point(50, "projected")
    groups = [WeightGroup([(point, replicas)]) for replicas in (range(5), [3])]
    for group in groups:
        group.advance(20)
        group.draw()
        group.advance(20)
        group.draw()
    np.testing.assert_array_equal(groups[0].weights[3], groups[1].weights[0])


def test_without_noise_and_latents_the_weights_only_shrink() -> None:
    silent = {"base_noise_variance": 0.0, "augmentation_noise_variance": 0.0}
    point = make_point(30, "projected", latents=(clhd.ThreePoint(second_moment=0.0),), **silent)
    group = WeightGroup([(point, [0])])
    before = group.weights.copy()
    group.draw()
    np.testing.assert_allclose(group.weights, before, rtol=0, atol=1e-14)
    group.advance(3)
    group.draw()
    np.testing.assert_allclose(group.weights, (1 - 0.4 / 30) ** 3 * before, rtol=0, atol=1e-14)


def test_many_dimensions_are_simulated_in_smaller_groups() -> None:
    assert count_weight_lanes(100) == LANES
    assert count_weight_lanes(10**6) * 10**6 <= 2**25
    assert count_weight_lanes(10**9) == 1


@pytest.mark.parametrize(
    ("changes", "n", "message"),
    [
        ({"loss": "covariance", "units": 2}, 20, "units = 2: weights of several units need engine = 'full'"),
        ({}, 3, "dimension = 3: weights by the projected engine need at least 4"),
    ],
)
def test_what_has_no_weights_is_refused(changes: dict[str, Any], n: int, message: str) -> None:
    model = make_model(feature_law="gaussian", **changes)
    with pytest.raises(clhd.ClhdError, match=message):
        clhd.simulate_sgd(model, dimension=n, time=[1], initial="random", keep_weights=True)
