"""Chunks of points of several costs: results and bits do not depend on the points that share a file or a call."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import clhd.sweep.plan.blocks
from clhd.sweep.plan.stage import MIXED, Stage
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Cost
from tests.sweep.conftest import MakeExperiment
from tests.sweep.toy import LOG, ToySimulation

SIZES = [1, 2, 4, 2000]


def run(experiment: Experiment, results: Path, client: Client) -> tuple[bool, dict[str, bytes], Any]:
    """If chunks of a simulation are of several costs, the bytes of all that it computed, and the status."""
    run_stage(experiment, "simulation", results, client=client)
    store = Store(results / experiment.name / "simulation.zarr")
    kinds = Stage(experiment, "simulation").cost_table.chunk_kinds(store.chunks[:-1])
    found = {name: store.read(name) for name in (*store.outputs, "status", "error_type", "error_message")}
    values = {
        name: repr(array.tolist()).encode() if array.dtype.kind == "T" else array.tobytes()
        for name, array in found.items()
    }
    return bool((kinds == MIXED).any()), values, found["status"]


@pytest.fixture(autouse=True)
def costs_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of the toy is predicted to take 10 microseconds for each unit of its size."""
    monkeypatch.setattr(ToySimulation, "cost", lambda self, point, time: Cost(seconds=1e-5 * point.get("size")))


@pytest.fixture
def each_its_own(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call lets each cost have chunks of its own from then on, however little there is to do."""
    return lambda: monkeypatch.setattr(clhd.sweep.plan.blocks, "MIN_BLOCK_SECONDS", 1e-9)


def test_bits_are_equal_in_chunks_of_many_costs_and_of_one(
    toy: MakeExperiment, tmp_path: Path, client: Client, each_its_own: Any
) -> None:
    LOG.broken.add(2.0)
    experiment = toy(axes={"slope": [-1, 0, 1, 2], "size": SIZES})
    is_mixed, together, status = run(experiment, tmp_path / "together", client)
    assert is_mixed
    assert set(np.unique(status)) == {1, 2, 4}  # some are ok, some diverged, some failed
    each_its_own()
    is_mixed, apart, _ = run(experiment, tmp_path / "apart", client)
    assert not is_mixed
    assert together == apart


@pytest.mark.parametrize("changes", [{"size": [*SIZES, 3, 3000]}, {"slope": [0, 0.5, 3]}, {}])
def test_stores_of_mixed_chunks_grow_along_any_axis(
    toy: MakeExperiment, tmp_path: Path, client: Client, each_its_own: Any, changes: dict[str, Any]
) -> None:
    axes = {"slope": [0, 3], "size": SIZES}
    large = toy(axes={**axes, **changes}, replicas=4 if changes else 9)
    assert run(toy(axes=axes), tmp_path / "grown", client)[0]
    LOG.simulated.clear()
    _, grown, _ = run(large, tmp_path / "grown", client)
    first = {point for point, _ in LOG.simulated}
    assert len(first) == {"size": 4, "slope": 4}.get(next(iter(changes), ""), 8)  # only what was not known
    each_its_own()
    is_mixed, at_once, _ = run(large, tmp_path / "at_once", client)
    assert not is_mixed
    assert grown == at_once


def test_a_store_whose_chunks_would_be_chosen_otherwise_now_stays_and_goes_on(
    toy: MakeExperiment, tmp_path: Path, client: Client
) -> None:
    experiment = toy(axes={"slope": [0, 3], "size": SIZES})
    with pytest.MonkeyPatch.context() as earlier:
        earlier.setattr(clhd.sweep.plan.blocks, "MIN_BLOCK_SECONDS", 1e-9)
        LOG.broken.add(3.0)
        assert not run(experiment, tmp_path, client)[0]
    chunks = Store(tmp_path / "toy" / "simulation.zarr").chunks
    LOG.broken.clear()
    LOG.simulated.clear()
    is_mixed, resumed, _ = run(experiment, tmp_path, client)
    assert not is_mixed
    assert Store(tmp_path / "toy" / "simulation.zarr").chunks == chunks
    assert len(LOG.simulated) == 4
    assert resumed == run(experiment, tmp_path / "anew", client)[1]


def test_bits_of_sgd_are_equal_in_chunks_of_many_dimensions_and_of_one(
    tmp_path: Path, client: Client, each_its_own: Any
) -> None:
    table = {
        "system": "contrastive",
        "name": "dimensions",
        "constants": {"initial_cosine_similarity": 0.3, "weight_decay": 0.6, "theory": "none"},
        "axes": {"dimension": [20, 33, 50, 81], "second_moment": [0.5, 1.0, 1.5]},
        "times": [0, 1, 2],
        "replicas": 7,
    }
    experiment = parse_experiment(table)
    is_mixed, together, status = run(experiment, tmp_path / "together", client)
    assert is_mixed
    assert np.all(status == 1)
    each_its_own()
    is_mixed, apart, _ = run(experiment, tmp_path / "apart", client)
    assert not is_mixed
    assert together == apart
