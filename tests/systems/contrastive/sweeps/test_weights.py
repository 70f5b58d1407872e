"""The distribution of the weights as a system: the bits of the simulation, the PDE, the ODE, the distance."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from distributed import Client

import clhd
from clhd.errors import ClhdError
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import parse_experiment
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS as CONTRASTIVE
from clhd.systems.contrastive.sweeps.weights import PARAMETERS, WeightsSystem
from clhd.systems.declarations import Status
from tests.clients import open_threads

SYSTEM = WeightsSystem()
THEORY: dict[str, Any] = {
    "initial_cosine_similarity": 0.4,
    "weight_decay": 0.6,
    "weight_limit": 3.0,
    "weight_edges": 61,
}
BASE: dict[str, Any] = {"dimension": 40, **THEORY}
TIME = np.array([0.5, 1.0])
EDGES = np.linspace(-3, 3, 61)


def test_what_is_not_its_own_is_declared_as_in_the_contrastive_system() -> None:
    own = {"feature_law", "feature_fraction", "weight_limit", "weight_edges", "cells", "theory"}
    for name, parameter in PARAMETERS.items():
        # There is one feature, so no parameter has a value for each.
        assert name in own or parameter == replace(CONTRASTIVE[name], per_component=False)


ENGINES = {"projected": {}, "conditioned": {"l1_penalty": 0.2}, "full": {"noise_law": "rademacher"}}


@pytest.mark.parametrize(("engine", "changes"), ENGINES.items())
@pytest.mark.parametrize("law", [{}, {"feature_law": "sparse", "feature_fraction": 0.4}], ids=["rademacher", "sparse"])
def test_distributions_are_those_of_the_weights_of_simulate_sgd(
    law: dict[str, Any], engine: str, changes: dict[str, Any]
) -> None:
    point = SYSTEM.simulation.point({**BASE, **law, **changes}, seed=3)
    other = SYSTEM.simulation.point({**BASE, **law, "l1_penalty": 0.1}, seed=3)
    result = SYSTEM.simulation.compute([other, point], TIME, [4, 1])
    start = {"dimension": 40, "time": TIME, "overlap": [0.4]}
    alone = clhd.simulate_sgd(point.run.model, **start, replicas=5, seed=3, engine=engine, keep_weights=True)
    alone = alone.sel(replica=[4, 1])
    np.testing.assert_array_equal(result.values["overlap"][1], alone["overlap"])
    np.testing.assert_array_equal(result.values["squared_norm"][1], alone["squared_norm"])
    signs = SYSTEM.simulation.outputs({**BASE, **law}).coordinates["feature_sign"][0]
    for k, sign in enumerate(signs):
        for replica in (0, 1):
            weights = alone["weights"][replica].values[:, np.sign(alone["features"][replica, 0]) == sign]
            shares = (weights[:, :, None] <= EDGES).mean(axis=1)
            np.testing.assert_allclose(result.values["distribution"][1, replica, :, k], shares, rtol=0, atol=1e-15)
    assert (result.status == Status.OK).all()


def test_a_point_has_the_same_bits_alone_and_in_a_block() -> None:
    points = [SYSTEM.simulation.point({**BASE, "l1_penalty": penalty}, seed=1) for penalty in (0.0, 0.1)]
    together = SYSTEM.simulation.compute(points, TIME, [0, 1, 2])
    for k, point in enumerate(points):
        alone = SYSTEM.simulation.compute([point], TIME, [2])
        for name, values in together.values.items():
            assert values[k, 2].tobytes() == alone.values[name][0, 0].tobytes()


def test_where_the_distribution_is_taken_changes_no_random_number() -> None:
    wide = SYSTEM.simulation.point({**BASE, "weight_limit": 9.0, "weight_edges": 11}, seed=1)
    near = SYSTEM.simulation.point(BASE, seed=1)
    first, second = (SYSTEM.simulation.compute([point], TIME, [0]).values["overlap"] for point in (wide, near))
    np.testing.assert_array_equal(first, second)


def test_the_theory_is_the_pde_with_the_ode_beside_it_under_l2() -> None:
    point = SYSTEM.theory.point(THEORY, 0)
    values = SYSTEM.theory.compute([point, SYSTEM.theory.point({**THEORY, "l1_penalty": 0.2}, 0)], TIME, []).values
    ode = clhd.integrate_ode(point.model, overlap=0.4, time=TIME)
    np.testing.assert_array_equal(values["overlap_ode"][0], ode["overlap"])
    np.testing.assert_allclose(values["squared_norm"][0], ode["squared_norm"], rtol=0, atol=1e-4)
    assert np.isnan(values["overlap_ode"][1]).all()
    assert np.isnan(values["squared_norm_ode"][1]).all()
    pde = clhd.solve_pde(point.model, TIME, overlap=0.4, tolerance=1e-7)
    below = (pde.density * pde.cell_width).where(pde.weight < 0).sum("weight")
    np.testing.assert_allclose(values["distribution"][0, :, :, 30], below, rtol=0, atol=1e-12)
    assert set(values) == set(SYSTEM.theory.outputs({}).variables)


def test_a_divergence_is_a_status() -> None:
    values = {**THEORY, "activation": "linear", "weight_decay": 0.0, "second_moment": 3.0, "cells": 100}
    time = np.array([0.0, 200.0])
    result = SYSTEM.simulation.compute([SYSTEM.simulation.point({**values, "dimension": 30}, seed=1)], time, [0])
    assert result.status.tolist() == [[Status.DIVERGED]]
    assert np.isnan(result.values["distribution"][0, 0, 1]).all()
    assert SYSTEM.theory.compute([SYSTEM.theory.point(values, 0)], time, []).status.tolist() == [Status.DIVERGED]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": 101}, "cells = 101: must be an even number"),
        ({"initial_cosine_similarity": None}, "needs initial_cosine_similarity or initial_overlap"),
        ({"feature_fraction": 0.3}, "feature_fraction = 0.3: is only for feature_law = 'sparse'"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    values = {name: value for name, value in {**THEORY, **changes}.items() if value is not None}
    with pytest.raises(ClhdError, match=message):
        SYSTEM.theory.point(values, 0)


def test_nothing_is_computed_on_a_stage_that_is_switched_off() -> None:
    assert SYSTEM.simulation.outputs({"simulation": "none"}).variables == {}
    assert SYSTEM.theory.outputs({"theory": "none"}).variables == {}
    with pytest.raises(ClhdError, match="dimension: must be given"):
        SYSTEM.simulation.point(THEORY, seed=0)


@pytest.fixture(scope="module")
def client() -> Any:
    with open_threads(2) as client:
        yield client


def test_the_summary_holds_the_distance_of_each_replica_to_the_theory(tmp_path: Any, client: Client) -> None:
    experiment = parse_experiment(
        {
            "system": "weights",
            "name": "tiny",
            "constants": {**THEORY, "cells": 200},
            "axes": {"l1_penalty": [0, 0.2], "dimension": [40, 160]},
            "times": [0.5, 1],
            "replicas": 6,
            "seed": 5,
        }
    )
    tree = run_experiment(experiment, client, results=tmp_path)
    summary, simulation = tree["summary"].to_dataset(), tree["simulation"]["distribution"]
    difference = np.abs(simulation - tree["theory"]["distribution"])
    width = 0.1  # of 61 edges from -3 to 3
    inner = difference.isel(weight_edge=slice(1, -1)).sum("weight_edge")
    distance = width * (inner + 0.5 * difference.isel(weight_edge=[0, -1]).sum("weight_edge"))
    mean = summary["distribution_distance_mean"]
    assert mean.dims == ("l1_penalty", "dimension", "time", "feature_sign")
    np.testing.assert_allclose(mean, distance.mean("replica").transpose(*mean.dims), rtol=1e-12)
    error = distance.std("replica", ddof=1) / np.sqrt(6)
    np.testing.assert_allclose(summary["distribution_distance_standard_error"], error.transpose(*mean.dims), rtol=1e-10)
    # Four times the dimension, half the distance; 6 replicas of it scatter by a fifth.
    ratio = (mean.sel(dimension=160) / mean.sel(dimension=40)).mean()
    assert 0.35 < ratio < 0.7
    assert summary["overlap_ode_theory"].dims == ("l1_penalty", "time", "feature")


def test_an_experiment_of_moments_has_no_distance(tmp_path: Any, client: Client) -> None:
    experiment = parse_experiment(
        {
            "system": "weights",
            "name": "moments",
            "constants": {**BASE, "cells": 100},
            "times": [0.1],
            "replicas": 256,
            "keep": "moments",
        }
    )
    summary = run_experiment(experiment, client, results=tmp_path)["summary"]
    assert "distribution_distance_mean" not in summary
    assert "distribution_theory" in summary
