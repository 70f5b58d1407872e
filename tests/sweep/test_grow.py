"""A store that grows keeps its content, bit for bit; it takes over whole files where it can, and shows long work."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import clhd.core.progress
import clhd.sweep.store.prepare
from clhd.core.progress import Progress
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.create import create_store
from clhd.sweep.store.layout import LEDGER
from clhd.sweep.store.metadata import list_chunks
from clhd.sweep.store.prepare import grow_store, positions_in, predict_growth, predict_growth_seconds
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from tests.sweep.conftest import MakeExperiment
from tests.sweep.stages import simulate

LARGER = {"axes": {"slope": [0, 1, 2, 3, 4], "size": [4, 8, 16]}}


def make_store(path: Path, stage: Stage, chunks: tuple[int, ...], unknown: Sequence[tuple[int, ...]] = ()) -> Store:
    """A store in which every number is another, and some chunks were never written."""
    store = create_store(path, stage, chunks)
    counter = itertools.count(1)
    for index in store.chunk_indices():
        chunk = store.make_chunk(index)
        for values in chunk.values():
            numbers = [next(counter) % 1000 for _ in range(values.size)]
            values[...] = np.reshape([str(n) for n in numbers] if values.dtype.kind == "T" else numbers, values.shape)
        chunk["status"][...] = Status.OK
        if index not in unknown:
            store.write_chunk(index, chunk)
    return store


def list_files(store: Path) -> dict[str, os.stat_result]:
    return {
        str(path.relative_to(store)): path.stat()
        for path in store.glob("*/c/**/*")
        if path.is_file() and path.relative_to(store).parts[0] in {"height", *LEDGER}
    }


@pytest.mark.parametrize(
    ("axes", "replicas", "chunks"),
    [
        ({"slope": [0, 1, 2, 3, 4, 5, 6, 7], "size": [4, 16]}, 4, (2, 1, 3)),
        ({"slope": [0, 1, 2, 3, 4, 5], "size": [4, 16]}, 9, (2, 1, 3)),
        ({"slope": [-2, -1, 0, 1, 2, 3, 4], "size": [1, 4, 16]}, 4, (2, 1, 3)),
        ({"slope": [-1, 0, 1, 2, 3, 4], "size": [4, 16]}, 5, (2, 1, 3)),
        ({"slope": [0, 0.5, 1, 2, 3, 4], "size": [4, 8, 16]}, 6, (3, 2, 2)),
        ({"slope": [0, 1, 2, 3, 4, 5], "size": [4, 16]}, 4, (6, 2, 4)),
        ({"slope": [0, 1, 2, 3, 4, 5], "size": [4, 16]}, 5, (1, 1, 1)),
    ],
    ids=["behind", "behind a part", "whole chunks before", "before", "between", "one chunk", "smallest chunks"],
)
def test_every_number_stands_where_it_belongs_whatever_the_chunks(
    toy: MakeExperiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    axes: dict[str, Any],
    replicas: int,
    chunks: tuple[int, ...],
) -> None:
    held = Stage(toy(axes={"slope": [0, 1, 2, 3, 4], "size": [4, 16]}), "simulation")
    available = Stage(toy(axes=axes, replicas=replicas), "simulation")
    store = make_store(tmp_path / "simulation.zarr", held, (2, 1, 3), unknown=[(1, 0, 0), (0, 1, 0)])
    before = {name: store.read(name) for name in (*store.outputs, *LEDGER)}
    places = positions_in(available, held)
    monkeypatch.setattr(clhd.sweep.store.prepare, "keep_chunks", lambda *_: chunks)
    predicted, advanced = predict_growth(store, available, places), []

    def note(self: Progress, runs: int, seconds: float) -> None:
        advanced.append((runs, seconds))

    monkeypatch.setattr(Progress, "advance", note)
    grown = grow_store(store, available, places)
    assert grown.chunks == chunks
    new = np.ones(grown.shape, dtype=bool)
    new[np.ix_(*places)] = False
    for name, values in before.items():
        after = grown.read(name)
        assert after[np.ix_(*places)].tobytes() == values.tobytes() or name.startswith("error_")
        assert after[np.ix_(*places)].tolist() == values.tolist() or values.dtype.kind == "f"
        assert (grown.read("status")[new] == Status.NOT_RUN).all()
    assert sum(runs for runs, _ in advanced) == before["status"].size
    assert sum(seconds for _, seconds in advanced) == pytest.approx(predicted)
    assert grown.find_damage() == []


def test_chunks_that_keep_their_place_keep_their_files(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    path = results / "toy" / "simulation.zarr"
    store = Store(path)
    before = {index: store._file("height", index).stat().st_ino for index in store.chunk_indices()}
    simulate(toy(axes={"slope": [0, 1, 2, 3, 4], "size": [4, 16]}), results, client)
    grown = Store(path)
    assert before == {index: grown._file("height", index).stat().st_ino for index in before}
    assert store._file("height", (0, 0, 0)) != grown._file("height", (0, 0, 0))
    assert store.read("height").tolist() == grown.read("height")[: store.shape[0]].tolist(), "which is open still"


@pytest.mark.parametrize("obstacle", ["links within a folder alone", "another form"])
def test_the_same_files_copied_files_and_new_ones_have_the_same_bytes(
    toy: MakeExperiment,
    results: Path,
    tmp_path: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    obstacle: str,
) -> None:
    for folder in (results, tmp_path / "other"):
        simulate(toy(), folder, client)
    simulate(toy(**LARGER), results, client)
    with monkeypatch.context() as patch:
        if obstacle != "another form":
            link = os.link  # which Zarr uses, too

            def refuse(old: Path, new: Path) -> None:
                if Path(old).parent != Path(new).parent:
                    raise PermissionError(1, "Operation not permitted")
                link(old, new)

            patch.setattr(os, "link", refuse)
        else:
            patch.setattr(clhd.sweep.store.prepare, "_find_encoding", lambda store, _: store.path)
        simulate(toy(**LARGER), tmp_path / "other", client)
    paths = [folder / "toy" / "simulation.zarr" for folder in (results, tmp_path / "other")]
    names = [sorted(list_files(path)) for path in paths]
    assert names[0] == names[1]
    for name in names[0]:
        if not name.startswith("seconds"):
            assert (paths[0] / name).read_bytes() == (paths[1] / name).read_bytes()


def test_damage_is_found_after_growth_and_a_missing_file_before(
    toy: MakeExperiment, results: Path, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    simulate(toy(), results, client)
    path = results / "toy" / "simulation.zarr"
    file = max(file for file in path.glob("height/c/**/*") if file.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    simulate(toy(**LARGER), results, client)
    ((damaged, _),) = Store(path).find_damage()
    damaged.unlink()
    assert simulate(toy(**LARGER, replicas=5), results, client).is_complete
    assert f"{damaged}: is missing; 1 chunk deleted, to be computed again where requested\n" in capsys.readouterr().err
    assert Store(path).find_damage() == []


def test_long_growth_is_predicted_and_shown_and_short_growth_is_silent(
    toy: MakeExperiment,
    results: Path,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    simulate(toy(), results, client)
    simulate(toy(**LARGER), results, client)
    assert "grows" not in capsys.readouterr().err
    monkeypatch.setattr(clhd.sweep.store.prepare, "_LONG_SECONDS", 0.0)
    monkeypatch.setattr(clhd.core.progress, "_LINE_SECONDS", 0.0)
    simulate(toy(**LARGER, replicas=5), results, client)
    lines = [line for line in capsys.readouterr().err.splitlines() if "grows" in line]
    assert lines[0].startswith("toy simulation, its store grows: copies 60 runs into a larger store, ")
    assert "of 60 runs" in lines[1]
    assert lines[-1].startswith("toy simulation, its store grows: 60 runs copied, ")


def test_a_store_keeps_the_shape_of_its_chunks_unless_another_is_far_better(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    cheap = {"constants": {"work": 0.001}, "axes": {"slope": [0, 1, 2, 3]}}
    simulate(toy(**cheap), results, client)
    path = results / "toy" / "simulation.zarr"
    assert Store(path).chunks == (4, 4)
    simulate(toy(**cheap, replicas=8), results, client)
    assert Store(path).chunks == (4, 4)
    simulate(toy(**cheap, replicas=64), results, client)
    assert Store(path).chunks == (4, 64)


def test_nothing_is_predicted_of_a_store_that_has_room(toy: MakeExperiment, tmp_path: Path) -> None:
    held, wanted = Stage(toy(), "simulation"), Stage(toy(replicas=2), "simulation")
    store = make_store(tmp_path / "simulation.zarr", held, (1, 1, 4))
    assert predict_growth_seconds(store, held, wanted) == 0
    assert predict_growth_seconds(store, held, Stage(toy(replicas=5), "simulation")) > 0


def test_growth_syncs_what_is_its_own_and_not_every_disk_of_the_machine(
    toy: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Stage(toy(), "simulation")
    available = Stage(toy(**LARGER), "simulation")
    path = tmp_path / "simulation.zarr"
    store = make_store(path, held, (2, 2, 4))
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.add(os.fstat(descriptor).st_ino))
    monkeypatch.setattr(os, "sync", lambda: pytest.fail("flushes files of others"))
    before = {entry.st_ino for entry in list_files(store.path).values()}
    grown = grow_store(store, available, positions_in(available, held))
    files = [file for name, array in grown.files.metadata.arrays.items() for file in list_chunks(path / name, array)]
    folders = {folder for file in files for folder in file.parents if folder.is_relative_to(path)}
    own = {entry.stat().st_ino for entry in (*files, *folders, path / "zarr.json")}
    assert own - synced <= before, "only files that the old store had as well"
