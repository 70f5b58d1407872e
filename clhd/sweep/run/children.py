"""`run_in_children`: blocks computed by forked copies of this process, for runs of minutes on this machine.

A worker process of Dask imports all libraries and loads all kernels again, for seconds, which is more than most stages
take. A fork has them. It is made only where that is safe: on Linux, in a process whose threads are all known to sleep.

| promise | how it is kept |
|---|---|
| the same bits | a child computes a block by the same function as a worker, with the same settings of libraries |
| nothing computed is lost | a child writes each block itself; if it dies, only the block that it computes is lost |
| a bad point stops no other | what a dead child, and those that had no turn, leave is returned for workers of Dask |
| no process survives the run | the kernel kills a child when its parent ends, however that ends |
| the machine keeps its memory | a child that takes more than its share is killed, as a worker is |
"""

import ctypes
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn

from clhd.core.machine import find_memory
from clhd.sweep.plan.blocks import Block

# Threads that sleep while no store is read or written, and hold no lock then: of Zarr's event loop.
_SLEEPING = ("zarr_io", "asyncio_")
# Seconds between two looks at the memory of the children; and the part of its share at which a child is killed.
_LOOK_SECONDS, _MOST_OF_SHARE = 0.1, 0.95
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    pid: int
    pipe: Connection
    block: Block | None = None


def can_fork() -> bool:
    """True if a fork of this process can compute: on Linux, with no thread but this and those of Zarr.

    Threads that Python did not start, such as those of a BLAS or of a user's library, count as well.
    """
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return False
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return all(name.startswith(_SLEEPING) for name in others) and len([*Path("/proc/self/task").iterdir()]) == 1 + len(
        others
    )


def run_in_children(
    blocks: Sequence[Block], workers: int, compute: Callable[[Block], Any]
) -> Generator[tuple[Block, Any], None, list[Block]]:
    """Compute blocks in forked children; yield each with its report, and return the blocks that a death left over.

    Parameters
    ----------
    blocks : sequence of Block
        In the order in which they begin.
    workers : int
        Number of children.
    compute : callable
        Computes a block and returns its report, which is sent by pickle.

    Raises
    ------
    Exception
        As `compute` raises it.
    """
    left, has_died = list(blocks), False
    share = find_memory() / workers
    children = _fork(min(workers, len(left)), compute)
    try:
        idle = list(children)
        while True:
            while idle and left and not has_died:
                child = idle.pop()
                child.block = left.pop(0)
                with suppress(OSError):  # it has died; its pipe says so below
                    child.pipe.send(child.block)
            running = {child.pipe: child for child in children if child.block is not None}
            if not running:
                return left
            for pipe in wait(list(running), _LOOK_SECONDS):
                child = running[pipe]  # type: ignore[index]
                block, child.block = child.block, None
                assert block is not None
                try:
                    report = child.pipe.recv()
                except (EOFError, OSError):
                    has_died = True
                    left.insert(0, block)
                    continue
                if isinstance(report, BaseException):
                    raise report
                idle.append(child)
                yield block, report
            for child in running.values():
                if child.block is not None and _read_memory(child.pid) > _MOST_OF_SHARE * share:
                    os.kill(child.pid, signal.SIGKILL)
    finally:
        _end(children)


def _fork(count: int, compute: Callable[[Block], Any]) -> list[_Child]:
    """Start children, which wait for blocks."""
    parent, children = os.getpid(), list[_Child]()
    try:
        for _ in range(count):
            ours, theirs = Pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: `can_fork` knows the threads
                pid = os.fork()
            if pid == 0:
                for pipe in (ours, *(child.pipe for child in children)):
                    pipe.close()
                _serve(theirs, compute, parent)
            children.append(_Child(pid, ours))
            theirs.close()
    except BaseException:
        _end(children)
        raise
    return children


def _serve(pipe: Connection, compute: Callable[[Block], Any], parent: int) -> NoReturn:
    """Compute what comes through a pipe until it is closed; this is all that a child does."""
    try:
        for number in (
            signal.SIGINT,
            signal.SIGTERM,
        ):  # all processes get them; the parent answers
            signal.signal(number, signal.SIG_IGN)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        while os.getppid() == parent:
            block = pipe.recv()
            try:
                report = compute(block)
            except Exception as error:  # the parent raises it
                report = error
            pipe.send(report)
    finally:
        os._exit(0)


def _end(children: Sequence[_Child]) -> None:
    """Kill children; no finished block is lost, since files are replaced in one step."""
    for child in children:
        child.pipe.close()
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    for child in children:
        with suppress(ChildProcessError):
            os.waitpid(child.pid, 0)


def _read_memory(pid: int) -> int:
    """Resident bytes of a process that are its own; 0 if it has ended."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
