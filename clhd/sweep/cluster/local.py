"""`start_local`: workers on this machine's cores, as processes or threads, by Dask's LocalCluster.

Ctrl-C ends their start at once. All sockets listen on loopback only; processes talk by TLS, with a certificate that is
made for this run.
"""

import copy
import time
from contextlib import ExitStack
from typing import Any

import dask
from distributed import LocalCluster, Security
from distributed.system import MEMORY_LIMIT

from clhd.core.machine import ONE_THREAD
from clhd.errors import ClusterError
from clhd.sweep.cluster.dask_quirks import (
    SHUTDOWN_LOGGERS,
    begin_workers,
    block_sigint,
    ignore_start_warnings,
    kill_workers,
    quiet,
)
from clhd.sweep.cluster.process_quirks import OwnNanny

LOOPBACK = "127.0.0.1"
_STARTS = 3
_POLL_SECONDS = 0.05
# A worker that is short of memory would write results as pickles into a folder of /tmp that Dask shares among users.
_SETTINGS: dict[str, Any] = {f"distributed.worker.memory.{step}": False for step in ("target", "spill")} | {
    "distributed.scheduler.contact-address": None
}
# Modules that the user has other clusters load at their start; here they may be missing.
_SETTINGS |= {f"distributed.{part}.preload": [] for part in ("scheduler", "nanny", "worker")}


def start_local(workers: int, *, processes: bool) -> Any:
    """Start workers on this machine, and a scheduler for them.

    Parameters
    ----------
    workers : int
        One core each.
    processes : bool
        One process per worker; else all workers are threads of this process.

    Returns
    -------
    LocalCluster
        Open, to be closed by its context.

    Raises
    ------
    ClhdError
        If the processes cannot be started.
    """
    # These options override the user's Dask settings, which are meant for other clusters: they must neither open a
    # socket here nor ask for other certificates. Without an address of its own, the server of a worker that is a thread
    # would listen on all interfaces.
    kind = (
        {
            "host": LOOPBACK,
            "protocol": "tls://",
            "env": ONE_THREAD,
            "security": Security.temporary(),
            "worker_class": OwnNanny,
        }
        if processes
        else {
            "protocol": "inproc://",
            "worker_dashboard_address": f"{LOOPBACK}:0",
            "security": Security(require_encryption=False, tls_ca_file=None),
        }
    )
    return _start_cluster(
        workers if processes else 1,
        processes=processes,
        threads_per_worker=1 if processes else workers,
        dashboard_address=f"{LOOPBACK}:0",
        **kind,
    )


def _start_cluster(workers: int, *, processes: bool, **options: Any) -> Any:
    """Start a LocalCluster; try again if a worker is killed meanwhile, since Dask then ends all the others."""
    options |= {"n_workers": 0, "processes": processes, "memory_limit": MEMORY_LIMIT // workers}
    problem = ""
    for _ in range(_STARTS):
        try:
            with quiet(*SHUTDOWN_LOGGERS), ignore_start_warnings(), dask.config.set(_SETTINGS), ExitStack() as stack:
                if processes:  # a copy, so that workers which replace killed ones get these settings as well
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
