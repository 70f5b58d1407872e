"""`open_client`: where the blocks run: on this machine's cores, in SLURM jobs, or on a Dask cluster that runs already.

Dask runs the code that it is sent. So on this machine it listens on loopback only, and all processes talk by TLS, both
sides showing their certificates: neither another machine nor another user of this one can join in.
"""

import asyncio
import ipaddress
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any

import dask
from distributed import CancelledError, Client, LocalCluster, Security
from distributed.comm.addressing import parse_host_port
from distributed.comm.core import CommClosedError, FatalCommClosedError
from distributed.system import MEMORY_LIMIT

from clhd.errors import ClhdError
from clhd.sweep.batch import check_slurm, open_slurm, start_jobs
from clhd.sweep.certificates import find_default_folder, load_security, make_security

_LOOPBACK = "127.0.0.1"
_DASHBOARD_PORT = 8787
_STARTS = 3
_POLL_SECONDS = 0.05
CONNECT_SECONDS = 10
LOST = "the scheduler was lost; what is done is kept: once it runs, the same command goes on from there"
# What tells about every connection that breaks when workers are killed, some with a traceback.
_LOGGERS = tuple(f"distributed.{part}" for part in ("batched", "client", "comm", "core", "nanny", "scheduler"))
_make_client: Any = Client  # distributed is not typed
_make_cluster: Any = LocalCluster
_make_security: Any = Security
_LIBRARIES = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _LIBRARIES}


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
    tls : Path or None
        Folder of the certificates for it, by default what Dask is configured with, or else `find_default_folder`.
    slurm : int or None
        The most SLURM jobs to start instead, each a worker of one core; without `tls`, with certificates of their own.

    Raises
    ------
    ClhdError
        If the scheduler is neither on loopback nor reached by TLS, or its file or the certificates cannot be read; or
        no SLURM jobs can be started from here.
    """

    workers: int | None = None
    scheduler: str | None = None
    scheduler_file: Path | None = None
    tls: Path | None = None
    slurm: int | None = None

    def __post_init__(self) -> None:
        if self.is_there:
            self.find_security()  # before anything is written
        elif self.slurm is not None:
            check_slurm(self.slurm)
            if self.tls is not None:
                load_security(self.tls)
        elif self.tls is not None:
            raise ClhdError(
                f"--tls {self.tls}: is for workers elsewhere: give --scheduler, --scheduler-file or --slurm"
            )

    @property
    def is_there(self) -> bool:
        """True if it runs already, and is not started here."""
        return self.scheduler is not None or self.scheduler_file is not None

    def count_workers(self) -> int:
        """Workers, as far as is known before they start."""
        return self.slurm or self.workers or count_cores()

    def find_address(self) -> str:
        """Address of the scheduler.

        Raises
        ------
        ClhdError
            If its file names none, or others could listen on the way to it.
        """
        name = f"scheduler {self.scheduler}"
        address = self.scheduler
        if address is None:
            try:
                address = str(json.loads(Path(str(self.scheduler_file)).read_bytes())["address"])
            except OSError as error:
                raise ClhdError(f"{self.scheduler_file}: cannot be read: {error.strerror}") from None
            except (ValueError, TypeError, KeyError):
                raise ClhdError(f"{self.scheduler_file}: is no file that `dask scheduler` has written") from None
            name = f"{self.scheduler_file}: scheduler {address}"
        protocol, separator, place = address.rpartition("://")
        if protocol != "tls" and not (protocol in ("", "tcp") and _is_loopback(place)):
            raise ClhdError(
                f"{name}: must begin with tls:// unless it is on 127.0.0.1, for without certificates anyone who "
                "reaches it can run programs as you: `clhd certificates` makes them and tells how to start it"
            )
        return address if separator else f"tcp://{address}"

    def find_security(self) -> Any:
        """The certificates for the scheduler, None if it is reached without."""
        address = self.find_address()
        if not address.startswith("tls://"):
            if self.tls is not None:
                raise ClhdError(f"scheduler {address}: must begin with tls:// to be used with --tls {self.tls}")
            return None
        if self.tls is not None:
            return load_security(self.tls)
        if dask.config.get("distributed.comm.tls.client.cert", None):
            return _make_security()
        if find_default_folder().exists():
            return load_security(find_default_folder())
        raise ClhdError(f"scheduler {address}: needs certificates: give their folder by --tls")


def _is_loopback(place: str) -> bool:
    """True if host:port is on this machine, where nobody else listens; a name may lead anywhere."""
    try:
        host, _ = parse_host_port(place, 0)  # as Dask will read it
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
        If there is no scheduler at the address given, or it has another certificate.
    """
    if cluster.is_there:
        with quiet("distributed.client"), _connect(cluster) as client:  # that it is lost is told here
            try:
                with _forgetting(client):
                    yield client
            except (CancelledError, OSError, RuntimeError) as error:
                if isinstance(error, CancelledError | CommClosedError) or client.status != "running":
                    raise ClhdError(LOST) from None
                raise
        return
    if cluster.slurm is not None:
        with ExitStack() as stack:
            with _deaf_to_interrupts():
                slurm = stack.enter_context(open_slurm(cluster.tls, _ONE_THREAD))
            start_jobs(slurm, cluster.slurm)
            _serve_dashboard(slurm)
            client = stack.enter_context(_make_client(slurm))
            with _forgetting(client):
                yield client
        return
    # What the user has configured Dask with is for other clusters: nothing of it opens a socket here, or asks for other
    # certificates. Without its own address the server of a worker that is a thread would listen to the world.
    kind = (
        {"host": _LOOPBACK, "protocol": "tls://", "env": _ONE_THREAD}
        if processes
        else {"protocol": "inproc://", "worker_dashboard_address": f"{_LOOPBACK}:0"}
    )
    local = _start_cluster(
        cluster.count_workers() if processes else 1,
        threads_per_worker=1 if processes else cluster.count_workers(),
        processes=processes,
        dashboard_address=f"{_LOOPBACK}:0",
        security=make_security() if processes else _make_security(require_encryption=False, tls_ca_file=None),
        **kind,
    )
    with ExitStack() as end, local, _make_client(local) as client:
        if processes:
            _serve_dashboard(local)
        try:
            with _forgetting(client):
                yield client
        finally:
            end.enter_context(quiet(*_LOGGERS))
            kill_workers(local)


def _start_cluster(workers: int, **options: Any) -> Any:
    """A cluster of this machine; a worker that is killed while it starts takes all others along, so once more."""
    options |= {"n_workers": 0, "memory_limit": MEMORY_LIMIT // workers}
    problem: RuntimeError | None = None
    for _ in range(_STARTS):
        try:
            with quiet(*_LOGGERS), ExitStack() as stack:
                with _deaf_to_interrupts(), dask.config.set({"distributed.scheduler.contact-address": None}):
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


def _connect(cluster: Cluster) -> Any:
    """A client of a scheduler that is there already."""
    address, security = cluster.find_address(), cluster.find_security()
    try:
        return _make_client(address, security=security, timeout=CONNECT_SECONDS)
    except FatalCommClosedError:
        raise ClhdError(
            f"scheduler {address}: has another certificate; both sides need those of one folder (--tls)"
        ) from None
    except (OSError, ValueError, RuntimeError) as error:
        raise ClhdError(f"scheduler {address}: cannot be reached: {error}") from None


@contextmanager
def quiet(*loggers: str) -> Iterator[None]:
    """Keep loggers silent: a line of our own is enough, where Dask would tell about all that breaks thereby."""
    levels = {name: logging.getLogger(name).level for name in loggers}
    try:
        for name in loggers:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _forgetting(client: Any) -> Iterator[None]:
    """Afterwards forget what Dask leaves unfinished when its thread ends, which may be a TimeoutError nobody waits for.

    By it, asyncio would make the last line of a run that went well ``TimeoutError: Timeout``.
    """
    loop = client.loop.asyncio_loop
    try:
        yield
    finally:
        loop.set_exception_handler(lambda *_: None)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start threads and processes that never see Ctrl-C, which a terminal sends to all: this thread alone answers it.

    They inherit the mask. An interrupt that comes meanwhile is answered at the end, when what was started has an owner,
    and a second one once it is seen; the mask does not hold them back, for the threads of other libraries see them.
    """
    resource_tracker.ensure_running()  # by its first start it would take the mask off again
    came: list[int] = []
    answers: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        if not came:
            came.append(number)
        elif callable(answers[number]):
            answers[number](number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
            signal.raise_signal(number)

    if threading.current_thread() is threading.main_thread():  # no other may
        answers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # Who ignores them goes on doing so; None is an answer that is not Python's, and cannot be put back.
        answers = {number: answer for number, answer in answers.items() if answer not in (signal.SIG_IGN, None)}
        for number in answers:
            signal.signal(number, note)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, answer in answers.items():
            signal.signal(number, answer)
        if came:
            signal.raise_signal(came[0])


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


def _serve_dashboard(cluster: Any) -> None:
    """Serve Dask's pages at their usual port as well, unless that is taken; then Dask itself would leak a socket."""
    with suppress(OSError):
        usual = socket.create_server((_LOOPBACK, _DASHBOARD_PORT))
        usual.setblocking(False)
        cluster.loop.add_callback(cluster.scheduler.http_server.add_socket, usual)
