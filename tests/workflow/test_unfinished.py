"""The stages that have to run again are found in the stores, not in files that say so."""

import os
import shutil
from pathlib import Path

import pytest

import clhd.systems.registry
from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.results.state import find_unfinished
from clhd.sweep.results.status import describe_status
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from tests.sweep.stages import overwrite

TABLE = {"system": "toy", "name": "toy", "axes": {"slope": [0, 1], "size": [4]}, "times": [0, 1], "replicas": 2}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    run_experiment(parse_experiment(TABLE), results=tmp_path, cluster=Cluster(workers=1))
    return tmp_path


def change(**changes: object) -> Experiment:
    return parse_experiment({**TABLE, **changes})


def test_nothing_is_unfinished_after_a_run(results: Path) -> None:
    assert find_unfinished(change(), results) == []
    fewer = change(axes={"slope": [1], "size": [4]})
    assert find_unfinished(fewer, results) == ["summary"], "fewer points are all known"


def test_all_is_unfinished_before_the_first_run(results: Path) -> None:
    assert find_unfinished(change(), results / "elsewhere") == ["simulation", "theory", "summary"]


@pytest.mark.parametrize("part", ["simulation", "theory", "summary"])
def test_a_store_that_was_deleted_is_noticed(results: Path, part: str) -> None:
    assert describe_status(change(), results)["complete"]
    shutil.rmtree(results / "toy" / f"{part}.zarr")
    assert find_unfinished(change(), results) == [part]
    assert not describe_status(change(), results)["complete"]


@pytest.mark.parametrize("part", ["simulation", "theory"])
def test_a_chunk_that_was_deleted_is_noticed(results: Path, part: str) -> None:
    chunk = next(path for path in (results / "toy" / f"{part}.zarr" / "height" / "c").rglob("*") if path.is_file())
    chunk.unlink()
    assert find_unfinished(change(), results) == [part]


def test_a_failed_point_is_unfinished_and_a_diverged_one_is_not(results: Path) -> None:
    store = Store(results / "toy" / "simulation.zarr")
    status = store.read("status")
    status[0, 0, 0] = Status.DIVERGED
    overwrite(store, "status", status)
    assert find_unfinished(change(), results) == ["summary"]
    status[0, 0, 0] = Status.FAILED
    overwrite(store, "status", status)
    assert find_unfinished(change(), results) == ["simulation", "summary"]


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {"slope": [0, 1, 2], "size": [4]}},
        {"replicas": 3},
        {"times": [0, 2]},
        {"seed": 1},
        {"constants": {"weight": 2}},
    ],
    ids=["axis", "replicas", "times", "seed", "constant"],
)
def test_a_store_for_something_else_is_unfinished(results: Path, changes: dict[str, object]) -> None:
    assert "simulation" in find_unfinished(change(**changes), results)


@pytest.mark.parametrize("seconds", [-1e6, 1e6])
def test_a_summary_is_out_of_date_by_what_it_rests_on_whatever_the_clock_says(results: Path, seconds: float) -> None:
    written = (results / "toy" / "summary.zarr" / "zarr.json").stat().st_mtime + seconds
    for part in ("simulation", "theory"):
        os.utime(results / "toy" / f"{part}.zarr" / "zarr.json", (written, written))
    assert find_unfinished(change(), results) == []
    run_experiment(change(axes={"slope": [0, 1, 2], "size": [4]}), results=results, cluster=Cluster(workers=1))
    earlier = results / "earlier.zarr"
    shutil.copytree(results / "toy" / "summary.zarr", earlier)
    run_experiment(change(axes={"slope": [0, 1, 2, 3], "size": [4]}), results=results, cluster=Cluster(workers=1))
    shutil.rmtree(results / "toy" / "summary.zarr")
    shutil.copytree(earlier, results / "toy" / "summary.zarr", copy_function=shutil.copyfile)  # with new dates
    assert find_unfinished(change(axes={"slope": [0, 1, 2], "size": [4]}), results) == ["summary"]
