"""The private parts of Dask and its libraries that clhd needs: each behind one function, and used nowhere else.

A private part can change in any release. So pyproject.toml admits no release newer than those that the tests have seen:
distributed 2026.8, dask-jobqueue 0.9, with tornado 6.6. Each function says what breaks if its part is gone.

`OwnNanny` starts worker processes that never run the script which calls clhd, from wherever clhd is called. If one of
its private parts, of distributed and of the standard library (Python 3.11 to 3.13), is gone, the row happens:

| where clhd is called | what would happen | what is done |
|---|---|---|
| a script without ``if __name__ == "__main__":`` | each worker would run the script again | it starts without it |
| a script from standard input | each worker would look for its file | the same |
| a worker of ``multiprocessing.Pool`` or of Dask | it is daemonic, and must not start processes | it may |
| a process that was forked after clhd or Dask was used | it would wait for threads of its parent | it gets its own |

The workers of clhd import what they compute by name, and Dask ends each of them when its parent ends: so they need
neither the script nor the rule for daemonic processes.
"""

import asyncio
import concurrent.futures
import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from multiprocessing import current_process, resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from types import FrameType
from typing import Any, NamedTuple

import distributed.nanny
import distributed.process
import distributed.utils
from distributed import LocalCluster, Nanny
from distributed.core import Status
from distributed.scheduler import KilledWorker

# Loggers of distributed 2026.8 that report a lost scheduler, lost workers and their tasks, and what breaks when workers
# are killed. If one is renamed, its lines and tracebacks appear between the lines of a run.
CLIENT_LOGGERS = ("distributed.client",)
DEATH_LOGGERS = ("distributed.nanny", "distributed.nanny.memory", "distributed.scheduler")
# It reports a connection that was given up before its TLS handshake ended, as by a busy worker, which then tries again.
HANDSHAKE_LOGGERS = ("distributed.comm.tcp",)
_PARTS = ("batched", "client", "comm", "core", "diskutils", "nanny", "scheduler")
SHUTDOWN_LOGGERS = tuple(f"distributed.{part}" for part in _PARTS)
_HARMLESS = "Creating scratch directories is taking"
_EVENT_POLLS, _EVENT_POLL_SECONDS = 5, 0.05
_lock = threading.Lock()
_is_own: ContextVar[bool] = ContextVar("_is_own", default=False)
_process: Any = distributed.process  # neither module is typed
_nanny: Any = distributed.nanny
_find_context: Any = _process.get_mp_context


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Silence loggers below CRITICAL: a run says in one line of its own what they would report in many."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def hide_memory_warnings() -> None:
    """Silence a logger of distributed 2026.8; else a worker warns again and again until it is killed for its memory."""
    logging.getLogger("distributed.worker.memory").setLevel(logging.ERROR)


@contextmanager
def ignore_start_warnings() -> Iterator[None]:
    """Ignore a warning of distributed 2026.8 by its text; else a slow disk warns.

    A run on this machine writes nothing to Dask's scratch folder.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _HARMLESS)
        yield


@contextmanager
def hide_cancel_traceback() -> Iterator[None]:
    """Drop a message of tornado 6.6; else Ctrl-C before a call of distributed 2026.8 has begun prints a traceback."""

    def is_other(record: logging.LogRecord) -> bool:
        return "sync.<locals>.cancel" not in record.getMessage()

    logger = logging.getLogger("tornado.application")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


@contextmanager
def ignore_late_loop_errors(client: Any) -> Iterator[None]:
    """Ignore errors in tasks that distributed 2026.8 leaves unfinished when its thread ends.

    It sets the exception handler of the event loop behind tornado 6.6's; else the last line of a successful run may be
    ``TimeoutError: Timeout``.
    """
    loop = client.loop.asyncio_loop
    try:
        yield
    finally:
        loop.set_exception_handler(lambda *_: None)


@contextmanager
def block_sigint() -> Iterator[None]:
    """Start threads and processes that never receive Ctrl-C, which a terminal sends to all processes of a command.

    They inherit the mask of signals; else each worker of distributed 2026.8 handles Ctrl-C in its own way, most with a
    traceback. An interrupt within the context is raised again at its end, when a context closes what was started. A
    second one is handled at once: the mask does not stop it, since threads of other libraries receive it.
    """
    resource_tracker.ensure_running()  # its first start would reset the mask
    received: list[int] = []
    handlers: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if not received:
            received.append(number)
        elif callable(handlers[number]):
            handlers[number](number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
            signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():  # Python sets handlers in no other thread
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # A signal that is ignored stays ignored; a handler that is not Python's (None) could not be restored.
        handlers = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
        for number in handlers:
            signal.signal(number, note)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # a second interrupt that was blocked arrives here
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


def import_slurm_cluster() -> Any:
    """Import SLURMCluster and restore Ctrl-C; the handler that dask-jobqueue 0.9 sets would end clhd silently."""
    handler = signal.getsignal(signal.SIGINT)
    from dask_jobqueue.slurm import SLURMCluster  # noqa: PLC0415  # an optional dependency

    signal.signal(signal.SIGINT, handler)
    return SLURMCluster


def begin_workers(local: Any, count: int) -> "concurrent.futures.Future[None]":
    """Begin to start the workers of a LocalCluster of distributed 2026.8, and return the future of their start.

    Its own constructor cannot be interrupted until all workers are there, and its `scale` does not say when they are.
    """

    async def start() -> None:
        local.worker_spec.update(dict.fromkeys(range(count), local.new_spec))
        await local

    return asyncio.run_coroutine_threadsafe(start(), local.loop.asyncio_loop)


def kill_workers(local: Any) -> None:
    """Kill the worker processes behind the nannies of distributed 2026.8, also those that are starting.

    Else closing takes seconds, or for ever if a worker hangs at its start. No finished block is lost, since files are
    replaced in one step.
    """
    for nanny in _list_nannies(local):
        process = getattr(getattr(nanny, "process", None), "process", None)
        if process is not None and process.is_alive():
            nanny.close_gracefully()  # so that it does not start another process
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # the nanny's own kill() needs an event loop in this thread


def _list_nannies(local: Any) -> list[Any]:
    """All nannies of a LocalCluster; ``local.workers`` lacks the ones that are starting."""
    while True:
        with suppress(RuntimeError):  # Dask's thread has added one meanwhile
            return list(local._created)


def add_dashboard_socket(cluster: Any, listening: socket.socket) -> None:
    """Serve the dashboard on one more socket; distributed 2026.8 itself leaks a socket if a port is taken."""
    cluster.loop.add_callback(cluster.scheduler.http_server.add_socket, listening)


class Death(NamedTuple):
    """The worker that died last while it computed a task, its memory limit in bytes, and how many died in all."""

    address: str
    memory_limit: int
    deaths: int


def describe_death(error: KilledWorker) -> Death:
    """What KilledWorker of distributed 2026.8 tells; else deaths are miscounted, and nobody knows which worker died."""
    return Death(error.last_worker.address, error.last_worker.memory_limit, error.allowed_failures + 1)


def was_killed_for_memory(client: Any, address: str) -> bool:
    """True if a nanny of distributed 2026.8 reported that it killed this worker; else the cause remains unknown.

    The report may come a moment after the death.
    """
    for _ in range(_EVENT_POLLS):
        if any(event.get("worker") == address for _, event in client.get_events("worker-restart-memory")):
            return True
        time.sleep(_EVENT_POLL_SECONDS)
    return False


def await_finished(finished: Any, seconds: float) -> bool:
    """Wait some time for a future of an ``as_completed`` of distributed 2026.8; return False if none has finished.

    Its own wait polls, and cannot end without a future.
    """
    with finished.thread_condition:
        if not finished.has_ready():
            finished.thread_condition.wait(seconds)
    return bool(finished.has_ready())


def have_ended(cluster: Any) -> bool:
    """True if a LocalCluster of distributed 2026.8 has no worker left and starts none; else it is awaited for ever.

    A worker that is killed is started again; one that ends by itself, or cannot be started again, is not.
    """
    workers = list(cluster.workers.values()) if isinstance(cluster, LocalCluster) else []
    return bool(workers) and all(worker.status in (Status.closed, Status.failed) for worker in workers)


def list_awaited_jobs(cluster: Any) -> dict[Any, Any]:
    """The jobs, by name, whose workers are not there (distributed 2026.8); else ended jobs are awaited for ever."""
    return {name: job for name, job in cluster.workers.items() if name not in cluster.observed}


def forget_job(cluster: Any, name: Any, job: Any) -> bool:
    """Have distributed 2026.8 start another job in place of one that ended; else it counts the job as one to come.

    Returns False if the worker has come after all, or another job has the name by now.
    """
    if cluster.workers.get(name) is not job or name in cluster.observed:
        return False
    del cluster.workers[name]
    return True


def mark_jobs_closing(cluster: Any) -> None:
    """Mark all jobs as closing before a cluster is closed; else distributed 2026.8 fails if SLURM refused a job."""
    for job in list(cluster._created):
        job.status = Status.closing


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
    """Have distributed start a thread of its own in a forked process, and forget who held the lock in its parent."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    distributed.utils._offload_executor = ThreadPoolExecutor(1, thread_name_prefix="Dask-Offload")


os.register_at_fork(after_in_child=_renew_threads)
