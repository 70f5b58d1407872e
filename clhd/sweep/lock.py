"""`hold_lock`: one writer for a store. The lock dies with its holder, however that ends."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clhd.errors import ClhdError
from clhd.sweep.provenance import now


class LockedError(ClhdError):
    """Another run is writing to the store."""


@contextmanager
def hold_lock(store: Path) -> Iterator[None]:
    """Hold the lock of a store, a hidden file beside it, while the context lasts.

    Raises
    ------
    LockedError
        If another process holds it: names that process, its host and when it began.
    ClhdError
        If the lock file cannot be written.
    """
    path = store.parent / f".{store.stem}.lock"
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ClhdError(f"{store.parent}: cannot be written to: {error.strerror}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(
                f"{store}: is being written by {_read_holder(descriptor)}; wait for it or stop it"
            ) from None
        entry = {"process": os.getpid(), "host": socket.gethostname(), "since": now()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(entry).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _read_holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError):
        return "another process"
