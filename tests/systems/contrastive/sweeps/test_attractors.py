"""Clouds as runs of a system: their clusters beside the stable fixed points, their streams, and their mistakes."""

import numpy as np
import pytest
from scipy.optimize import brentq

import clhd
from clhd.core.clusters import count_clusters
from clhd.errors import ClhdError
from clhd.figures.plot import plot_experiment
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Gaussian, ThreePoint
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.attractors import _recall_cloud, count_attractors
from clhd.systems.declarations import Status
from clhd.systems.registry import find_system

SYSTEM = find_system("attractors")
VALUES = {
    "features": 2,
    "second_moment": 1.5,
    "kurtosis": 1.0,
    "learning_rate": 0.3,
    "weight_decay": 0.6,
    "base_noise_variance": 0.5,
    "augmentation_noise_variance": 0.0,
    "dimension": 200,
    "cloud_size": 300,
    "cluster_neighbours": 20,
    "cluster_methods": "quickshift++",
}
TIME = np.array([2.0, 100.0])


def simulate(replicas=range(1), **changes):
    point = SYSTEM.simulation.point(VALUES | changes, 3)
    return SYSTEM.simulation.compute([point], TIME, replicas)


def make_model(latents, **changes):
    return ContrastiveModel(
        latents=latents,
        **{
            "learning_rate": 0.3,
            "weight_decay": 0.6,
            "base_noise_variance": 0.5,
            "augmentation_noise_variance": 0.0,
            **changes,
        },
    )


KURTOSES = {(1.0, 1.0): 4, (1.0, 3.0): 2, (3.0, 3.0): 4}


@pytest.mark.parametrize("kurtoses", KURTOSES)
def test_stable_states_count_with_all_their_signs(kurtoses):
    """Up to sign: two pure states, one, and one mixed state with both signs."""
    latents = tuple(ThreePoint(second_moment=1.5, kurtosis=kurtosis) for kurtosis in kurtoses)
    assert count_attractors(make_model(latents)) == KURTOSES[kurtoses]


def test_one_feature_has_two_attractors_and_a_weak_one_none_but_the_uninformative():
    assert count_attractors(make_model((ThreePoint(second_moment=1.5),))) == 2
    assert count_attractors(make_model((ThreePoint(second_moment=0.05),))) == 1


def test_a_circle_of_attractors_has_no_number():
    assert np.isnan(count_attractors(make_model((Gaussian(second_moment=1.5), Gaussian(second_moment=1.5)))))


@pytest.mark.parametrize("moment", [0.1, 0.01])
def test_under_a_weak_decay_attractors_of_a_large_norm_count(moment):
    """Without noise a pure state of two symmetric atoms a has r = q^2 and 2 a tanh(a q) / cosh(a q)^2 = lambda q."""
    decay = 0.003
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=moment),),
        weight_decay=decay,
        base_noise_variance=0.0,
        augmentation_noise_variance=0.0,
    )
    a = np.sqrt(moment)
    q = brentq(lambda q: 2 * a * np.tanh(a * q) / np.cosh(a * q) ** 2 - decay * q, 0.1, 1000.0)
    assert q**2 > 50
    states = clhd.find_fixed_points(model)
    found = states.overlap.values[states.stable.values]
    assert found == pytest.approx(np.array([[q]]), rel=1e-9)
    assert count_attractors(model) == 2


def test_relu_without_noise_has_no_count():
    """Its states attract, but have no Jacobian to say so."""
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5),),
        activation="relu",
        constraint="sphere",
        base_noise_variance=0.0,
        augmentation_noise_variance=0.0,
    )
    assert np.isnan(count_attractors(model))


def test_a_cloud_has_one_cluster_at_first_and_one_per_attractor_in_the_end():
    found = simulate()
    assert found.status.tolist() == [[Status.OK]]
    assert found.values["attractors"][0, 0, :, 0].tolist() == [1, 4]
    assert found.values["noise_share"].max() < 0.02
    share = found.values["cluster_share"][0, 0, -1, 0]
    assert share[:4] == pytest.approx(4 * [0.25], abs=0.1)  # 300 runs: four standard deviations
    assert np.all(np.isnan(share[4:]))


def test_both_methods_agree_with_the_theory():
    pytest.importorskip("sklearn")
    found = simulate(cluster_methods="both").values["attractors"][0, 0]
    theory = SYSTEM.theory.compute([SYSTEM.theory.point(theory_values(cluster_methods="both"), 0)], TIME, [])
    assert theory.values["attractors"].shape == (1, 2, 2)
    assert found[-1].tolist() == theory.values["attractors"][0, -1].tolist() == [4, 4]


def theory_values(**changes):
    own = {"dimension", "cloud_size", "cluster_neighbours"}
    return {name: value for name, value in (VALUES | changes).items() if name not in own}


def test_a_cloud_is_made_of_the_runs_of_its_replica():
    """Replica 1 of clouds of 300 is runs 300 to 599 of SGD; clustering them by hand gives the same."""
    point = SYSTEM.simulation.point(VALUES, 3)
    runs = simulate_points([point.point], TIME, range(300, 600), threads=1)[0, :, -1, :-1]
    by_hand = count_clusters(runs, method="quickshift++", neighbours=20)
    found = simulate(replicas=[1]).values
    assert found["cluster_share"][0, 0, -1, 0, : by_hand.sizes["cluster"]].tolist() == by_hand.share.values.tolist()
    together = simulate(replicas=[0, 1]).values
    assert all(together[name][:, 1:].tobytes() == found[name].tobytes() for name in found)


def test_without_scikit_learn_a_run_fails_with_one_line(monkeypatch):
    monkeypatch.setattr("clhd.core.clusters.find_spec", lambda name: None)
    found = simulate(cluster_methods="both")
    assert found.status.tolist() == [[Status.FAILED]]
    assert "pip install 'clhd[attractors]'" in str(found.errors[0, 0])


def test_more_clusters_than_there_is_room_for_fail_the_run():
    found = simulate(max_clusters=3)
    assert found.status.tolist() == [[Status.FAILED]]
    assert str(found.errors[0, 0]) == "max_clusters = 3: quickshift++ found 4 clusters"


def test_a_cloud_of_which_a_run_diverges_has_diverged():
    point = SYSTEM.simulation.point(VALUES | {"activation": (0.0, 1.0, 0.0, 5.0), "learning_rate": 20.0}, 3)
    assert SYSTEM.simulation.compute([point], TIME, [0]).status.tolist() == [[Status.DIVERGED]]


def test_points_that_differ_in_their_counter_have_keys_of_their_own():
    keys = {SYSTEM.simulation.point(VALUES | change, 3).key for change in (
        {}, {"cloud_size": 301}, {"cluster_neighbours": 21}, {"core_fluctuation": 0.5}, {"smallest_share": 0.1}
    )}  # fmt: skip
    assert len(keys) == 5


def test_points_that_differ_in_their_counter_share_the_clouds_of_each_replica(monkeypatch):
    """Each cloud is simulated once, and the numbers are those of each point alone."""
    changes = ({"cluster_neighbours": 20}, {"dimension": 100}, {"cluster_neighbours": 5, "smallest_share": 0.0})
    alone = []
    for change in changes:
        _recall_cloud.cache_clear()
        alone.append(simulate(range(2), **change).values)
    _recall_cloud.cache_clear()
    simulated = []
    monkeypatch.setattr(
        "clhd.systems.contrastive.sweeps.attractors.simulate_points",
        lambda points, time, runs, **more: (
            simulated.append((points[0].dimension, runs)) or simulate_points(points, time, runs, **more)
        ),
    )
    points = [SYSTEM.simulation.point(VALUES | change, 3) for change in changes]
    together = SYSTEM.simulation.compute(points, TIME, range(2)).values
    assert sorted(simulated, key=str) == [(n, range(k, k + 300)) for n in (100, 200) for k in (0, 300)]
    for k, values in enumerate(alone):
        for name, array in values.items():
            np.testing.assert_array_equal(together[name][k], array[0])


def test_more_neighbours_than_runs_are_refused():
    with pytest.raises(ClhdError, match="cluster_neighbours = 400: must not be greater than cloud_size = 300"):
        SYSTEM.simulation.point(VALUES | {"cluster_neighbours": 400}, 0)


EXPERIMENT = """
system: attractors
constants: {features: 2, second_moment: 1.5, learning_rate: 0.3, weight_decay: 0.6, base_noise_variance: 0.5,
            augmentation_noise_variance: 0, cloud_size: 100, cluster_neighbours: 10, cluster_methods: quickshift++}
axes:
  case:
    together: {kurtosis_1: [1, 1], kurtosis_2: [1, 3]}
  dimension: [50, 100]
times: [5, 100]
replicas: 1
figure: attractors
"""


def test_a_sweep_puts_counts_beside_the_theory_and_draws_them(tmp_path):
    path = tmp_path / "counts.yaml"
    path.write_text(EXPERIMENT)
    summary = clhd.run_experiment(path, results=tmp_path)["summary"].to_dataset()
    assert summary.attractors_mean.dims == ("case", "dimension", "time", "cluster_method")
    assert summary.attractors_theory.isel(time=-1, dimension=0, cluster_method=0).values.tolist() == [4, 2]
    assert summary.cluster_share_mean.sizes["cluster_rank"] == 64
    paths = plot_experiment(tmp_path / "counts" / "summary.zarr", tmp_path / "figures")
    assert {path.suffix for path in paths} == {".pdf", ".png", ".rst"}
