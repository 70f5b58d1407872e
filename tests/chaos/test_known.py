"""The campaign sees what must not be: each of its checks, on a store that was spoiled for it."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr
from distributed import Client

import clhd.systems
from clhd.sweep.experiment import parse_experiment
from clhd.sweep.run import run_experiment
from tests.chaos.experiments import NAME
from tests.chaos.known import ROADS, find_late_writes, read_known, read_summary
from tests.chaos.scenario import Act, Scenario
from tests.chaos.stage import Stage
from tests.sweep.conftest import client  # noqa: F401  # a fixture


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Path:  # noqa: F811
    """A folder in which a run of the toy has ended well."""
    folder = tmp_path_factory.mktemp("finished")
    table = {"system": "toy", "name": NAME, "axes": {"slope": [0, 1, 2], "size": [4, 16]}, "times": [0, 1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clhd.systems.SYSTEMS, "toy", "tests.sweep.toy:ToySystem")
        run_experiment(parse_experiment({**table, "replicas": 4}), client, results=folder / "results")
    return folder


@pytest.fixture
def stage(tmp_path: Path, finished: Path) -> Stage:
    """A scenario that has just ended well, of which a test may spoil the results."""
    shutil.copytree(finished / "results", tmp_path / "results")
    place = tmp_path / "results" / NAME
    known: dict[str, Any] = {road: read_known(place / f"{road}.zarr") for road in ROADS}
    scenario = Scenario(0, "clhd", "toy", "empty", (Act("base", "all", "any", 0.5),))
    summary = read_summary(place / "summary.zarr")
    stage = Stage(scenario, tmp_path, {}, {("toy", "base"): known}, {("toy", "base"): summary})
    stage.before = dict(known)
    return stage


def change(name: str, value: Any) -> Callable[[Path], None]:
    """Change one entry of a variable of the simulation, with a right checksum."""

    def spoil(place: Path) -> None:
        array: Any = zarr.open_group(str(place / "simulation.zarr"), mode="r+")[name]
        array[(1,) * array.ndim if array.ndim < 5 else (1, 1, 1, 1, 0)] = value

    return spoil


def leave(name: str) -> Callable[[Path], None]:
    def spoil(place: Path) -> None:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()

    return spoil


def part_metadata(place: Path) -> None:
    group = zarr.open_group(str(place / "simulation.zarr"), mode="r+", use_consolidated=False)
    group.attrs.update({"title": "without the gathered metadata"})


def change_summary(place: Path) -> None:
    array: Any = zarr.open_group(str(place / "summary.zarr"), mode="r+")["height_mean"]
    array[...] = 1.0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (change("height", 0.123), "simulation: other bits of height"),
        (change("run", 3), "simulation: 1 blocks that were done before a kill were lost or computed again"),
        (change("attempts", 2), "simulation: 1 blocks that were done before a kill were lost or computed again"),
        (change("status", 0), "simulation: 1 runs are not ok"),
        (leave("simulation.zarr/height/c/0/0.1f.partial"), "stray files: simulation.zarr/height/c/0/0.1f.partial"),
        (leave(".simulation-grown.zarr/zarr.json"), "stray files: .simulation-grown.zarr"),
        (part_metadata, "simulation: its metadata are not consolidated"),
        (change_summary, "summary: other bits of height_mean"),
    ],
    ids=["value", "run", "attempts", "status", "partial", "grown", "metadata", "summary"],
)
def test_what_must_not_be_is_seen(stage: Stage, spoil: Callable[[Path], None], problem: str) -> None:
    stage.check_end("base")
    assert stage.outcome.problems == []
    spoil(stage.place)
    stage.check_end("base")
    assert any(found.startswith(problem) for found in stage.outcome.problems), stage.outcome.problems


def test_what_an_orphan_wrote_after_its_successor_had_begun_is_seen(stage: Stage) -> None:
    path = stage.place / "simulation.zarr"
    before = stage.before["simulation"]
    newest = max(file.stat().st_mtime_ns for file in path.glob("*/c/**/*"))
    assert find_late_writes(path, before, newest) == []
    change("height", 0.123)(stage.place)
    assert len(find_late_writes(path, before, newest)) == 1
