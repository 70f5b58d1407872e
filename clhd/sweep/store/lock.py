"""`hold_lock`: one run at a time writes to a store; `guard_writing`: a task writes only while its run holds the lock.

A lock ends with its holder, but tasks can outlive their run, for a moment or on another machine. They must not write
into a store that the next run has grown meanwhile, so each write checks a token.

| hidden file beside the store | locked by | how |
|---|---|---|
| ``.simulation.lock`` | the run, while it lasts | flock; the file holds process, host, time and a random token |
| ``.simulation.writing`` | a task, while it writes a chunk | one byte for each chunk: one writer for each |
| | a run, at its start, after writing its token | all bytes: waits for writes that began earlier |

A task that finds another token, or none, writes nothing. Both locks work across machines on file systems with shared
locks (NFS 4, Lustre with the option flock, GPFS). Where locks hold on one machine only, all workers must run on that
machine; of two runs on two machines, the token of the later run stops the earlier run at its next block.
"""

import errno
import fcntl
import json
import os
import socket
import struct
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clhd.core.files import is_same, open_fixed
from clhd.errors import FileError, LockedError, ResultsError, check_link, explain_file_error
from clhd.sweep.store.provenance import now

_BUSY = (errno.EAGAIN, errno.EACCES)
# A task writes for some milliseconds; a task that takes longer than this hangs, or has lost its connection.
_PATIENCE_SECONDS = 30.0
# Seconds between two looks at a lock: the first pause, and the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.5
_WHOLE_FILE = (0, 0)  # start and length; a length of 0 reaches to the end
_own_leases: set[Any] = set()  # of the locks that this process holds


class SupersededError(LockedError):
    """The run of a task has ended, or another run has the lock."""


class MovedError(ResultsError):
    """The store was moved or deleted during a run."""


@contextmanager
def hold_lock(store: Path, *, wait: bool = False) -> Iterator[str]:
    """Hold the lock of a store while the context lasts; yield the token by which tasks show that they are of this run.

    Parameters
    ----------
    store : Path
        Need not exist.
    wait : bool
        Wait for another run that holds the lock, instead of refusing.

    Raises
    ------
    LockedError
        If another process holds the lock: names the process, its host and its start.
    FileError
        If the lock cannot be written: the results are a broken link, or the file system has no locks.
    ResultsError
        If the file of the lock is a link.
    """
    check_link(store.parent)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(store, wait=wait)
    except OSError as error:
        raise _explain(store, error) from None
    entry = {"process": os.getpid(), "host": socket.gethostname(), "since": now(), "token": uuid.uuid4().hex}
    _own_leases.add(entry["token"])
    try:
        earlier = _read_entry(descriptor)
        try:
            _write_entry(descriptor, entry)
            if not _await_writers(store):
                if isinstance(earlier, dict):  # the next attempt must name the same process, and its token stays void
                    _write_entry(descriptor, earlier | {"token": entry["token"]})
                raise LockedError(
                    f"{store}: a worker of an earlier run ({_describe(earlier)}) still holds "
                    f"{_writing_path(store).name} after {_PATIENCE_SECONDS:g} s: {_describe_writers(store)}"
                )
        except OSError as error:
            raise _explain(store, error) from None
        yield str(entry["token"])
        if _read_entry(descriptor) == entry:  # else another run has it: locks may hold on one machine only
            with suppress(OSError):
                _write_entry(descriptor, None)
    finally:
        _own_leases.discard(entry["token"])
        os.close(descriptor)


def _lock_path(store: Path) -> Path:
    return store.parent / f".{store.stem}.lock"


def _writing_path(store: Path) -> Path:
    return store.parent / f".{store.stem}.writing"


def _open_locked(store: Path, *, wait: bool) -> int:
    """Open the lock file and lock it; return its descriptor."""
    path, is_waiting = _lock_path(store), False
    while True:
        descriptor = open_fixed(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if is_waiting else fcntl.LOCK_NB))
            if is_same(descriptor, path):
                return descriptor
        except OSError as error:
            entry = _read_entry(descriptor)
            is_own = isinstance(entry, dict) and entry.get("token") in _own_leases
            holder, remedy = ("another call in this process", "") if is_own else (_describe(entry), ", or stop it")
            if error.errno not in _BUSY:
                os.close(descriptor)
                raise
            if not wait:
                os.close(descriptor)
                raise LockedError(f"{store}: is being written by {holder}; wait until it ends{remedy}") from None
            print(f"{store}: is being written by {holder}; waiting for it", file=sys.stderr, flush=True)  # noqa: T201
            is_waiting = True
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # try again: the file was replaced meanwhile, or is locked by a run to wait for


def _write_entry(descriptor: int, entry: Mapping[str, Any] | None) -> None:
    """Write the content of the lock file, so that readers on other machines see it; None if the run has ended."""
    content = b"" if entry is None else json.dumps(entry).encode()
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))  # last: a run that is killed before must not look as if it had ended
    os.fsync(descriptor)


def _await_writers(store: Path) -> bool:
    """Wait until no task of an earlier run is writing; return False if one still does after some time.

    A task that begins to write now finds another token.
    """
    descriptor = open_fixed(_writing_path(store))
    deadline, pause = time.monotonic() + _PATIENCE_SECONDS, _FIRST_PAUSE
    try:
        while True:
            try:
                _lock_bytes(descriptor, *_WHOLE_FILE, wait=False)
            except OSError as error:
                if error.errno not in _BUSY:
                    raise
            else:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    finally:
        os.close(descriptor)  # this also unlocks it


def _describe_writers(store: Path) -> str:
    """Name the processes that have the file of tasks open, and say what to do with them; Linux tells them."""
    found, host, file = set(), socket.gethostname(), _writing_path(store)
    for opened in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # a process that has ended, or belongs to another user
            if opened.samefile(file):
                found.add(int(opened.parts[2]))
    if not found:
        return f"it runs on another host than {host}, or as another user; stop it there, or try again later"
    return f"process {', '.join(map(str, sorted(found)))} on {host}; stop it (kill), or try again later"


def _lock_bytes(descriptor: int, start: int, length: int, *, wait: bool) -> None:
    """Lock part of a file for this descriptor, so that threads exclude each other as processes do."""
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)  # struct flock of fcntl(2)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, lock)


@contextmanager
def guard_writing(store: Path, token: str, chunk: int) -> Iterator[None]:
    """Be the only writer of the chunk of some number while the context lasts; the token is that of `hold_lock`.

    Raises as `check_lease` does.
    """
    try:
        descriptor = open_fixed(_writing_path(store), create=False)
    except FileNotFoundError:
        raise MovedError(f"{store}: was moved or deleted while it was written") from None
    try:
        _lock_bytes(descriptor, chunk, 1, wait=True)
        check_lease(store, token)
        yield
    finally:
        os.close(descriptor)


def check_lease(store: Path, token: str) -> None:
    """Raise SupersededError or MovedError unless the run with a token still holds the lock of a store."""
    try:
        entry = json.loads(_lock_path(store).read_bytes() or b"{}")
    except FileNotFoundError:
        raise MovedError(f"{store}: was moved or deleted while it was written") from None
    except ValueError:
        entry = {}
    if not isinstance(entry, dict) or entry.get("token") != token:
        reason = f"{_describe(entry)} now holds the lock" if entry else "its run has ended"
        raise SupersededError(f"{store}: this task may not write any more: {reason}")


def _read_entry(descriptor: int) -> Any:
    try:
        return json.loads(os.pread(descriptor, 4096, 0) or b"{}")
    except ValueError:
        return None


def _describe(entry: Any) -> str:
    try:
        return f"process {entry['process']} on {entry['host']} since {entry['since']}"
    except (TypeError, KeyError):
        return "another process"


def _explain(store: Path, error: OSError) -> FileError:
    """Return an error of the file system as an error of one line."""
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        return FileError(
            f"{store.parent}: its file system has no locks, and without locks two runs could mix their results; choose "
            "a folder on another file system (--results), or mount it with locks (Lustre: flock, NFS: version 4)"
        )
    return explain_file_error(store.parent, error)
