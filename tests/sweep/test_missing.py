"""Missing files are found; files that this machine cannot see yet are not taken for missing."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from clhd.sweep.results.state import find_unfinished
from clhd.sweep.results.status import describe_status
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.store.chunk_files import DamagedChunkError, StoreError
from clhd.sweep.store.store import Store, find_missing
from tests.sweep.conftest import MakeExperiment


@pytest.fixture
def store(toy: MakeExperiment, results: Path, client: Client) -> Store:
    run_experiment(toy(), client, results=results)
    return Store(results / "toy" / "simulation.zarr")


def files_of(store: Store, name: str) -> list[Path]:
    return sorted(file for file in (store.path / name / "c").rglob("*") if file.is_file())


def test_each_chunk_that_lacks_files_is_named_with_the_first_of_them(store: Store) -> None:
    assert find_missing(store) == {}
    gone = files_of(store, "height")[0], files_of(store, "height")[-1]
    for file in (*gone, files_of(store, "seconds")[-1]):
        file.unlink()
    assert sorted(find_missing(store).values()) == sorted(gone)
    with pytest.raises(DamagedChunkError, match="is missing although it was written"):
        store.read("height")


def test_a_damaged_status_is_not_counted_as_pending(toy: MakeExperiment, store: Store) -> None:
    file = files_of(store, "status")[0]
    os.truncate(file, file.stat().st_size - 1)
    found = describe_status(toy(), store.path.parent.parent)["simulation"]
    assert found["state"] == "damaged"
    assert str(file) in found["problem"]


def test_a_chunk_without_a_status_lacks_nothing(store: Store) -> None:
    for name in ("height", "status"):
        for file in files_of(store, name):
            file.unlink()
    assert find_missing(store) == {}


def test_status_counts_each_file_once_with_its_size(toy: MakeExperiment, store: Store) -> None:
    def check() -> None:
        report = describe_status(toy(), store.path.parent.parent)["simulation"]
        sizes = [file.stat().st_size for file in store.path.rglob("*") if file.is_file()]
        assert (report["files"], report["bytes"]) == (len(sizes), sum(sizes))

    check()
    for name in ("seconds", "height"):  # the first is missing from a chunk that has all others
        files_of(store, name)[-1].unlink()
        check()
    (store.path / "status" / "zarr.json").write_text("{}")  # nobody looks at the chunks of such a store
    check()


def test_a_file_that_is_there_once_its_folder_was_read_is_not_missing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown, look, read = set(map(str, files_of(store, "height"))), os.stat, Path.iterdir

    def look_as_nfs_does(path: Any, **options: Any) -> os.stat_result:
        if str(path) in unknown:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return look(path, **options)

    def read_as_nfs_does(folder: Path) -> Any:
        unknown.difference_update({file for file in unknown if Path(file).parent == folder})
        return read(folder)

    monkeypatch.setattr(os, "stat", look_as_nfs_does)
    monkeypatch.setattr(Path, "iterdir", read_as_nfs_does)
    assert find_missing(store) == {}
    assert not unknown


def test_where_nothing_can_be_said_nothing_is_missing_and_that_is_one_line(
    toy: MakeExperiment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale, look = str(files_of(store, "height")[0]), os.stat

    def look_in_vain(path: Any, **options: Any) -> os.stat_result:
        if str(path) == stale:
            raise OSError(errno.ESTALE, "Stale file handle", path)
        return look(path, **options)

    monkeypatch.setattr(os, "stat", look_in_vain)
    results = store.path.parent.parent
    message = f"{stale}: cannot be looked up: Stale file handle"
    with pytest.raises(StoreError, match=message):
        find_missing(store)
    with pytest.raises(StoreError, match=message):
        find_unfinished(toy(), results)
    assert describe_status(toy(), results)["simulation"]["problem"] == message
