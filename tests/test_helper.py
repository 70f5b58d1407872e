"""The process that forks for jobs: a fork does what the command does, or else the job does it."""

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import xarray as xr

from clhd import helper
from clhd.cli import main
from clhd.helper import VARIABLE, ask
from clhd.sweep.store.lock import hold_lock
from clhd.systems.declarations import Status

EXPERIMENT = """
system: saddle
constants: {dimension: 6, schedule: power}
axes: {growth_power: [0.5, 1], descent_steps: [400, 500]}
replicas: 2
seed: 3
"""

# Two minutes on one core.
LONG = """
system: saddle
constants: {dimension: 6, descent_steps: 200000}
replicas: 64
seed: 3
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks only on Linux")


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[str]"]:
    """A helper, in a folder with an experiment that is computed and drawn."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(EXPERIMENT)
    assert main(["run", "small.yaml"]) == 0
    assert main(["plot", "small.yaml"]) == 0
    command = [sys.executable, "-P", "-m", "clhd.helper", "saddle", "unknown"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.stdout is not None
        monkeypatch.setenv(VARIABLE, started.stdout.readline().strip())
        yield started
        assert started.stdin is not None
        started.stdin.close()
        assert started.wait(60) in (0, -signal.SIGKILL), "it ends with its standard input"


def test_a_fork_writes_prints_and_returns_what_the_command_does(
    process: "subprocess.Popen[str]", capfd: pytest.CaptureFixture[str]
) -> None:
    assert process.poll() is None
    summary, figures = Path("results/small/summary.zarr"), Path("results/small/figures")
    written = {path: path.read_bytes() for path in figures.iterdir()}
    before = summary.stat().st_mtime_ns
    capfd.readouterr()
    assert ask(["summarise", "small.yaml"]) == 0
    assert capfd.readouterr().out == f"{summary}\n"
    assert summary.stat().st_mtime_ns > before
    for path in written:
        path.unlink()
    assert ask(["plot", "small.yaml"]) == 0
    assert capfd.readouterr().out == "".join(f"{figures}/small.{suffix}\n" for suffix in ("pdf", "png", "rst"))
    pictures = {path: content for path, content in written.items() if path.suffix in (".pdf", ".png")}  # without a date
    assert {path: path.read_bytes() for path in pictures} == pictures
    assert ask(["plot", "none.yaml"]) == 2
    assert capfd.readouterr().err == "none.yaml: cannot be read: No such file or directory\n"


def read(store: Path) -> xr.Dataset:
    """What is computed, without times and dates."""
    with xr.open_zarr(store) as opened:
        return opened[["attraction_dimension", "lyapunov_exponent", "normal_vector", "status"]].load()


def test_a_fork_computes_the_same_bits(process: "subprocess.Popen[str]", capfd: pytest.CaptureFixture[str]) -> None:
    assert process.poll() is None
    for command, part in (("simulate", "simulation"), ("predict", "theory")):
        store = Path(f"results/small/{part}.zarr")
        before = read(store)
        shutil.rmtree(store)
        capfd.readouterr()
        assert ask([command, "small.yaml"]) == 0
        assert "8 computed now" in capfd.readouterr().out
        xr.testing.assert_equal(read(store), before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_fork_ends_and_keeps_what_it_has_computed_when_its_job_is_killed(
    process: "subprocess.Popen[str]", number: signal.Signals
) -> None:
    assert process.poll() is None
    Path("long.yaml").write_text(LONG)
    store = Path("results/long/simulation.zarr")
    command = [sys.executable, "-P", "-m", "clhd", "simulate", "long.yaml", "--workers", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
        assert job.stderr is not None
        while "of the work" not in (line := job.stderr.readline()):
            assert line, "it has ended"
        assert Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text(encoding="ascii") == "", "a fork computes"
        job.send_signal(number)
        assert "stopped: " in job.stderr.read(), "the fork says so, and closes the stream as it ends"
        assert job.wait(60) == -number
    with hold_lock(store, wait=False), xr.open_zarr(store) as opened:
        assert 0 < int((opened["status"] == Status.OK).sum()) < 64


def test_a_job_does_itself_what_no_fork_answers(
    process: "subprocess.Popen[str]", capfd: pytest.CaptureFixture[str]
) -> None:
    assert ask(["status"]) is None, "not for the helper"
    assert ask(["plot", "--nothing"]) is None, "argparse ends the fork"
    assert "usage: clhd plot" in capfd.readouterr().err
    command = [sys.executable, "-P", "-m", "clhd", "summarise", "small.yaml", "--wait"]
    with ExitStack() as stack:
        with hold_lock(Path("results/small/summary.zarr"), wait=False):
            job = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            assert job.stderr is not None
            assert "waiting for it" in job.stderr.readline(), "the fork waits"
            process.kill()
            assert "waiting for it" in job.stderr.readline(), "the job waits"
        assert job.wait(60) == 0
    assert ask(["plot", "small.yaml"]) is None


def test_processes_of_other_users_are_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert helper._is_ours(ours)
        monkeypatch.setattr("os.getuid", lambda: -1)
        assert not helper._is_ours(ours)
