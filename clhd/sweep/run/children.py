"""`run_in_children`: blocks computed by forked copies of this process, for runs of minutes on this machine.

`map_in_children`: many results read by such copies. `work_ahead`: one copy that works ahead of this process.

A worker process of Dask imports all libraries and loads all kernels again, for seconds, which is more than most stages
take. A fork has them. It is made only where that is safe: on Linux, in a process whose threads are all known to sleep.

A child takes the next block as soon as it has finished one, without asking: the numbers of the blocks stand in a pipe
that all children read, and the blocks themselves are in the memory that they have of their parent. So no child waits
while the parent does something else.

| promise | how it is kept |
|---|---|
| the same bits | a child computes a block by the same function as a worker, with the same settings of libraries |
| nothing computed is lost | a child writes each block itself; if it dies, only the block that it computes is lost |
| a bad point stops no other | what a dead child, and those that had no turn, leave is returned for workers of Dask |
| no process survives the run | the kernel kills a child when its parent ends, however that ends |
| the machine keeps its memory | a child that takes more than its share is killed, as a worker is |
"""

import ctypes
import gc
import mmap
import os
import select
import signal
import struct
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from clhd.core.machine import count_cores, find_memory

# Threads that sleep while no store is read or written, and hold no lock then: of Zarr's event loop.
_SLEEPING = ("zarr_io", "asyncio_")
# Seconds between two looks at the memory of the children; and the part of its share at which a child is killed.
_LOOK_SECONDS, _MOST_OF_SHARE = 0.1, 0.95
_PR_SET_PDEATHSIG = 1
# The most children that read, since a disk is shared; and the fewest items for which it is worth to fork.
_MOST_READERS, _FEWEST_ITEMS = 4, 8
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass
class _Child:
    pid: int
    pipe: Connection


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


def map_in_children(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Return what a function returns for each item, in their order; by children, where that is safe and worth it.

    The function changes nothing here, and what it returns is sent by pickle. What no child returns, because of an error
    or a death, this process asks for itself.
    """
    workers, found = min(count_cores(), _MOST_READERS), dict[int, _Result]()
    if workers > 1 and len(items) >= _FEWEST_ITEMS and can_fork():
        with suppress(Exception):
            found.update(run_in_children(range(len(items)), workers, lambda number: function(items[number])))
    return [found[number] if number in found else function(item) for number, item in enumerate(items)]


@contextmanager
def work_ahead(function: Callable[[], None], patience: float) -> Iterator[None]:
    """Have a child call a function if the block takes longer than `patience` seconds, and also after its end.

    The child ends with this process. What it prints or raises is lost, so it may only do what somebody would do anyway.
    On one core, or where a fork is not safe, there is none.
    """
    if count_cores() == 1 or not can_fork():
        yield
        return
    ended, ending = os.pipe()
    if os.fork() == 0:
        try:
            die_with_parent()
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.close(ending)
            if not select.select([ended], [], [], patience)[0]:
                silence = os.open(os.devnull, os.O_RDWR)
                for stream in range(3):
                    os.dup2(silence, stream)
                function()
        finally:
            os._exit(0)
    os.close(ended)
    try:
        yield
    finally:
        os.close(ending)


def run_in_children(
    blocks: Sequence[_Item],
    workers: int,
    compute: Callable[[_Item], _Result],
    meanwhile: Callable[[], None] = lambda: None,
) -> Generator[tuple[_Item, _Result], None, list[_Item]]:
    """Compute blocks in forked children; yield each with its report, and return the blocks that a death left over.

    The blocks, which may be anything, begin in their order. `compute` returns the report of one, which is sent by
    pickle; an error that it raises is raised here. `meanwhile` is what this process does once the children have begun.
    """
    left = dict(enumerate(blocks))
    share = find_memory() / workers
    queue = _Queue(len(blocks))
    children: list[_Child] = []
    try:
        _fork(children, min(workers, len(blocks)), blocks, compute, queue)
        queue.fill()
        meanwhile()
        while left and children:
            ready: list[Any] = wait([child.pipe for child in children], _LOOK_SECONDS)
            for pipe in ready:
                try:
                    number, report = pipe.recv()
                except (EOFError, OSError):  # it has died, or ends because another one has
                    queue.stop()
                    _end([child for child in children if child.pipe is pipe])
                    children = [child for child in children if child.pipe is not pipe]
                    continue
                if isinstance(report, BaseException):
                    raise report
                queue.fill()
                yield left.pop(number), report
            for child in children:
                if _read_memory(child.pid) > _MOST_OF_SHARE * share:
                    os.kill(child.pid, signal.SIGKILL)
        return list(left.values())
    finally:
        _end(children)
        queue.close()


class _Queue:
    """The numbers from 0 to some count, each of which one of several processes takes.

    A pipe gives each of its bytes to one reader, and numbers of one size as a whole.
    """

    _NUMBER = struct.Struct("<I")

    def __init__(self, count: int) -> None:
        self._next, self._count = 0, count
        self._receiver, self._sender = os.pipe()
        os.set_blocking(self._sender, False)
        self._is_stopped = mmap.mmap(-1, 1)  # one byte that parent and children share

    def fill(self) -> None:
        """Put as many of the numbers that are left into the pipe as it takes."""
        with suppress(BlockingIOError):
            while self._sender >= 0 and self._next < self._count:
                os.write(self._sender, self._NUMBER.pack(self._next))
                self._next += 1

    def stop(self) -> None:
        """Let nobody take a number any more; who waits for one learns that there is none."""
        self._is_stopped[0] = 1
        self.release_sender()

    def take(self) -> int | None:
        """Return the next number, in a child; wait for it. None if there is none any more."""
        taken = os.read(self._receiver, self._NUMBER.size)
        return int(self._NUMBER.unpack(taken)[0]) if taken and not self._is_stopped[0] else None

    def release_sender(self) -> None:
        """Close the end that is written. A child does so, or it would never see the end."""
        if self._sender >= 0:
            os.close(self._sender)
            self._sender = -1

    def close(self) -> None:
        """Close both ends, in the parent."""
        self.release_sender()
        os.close(self._receiver)
        self._is_stopped.close()


def _fork(
    children: list[_Child], count: int, blocks: Sequence[Any], compute: Callable[[Any], Any], queue: _Queue
) -> None:
    """Start children, which compute blocks of the queue; add each to the list as soon as it lives."""
    parent = os.getpid()
    for _ in range(count):
        ours, theirs = Pipe(duplex=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python 3.12: `can_fork` knows the threads
            pid = os.fork()
        if pid == 0:
            for pipe in (ours, *(child.pipe for child in children)):
                pipe.close()
            _serve(theirs, blocks, compute, queue, parent)
        children.append(_Child(pid, ours))
        theirs.close()


def _serve(
    pipe: Connection, blocks: Sequence[Any], compute: Callable[[Any], Any], queue: _Queue, parent: int
) -> NoReturn:
    """Compute blocks of the queue until there is none; this is all that a child does."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):  # all processes get them; the parent answers
            signal.signal(number, signal.SIG_IGN)
        die_with_parent()
        queue.release_sender()
        gc.freeze()  # what is here from the parent is no garbage, and to look through it takes as long as many points
        while os.getppid() == parent and (taken := queue.take()) is not None:
            try:
                report = compute(blocks[taken])
            except Exception as error:  # the parent raises it
                report = error
            pipe.send((taken, report))
    finally:
        os._exit(0)


def die_with_parent() -> None:
    """Have the kernel of the system kill this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
