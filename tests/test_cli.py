"""The command clhd: exit codes, what it prints, what it imports, and how it ends when it is stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from clhd.cli import main
from clhd.sweep.plan.blocks import choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import read_experiment, stage_path
from clhd.sweep.store.create import create_store
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from tests.sweep.stages import overwrite

EXPERIMENT = """
system: contrastive
constants: {weight_decay: 0.6, initial_cosine_similarity: 0.4}
axes:
  second_moment: [1, 1.5]
  dimension: [20, 50]
times: [0, 1]
replicas: 3
"""


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(EXPERIMENT)
    (tmp_path / "config.yaml").write_text("experiments: [small.yaml]")
    return path


def test_an_experiment_can_be_planned_run_inspected_and_replayed(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "small.yaml"]) == 0
    assert "small simulation: 4 points, 12 runs, 1 block, less than 0.1 s of one core, " in capsys.readouterr().out
    assert main(["status", "config.yaml", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["simulation"] == {"state": "pending", "wanted": 12, "not_run": 12}
    assert main(["run", "small.yaml"]) == 0
    assert "12 ok; 12 computed now" in capsys.readouterr().out
    assert main(["status", "config.yaml", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert report["complete"] is True
    assert report["simulation"]["ok"] == 12
    assert report["theory"]["wanted"] == 2
    assert main(["status", "config.yaml"]) == 0
    assert "small       simulation  complete    12  12" in capsys.readouterr().out
    assert main(["why", "small.yaml", "second_moment=1.5", "dimension=20"]) == 0
    answer = capsys.readouterr().out
    assert "key: ContrastiveModel(latents=(ThreePoint(second_moment=0x1.8" in answer
    found = [line.partition(": ")[0] for line in answer.splitlines()]
    assert found == ["parameters", "key", "runs", "attempts", "time", "code", "computed"]  # and no errors
    assert "second_moment=1.5" in answer
    assert "\nruns: 3 ok\n" in answer
    assert main(["why", "small.yaml", "dimension=20"]) == 0
    assert capsys.readouterr().out == "".join(
        f"second_moment={moment}, dimension=20: 3 ok\n" for moment in ("1", "1.5")
    )
    assert main(["replay", "small.yaml", "--results", "results", "second_moment=1.5", "dimension=20"]) == 0
    assert capsys.readouterr().out == "1 point computed again: 3 runs with the same bits, 0 points with others\n"
    with xr.open_zarr("results/small/summary.zarr") as summary:
        assert summary["cosine_similarity_z_score"].dims == ("second_moment", "dimension", "time", "feature")


def test_status_and_report_need_no_list_of_experiments(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("status", "report"):
        assert main([command]) == 2
        assert capsys.readouterr().err.startswith("there is no config/config.yaml here, and results holds no results: ")
    assert not Path("results").exists()
    stage = Stage(read_experiment("small.yaml"), "theory")
    path = stage_path(Path("results/small"), "theory")
    path.parent.mkdir(parents=True)
    create_store(path, stage, choose_chunks(stage), [], "")
    experiment.rename("moved.yaml")  # the results tell what the experiment was
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["experiment"], report["theory"]["not_run"]) == ("small", 2)
    assert main(["report"]) == 0
    assert "small" in Path("results/report.html").read_text()
    assert main(["claims"]) == 2
    assert "config/config.yaml: does not exist; name a list of experiments: clhd claims" in capsys.readouterr().err
    Path("config").mkdir()
    Path("config/config.yaml").write_text("experiments: [moved.yaml]")
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    assert [report["experiment"] for report in json.loads(capsys.readouterr().out)] == ["moved", "small"]
    assert main(["status", "moved.yaml", "--json"]) == 0  # the file of an experiment is a list of one
    assert [report["experiment"] for report in json.loads(capsys.readouterr().out)] == ["moved"]


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_computed(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment.write_text(EXPERIMENT.replace("[0, 1]", "[1]") + "figure: trajectories\n")
    assert main(["run", "small.yaml"]) == 2
    assert capsys.readouterr().err.startswith("small.yaml: figure = 'trajectories': needs two or more times, ")
    assert not Path("results").exists()


def test_replay_and_verify_check_no_point_that_they_do_not_compute(
    experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["simulate", "small.yaml"]) == 0
    monkeypatch.setattr("clhd.sweep.plan.check.check_experiment", lambda *_: pytest.fail("checks all points"))
    assert main(["replay", "small.yaml", "second_moment=1", "dimension=50"]) == 0
    assert main(["verify", "small.yaml"]) == 0


def test_verify_finds_a_value_that_has_been_changed(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "small.yaml"]) == 0
    assert main(["verify", "small.yaml", "--fraction", "1"]) == 0
    store = Store(Path("results/small/simulation.zarr"))
    values = store.read("squared_norm")
    values[0, 1, 2, 1] = 0.5
    overwrite(store, "squared_norm", values)
    capsys.readouterr()
    assert main(["verify", "small.yaml", "--fraction", "1"]) == 1
    output = capsys.readouterr().out
    assert "second_moment=1, dimension=50: squared_norm came out otherwise" in output
    assert output.endswith("4 points computed again: 9 runs with the same bits, 1 point with others\n")
    status = np.full_like(store.read("status"), Status.NOT_RUN)
    status[1, 0, 0] = Status.OK
    overwrite(store, "status", status)
    for _ in range(4):  # the share is one of the points that are known
        assert main(["verify", "small.yaml"]) == 0
        assert capsys.readouterr().out.startswith("1 point computed again: 1 run with the same bits")
    overwrite(store, "status", np.full_like(status, Status.NOT_RUN))
    assert main(["verify", "small.yaml"]) == 1
    nothing = "nothing was compared: no chosen point has a result; `clhd run FILE` computes it\n"
    assert capsys.readouterr().out == nothing
    assert main(["replay", "small.yaml", "second_moment=1", "dimension=50"]) == 1
    assert capsys.readouterr().out == f"second_moment=1, dimension=50: {nothing}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
        (
            ["summarise", "small.yaml"],
            "results/small/simulation.zarr: does not exist; create it with `clhd run FILE`",
        ),
        (["why", "small.yaml", "dimension"], "dimension: must be AXIS=VALUE"),
        (["why", "small.yaml", "dimension=20", "dimension=50"], "dimension=50: dimension is given twice"),
        (["archive"], "config/config.yaml: does not exist; name a list of experiments: clhd archive LIST"),
        (["claims", "small.yaml"], "small.yaml: names no claims; give a list with the key claims, such as"),
        (["replay", "small.yaml", "dimension=20"], "second_moment: must be given, as in second_moment=1"),
        (["why", "small.yaml", "dimension=21", "second_moment=1"], "dimension has no value 21; the values are"),
        (["why", "small.yaml", "kurtosis=3"], "kurtosis: is no axis here; axes: second_moment, dimension"),
        (["verify", "small.yaml", "--fraction", "2"], "--fraction = 2: must be greater than 0, at most 1"),
        (["run", "small.yaml", "--workers", "0"], "--workers = 0: must be 1 or more"),
        (["run", "small.yaml", "--results", "small.yaml/x"], "small.yaml/x/small: cannot be read or written: Not a"),
        (["run", "small.yaml", "--scheduler", "tcp://127.0.0.1:9"], "scheduler tcp://127.0.0.1:9: cannot be reached"),
    ],
)
def test_a_mistake_of_the_user_ends_with_code_2_and_one_line(
    experiment: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr("clhd.sweep.cluster.cluster.CONNECT_SECONDS", 0.2)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(message)


def test_nothing_is_written_for_a_wrong_experiment(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment.write_text(EXPERIMENT.replace("[20, 50]", "[20, 2]"))
    assert main(["run", "small.yaml"]) == 2
    assert capsys.readouterr().err == "small.yaml: axes.dimension = 2: must be a whole number, 3 or more\n"
    assert not Path("results").exists()


def test_unknown_options_are_refused(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["plan", "small.yaml", "other.yaml"], ["why", "small.yaml", "--place", "dimension=20"], []):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2


@pytest.mark.parametrize(
    ("command", "defaults"),
    [
        ("run", ("default results",)),
        ("claims", ("default config/config.yaml options:",)),
        ("status", ("default config/config.yaml", "default results")),
    ],
)
def test_help_says_where_a_command_looks_by_default(
    capsys: pytest.CaptureFixture[str], command: str, defaults: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"by {default}" in text for default in defaults)
    assert "RESULTS" not in text


def test_a_file_with_the_keys_of_an_experiment_is_taken_for_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "incomplete.yaml"
    path.write_text("axes: {size: [1, 2]}\n")
    assert main(["status", str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: system: must be given\n"


def test_status_imports_neither_compiler_nor_cluster_nor_pyplot(experiment: Path) -> None:
    program = (
        "import sys; from clhd.cli import main; main(['status', 'config.yaml']);"
        "print(sorted({'numba', 'distributed', 'matplotlib.pyplot', 'scipy', 'snakemake'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def count_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_ctrl_c_ends_a_run_with_the_blocks_at_work_and_keeps_what_is_done(experiment: Path, tmp_path: Path) -> None:
    # Many blocks of seconds each, for 20 s or more: after the first of them there is always work to interrupt.
    dimensions = "[" + ", ".join(str(60_000 + k) for k in range(16)) + "]"
    experiment.write_text(EXPERIMENT.replace("[20, 50]", dimensions).replace("[0, 1]", "[0, 20]"))
    # A shell that starts a job in the background has it ignore Ctrl-C: env gives it back.
    clhd = ["env", "--default-signal=INT", sys.executable, "-m", "clhd"]
    command = [*clhd, "simulate", "small.yaml", "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the plan is made, the workers start
        status = tmp_path / "results" / "small" / "simulation.zarr" / "status" / "c"
        try:
            while not count_files(status) and process.poll() is None:
                time.sleep(0.05)
            assert process.poll() is None, process.stderr.read()
            done = count_files(status)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it as well
            error = process.stderr.read()
            assert process.wait() == 130
        finally:
            if process.poll() is None:  # else what failed would wait for it
                os.killpg(process.pid, signal.SIGKILL)
    # On a busy machine seconds say little: it ends with the blocks that ran, the last of them while files were counted.
    assert count_files(status) <= done + 4
    assert error.strip().endswith("stopped; what was done is kept: the same command goes on from there")
    assert "Traceback" not in error, error
    assert re.search(r"small simulation: stopped: \d+ of 96 runs done and kept", error)
    known = Store(tmp_path / "results" / "small" / "simulation.zarr").status()
    assert 0 < (known == Status.OK).sum() < known.size


INTERRUPTED = """
import os, signal, sys, time
import clhd.cli

def hang():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
    os._exit(99)  # it was not heard

def hang_twice(arguments):
    try:
        hang()
    finally:
        hang()  # an end in good order that takes its time

def check(*arguments):
    hang()

{patch}
sys.exit(clhd.cli.main(["run", "small.yaml"]))
"""


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            "import clhd.sweep.plan.check\nclhd.sweep.plan.check.check_experiment = check",
            "stopped; what was done is kept: the same",
        ),
        ("clhd.cli._run_command = hang_twice", "ended at once; what was done is kept: the same"),
    ],
    ids=["while points are checked", "twice"],
)
def test_ctrl_c_before_any_work_and_a_second_one_end_at_once(experiment: Path, patch: str, message: str) -> None:
    clhd = ["env", "--default-signal=INT", sys.executable, "-c", INTERRUPTED.format(patch=patch)]
    done = subprocess.run(clhd, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr == f"\n{message} command goes on from there\n"
    assert not Path("results").exists()


def test_a_fault_of_clhd_is_not_taken_for_points_that_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr("clhd.cli._run_command", fail)
    assert main(["status"]) == 3
    assert "RuntimeError: a fault" in capsys.readouterr().err


def test_too_little_memory_gets_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> int:
        np.empty(2**57)  # 1 EiB, more than processors of today can address
        return 0

    monkeypatch.setattr("clhd.cli._run_command", fail)
    assert main(["status"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("this machine has not enough memory: Unable to allocate 1.00 EiB")
    assert error.count("\n") == 1
