"""Blocks in forked children: each is computed once, a death costs one block, and nothing survives the run."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clhd.core.machine import ONE_THREAD
from clhd.sweep.plan.blocks import Block
from clhd.sweep.run import children
from clhd.sweep.run.children import map_in_children, run_in_children

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks only on Linux")


def make_blocks(count: int) -> list[Block]:
    """Blocks that are told apart by the number of their entries."""
    return [Block((), 1.0, number) for number in range(count)]


def collect(
    compute: Callable[[Block], Any], count: int = 6, workers: int = 2
) -> tuple[dict[int, Any], list[int], set[int]]:
    """The reports by block, the blocks that are left, and the processes that reported."""
    reports: dict[int, Any] = {}
    running = run_in_children(make_blocks(count), workers, compute)
    while True:
        try:
            block, report = next(running)
        except StopIteration as end:
            return reports, [block.entries for block in end.value], {process for _, process in reports.values()}
        reports[block.entries] = report


def test_children_compute_every_block_once_and_end() -> None:
    reports, left, processes = collect(lambda block: (block.entries**2, os.getpid()))
    assert {number: report[0] for number, report in reports.items()} == {number: number**2 for number in range(6)}
    assert not left
    assert os.getpid() not in processes
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_a_child_that_dies_leaves_its_block_and_those_that_had_no_turn() -> None:
    def compute(block: Block) -> tuple[int, int]:
        if block.entries == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return block.entries, os.getpid()

    reports, left, _ = collect(compute, workers=1)
    assert sorted(reports) == [0]
    assert left == [1, 2, 3, 4, 5]


def test_an_error_in_a_child_is_raised_here() -> None:
    def compute(block: Block) -> int:
        raise ZeroDivisionError(f"block {block.entries}")

    with pytest.raises(ZeroDivisionError, match="block 0"):
        collect(compute, workers=1)


def test_a_child_with_more_than_its_share_of_memory_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    def compute(block: Block) -> tuple[int, int]:
        if block.entries == 0:
            time.sleep(60)
        return block.entries, os.getpid()

    monkeypatch.setattr(children, "find_memory", lambda: 1)
    reports, left, _ = collect(compute, count=1, workers=1)
    assert not reports
    assert left == [0]


def test_a_process_with_threads_that_nobody_knows_is_not_forked() -> None:
    program = """
import threading
from clhd.sweep.run.children import can_fork
print(can_fork())
held = threading.Event()
threading.Thread(target=held.wait, daemon=True).start()
print(can_fork())
held.set()
"""
    environment = {**os.environ, **ONE_THREAD}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "False"]


def test_children_die_with_a_parent_that_is_killed() -> None:
    program = """
import os, signal, time
from clhd.sweep.plan.blocks import Block
from clhd.sweep.run.children import run_in_children

def compute(block):
    if block.entries == 0:
        return os.getpid()
    print(os.getpid(), flush=True)
    time.sleep(60)

for block, process in run_in_children([Block((), 1.0, number) for number in range(2)], 1, compute):
    pass
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert int(parent.stdout.readline()) != parent.pid
        parent.kill()
        assert parent.stdout.read() == ""  # ends when the last process that has it open has ended: the child


def test_children_go_on_while_this_process_does_something_else() -> None:
    ended: list[float] = []

    def do_something() -> None:
        time.sleep(0.5)
        ended.append(time.monotonic())

    running = run_in_children(make_blocks(6), 2, lambda block: time.monotonic(), do_something)
    assert all(computed < ended[0] for _, computed in running)


def test_what_no_child_returns_this_process_asks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "count_cores", lambda: 2)
    monkeypatch.setattr(children, "can_fork", lambda: True)
    own = os.getpid()

    def find(number: int) -> tuple[int, bool]:
        if number == 5 and os.getpid() != own:
            os.kill(os.getpid(), signal.SIGKILL)
        return number, os.getpid() == own

    found = map_in_children(find, range(9))
    assert [number for number, _ in found] == list(range(9))
    assert found[5][1]
    assert not found[0][1]

    def fail(number: int) -> int:
        if number == 3:
            raise FileNotFoundError(2, "no such file", "here")
        return number

    with pytest.raises(FileNotFoundError) as raised:
        map_in_children(fail, range(9))
    assert raised.value.filename == "here"


AHEAD = """
import os, sys, time
from pathlib import Path
from clhd.sweep.run import children

note, way, cores, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

def work():
    print("lost")
    note.write_text(str(os.getpid()))
    if way == "fails":
        raise ValueError
    time.sleep(60)

children.count_cores = lambda: cores
with children.work_ahead(work, 0.5):
    print("before", flush=True)
    time.sleep(seconds)
end = time.monotonic() + (20 if cores == 2 and seconds > 0.5 else 2)
while time.monotonic() < end and not (note.exists() and note.read_text()):
    time.sleep(0.01)
print("after")
"""


@pytest.mark.parametrize(
    ("way", "cores", "seconds", "works"),
    [("sleeps", 2, 1.0, True), ("fails", 2, 1.0, True), ("sleeps", 1, 1.0, False), ("sleeps", 2, 0.0, False)],
)
def test_a_child_works_ahead_of_a_long_block_and_neither_speaks_nor_survives(
    tmp_path: Path, way: str, cores: int, seconds: float, works: bool
) -> None:
    note = tmp_path / "note"
    done = subprocess.run(
        [sys.executable, "-c", AHEAD, note, way, str(cores), str(seconds)],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("before\nafter\n", "")
    assert note.exists() is works
    deadline = time.monotonic() + 10
    while works and Path(f"/proc/{note.read_text()}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not works or not Path(f"/proc/{note.read_text()}").exists()
