"""One run at a time writes to a store, and one task to a chunk; a task that outlives its run writes nothing."""

import errno
import fcntl
import io
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

import clhd.sweep.store.lock
import clhd.sweep.store.store
from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.state import find_unfinished
from clhd.sweep.results.summary import write_summary
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.run.run_stage import StageReport, run_stage
from clhd.sweep.run.tasks import compute_block
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.create import create_store
from clhd.sweep.store.lock import LockedError, MovedError, SupersededError, check_lease, guard_writing, hold_lock
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from clhd.systems.registry import Reference
from tests.sweep.conftest import Killed, MakeExperiment, killed_at

# Holds the lock of a store as a run does, until its input ends.
HOLDER = """
import sys
from pathlib import Path
from clhd.sweep.store.lock import hold_lock
with hold_lock(Path(sys.argv[1])) as token:
    print(token, flush=True)
    sys.stdin.readline()
"""


def simulate(experiment: Experiment, results: Path, client: Client, **options: Any) -> StageReport:
    report = run_stage(experiment, "simulation", results, client=client, **options)
    assert report is not None
    return report


def start_holder(store: Path) -> tuple[subprocess.Popen[str], str]:
    """Another process that holds the lock, and its token."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    return holder, holder.stdout.readline().strip()


def test_an_orphan_writes_nothing_after_its_successor_has_begun(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    path = results / "toy" / "simulation.zarr"
    holder, token = start_holder(path)  # a run ...
    create_store(path, Stage(toy(), "simulation"), choose_chunks(Stage(toy(), "simulation")))
    chunks = [((0, 0, 0), np.ones(Store(path).chunks, dtype=bool))]
    holder.kill()  # ... that dies, while one of its tasks lives on elsewhere
    holder.communicate()
    larger = toy(axes={"slope": [-2, 0, 1, 2, 3], "size": [1, 4, 16]})
    report = simulate(larger, results, client)
    assert report.is_complete
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(SupersededError, match="this task may not write any more: its run has ended"):
        compute_block(str(path), chunks, 0, token, Reference("toy"))
    # It may also have looked before its successor began, and write only now.
    with pytest.raises(SupersededError), guard_writing(path, token, 0):
        pytest.fail("an orphan was let through")
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_task_learns_who_has_taken_over(store: Store) -> None:
    with hold_lock(store.path) as token:
        check_lease(store.path, token)
    with hold_lock(store.path), pytest.raises(SupersededError, match=f"process {os.getpid()} on .* now holds the lock"):
        check_lease(store.path, token)


def test_nothing_is_written_where_results_have_been_moved_away(store: Store) -> None:
    results = store.path.parent.parent
    with hold_lock(store.path) as token:
        needed = np.ones(store.chunks, dtype=bool)
        results.rename(results.with_name("elsewhere"))
        with pytest.raises(MovedError, match="was moved or deleted while it was written"):
            compute_block(str(store.path), [((0, 0, 0), needed)], 0, token, Reference("toy"))
        with pytest.raises(MovedError), guard_writing(store.path, token, 0):
            pytest.fail("written where nothing is")
    assert not results.exists()


def test_a_run_begins_when_writes_of_earlier_tasks_have_ended(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    holder, token = start_holder(store.path)
    with guard_writing(store.path, token, 3):
        holder.kill()
        holder.communicate()
        monkeypatch.setattr(clhd.sweep.store.lock, "_PATIENCE_SECONDS", 0.1)
        for _ in range(2):
            message = (
                rf"a worker of an earlier run \(process {holder.pid} on .*\) still holds \.simulation\.writing after "
                rf"0\.1 s: process {os.getpid()} on {socket.gethostname()}; stop it"
            )
            with pytest.raises(LockedError, match=message), hold_lock(store.path):
                pytest.fail("begun while a task was writing")
            with pytest.raises(SupersededError), guard_writing(store.path, token, 4):
                pytest.fail("written after the next run has begun")
    with hold_lock(store.path) as new:
        assert new != token


@pytest.mark.parametrize(("second", "together"), [(5, False), (6, True)])
def test_a_chunk_has_one_writer_and_two_chunks_have_two(store: Store, second: int, together: bool) -> None:
    inside, leave = threading.Event(), threading.Event()

    def write(chunk: int, token: str, entered: threading.Event) -> None:
        with guard_writing(store.path, token, chunk):
            entered.set()
            leave.wait(20)

    with hold_lock(store.path) as token:
        threads = [threading.Thread(target=write, args=(5, token, inside))]
        threads[0].start()
        assert inside.wait(20)
        also = threading.Event()
        threads.append(threading.Thread(target=write, args=(second, token, also)))
        threads[1].start()
        assert also.wait(20 if together else 0.3) == together
        leave.set()
        for thread in threads:
            thread.join()


def test_a_file_system_without_locks_is_refused_with_a_reason(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ClhdError, match=r"its file system has no locks, .* choose a folder on another file system"):
        simulate(toy(), results, client)
    assert not (results / "toy" / "simulation.zarr").exists()


def test_where_locks_hold_on_one_machine_alone_the_later_run_stops_the_earlier(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = results / "toy" / "simulation.zarr"
    later: list[Any] = []
    first = threading.Lock()
    compute = Stage.compute

    def begin_the_later(self: Stage, *arguments: Any) -> Any:
        with first:  # the other thread has to wait until the later run has put its token in place
            if not later:
                later.append(hold_lock(path))
                later[0].__enter__()
        return compute(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: None)
        patch.setattr(clhd.sweep.store.lock, "_lock_bytes", lambda *_, **__: None)
        patch.setattr(Stage, "compute", begin_the_later)
        with pytest.raises(ClhdError, match="now holds the lock"):
            simulate(toy(), results, client)
    assert (Store(path).status() == Status.NOT_RUN).all()


def test_a_run_can_wait_for_another_and_finds_its_work_done(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), results, client)
    holder, _ = start_holder(results / "toy" / "simulation.zarr")
    with pytest.raises(LockedError):
        simulate(toy(), results, client)
    said = io.StringIO()  # not capfd: what a thread prints while it is read is lost
    monkeypatch.setattr(sys, "stderr", said)
    reports: list[StageReport] = []
    waiting = threading.Thread(target=lambda: reports.append(simulate(toy(), results, client, wait=True)))
    waiting.start()
    try:
        while "waiting for it" not in said.getvalue():
            assert waiting.is_alive()
            time.sleep(0.01)
    finally:  # whatever came, or the thread would wait for ever, and pytest for it
        holder.communicate("\n")
        waiting.join()
    assert f"is being written by process {holder.pid}" in said.getvalue()
    assert reports[0].computed == 0


def test_a_killed_run_leaves_no_leftover_files_in_the_end(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    folder = results / "toy"
    leftovers = [folder / "simulation.zarr" / "height" / "c" / "0.0123abcd.partial"]
    leftovers += [folder / ".simulation-new.zarr" / "zarr.json", folder / "simulation.zarr" / "height" / "0.0.0.0.0"]
    for leftover in leftovers:
        leftover.parent.mkdir(exist_ok=True)
        leftover.touch()
    holder, _ = start_holder(folder / "simulation.zarr")
    holder.kill()
    holder.communicate()
    assert simulate(toy(), results, client).computed == 0
    assert not any(leftover.exists() for leftover in leftovers)
    assert sorted(path.name for path in folder.iterdir()) == [
        ".simulation.lock",
        ".simulation.writing",
        "simulation.zarr",
    ]


def test_a_summary_from_the_middle_of_a_run_that_was_killed_is_out_of_date(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(), client, results=results)
    assert find_unfinished(toy(), results) == []
    store = Store(results / "toy" / "simulation.zarr")
    chunk = store.read_chunk((0, 0, 0))
    chunk["attempts"] += 1  # as a block of a run that was killed would have left it
    store.write_chunk((0, 0, 0), chunk)
    assert find_unfinished(toy(), results) == ["summary"]


def test_a_summary_whose_writing_was_killed_stays_the_earlier_one(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_experiment(toy(), client, results=results)["summary"].to_dataset().load()
    for last in range(len(before.variables)):
        with killed_at(monkeypatch, "rename", last), pytest.raises(Killed):
            write_summary(toy(), results)
        assert find_unfinished(toy(), results) == []
        xr.testing.assert_identical(
            read_summary(results / "toy" / "summary.zarr").dataset.drop_attrs(), before.drop_attrs()
        )
    write_summary(toy(), results)
    with xr.open_zarr(str(results / "toy" / "summary.zarr")) as after:
        xr.testing.assert_equal(before, after)
    assert [path for path in (results / "toy").glob(".summary*") if path.is_dir()] == []


def test_locks_follow_the_umask(store: Store) -> None:
    mask = os.umask(0o002)
    try:
        with hold_lock(store.path):
            modes = [path.stat().st_mode & 0o777 for path in store.path.parent.glob(".simulation.*")]
    finally:
        os.umask(mask)
    assert modes == [0o664, 0o664]
