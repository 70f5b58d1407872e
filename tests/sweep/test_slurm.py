"""If SLURM jobs cannot be started, clhd says so in one line and writes nothing."""

import asyncio
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import pytest
from distributed.core import Status

import clhd.sweep.cluster.slurm
from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.cluster.cluster import WORKER_SETTINGS, WORKER_VARIABLES
from clhd.sweep.cluster.dask_quirks import import_slurm_cluster
from clhd.sweep.cluster.slurm import ReplacingAdaptive, check_jobs, open_slurm

# It adds its settings to those of Dask; if a test imported it first, they would go with the settings of that test.
import_slurm_cluster()
TEXT = "system: toy\naxes: {slope: [0, 1]}\ntimes: [0, 1]\nreplicas: 4\nseed: 1\n"


def no_jobqueue(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setitem(sys.modules, "dask_jobqueue", None)


def no_sbatch(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("take_away", "arguments", "message"),
    [
        (no_jobqueue, ["--slurm", "4"], "--slurm: needs dask-jobqueue; install it with: pip install 'clhd[slurm]'\n"),
        (no_sbatch, ["--slurm", "4"], "--slurm: found no sbatch; run clhd on a machine from which SLURM jobs"),
        (no_sbatch, ["--slurm", "0"], "--slurm = 0: must be 1 or more, the number of jobs that may run at once\n"),
    ],
    ids=["no dask-jobqueue", "no sbatch", "no jobs"],
)
def test_what_keeps_slurm_from_starting_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    take_away: Callable[[pytest.MonkeyPatch, Path], None],
    arguments: list[str],
    message: str,
) -> None:
    (tmp_path / "toy.yaml").write_text(TEXT, encoding="utf-8")
    take_away(monkeypatch, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "toy.yaml", *arguments]) == 2
    assert capsys.readouterr().err.startswith(message)
    assert not (tmp_path / "results").exists()


def test_slurm_and_another_scheduler_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "toy.yaml", "--slurm", "4", "--scheduler", "127.0.0.1:8786"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_dask_jobqueue_does_not_take_ctrl_c_away(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "dask_jobqueue"]:
        monkeypatch.delitem(sys.modules, name)
    before = signal.getsignal(signal.SIGINT)
    assert import_slurm_cluster().__name__ == "SLURMCluster"
    assert signal.getsignal(signal.SIGINT) is before


def test_a_job_that_slurm_refuses_is_one_line_and_a_run_does_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_text(TEXT, encoding="utf-8")
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/sh\n[ "$1" = --test-only ] && echo "invalid partition: nowhere" >&2\nexit 1\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "toy.yaml", "--slurm", "4"]) == 2
    message = (
        "--slurm: SLURM refuses the jobs: invalid partition: nowhere; put your site's settings into jobqueue.yaml\n"
    )
    assert capsys.readouterr().err.endswith(message)


def test_a_run_whose_jobs_end_one_after_the_other_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "toy.yaml").write_text(TEXT, encoding="utf-8")
    commands = {
        "sbatch": 'echo "$@" >> submitted; echo "Submitted batch job $(wc -l < submitted)"',
        "squeue": "exit 0",  # it knows of none
        "scancel": "exit 1",
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clhd.sweep.cluster.slurm, "_LOOK_SECONDS", 0.0)
    with dask.config.set({"distributed.adaptive.interval": "20ms"}):
        assert main(["simulate", "toy.yaml", "--slurm", "1"]) == 2
    assert capsys.readouterr().err.endswith(
        "--slurm: 10 jobs ended before their workers came, and no worker is left; finished blocks are kept. "
        "SLURM's messages above or the logs in .slurm-logs say why; then the same command continues from there\n"
    )
    assert {path.name for path in tmp_path.glob(".*")} == {".slurm-logs"}, "keys outlive the run"
    assert len((tmp_path / "submitted").read_text(encoding="utf-8").splitlines()) >= 11  # with the one that is tried


def make_jobs(count: int) -> dict[int, Any]:
    return {name: SimpleNamespace(job_id=str(100 + name)) for name in range(count)}


def adapt_to(jobs: dict[int, Any], observed: set[int]) -> Any:
    """What adapts a cluster of these jobs, some of whose workers are there."""
    cluster: Any = SimpleNamespace(workers=jobs, observed=observed, plan=set(), requested=set(), loop=None)
    return ReplacingAdaptive(cluster, interval="0s")


@pytest.fixture
def no_job_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM, asked at every call, says that it has no job."""
    (tmp_path / "squeue").write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(clhd.sweep.cluster.slurm, "_LOOK_SECONDS", -1.0)


def look(adaptive: Any) -> None:
    asyncio.run(adaptive.recommendations(0))


@pytest.mark.usefixtures("no_job_is_known")
def test_many_jobs_that_end_together_do_not_end_a_run_that_has_a_worker() -> None:
    adaptive = adapt_to(make_jobs(16), observed={0})
    look(adaptive)
    assert set(adaptive.cluster.workers) == {0}, "those that have ended are still waited for"
    check_jobs(adaptive.cluster)
    adaptive.cluster.observed = set()
    adaptive.cluster.workers = {name: SimpleNamespace(job_id=str(200 + name)) for name in range(9)}
    look(adaptive)
    check_jobs(adaptive.cluster)  # the count began anew


@pytest.mark.usefixtures("no_job_is_known")
def test_jobs_whose_time_is_up_together_do_not_end_a_run() -> None:
    adaptive = adapt_to(make_jobs(15), observed=set(range(15)))
    look(adaptive)
    adaptive.cluster.observed = set()
    look(adaptive)
    assert not adaptive.cluster.workers
    check_jobs(adaptive.cluster)
    adaptive.cluster.workers = {name: SimpleNamespace(job_id=str(200 + name)) for name in range(15)}  # the same names
    look(adaptive)
    with pytest.raises(ClhdError, match="15 jobs ended before their workers came"):
        check_jobs(adaptive.cluster)


def test_a_folder_for_keys_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "nowhere"
    with (
        dask.config.set({"jobqueue.slurm.shared-temp-directory": str(place)}),
        pytest.raises(ClhdError, match=f"{place}: cannot be read or written: No such file or directory"),
        open_slurm(None, {}),
    ):
        pytest.fail("keys were made")


def test_a_job_that_slurm_refuses_after_all_does_not_keep_the_cluster_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sbatch").write_text("#!/bin/sh\ntouch asked\nexit 1\n", encoding="utf-8")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    with open_slurm(None, {}) as cluster:
        cluster.scale(1)
        end = time.monotonic() + 60
        while not Path("asked").exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        (job,) = cluster._created
        assert job.status is Status.created


def test_the_jobs_get_the_settings_of_all_workers_by_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_slurm(None, {"OMP_NUM_THREADS": "1"} | WORKER_VARIABLES) as cluster:
        said = re.findall(r"^export (\w+)=(\S+)$", cluster.job_script(), re.MULTILINE)
    told = dict(said)
    assert told["OMP_NUM_THREADS"] == "1"
    with dask.config.set(dask.config.collect_env(told)):
        assert {key: dask.config.get(key) for key in WORKER_SETTINGS} == WORKER_SETTINGS
    assert WORKER_SETTINGS["distributed.worker.memory.spill"] is False, "else pickles in a folder that users share"


def test_ctrl_c_ends_a_run_that_waits_for_slurm_to_try_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missed: list[int] = []

    def wait(_: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        missed.append(1)
        raise ClhdError("the interrupt was not handled")

    (tmp_path / "toy.yaml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "sbatch").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clhd.sweep.cluster.slurm, "_try_submission", wait)
    answers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main(["simulate", "toy.yaml", "--slurm", "4"]) == 130
        assert not missed
    finally:
        for number, answer in answers.items():
            signal.signal(number, answer)
    assert "stopped; what was done is kept" in capsys.readouterr().err
