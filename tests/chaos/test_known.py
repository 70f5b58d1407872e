"""The campaign notices faults: each of its checks, on a store with such a fault."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zarr
from distributed import Client

import clhd.systems.registry
from clhd.sweep.plan.stage import Stage as SweepStage
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import parse_experiment, read_experiment
from clhd.sweep.store.prepare import prepare_store
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from tests.chaos import known
from tests.chaos.experiments import NAME, write_experiment
from tests.chaos.known import KINDS, copy_stores, find_late_writes, read_known, read_summary
from tests.chaos.scenario import Act, Scenario
from tests.chaos.stage import Stage
from tests.sweep.conftest import client  # noqa: F401  # a fixture


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, client: Client) -> Path:  # noqa: F811
    """A folder in which a run of the toy has ended well."""
    folder = tmp_path_factory.mktemp("finished")
    table = {"system": "toy", "name": NAME, "axes": {"slope": [0, 1, 2], "size": [4, 16]}, "times": [0, 1]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
        run_experiment(parse_experiment({**table, "replicas": 4}), client, results=folder / "results")
    return folder


@pytest.fixture
def stage(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A scenario that has just ended well, of which a test may spoil the results."""
    monkeypatch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    shutil.copytree(finished / "results", tmp_path / "results")
    place = tmp_path / "results" / NAME
    stores: dict[str, Any] = {stage: read_known(place / f"{stage}.zarr") for stage in KINDS}
    scenario = Scenario(0, "clhd", "toy", "empty", (Act("base", "all", "any", 0.5),))
    summary = read_summary(place / "summary.zarr")
    stage = Stage(scenario, tmp_path, {}, {("toy", "base"): stores}, {("toy", "base"): summary})
    stage.before = dict(stores)
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
    group.attrs.update({"title": "without consolidated metadata"})


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
        (leave(".simulation-new.zarr/zarr.json"), "stray files: .simulation-new.zarr"),
        (leave("simulation.zarr/core"), "stray files: simulation.zarr/core"),
        (part_metadata, "simulation: its metadata are not consolidated"),
        (part_metadata, "simulation: clhd refuses it"),
        (change_summary, "summary: other bits of height_mean"),
    ],
    ids=["value", "run", "attempts", "status", "partial", "grown", "stray", "metadata", "checksum", "summary"],
)
def test_what_must_not_be_is_seen(stage: Stage, spoil: Callable[[Path], None], problem: str) -> None:
    stage.check_end("base")
    assert stage.outcome.problems == []
    spoil(stage.place)
    stage.check_end("base")
    assert any(found.startswith(problem) for found in stage.outcome.problems), stage.outcome.problems


@pytest.mark.parametrize("is_spoiled", [False, True])
def test_a_summary_that_is_not_whole_right_after_a_kill_is_seen(stage: Stage, is_spoiled: bool) -> None:
    stage.outcome.kills.append({})
    if is_spoiled:
        change_summary(stage.place)
    stage._look()
    wrong = ["summary right after the kill: other bits than those of base"]
    assert stage.outcome.problems == (wrong if is_spoiled else [])
    assert stage.outcome.kills[0]["summary"] == ("another" if is_spoiled else "base")


def test_a_status_that_comes_while_the_values_are_copied_is_not_copied_without_them(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = stage.place, stage.folder / "seen"
    chunk = next(file for file in (source / "simulation.zarr" / "status" / "c").glob("**/*") if file.is_file())
    content, copy_tree = chunk.read_bytes(), known._copy_tree
    chunk.unlink()

    def copy(here: Path, there: Path, **options: Any) -> None:
        copy_tree(here, there, **options)
        if here == source / "simulation.zarr" / "status":
            chunk.write_bytes(content)

    monkeypatch.setattr(known, "_copy_tree", copy)
    copy_stores(source, target)
    assert chunk.exists()
    assert not (target / chunk.relative_to(source)).exists()
    assert (target / "simulation.zarr" / "height" / "zarr.json").exists()


@pytest.mark.parametrize("size", ["processes", "threads"])
def test_the_longer_form_grows_by_files_that_both_stores_have_and_the_grown_one_does_not(
    tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clhd.sweep.plan.blocks.MIN_BLOCK_SECONDS", 0.1)  # as in all processes of the campaign
    linked: dict[str, int] = {}
    for form in ("longer", "grown"):
        path = tmp_path / form / "simulation.zarr"
        path.parent.mkdir()
        write_experiment(tmp_path, size, "base")
        store, _ = prepare_store(SweepStage(read_experiment(tmp_path / f"{NAME}.yaml"), "simulation"), path)
        for index in store.chunk_indices():
            chunk = store.make_chunk(index)
            chunk["status"][...] = Status.OK
            store.write_chunk(index, chunk)
        calls: list[Any] = []
        monkeypatch.setattr(Store, "take_chunk", lambda *arguments, calls=calls: calls.append(arguments))
        write_experiment(tmp_path, size, form)
        prepare_store(SweepStage(read_experiment(tmp_path / f"{NAME}.yaml"), "simulation"), path)
        linked[form] = len(calls)
    assert linked == {"longer": len(list(store.chunk_indices())), "grown": 0}


def test_what_an_orphan_wrote_after_its_successor_had_begun_is_seen(stage: Stage) -> None:
    path = stage.place / "simulation.zarr"
    before = stage.before["simulation"]
    newest = max(file.stat().st_mtime_ns for file in path.glob("*/c/**/*"))
    assert find_late_writes(path, before, newest) == []
    change("height", 0.123)(stage.place)
    assert len(find_late_writes(path, before, newest)) == 1
