"""Where SLURM jobs cannot be started, that is one line, and nothing is written."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clhd.cli import main
from clhd.sweep.batch import import_slurm_cluster

TEXT = "system: toy\naxes: {slope: [0, 1]}\ntimes: [0, 1]\nreplicas: 4\nseed: 1\n"


def no_jobqueue(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setitem(sys.modules, "dask_jobqueue", None)


def no_sbatch(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("PATH", str(folder))


@pytest.mark.parametrize(
    ("take_away", "arguments", "message"),
    [
        (no_jobqueue, ["--slurm", "4"], "--slurm: needs dask-jobqueue: pip install 'clhd[slurm]'\n"),
        (no_sbatch, ["--slurm", "4"], "--slurm: there is no sbatch here: run this on a machine from which SLURM jobs"),
        (no_sbatch, ["--slurm", "0"], "--slurm = 0: must be 1 or more, the most jobs to run at once\n"),
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
        "--slurm: SLURM refuses the jobs: invalid partition: nowhere; what your site wants stands in jobqueue.yaml\n"
    )
    assert capsys.readouterr().err.endswith(message)
