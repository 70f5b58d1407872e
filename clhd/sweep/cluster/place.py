"""`Cluster`: where to compute, as the user says it; Dask is imported only if the answer needs it."""
# ruff: noqa: PLC0415

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clhd.core.machine import count_cores
from clhd.errors import ClusterError, InputError

if TYPE_CHECKING:
    from distributed import Security


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
            from clhd.sweep.cluster.slurm import check_slurm
            from clhd.sweep.cluster.tls import load_security

            check_slurm(self.slurm)
            if self.tls is not None:
                load_security(self.tls)
        elif self.tls is not None:
            raise InputError(f"--tls {self.tls}: works only with --scheduler, --scheduler-file or --slurm")

    @property
    def runs_already(self) -> bool:
        """True if the cluster runs already, so that clhd does not start it."""
        return self.scheduler is not None or self.scheduler_file is not None

    @property
    def is_here(self) -> bool:
        """True if the workers are processes on this machine."""
        return not self.runs_already and self.slurm is None

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

    def find_security(self) -> "Security | None":
        """Dask's settings for TLS to the scheduler; None if it is on loopback, without TLS."""
        import dask
        from distributed import Security

        from clhd.sweep.cluster.tls import check_key, find_default_folder, load_security

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
    from distributed.comm.addressing import parse_host_port

    try:
        host, _ = parse_host_port(place, 0)  # the parser of Dask, so that both read the same host
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
