"""`hold_lock`: one run at a time writes to a store; `guard_writing`: and its tasks only as long as it is that run.

A lock dies with its holder, but the tasks of a run may outlive it, on another machine or for a moment on this one. They
must not write into a store that the next run has grown meanwhile, so each write is fenced by a token.

| hidden file beside the store | locked by | how |
|---|---|---|
| ``.simulation.lock`` | the run, as long as it lasts | flock; holds process, host, time and a random token |
| ``.simulation.writing`` | a task, while it writes a chunk | the byte of that chunk: one writer for each |
| | a run, when it begins, after it has put its token in place | all bytes: waits for writes that have begun before |

A task that finds another token, or none, writes nothing. Both kinds of locks work across machines on file systems that
share locks (NFS 4, Lustre with the option flock, GPFS). Where locks hold on one machine alone, all workers must be on
it; of two runs on two machines the token of the later one stops the earlier one at its next block.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError, check_link, describe_unwritable
from clhd.sweep.store.provenance import now

_BUSY = (errno.EAGAIN, errno.EACCES)
# A task writes for some milliseconds; one that takes longer than this is stopped, or cut off from its files.
_PATIENCE_SECONDS = 30.0
_POLL_SECONDS = 0.05
_WHOLE_FILE = (0, 0)  # a length of 0 reaches to the end of any file


class LockedError(ClhdError):
    """Another run is writing to the store."""


class SupersededError(ClhdError):
    """The run that a task belongs to has ended, or another has taken over."""


class MovedError(ClhdError):
    """The results are not any more where they were when the run began."""


@dataclass(frozen=True)
class Lease:
    """The right to write to a store.

    Parameters
    ----------
    token : str
        By which tasks show that they belong to this run.
    predecessor : str or None
        The run before, if it did not end in order: it may have left unfinished files.
    """

    token: str
    predecessor: str | None


@contextmanager
def hold_lock(store: Path, *, wait: bool = False) -> Iterator[Lease]:
    """Hold the lock of a store while the context lasts.

    Parameters
    ----------
    store : Path
        It need not exist.
    wait : bool
        Wait for a run that holds it, instead of refusing.

    Raises
    ------
    LockedError
        If another process holds it: names that process, its host and when it began.
    ClhdError
        If the lock cannot be written, for the results are a link to nothing, or the file system has no locks.
    """
    check_link(store.parent)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _open_locked(store, wait=wait)
    except OSError as error:
        raise _explain(store, error) from None
    try:
        entry = {"process": os.getpid(), "host": socket.gethostname(), "since": now(), "token": uuid.uuid4().hex}
        held = _read_entry(descriptor)
        try:
            _write_entry(descriptor, json.dumps(entry).encode())
            _await_writers(store)
        except OSError as error:
            raise _explain(store, error) from None
        yield Lease(str(entry["token"]), _describe(held) if held != {} else None)
        if _read_entry(descriptor) == entry:  # else another has taken over, where locks hold on one machine alone
            with suppress(OSError):
                _write_entry(descriptor, b"")
    finally:
        os.close(descriptor)


def _lock_of(store: Path) -> Path:
    return store.parent / f".{store.stem}.lock"


def _gate_of(store: Path) -> Path:
    return store.parent / f".{store.stem}.writing"


def _open_locked(store: Path, *, wait: bool) -> int:
    """The lock file, open and locked."""
    path, waiting = _lock_of(store), False
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if waiting else fcntl.LOCK_NB))
            if _is_same(descriptor, path):
                return descriptor
        except OSError as error:
            holder = _describe(_read_entry(descriptor))
            if error.errno not in _BUSY:
                os.close(descriptor)
                raise
            if not wait:
                os.close(descriptor)
                raise LockedError(f"{store}: is being written by {holder}; wait for it or stop it") from None
            print(f"{store}: is being written by {holder}; waiting for it", file=sys.stderr, flush=True)  # noqa: T201
            waiting = True
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # and once more: the file was replaced meanwhile, or is to be waited for


def _is_same(descriptor: int, path: Path) -> bool:
    """True if a file is still there under its name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _write_entry(descriptor: int, entry: bytes) -> None:
    """Change what the lock file says, for readers on other machines too."""
    os.pwrite(descriptor, entry, 0)
    os.ftruncate(descriptor, len(entry))  # last: killed in between, it does not look as if it had ended in order
    os.fsync(descriptor)


def _await_writers(store: Path) -> None:
    """Wait until no task writes that has begun under an earlier token; one that begins now finds its own gone."""
    gate = os.open(_gate_of(store), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while True:
            try:
                _lock_bytes(gate, *_WHOLE_FILE, wait=False)
            except OSError as error:
                if error.errno not in _BUSY:
                    raise
            else:
                return
            if time.monotonic() > deadline:
                raise LockedError(
                    f"{store}: a task of an earlier run has been writing to it for {_PATIENCE_SECONDS:g} s; it may "
                    "hang, or its machine may be cut off: end it, or try again later"
                )
            time.sleep(_POLL_SECONDS)
    finally:
        os.close(gate)  # and with it the lock


def _lock_bytes(descriptor: int, start: int, length: int, *, wait: bool) -> None:
    """Lock part of a file, by a lock that belongs to this opening of it: threads exclude each other as processes do."""
    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)  # struct flock of fcntl(2)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, lock)


@contextmanager
def guard_writing(store: Path, token: str, chunk: int) -> Iterator[None]:
    """Be the only writer of a chunk, for the run that holds the lock, while the context lasts.

    Parameters
    ----------
    store : Path
    token : str
        Of the lease of that run.
    chunk : int
        Number of the chunk.

    Raises
    ------
    SupersededError
        If that run has ended, or another has taken over.
    MovedError
        If the store has been moved away or deleted.
    """
    try:
        gate = os.open(_gate_of(store), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise MovedError(f"{store}: has been moved away or deleted while it was being written") from None
    try:
        _lock_bytes(gate, chunk, 1, wait=True)
        check_lease(store, token)
        yield
    finally:
        os.close(gate)


def check_lease(store: Path, token: str) -> None:
    """Raise SupersededError or MovedError unless the run with this token still holds the lock of a store."""
    try:
        entry = json.loads(_lock_of(store).read_bytes() or b"{}")
    except FileNotFoundError:
        raise MovedError(f"{store}: has been moved away or deleted while it was being written") from None
    except ValueError:
        entry = {}
    if not isinstance(entry, dict) or entry.get("token") != token:
        holder = f"{_describe(entry)} has taken over" if entry else "its run has ended"
        raise SupersededError(f"{store}: is not written any more by this task: {holder}")


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


def _explain(store: Path, error: OSError) -> ClhdError:
    """The error of a lock as one line."""
    if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        return ClhdError(
            f"{store.parent}: its file system has no locks, without which two runs could mix their results; put them "
            "on one that has (--results), or have it mounted with locks (Lustre: flock, NFS: version 4)"
        )
    return ClhdError(describe_unwritable(store.parent, error))
