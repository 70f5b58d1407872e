"""A real SLURM of one node, from Debian's packages, started and stopped by this script: for the tests beside it.

    python -m tests.cluster.slurm COMMAND ...      run a command with sbatch, squeue and scancel at hand

It needs root and the packages slurm-wlm and munge, but no systemd, no cgroups and no configuration of the machine: all
of it lies in one folder and listens on loopback, on ports of its own. The daemons die with their parent, also
when that is killed, and their jobs with them.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = {name: f"/usr/sbin/{name}" for name in ("munged", "slurmctld", "slurmd")}
# Only what would never end is ended by it.
PATIENCE_SECONDS = 60
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")
# Below those that systems hand out to whoever asks for any.
_PORTS = range(20_000, 32_000)
# The node pretends to have these: its jobs mostly wait for each other, and must not wait for cores.
_CORES, _MEGABYTES = 16, 64_000

_CONFIG = """\
ClusterName=clhd
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_min_interval=0
ReturnToService=2
MinJobAge=3600
MessageTimeout=60
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={megabytes} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=60 State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running SLURM, seen through its commands."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        path = os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]])
        return {**os.environ, "SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def call(self, *command: str) -> str:
        """Run one of SLURM's commands; return what it prints.

        Raises
        ------
        RuntimeError
            If it fails, with what it says of that.
        """
        run = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=90)
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {run.stderr.strip()}")
        return run.stdout.strip()

    def list_jobs(self, directory: Path, *states: str) -> list[str]:
        """The jobs that work in a directory and are in some states, by default any; oldest first."""
        wanted = ",".join(states) or "all"
        lines = self.call("squeue", "--noheader", "--format=%i %Z", "--sort=i", f"--states={wanted}").splitlines()
        return [job for job, _, place in (line.partition(" ") for line in lines) if Path(place) == directory]

    def describe_job(self, job: str) -> dict[str, str]:
        """What SLURM knows of a job: JobState, TimeLimit, Comment and so on."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)


def find_missing() -> str:
    """Why SLURM cannot be started here; empty if it can."""
    if os.geteuid() != 0:
        return "not root"
    missing = [name for name, path in PROGRAMS.items() if not Path(path).exists()]
    missing += [name for name in ("sbatch", "squeue", "scancel", "setpriv", "unshare") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)} (apt-get install slurm-wlm munge)" if missing else ""


@contextlib.contextmanager
def run_slurm(folder: Path) -> Iterator[Slurm]:
    """Start SLURM, wait until its node takes jobs, and end it with the context; its files are in an empty folder."""
    slurm = Slurm(folder)
    _write_config(folder)
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(_start(slurm, "munged", "--foreground", "--force", *_munge_options(folder)))
        _wait_for((folder / "munge.socket").exists, "munged", folder)
        daemons.append(_start(slurm, "slurmctld", "-D"))
        daemons.append(_start(slurm, "slurmd", "-D"))
        _wait_for(lambda: _is_idle(slurm), "the node", folder)
        yield slurm
    finally:
        _end(slurm, daemons)


def _write_config(folder: Path) -> None:
    for name in ("state", "spool", "bin"):
        (folder / name).mkdir()
    # Within a job, Snakemake's plugin takes SLURM_CONF from the environment, and would find no SLURM.
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which("srun")} "$@"\n', encoding="utf-8")
    srun.chmod(0o755)
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    controller_port, node_port = _find_ports(2)
    text = _CONFIG.format(
        host=socket.gethostname().split(".")[0],
        folder=folder,
        controller_port=controller_port,
        node_port=node_port,
        cores=_CORES,
        megabytes=_MEGABYTES,
    )
    (folder / "slurm.conf").write_text(text, encoding="utf-8")


def _munge_options(folder: Path) -> list[str]:
    files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "seed-file": "seed", "log-file": "log"}
    return [f"--{option}={folder}/munge.{suffix}" for option, suffix in files.items()]


def _start(slurm: Slurm, name: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a daemon, in a session of its own; what it has started dies with it."""
    namespace = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    with (slurm.folder / f"{name}.out").open("wb") as output:
        return subprocess.Popen(
            [*DIE_WITH_PARENT, *namespace, PROGRAMS[name], *options],
            env=slurm.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _find_ports(count: int) -> list[int]:
    """Ports that are free, and that no one gets by chance until the daemons take them."""
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("SLURM: no free ports")


def _is_idle(slurm: Slurm) -> bool:
    try:
        return slurm.call("sinfo", "--noheader", "--format=%t") == "idle"
    except RuntimeError:
        return False


def _wait_for(is_so: Callable[[], bool], what: str, folder: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            logs = "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.[lo]*")))
            raise RuntimeError(f"SLURM: {what} did not come up in {PATIENCE_SECONDS} s\n{logs}")
        time.sleep(0.1)


def _end(slurm: Slurm, daemons: list[subprocess.Popen[bytes]]) -> None:
    """Cancel what runs, wait until it is gone, and end the daemons, the last one first."""
    with contextlib.suppress(RuntimeError, subprocess.SubprocessError):
        slurm.call("scancel", "--user=root")
        end = time.monotonic() + PATIENCE_SECONDS
        while slurm.call("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.2)
    for daemon in reversed(daemons):
        # To its whole session: unshare, which waits for it, does not pass signals on.
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(daemon.pid, number)
                daemon.wait(PATIENCE_SECONDS / 6)


if __name__ == "__main__":
    if reason := find_missing():
        sys.exit(f"SLURM cannot be started here: {reason}")
    # Daemons that had to be killed may write into it while it is removed.
    with (
        tempfile.TemporaryDirectory(prefix="clhd-slurm-", ignore_cleanup_errors=True) as name,
        run_slurm(Path(name)) as slurm,
    ):
        sys.exit(subprocess.run(sys.argv[1:], env=slurm.environment, check=False).returncode)
