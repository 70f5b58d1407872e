"""`OwnNanny`: starts worker processes that never run the script which calls clhd, from wherever clhd is called.

| where clhd is called | what would happen | what is done |
|---|---|---|
| a script without ``if __name__ == "__main__":`` | each worker would run the script again | it starts without it |
| a script from standard input | each worker would look for its file | the same |
| a worker of ``multiprocessing.Pool`` or of Dask | it is daemonic, and must not start processes | it may |
| a process that was forked after clhd or Dask was used | it would wait for threads of its parent | it gets its own |

The workers of clhd import what they compute by name, and Dask ends each of them when its parent ends: so they need
neither the script nor the rule for daemonic processes.

All this takes private parts of the standard library (as of Python 3.11 to 3.13), of dask and distributed 2026.8. If one
is gone, the row of the table happens.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import current_process, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

import dask.threaded
import distributed.nanny
import distributed.process
import distributed.utils
from distributed import Nanny

_lock = threading.Lock()
_is_own: ContextVar[bool] = ContextVar("_is_own", default=False)
_process: Any = distributed.process  # neither module is typed
_nanny: Any = distributed.nanny
_find_context: Any = _process.get_mp_context


class OwnNanny(Nanny):
    """Dask's nanny, whose processes do not know the main module of this process."""

    async def instantiate(self) -> Any:
        """Start the worker process; Dask calls this again whenever a worker has died."""
        mark = _is_own.set(True)
        try:
            return await super().instantiate()
        finally:
            _is_own.reset(mark)


class _OwnProcess(SpawnProcess):
    def start(self) -> None:
        with _lock, _omit_main(), _allow_children():
            super().start()


class _OwnContext(SpawnContext):
    Process = _OwnProcess


_OWN_CONTEXT = _OwnContext()


def _find_own_context() -> Any:
    """What distributed starts processes by: as ever, but for the nannies of clhd."""
    return _OWN_CONTEXT if _is_own.get() else _find_context()


_nanny.get_mp_context = _process.get_mp_context = _find_own_context


@contextmanager
def _omit_main() -> Iterator[None]:
    """Leave the main module out of what this thread tells the processes that it starts."""
    describe, thread = spawn.get_preparation_data, threading.get_ident()

    def describe_own(name: str) -> dict[str, Any]:
        found = describe(name)
        if threading.get_ident() != thread:
            return found
        return {key: value for key, value in found.items() if not key.startswith("init_main")}

    spawn.get_preparation_data = describe_own
    try:
        yield
    finally:
        spawn.get_preparation_data = describe


@contextmanager
def _allow_children() -> Iterator[None]:
    """Let this process start others, even if it is daemonic."""
    settings: dict[str, Any] = current_process()._config  # type: ignore[attr-defined]
    is_daemonic = settings.get("daemon", False)
    settings["daemon"] = False
    try:
        yield
    finally:
        settings["daemon"] = is_daemonic


def _renew_threads() -> None:
    """Have Dask start threads of its own in a forked process, and forget who held the lock in its parent."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    distributed.utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")
    dask.threaded.default_pool = None
    dask.threaded.pools.clear()


os.register_at_fork(after_in_child=_renew_threads)
