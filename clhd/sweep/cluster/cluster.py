"""`open_client`: a client of the workers: this machine's cores, SLURM jobs, or a Dask cluster that runs already.

Dask runs the code that it is sent. So on this machine it listens on loopback only, and all processes talk by TLS, on
which both sides show a certificate: neither another machine nor another user of this one can join in.
"""

import ipaddress
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import CancelledError, Client, Security
from distributed.comm.addressing import parse_host_port
from distributed.comm.core import CommClosedError, FatalCommClosedError

from clhd.core.machine import count_cores
from clhd.errors import ClusterError, InputError
from clhd.sweep.cluster.dask_quirks import (
    CLIENT_LOGGERS,
    SHUTDOWN_LOGGERS,
    add_dashboard_socket,
    block_sigint,
    hide_cancel_traceback,
    ignore_late_loop_errors,
    kill_workers,
    quiet,
)
from clhd.sweep.cluster.local import LOOPBACK, ONE_THREAD, start_local
from clhd.sweep.cluster.slurm import check_slurm, open_slurm, start_jobs
from clhd.sweep.cluster.tls import check_key, find_default_folder, load_security

_DASHBOARD_PORT = 8787
CONNECT_SECONDS = 10
LOST = (
    "the scheduler was lost; all finished blocks are kept. Start it again: the same command then continues from there"
)


@dataclass(frozen=True)
class Cluster:
    """Where to compute: on this machine, in SLURM jobs, or on a Dask cluster that runs already.

    Parameters
    ----------
    workers : int or None
        Processes on this machine, one core each; by default one per core.
    scheduler : str or None
        Address of a running Dask scheduler to use instead.
    scheduler_file : Path or None
        File with the address of a running scheduler, as `dask scheduler` writes it.
    tls : Path or None
        Folder of the certificates for the scheduler or the SLURM jobs. By default, a running scheduler is reached with
        those of Dask's configuration, or else of `find_default_folder`; SLURM jobs get a new certificate.
    slurm : int or None
        Start up to this many SLURM jobs instead, each a worker of one core.

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
        if self.runs_already:
            self.find_security()  # before anything is written
        elif self.slurm is not None:
            check_slurm(self.slurm)
            if self.tls is not None:
                load_security(self.tls)
        elif self.tls is not None:
            raise InputError(f"--tls {self.tls}: works only with --scheduler, --scheduler-file or --slurm")

    @property
    def runs_already(self) -> bool:
        """True if the cluster runs already, so that clhd does not start it."""
        return self.scheduler is not None or self.scheduler_file is not None

    def count_workers(self) -> int:
        """The number of workers that is expected before they start."""
        return self.slurm or self.workers or count_cores()

    def find_address(self) -> str:
        """Address of the scheduler.

        Raises
        ------
        ClhdError
            If its file names no address, or it is neither on loopback nor reached by TLS.
        """
        name = f"scheduler {self.scheduler}"
        address = self.scheduler
        if address is None:
            try:
                address = str(json.loads(Path(str(self.scheduler_file)).read_bytes())["address"])
            except OSError as error:
                raise ClusterError(f"{self.scheduler_file}: cannot be read: {error.strerror}") from None
            except (ValueError, TypeError, KeyError):
                raise ClusterError(
                    f"{self.scheduler_file}: names no scheduler; `dask scheduler --scheduler-file` writes such files"
                ) from None
            name = f"{self.scheduler_file}: scheduler {address}"
        protocol, separator, place = address.rpartition("://")
        if protocol != "tls" and not (protocol in ("", "tcp") and _is_loopback(place)):
            raise ClusterError(
                f"{name}: must begin with tls:// unless it is on 127.0.0.1, since without certificates anyone who "
                "reaches it can run programs as you; `clhd certificates` makes them and prints how to start a scheduler"
            )
        return address if separator else f"tcp://{address}"

    def find_security(self) -> Security | None:
        """Dask's settings for TLS to the scheduler; None if it is on loopback, without TLS."""
        address = self.find_address()
        if not address.startswith("tls://"):
            if self.tls is not None:
                raise ClusterError(f"scheduler {address}: must begin with tls:// to be used with --tls {self.tls}")
            return None
        if self.tls is not None:
            return load_security(self.tls)
        if dask.config.get("distributed.comm.tls.client.cert", None):
            key = str(dask.config.get("distributed.comm.tls.client.key", None))  # a path, or the key itself
            if "\n" not in key and Path(key).is_file():
                check_key(Path(key))
            return Security()
        if find_default_folder().exists():
            return load_security(find_default_folder())
        raise ClusterError(f"scheduler {address}: needs certificates; name their folder with --tls DIR")


def _is_loopback(place: str) -> bool:
    """True if host:port is on loopback; of names only localhost is, since any other may lead elsewhere."""
    try:
        host, _ = parse_host_port(place, 0)  # the parser of Dask, so that both read the same host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def open_client(cluster: Cluster, *, processes: bool = True) -> Iterator[Client]:
    """A client of the cluster, closed with the context.

    Parameters
    ----------
    cluster : Cluster
    processes : bool
        One process per worker, so that the death of one leaves the others alive; False for work of a few seconds, since
        starting processes would take longer than the work. All sockets listen on loopback only.

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
        opened = _open_local(cluster.count_workers(), processes)
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
    with ExitStack() as stack:
        with block_sigint():
            slurm = stack.enter_context(open_slurm(tls, ONE_THREAD))
        start_jobs(slurm, jobs)
        _serve_dashboard(slurm)
        yield stack.enter_context(Client(slurm))


@contextmanager
def _open_local(workers: int, processes: bool) -> Iterator[Client]:
    """A client of workers on this machine, which are killed at the end."""
    with ExitStack() as end, start_local(workers, processes=processes) as local, Client(local) as client:
        if processes:
            _serve_dashboard(local)
        try:
            yield client
        finally:
            end.enter_context(quiet(*SHUTDOWN_LOGGERS))
            kill_workers(local)


def _serve_dashboard(cluster: Any) -> None:
    """Serve Dask's pages at their usual port as well, unless that is taken."""
    with suppress(OSError):
        usual = socket.create_server((LOOPBACK, _DASHBOARD_PORT))
        usual.setblocking(False)
        add_dashboard_socket(cluster, usual)
