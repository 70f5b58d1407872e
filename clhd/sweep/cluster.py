"""`open_client`: where the blocks run: on the cores of this machine, or on a Dask cluster that is there already."""

import logging
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from clhd.errors import ClhdError

_LOOPBACK = "127.0.0.1"
_DASHBOARD_PORT = 8787
CONNECT_SECONDS = 10
_LOGGERS = tuple(f"distributed.{part}" for part in ("batched", "comm", "core", "nanny", "scheduler"))
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass(frozen=True)
class Cluster:
    """Where to compute.

    Parameters
    ----------
    workers : int or None
        Processes on this machine, one core each; by default one per core.
    scheduler : str or None
        Address of a Dask scheduler to use instead.
    scheduler_file : Path or None
        File that names such a scheduler.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None

    @property
    def is_local(self) -> bool:
        """True if this machine's cores are used."""
        return self.scheduler is None and self.scheduler_file is None

    def count_workers(self) -> int:
        """Workers, as far as is known before they start."""
        return self.workers or count_cores()


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def open_client(cluster: Cluster, *, processes: bool = True) -> Iterator[Client]:
    """A client of the cluster, closed with the context.

    Parameters
    ----------
    cluster : Cluster
    processes : bool
        One process per worker, so that one that is killed takes no other along; False for work of a few seconds,
        which processes would take longer to start than to do. All sockets listen on loopback only.

    Raises
    ------
    ClhdError
        If there is no scheduler at the address given.
    """
    make_client: Any = Client  # distributed is not typed
    make_cluster: Any = LocalCluster
    if not cluster.is_local:
        try:
            file = None if cluster.scheduler_file is None else str(cluster.scheduler_file)
            client = make_client(cluster.scheduler, scheduler_file=file, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ClhdError(
                f"scheduler {cluster.scheduler or cluster.scheduler_file}: cannot be reached: {error}"
            ) from None
        with client:
            yield client
        return
    with _deaf_to_interrupts(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use")
        local = make_cluster(
            n_workers=cluster.count_workers() if processes else 1,
            threads_per_worker=1 if processes else cluster.count_workers(),
            processes=processes,
            dashboard_address=f"{_LOOPBACK}:{_find_port()}",
            **({"host": _LOOPBACK, "env": dict.fromkeys(_THREAD_VARIABLES, "1")} if processes else {}),
        )
    with _quiet_end(), local, make_client(local) as client:
        try:
            yield client
        finally:
            for name in _LOGGERS:
                logging.getLogger(name).setLevel(logging.CRITICAL)
            kill_workers(local)


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Give Dask's loggers their levels back, which the end of a cluster sets higher.

    Its workers are killed, and it would tell about every connection that breaks thereby, some with a traceback.
    """
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes that never see Ctrl-C, which a terminal sends to all: this thread alone answers it.

    They inherit the mask. An interrupt that comes meanwhile is delivered at the end.
    """
    resource_tracker.ensure_running()  # by its first start it would take the mask off again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def kill_workers(local: LocalCluster) -> None:
    """End the worker processes of a cluster at once, where an orderly end would take seconds.

    No block is lost that was reported, and of a block in work nothing but time: files are replaced in one step.
    """
    for nanny in local.workers.values():
        process = getattr(getattr(nanny, "process", None), "process", None)
        if process is not None and process.is_alive():
            nanny.auto_restart = False
            process.kill()


def _find_port() -> int:
    """Dask's port for the dashboard if it is free, else any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, _DASHBOARD_PORT))
        except OSError:
            return 0
    return _DASHBOARD_PORT
