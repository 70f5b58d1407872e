"""`open_slurm`, `start_jobs`: workers as SLURM jobs of one core each, as many as there is work for, by dask-jobqueue.

The scheduler runs in this process. It submits jobs while blocks wait, cancels idle jobs, and submits a new job when one
is lost. The site's settings (partition, account, time, memory) stand in dask-jobqueue's own file
``~/.config/dask/jobqueue.yaml``, under ``jobqueue: slurm:``; this module has defaults for the others.
"""

import asyncio
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
from distributed import Security
from distributed.deploy.adaptive import Adaptive

from clhd.errors import ClusterError, InputError, explain_unwritable
from clhd.sweep.cluster.dask_quirks import forget_job, import_slurm_cluster, list_awaited_jobs, mark_jobs_closing
from clhd.sweep.cluster.tls import load_security, make_certificates

# Defaults for jobqueue.yaml.
_MEMORY = "2GiB"
_LOG_FOLDER = ".slurm-logs"
_KEY_FOLDER = ".clhd-keys-"
# A block takes about a second, so this asks for a worker for each block that is ready.
_TARGET_SECONDS = "500ms"
# A job is cancelled after so many idle seconds, not at once: it may have waited long in the queue.
_IDLE_SECONDS = 30
_LOST_SECONDS = "2s"
# Interval at which SLURM is asked which jobs have ended, and the number of jobs that may end before their workers come,
# while no worker is there, until the run ends.
_LOOK_SECONDS = 10.0
_MOST_ENDED = 10


def check_slurm(jobs: int) -> None:
    """Raise ClhdError unless SLURM jobs can be submitted from here."""
    if jobs < 1:
        raise InputError(f"--slurm = {jobs}: must be 1 or more, the number of jobs that may run at once")
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise ClusterError("--slurm: needs dask-jobqueue; install it with: pip install 'clhd[slurm]'")
    if shutil.which("sbatch") is None:
        raise ClusterError("--slurm: found no sbatch; run clhd on a machine from which SLURM jobs can be submitted")


class ReplacingAdaptive(Adaptive):
    """Dask's Adaptive, which also replaces jobs that end before their workers come: Dask would await them for ever."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looked, self._ended = time.monotonic(), 0
        # Ids of jobs whose workers have come; not names, since Dask gives the name of a lost job to the next one.
        self._arrived: set[str] = set()

    async def recommendations(self, target: int) -> dict[str, Any]:
        """What to start or stop; Dask calls it every second."""
        cluster: Any = self.cluster
        if observed := cluster.observed:
            self._ended = 0
            self._arrived |= {cluster.workers[name].job_id for name in observed if name in cluster.workers}
        if time.monotonic() - self._looked > _LOOK_SECONDS and self._ended < _MOST_ENDED:
            self._looked = time.monotonic()
            await self._replace_ended()
        return await super().recommendations(target)

    async def _replace_ended(self) -> None:
        """Have other jobs started in place of those that ended, and count the ones whose workers never came.

        A job whose worker had come reached its time limit, or was idle and cancelled.
        """
        cluster: Any = self.cluster
        awaited = list_awaited_jobs(cluster)
        if not awaited:
            return
        command = ("squeue", "--me", "--noheader", "--format=%i")
        squeue = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL)
        known = (await squeue.communicate())[0].decode().split()
        if squeue.returncode != 0:
            return  # SLURM is busy; it is asked again later
        for name, job in awaited.items():
            if job.job_id not in known and forget_job(cluster, name, job):
                self._ended += job.job_id not in self._arrived
        if cluster.observed:
            self._ended = 0
        elif self._ended >= _MOST_ENDED:
            cluster.lost_jobs = self._ended  # for `check_jobs`


def check_jobs(cluster: Any) -> None:
    """Raise ClhdError if so many jobs of a cluster ended before their workers came that waiting makes no sense."""
    if lost := getattr(cluster, "lost_jobs", 0):
        raise ClusterError(
            f"--slurm: {lost} jobs ended before their workers came, and no worker is left; finished blocks are kept. "
            f"SLURM's messages above or the logs in {_find_logs()} say why; then the same command continues from there"
        )


def _find_logs() -> str:
    """The folder of the jobs' logs."""
    return str(dask.config.get("jobqueue.slurm.log-directory", None) or _LOG_FOLDER)


def _try_submission(cluster: Any) -> None:
    """Raise ClhdError if SLURM refuses such a job: Dask would wait for its worker for ever."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
        script.write(cluster.job_script())
        script.flush()
        tried = subprocess.run(["sbatch", "--test-only", script.name], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        reason = " ".join(tried.stderr.split())
        raise ClusterError(f"--slurm: SLURM refuses the jobs: {reason}; put your site's settings into jobqueue.yaml")


@contextmanager
def _provide_security(tls: Path | None, shared: str) -> Iterator[Security]:
    """Security by the certificates in `tls`, or by a new one, in `shared` until the end of the run."""
    if tls is not None:
        yield load_security(tls)
        return
    place = os.path.expanduser(os.path.expandvars(shared))  # noqa: PTH111  # as in dask-jobqueue
    with explain_unwritable(Path(place)):
        # On NFS, removing it can fail because another node still has one of its files open.
        available = tempfile.TemporaryDirectory(prefix=_KEY_FOLDER, dir=place, ignore_cleanup_errors=True)
    with available as folder:
        yield load_security(make_certificates(Path(folder) / "tls"))


@contextmanager
def open_slurm(tls: Path | None, variables: Mapping[str, str]) -> Iterator[Any]:
    """Start a SLURMCluster in this process, for which `start_jobs` submits SLURM jobs; end both with the context.

    `tls` is the folder of the certificates. By default there is a new certificate, in a folder that only the user can
    read and that is removed at the end, in dask-jobqueue's ``shared-temp-directory`` or else the working directory.
    The variables are the environment of the workers.
    """
    make_cluster = import_slurm_cluster()
    site = dask.config.get("jobqueue.slurm")
    with (
        _provide_security(tls, site["shared-temp-directory"] or str(Path.cwd())) as security,
        dask.config.set({"distributed.deploy.lost-worker-timeout": _LOST_SECONDS}),
        make_cluster(
            # One process for each job: Dask does not notice that a job of several is lost (dask/distributed#9102).
            cores=1,
            processes=1,
            memory=site["memory"] or _MEMORY,
            security=security,
            log_directory=_find_logs(),
            job_script_prologue=[
                *site["job-script-prologue"],
                *(f"export {name}={value}" for name, value in variables.items()),
            ],
            worker_extra_args=[*site["worker-extra-args"], "--dashboard-address", "127.0.0.1:0"],
            scheduler_options={**site["scheduler-options"], "dashboard_address": "127.0.0.1:0"},
            name="clhd",
            job_name=f"clhd-{os.getpid()}",  # to find the jobs of a run that was killed
        ) as cluster,
    ):
        try:
            yield cluster
        finally:
            mark_jobs_closing(cluster)


def start_jobs(cluster: Any, jobs: int) -> None:
    """Keep up to `jobs` SLURM jobs running, each a worker of one core, as long as there is work.

    Raises ClhdError if SLURM refuses such jobs.
    """
    _try_submission(cluster)
    cluster.adapt(
        Adaptive=ReplacingAdaptive,
        maximum_jobs=jobs,
        target_duration=_TARGET_SECONDS,
        wait_count=_IDLE_SECONDS,
    )
