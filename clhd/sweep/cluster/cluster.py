"""`open_client`: a client of the workers: this machine's cores, SLURM jobs, or a Dask cluster that runs already.

Dask runs the code that it is sent. So on this machine it listens on loopback only, and all processes talk by TLS, on
which both sides show a certificate: neither another machine nor another user of this one can join in.
"""

import copy
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dask
from distributed import CancelledError, Client, LocalCluster, Security
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.system import MEMORY_LIMIT

from clhd.core.machine import ONE_THREAD
from clhd.errors import ClusterError
from clhd.sweep.cluster.dask_quirks import (
    CLIENT_LOGGERS,
    HANDSHAKE_LOGGERS,
    SHUTDOWN_LOGGERS,
    OwnNanny,
    add_dashboard_socket,
    begin_workers,
    block_sigint,
    hide_cancel_traceback,
    ignore_late_loop_errors,
    ignore_start_warnings,
    kill_workers,
    quiet,
)
from clhd.sweep.cluster.place import Cluster
from clhd.sweep.cluster.slurm import open_slurm, start_jobs

_LOOPBACK = "127.0.0.1"
_STARTS = 3
_POLL_SECONDS = 0.05
# Settings of all workers that clhd starts. One that is short of memory would write results as pickles into a folder of
# /tmp that Dask shares among users. By default Dask also looks 50 times a second whether each of its servers is awake,
# and 100 times what a worker does: with two workers 18 % of a core (dask 2026.8), and 6 % at these intervals.
WORKER_SETTINGS: dict[str, Any] = {f"distributed.worker.memory.{step}": False for step in ("target", "spill")} | {
    "distributed.admin.tick.interval": "1s",
    "distributed.worker.profile.interval": "100ms",
}
WORKER_VARIABLES = {
    f"DASK_{key.upper().replace('.', '__').replace('-', '_')}": str(value) for key, value in WORKER_SETTINGS.items()
}
# Of this machine's alone: modules that the user has other clusters load at their start may be missing here.
_SETTINGS = WORKER_SETTINGS | {"distributed.scheduler.contact-address": None}
_SETTINGS |= {f"distributed.{part}.preload": [] for part in ("scheduler", "nanny", "worker")}
_DASHBOARD_PORT = 8787
CONNECT_SECONDS = 10
LOST = (
    "the scheduler was lost; all finished blocks are kept. Start it again: the same command then continues from there"
)


@contextmanager
def open_client(cluster: Cluster) -> Iterator[Client]:
    """A client of the cluster, closed with the context.

    Each worker is a process, so that the death of one leaves the others alive. All sockets listen on loopback only.

    Raises
    ------
    ClhdError
        If there is no scheduler at the address given, or it has another certificate; or SLURM refuses the jobs, or the
        workers cannot be started.
    """
    if cluster.runs_already:
        opened = _open_scheduler(cluster)
    elif cluster.slurm is not None:
        opened = _open_slurm(cluster.slurm, cluster.tls)
    else:
        opened = _open_local(cluster.count_workers())
    with hide_cancel_traceback(), opened as client, ignore_late_loop_errors(client):
        yield client


@contextmanager
def _open_scheduler(cluster: Cluster) -> Iterator[Client]:
    """A client of a scheduler that runs already; if it is lost, one line says so."""
    with quiet(*CLIENT_LOGGERS), _connect(cluster) as client:
        try:
            yield client
        except (CancelledError, OSError, RuntimeError) as error:
            if isinstance(error, CancelledError | CommClosedError) or client.status != "running":
                raise ClusterError(LOST) from None
            raise


def _connect(cluster: Cluster) -> Client:
    """Connect to a scheduler that runs already."""
    address, security = cluster.find_address(), cluster.find_security()
    try:
        return Client(address, security=security, timeout=CONNECT_SECONDS)
    except FatalCommClosedError:
        raise ClusterError(
            f"scheduler {address}: has another certificate; start it, and clhd, with the same folder (--tls DIR)"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise ClusterError(f"scheduler {address}: cannot be reached: {error}") from None


@contextmanager
def _open_slurm(jobs: int, tls: Path | None) -> Iterator[Client]:
    """A client of a scheduler in this process, whose workers are SLURM jobs."""
    with dask.config.set(WORKER_SETTINGS), ExitStack() as stack:
        with block_sigint():
            slurm = stack.enter_context(open_slurm(tls, ONE_THREAD | WORKER_VARIABLES))
        start_jobs(slurm, jobs)
        _serve_dashboard(slurm)
        yield stack.enter_context(Client(slurm))


@contextmanager
def _open_local(workers: int) -> Iterator[Client]:
    """A client of workers on this machine, which are killed at the end."""
    with (
        quiet(*HANDSHAKE_LOGGERS),
        ExitStack() as end,
        _start_local(workers) as local,
        Client(local) as client,
    ):
        _serve_dashboard(local)
        try:
            yield client
        finally:
            end.enter_context(quiet(*SHUTDOWN_LOGGERS))
            kill_workers(local)


def _start_local(workers: int) -> Any:
    """Start workers on this machine, one core each, and a scheduler; try again if one of them is killed meanwhile.

    Dask would then end all the others. The LocalCluster is open, to be closed by its context.
    """
    # These options override the user's Dask settings, which are meant for other clusters: they must neither open a
    # socket here nor ask for other certificates.
    options: dict[str, Any] = {
        "n_workers": 0,
        "processes": True,
        "threads_per_worker": 1,
        "memory_limit": MEMORY_LIMIT // workers,
        "host": _LOOPBACK,
        "protocol": "tls://",
        "env": ONE_THREAD,
        "security": Security.temporary(),
        "worker_class": OwnNanny,
        "dashboard_address": f"{_LOOPBACK}:0",
    }
    problem = ""
    for _ in range(_STARTS):
        try:
            with quiet(*SHUTDOWN_LOGGERS), ignore_start_warnings(), dask.config.set(_SETTINGS), ExitStack() as stack:
                # A copy, so that workers which replace killed ones get these settings as well.
                options["config"] = copy.deepcopy(dask.config.config)
                with block_sigint():
                    local = stack.enter_context(LocalCluster(**options))
                _start_workers(local, workers)
                stack.pop_all()
                return local
        except RuntimeError as error:
            problem = str(error).rstrip(".")
    raise ClusterError(f"the worker processes could not be started: {problem}")


def _start_workers(local: Any, count: int) -> None:
    """Start workers, and kill them at once if an interrupt comes: Dask would wait until all of them are there.

    The thread that starts them blocks SIGINT, and they inherit that.
    """
    started = begin_workers(local, count)
    try:
        started.result()
    except KeyboardInterrupt:
        while not started.done():
            kill_workers(local)
            time.sleep(_POLL_SECONDS)
        raise


def _serve_dashboard(cluster: Any) -> None:
    """Serve Dask's pages at their usual port as well, unless that is taken."""
    with suppress(OSError):
        usual = socket.create_server((_LOOPBACK, _DASHBOARD_PORT))
        usual.setblocking(False)
        add_dashboard_socket(cluster, usual)
