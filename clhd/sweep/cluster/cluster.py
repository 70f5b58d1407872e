"""`open_client`: where the blocks run: on this machine's cores, in SLURM jobs, or on a Dask cluster that runs already.

Dask runs the code that it is sent. So on this machine it listens on loopback only, and all processes talk by TLS, both
sides showing their certificates: neither another machine nor another user of this one can join in.
"""

import ipaddress
import json
import os
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

from clhd.errors import ClhdError
from clhd.sweep.cluster.dask_quirks import NOISY_AT_THE_END, bearing_interrupts, deaf_to_interrupts, forgetting, quiet
from clhd.sweep.cluster.local import LOOPBACK, ONE_THREAD, kill_workers, start_local
from clhd.sweep.cluster.slurm import check_slurm, open_slurm, start_jobs
from clhd.sweep.cluster.tls import find_default_folder, load_security

_DASHBOARD_PORT = 8787
CONNECT_SECONDS = 10
LOST = "the scheduler was lost; what is done is kept: once it runs, the same command goes on from there"
_make_client: Any = Client  # distributed is not typed
_make_security: Any = Security


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
        # That it is lost is told here.
        with quiet("distributed.client"), bearing_interrupts(), _connect(cluster) as client:
            try:
                with forgetting(client):
                    yield client
            except (CancelledError, OSError, RuntimeError) as error:
                if isinstance(error, CancelledError | CommClosedError) or client.status != "running":
                    raise ClhdError(LOST) from None
                raise
        return
    if cluster.slurm is not None:
        with bearing_interrupts(), ExitStack() as stack:
            with deaf_to_interrupts():
                slurm = stack.enter_context(open_slurm(cluster.tls, ONE_THREAD))
            start_jobs(slurm, cluster.slurm)
            _serve_dashboard(slurm)
            client = stack.enter_context(_make_client(slurm))
            with forgetting(client):
                yield client
        return
    local = start_local(cluster.count_workers(), processes=processes)
    with bearing_interrupts(), ExitStack() as end, local, _make_client(local) as client:
        if processes:
            _serve_dashboard(local)
        try:
            with forgetting(client):
                yield client
        finally:
            end.enter_context(quiet(*NOISY_AT_THE_END))
            kill_workers(local)


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


def _serve_dashboard(cluster: Any) -> None:
    """Serve Dask's pages at their usual port as well, unless that is taken; then Dask itself would leak a socket."""
    with suppress(OSError):
        usual = socket.create_server((LOOPBACK, _DASHBOARD_PORT))
        usual.setblocking(False)
        cluster.loop.add_callback(cluster.scheduler.http_server.add_socket, usual)
