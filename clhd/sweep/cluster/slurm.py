"""`open_slurm`, `start_jobs`: workers as SLURM jobs of one core each, as many as there is work for, by dask-jobqueue.

The scheduler runs in this process; it asks SLURM for jobs while blocks wait, lets idle ones go, and asks for a new job
when one is lost. What the site wants to be told (partition, account, time, memory) stands in dask-jobqueue's own
``~/.config/dask/jobqueue.yaml``, under ``jobqueue: slurm:``; here are defaults for what is not said there.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed.core import Status
from distributed.deploy.adaptive import Adaptive

from clhd.errors import ClhdError, explain_unwritable
from clhd.sweep.cluster.tls import load_security, make_certificates

# Where jobqueue.yaml says nothing.
_MEMORY = "2GiB"
_LOG_FOLDER = ".slurm-logs"
_KEY_FOLDER = ".clhd-keys-"
# As on this machine (clhd/sweep/cluster/local.py): no result is put aside as a pickle.
_ALL_IN_MEMORY = {f"DASK_DISTRIBUTED__WORKER__MEMORY__{step}": "False" for step in ("TARGET", "SPILL")}
# A block takes about a second, so this asks for a worker for each block that is ready.
_TARGET_SECONDS = "500ms"
# Seconds of idleness after which a job is let go: it may have waited long in the queue.
_IDLE_SECONDS = 30
_LOST_SECONDS = "2s"
# How often SLURM is asked for jobs that ended before their worker came, and after how many of them, with no worker
# there, a run ends.
_LOOK_SECONDS = 10.0
_MOST_ENDED = 10


def check_slurm(jobs: int) -> None:
    """Raise ClhdError unless SLURM jobs can be submitted from here."""
    if jobs < 1:
        raise ClhdError(f"--slurm = {jobs}: must be 1 or more, the most jobs to run at once")
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise ClhdError("--slurm: needs dask-jobqueue: pip install 'clhd[slurm]'")
    if shutil.which("sbatch") is None:
        raise ClhdError("--slurm: there is no sbatch here: run this on a machine from which SLURM jobs are submitted")


def import_slurm_cluster() -> Any:
    """Import dask-jobqueue, which others need not have, and keep Ctrl-C: it would make that an end without a word."""
    answer = signal.getsignal(signal.SIGINT)
    from dask_jobqueue.slurm import SLURMCluster  # noqa: PLC0415

    signal.signal(signal.SIGINT, answer)
    return SLURMCluster


class ReplacingAdaptive(Adaptive):
    """Dask's own, that also misses jobs which end before their worker has come: Dask would wait for them forever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looked, self._ended = time.monotonic(), 0
        # By their ids, for Dask gives a name to one job after the other.
        self._arrived: set[str] = set()

    async def recommendations(self, target: int) -> dict[str, Any]:
        """What to start or stop; asked for every second."""
        cluster: Any = self.cluster
        if observed := cluster.observed:
            self._ended = 0
            self._arrived |= {cluster.workers[name].job_id for name in observed if name in cluster.workers}
        if time.monotonic() - self._looked > _LOOK_SECONDS and self._ended < _MOST_ENDED:
            self._looked = time.monotonic()
            await self._forget_ended()
        return await super().recommendations(target)

    async def _forget_ended(self) -> None:
        """Take jobs off the list of those that are waited for, so that others are started in their place.

        Those whose worker had come do not count: their time was up, or they were idle and let go.
        """
        cluster: Any = self.cluster
        awaited = {name: job for name, job in cluster.workers.items() if name not in cluster.observed}
        if not awaited:
            return
        command = ("squeue", "--me", "--noheader", "--format=%i")
        squeue = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL)
        known = (await squeue.communicate())[0].decode().split()
        if squeue.returncode != 0:
            return  # SLURM is busy: later
        for name, job in awaited.items():
            # Dask may have given it up meanwhile, and its name to another.
            is_same = cluster.workers.get(name) is job
            if is_same and job.job_id not in known and name not in cluster.observed:
                del cluster.workers[name]
                self._ended += job.job_id not in self._arrived
        if cluster.observed:
            self._ended = 0
        elif self._ended >= _MOST_ENDED:
            cluster.lost_jobs = self._ended  # for `check_jobs`


def check_jobs(cluster: Any) -> None:
    """Raise ClhdError if a cluster has lost so many jobs that it makes no sense to wait; `open_slurm` counts them."""
    if lost := getattr(cluster, "lost_jobs", 0):
        raise ClhdError(
            f"--slurm: {lost} jobs have ended before their workers came, and no worker is left; what is done is kept: "
            f"what SLURM said above, or the jobs in {_find_logs()}, tells why; then the same command goes on from there"
        )


def _find_logs() -> str:
    """The folder of what the jobs say."""
    return str(dask.config.get("jobqueue.slurm.log-directory") or _LOG_FOLDER)


def _try_submission(cluster: Any) -> None:
    """Ask SLURM whether it takes such a job: of one that it refused later, Dask would wait for the worker forever."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(cluster.job_script())
        script.flush()
        tried = subprocess.run(["sbatch", "--test-only", script.name], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        reason = " ".join(tried.stderr.split())
        raise ClhdError(f"--slurm: SLURM refuses the jobs: {reason}; what your site wants stands in jobqueue.yaml")


@contextmanager
def _provide_security(tls: Path | None, shared: str) -> Iterator[Any]:
    """The certificates of a folder, or of one for this run in a place that all nodes see."""
    if tls is not None:
        yield load_security(tls)
        return
    place = os.path.expanduser(os.path.expandvars(shared))  # noqa: PTH111  # as dask-jobqueue does it
    with explain_unwritable(Path(place)):
        # On NFS it may not be empty when it is removed: another node still has a file of it open.
        available = tempfile.TemporaryDirectory(prefix=_KEY_FOLDER, dir=place, ignore_cleanup_errors=True)
    with available as folder:
        yield load_security(make_certificates(Path(folder) / "tls"))


@contextmanager
def open_slurm(tls: Path | None, variables: Mapping[str, str]) -> Iterator[Any]:
    """Start a scheduler here that `start_jobs` has SLURM jobs work for; end it, and them, with the context.

    Parameters
    ----------
    tls : Path or None
        Folder of the certificates. Without one, some are made for this run, in a folder that is the user's alone and
        lasts as long, in dask-jobqueue's ``shared-temp-directory`` or else the working directory.
    variables : mapping of str to str
        Environment of the workers.

    Yields
    ------
    dask_jobqueue.SLURMCluster

    Raises
    ------
    ClhdError
        If the certificates cannot be read, or none can be made where they must be.
    """
    make_cluster = import_slurm_cluster()
    said = dask.config.get("jobqueue.slurm")
    with (
        _provide_security(tls, said["shared-temp-directory"] or str(Path.cwd())) as security,
        dask.config.set({"distributed.deploy.lost-worker-timeout": _LOST_SECONDS}),
        make_cluster(
            # One process for each job: Dask does not see that a job of several is lost (dask/distributed#9102).
            cores=1,
            processes=1,
            memory=said["memory"] or _MEMORY,
            security=security,
            log_directory=_find_logs(),
            job_script_prologue=[
                *said["job-script-prologue"],
                *(f"export {name}={value}" for name, value in {**_ALL_IN_MEMORY, **variables}.items()),
            ],
            worker_extra_args=[*said["worker-extra-args"], "--dashboard-address", "127.0.0.1:0"],
            scheduler_options={**said["scheduler-options"], "dashboard_address": "127.0.0.1:0"},
            name="clhd",
            job_name=f"clhd-{os.getpid()}",  # by which those that a killed run has left are found
        ) as cluster,
    ):
        try:
            yield cluster
        finally:
            # Else Dask, which ends them now, would stumble over one that SLURM has refused.
            for job in list(cluster._created):
                job.status = Status.closing


def start_jobs(cluster: Any, jobs: int) -> None:
    """Have up to so many SLURM jobs, each a worker of one core, work for a scheduler, as long as there is work.

    Raises
    ------
    ClhdError
        If SLURM refuses such jobs.
    """
    _try_submission(cluster)
    cluster.adapt(
        Adaptive=ReplacingAdaptive,
        maximum_jobs=jobs,
        target_duration=_TARGET_SECONDS,
        wait_count=_IDLE_SECONDS,
    )
