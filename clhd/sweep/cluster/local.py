"""`start_local`, `kill_workers`: workers on this machine's cores, as processes or threads, by Dask's LocalCluster.

They start in a way that Ctrl-C can end, and they end at once. All sockets listen on loopback only; processes talk by
TLS, with certificates that are made for this run.
"""

import asyncio
import copy
import os
import signal
import time
import warnings
from contextlib import ExitStack, suppress
from typing import Any

import dask
from distributed import LocalCluster, Security
from distributed.system import MEMORY_LIMIT

from clhd.errors import ClhdError
from clhd.sweep.cluster.dask_quirks import NOISY_AT_THE_END, deaf_to_interrupts, quiet
from clhd.sweep.cluster.tls import make_security

LOOPBACK = "127.0.0.1"
_STARTS = 3
# Of which Dask warns: on this machine no network is needed, and a slow disk for what Dask may put aside does no harm.
_HARMLESS = "Couldn't detect a suitable IP address|Creating scratch directories is taking"
_POLL_SECONDS = 0.05
_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}
# A worker that is short of memory would put results aside as pickles, in a folder of /tmp that Dask shares among users.
_SETTINGS = {f"distributed.worker.memory.{step}": False for step in ("target", "spill")} | {
    "distributed.scheduler.contact-address": None
}
_make_cluster: Any = LocalCluster  # distributed is not typed
_make_security: Any = Security


def start_local(workers: int, *, processes: bool) -> Any:
    """Start workers on this machine, and a scheduler for them.

    Parameters
    ----------
    workers : int
        One core each.
    processes : bool
        One process per worker; else all are threads of this process.

    Returns
    -------
    LocalCluster
        Open, to be closed by its context.

    Raises
    ------
    ClhdError
        If the processes cannot be started.
    """
    # What the user has configured Dask with is for other clusters: nothing of it opens a socket here, or asks for other
    # certificates. Without its own address the server of a worker that is a thread would listen to the world.
    kind = (
        {"host": LOOPBACK, "protocol": "tls://", "env": ONE_THREAD}
        if processes
        else {"protocol": "inproc://", "worker_dashboard_address": f"{LOOPBACK}:0"}
    )
    return _start_cluster(
        workers if processes else 1,
        processes=processes,
        threads_per_worker=1 if processes else workers,
        dashboard_address=f"{LOOPBACK}:0",
        security=make_security() if processes else _make_security(require_encryption=False, tls_ca_file=None),
        **kind,
    )


def _start_cluster(workers: int, *, processes: bool, **options: Any) -> Any:
    """A cluster of this machine; a worker that is killed while it starts takes all others along, so once more."""
    options |= {"n_workers": 0, "processes": processes, "memory_limit": MEMORY_LIMIT // workers}
    problem: RuntimeError | None = None
    for _ in range(_STARTS):
        try:
            with quiet(*NOISY_AT_THE_END), warnings.catch_warnings(), dask.config.set(_SETTINGS), ExitStack() as stack:
                warnings.filterwarnings("ignore", _HARMLESS)
                if processes:  # those that replace one that was killed, as well: else they share what is put back
                    options["config"] = copy.deepcopy(dask.config.config)
                with deaf_to_interrupts():
                    local = stack.enter_context(_make_cluster(**options))
                _start_workers(local, workers)
                stack.pop_all()
                return local
        except RuntimeError as error:
            problem = error
    raise ClhdError(f"the worker processes could not be started: {problem}")


def _start_workers(local: Any, count: int) -> None:
    """Start them in a way that an interrupt ends them at once: Dask would wait until all are there, which may be long.

    The thread that starts them is deaf to interrupts, and so are they.
    """

    async def start() -> None:
        local.worker_spec.update(dict.fromkeys(range(count), local.new_spec))
        await local

    started = asyncio.run_coroutine_threadsafe(start(), local.loop.asyncio_loop)
    try:
        started.result()
    except KeyboardInterrupt:
        while not started.done():
            kill_workers(local)
            time.sleep(_POLL_SECONDS)
        raise


def kill_workers(local: Any) -> None:
    """End the worker processes of a cluster at once, also those that are starting; an orderly end would take seconds.

    No block is lost that was reported, and of a block in work nothing but time: files are replaced in one step.
    """
    for nanny in _list_nannies(local):
        process = getattr(getattr(nanny, "process", None), "process", None)
        if process is not None and process.is_alive():
            nanny.close_gracefully()  # it is not to start another
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)  # its own kill() needs an event loop in this thread


def _list_nannies(local: Any) -> list[Any]:
    """Those of a cluster, also the ones that are starting, which local.workers lacks; Dask's thread may add to them."""
    while True:
        with suppress(RuntimeError):  # one was added meanwhile
            return list(local._created)
