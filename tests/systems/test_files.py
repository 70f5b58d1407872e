"""A system in a file beside its experiment: the commands that run it, those that do not, and their messages."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import clhd
from clhd.cli import main
from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.spec.experiment import Experiment, read_experiment
from clhd.sweep.store.store import Store
from clhd.systems.registry import load_system, refer_to
from tests.systems.models import EXPERIMENT, LINE, write_line

# Leaves a trace, and cannot be imported.
TRAP = 'from pathlib import Path\nPath("IMPORTED").touch()\nraise RuntimeError("boom")\n'
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command in a folder with the line, and returns code, output and errors."""
    write_line(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(*command: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(command)
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the line was computed, and then lost its file."""
    folder = tmp_path_factory.mktemp("computed")
    write_line(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "line.yaml"]) == 0
    (folder / "line.py").unlink()
    return folder


@pytest.fixture(params=["no file", "a trap"])
def lost(request: pytest.FixtureRequest, computed: Path, tmp_path: Path) -> Path:
    """Results whose file is gone, or must not be imported."""
    shutil.copytree(computed, tmp_path / "lost")
    if request.param == "a trap":
        (tmp_path / "lost" / "line.py").write_text(TRAP)
    return tmp_path / "lost"


@pytest.mark.parametrize(
    "command", [["status", "config.yaml"], ["summarise", "line.yaml"], ["report", "config.yaml"], ["status", "--check"]]
)
def test_what_reads_results_never_runs_the_file(
    lost: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    monkeypatch.chdir(lost)
    is_check = command[-1] == "--check"
    code = main([*command, *(["config.yaml"] if is_check else [])])
    assert code == int(is_check and (lost / "line.py").exists()), "a file of another content is told, and not run"
    assert capsys.readouterr().err == ""
    assert not Path("IMPORTED").exists()


def test_results_are_opened_and_exported_without_their_file(lost: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lost)
    results = clhd.open_results("results/line")
    assert results["simulation"].to_dataset()["height"].dims == ("slope", "size", "replica", "time")
    summary = results["summary"].to_dataset().drop_attrs(deep=False)  # netCDF has no tables in attributes
    summary.drop_vars("status").to_netcdf("summary.nc")
    with xr.open_dataset("summary.nc") as opened:
        np.testing.assert_array_equal(opened["height_mean"], summary["height_mean"])
        assert opened["height_mean"].attrs["units"] == "m"
    assert not Path("IMPORTED").exists()


def test_a_figure_of_clhd_is_drawn_without_the_file(computed: Path, tmp_path: Path) -> None:
    shutil.copytree(computed, tmp_path / "lost")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "lost")
        assert main(["plot", "line.yaml"]) == 0
    assert (tmp_path / "lost/results/line/figures/line.png").is_file()


def test_the_summary_is_the_same_without_the_file(lost: Path, computed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lost)
    assert main(["summarise", "line.yaml"]) == 0
    before, after = (
        clhd.open_results(folder / "results" / "line")["summary"].to_dataset().load() for folder in (computed, lost)
    )
    xr.testing.assert_identical(before.drop_attrs(deep=False), after.drop_attrs(deep=False))
    for name in ("experiment", "declaration"):
        assert before.attrs[name] == after.attrs[name]
    assert json.loads(before.attrs["declaration"])["title"] == "a noisy line"


def test_a_part_of_the_results_is_summarised_without_the_file(computed: Path, tmp_path: Path) -> None:
    """Also where a range of whole numbers must be rounded as the system would."""
    shutil.copytree(computed, tmp_path / "lost")
    part = EXPERIMENT.replace("[0, 1, 2]", "[1, 2]").replace("[4, 16]", "{start: 4.2, stop: 15.8, count: 2}")
    (tmp_path / "lost" / "line.yaml").write_text(part)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "lost")
        assert main(["summarise", "line.yaml"]) == 0
        summary = clhd.open_results("results/line")["summary"].to_dataset()
    assert dict(summary["height_mean"].sizes) == {"slope": 2, "size": 2, "time": 2}
    assert summary["size"].values.tolist() == [4, 16]


@pytest.mark.parametrize("command", ["run", "plan", "simulate", "predict", "why", "replay", "verify"])
def test_what_needs_the_file_says_in_one_line_what_is_missing(
    computed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.chdir(computed)
    place = ["slope=1", "size=4"] if command in {"why", "replay"} else []
    assert main([command, "line.yaml", *place]) == 2
    assert capsys.readouterr().err == (
        "line.yaml: system = 'line.py:Line': there is no file line.py; put it there, or change system\n"
    )


def test_a_change_of_the_file_is_told_and_the_old_file_brings_the_results_back(run: Run) -> None:
    assert run("run", "line.yaml")[0] == 0
    Path("line.py").write_text(LINE.replace("values.slope * time +", "2 * values.slope * time +"))
    for command in (["run", "line.yaml"], ["why", "line.yaml", "slope=1", "size=4"], ["verify", "line.yaml"]):
        code, _, errors = run(*command)
        assert code == 2
        assert "simulation.zarr: was computed before" in errors
        assert "line.py changed" in errors
        assert errors.count("\n") == 1
    Path("line.py").write_text(LINE)
    assert "0 computed now" in run("run", "line.yaml")[1]
    Path("line.py").write_text(LINE.replace("values.slope * time +", "2 * values.slope * time +"))
    code, output, _ = run("run", "line.yaml", "--fresh")
    assert code == 0
    assert "24 computed now" in output
    assert len(list(Path("results/line").glob("simulation-until-*.zarr"))) == 1


def test_why_replay_and_verify_work_for_a_file(run: Run) -> None:
    assert run("run", "line.yaml")[0] == 0
    code, output, _ = run("why", "line.yaml", "slope=2", "size=16")
    assert code == 0
    assert f"key: Line|size=16|slope={(2.0).hex()}|seed=0" in output
    assert "runs: 4 ok" in output
    assert run("replay", "line.yaml", "slope=2", "size=16")[1].startswith(
        "1 point computed again: 4 runs with the same"
    )
    assert run("verify", "line.yaml", "--fraction", "1")[1].startswith("6 points computed again: 24 runs with the same")


def test_worker_processes_run_the_text_that_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They get it with each block: the file may be gone by then, or be another one."""
    path = write_line(tmp_path)
    here, there = (read_experiment(path) for _ in range(2))
    alone = compute_bits(tmp_path / "alone", here, 1)
    (tmp_path / "line.py").write_text(TRAP)
    monkeypatch.chdir(tmp_path)
    assert compute_bits(tmp_path / "many", there, 2) == alone
    assert not (tmp_path / "IMPORTED").exists()


def compute_bits(results: Path, experiment: Experiment, workers: int) -> bytes:
    report = run_stage(experiment, "simulation", results, cluster=Cluster(workers=workers))
    assert report is not None
    assert report.counts["ok"] == 24
    return Store(report.path).read("height").tobytes()


def test_a_bad_run_fails_with_a_message_and_harms_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = ("height = values", 'assert values.slope != 1, "slope 1 is bad"\n        height = values')
    write_line(tmp_path, bad)
    monkeypatch.chdir(tmp_path)
    assert main(["run", "line.yaml"]) == 1
    data = clhd.open_results("results/line")["simulation"].to_dataset()
    assert (data["status"] == clhd.Status.OK).all(("size", "replica")).values.tolist() == [True, False, True]
    assert set(data["error_message"].sel(slope=1).values.ravel()) == {"slope 1 is bad"}
    assert set(data["error_type"].sel(slope=1).values.ravel()) == {"AssertionError"}


def test_a_wrong_shape_fails_its_points_by_name(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    write_line(Path(), ('"largest": height.max()', '"largest": height if values.slope == 1 else 0.0'))
    code, output, _ = run("run", "line.yaml")
    assert code == 1
    assert "16 ok, 8 failed" in output
    assert (
        "errors: ResultError: system Line, simulate: output largest is float64 of shape (2,); "
        "it must be real numbers of shape (), for ()"
    ) in run("why", "line.yaml", "slope=1", "size=4")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "line.py has no class Line, nor any other class that is a clhd.System"),
        (LINE.replace("class Line", "class Lines"), "line.py has no class Line; its systems are Lines"),
        ("class Line: pass\n", "line.py must be a class that inherits from clhd.System"),
        ("Line = 3\n", "line.py must be a class that inherits from clhd.System"),
        ("\n\n1 / 0\n", "line.py, line 3: ZeroDivisionError: division by zero"),
        ("def f():\n    raise ValueError('a\\nb')\n\nf()\n", "line.py, line 2: ValueError: a"),
        ("x = (\n", "line.py, line 1: SyntaxError: '(' was never closed"),
        # A SyntaxError, or a ValueError in early releases of Python 3.11.
        ("x = '\0'\n", "Error: source code string cannot contain null bytes"),
        ("import sys\nsys.exit(0)\n", "line.py, line 2: SystemExit: 0"),
        ("import no_such_module\n", "line.py, line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        (
            LINE.replace("    def simulate", "    def __init__(self):\n        self.x = 1 / 0\n\n    def simulate"),
            "line.py, line 21: ZeroDivisionError: division by zero",
        ),
        (
            LINE.replace("default=4", "default=0"),
            "Line.parameters.size: default = 0: must be a whole number, 1 or more",
        ),
        (LINE.replace('size, limit = "size"', 'size, limit = "n"'), "Line.size = 'n': is no parameter of the system"),
    ],
)
def test_a_file_that_cannot_be_used_gets_one_line_and_nothing_is_written(run: Run, text: str, message: str) -> None:
    Path("line.py").write_text(text)
    code, output, errors = run("run", "line.yaml")
    assert (code, output) == (2, "")
    assert errors.startswith("line.yaml: system = 'line.py:Line': ")
    assert errors.endswith(f"{message}\n")
    assert errors.count("\n") == 1
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py:Line", "there is no file none.py; put it there, or change system"),
        (".py:Line", "must be one of attractors, contrastive"),
        ("line.py", "must be one of "),
        ("line.py:no-class", "must be one of attractors, contrastive"),
        ("/etc/line.py:Line", "must be a path from the folder of the experiment, not from the root"),
        ("folder.py:Line", "there is no file folder.py"),
        ("large.py:Line", "large.py is longer than 1 MiB; make it an installed package"),
    ],
)
def test_a_name_that_leads_to_no_system_gets_one_line(run: Run, name: str, message: str) -> None:
    Path("folder.py").mkdir()
    Path("large.py").write_bytes(b"#" * (2**20 + 1))
    Path("line.yaml").write_text(EXPERIMENT.replace("line.py:Line", name))
    code, _, errors = run("run", "line.yaml")
    assert code == 2
    assert errors.startswith(f"line.yaml: system = {name!r}: {message}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("command", ["clhd", "python -m clhd"])
@pytest.mark.parametrize("helper", ["helper.py", "helper/__init__.py"])
def test_a_file_that_imports_its_neighbours_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, helper: str, command: str
) -> None:
    if command != "clhd":  # which finds no module here
        monkeypatch.syspath_prepend(Path.cwd())
    Path(helper).parent.mkdir(exist_ok=True)
    Path(helper).write_text("rate = 1\n")
    Path("line.py").write_text(f"import helper\n{LINE}")
    for _ in range(2):  # the first refusal leaves nothing behind
        code, _, errors = run("run", "line.yaml")
        assert code == 2
        assert f"imports {Path(helper).name}, whose changes the results would not notice" in errors
        assert "helper" not in sys.modules


def test_a_file_in_a_folder_below_or_above_is_found(run: Run) -> None:
    Path("models").mkdir()
    Path("line.py").rename("models/line.py")
    Path("line.yaml").write_text(EXPERIMENT.replace("line.py", "models/line.py"))
    assert run("run", "line.yaml")[0] == 0
    Path("deep").mkdir()
    Path("deep/other.yaml").write_text(EXPERIMENT.replace("line.py", "../models/line.py"))
    assert run("run", "deep/other.yaml")[0] == 0


def test_an_experiment_reads_its_file_once(tmp_path: Path) -> None:
    path = write_line(tmp_path)
    experiment = read_experiment(path)
    (tmp_path / "line.py").write_text(TRAP)
    assert load_system(experiment.reference).title == "a noisy line"
    assert refer_to("line.py:Line", tmp_path).digest != experiment.reference.digest


def test_no_byte_code_is_left_beside_a_file(tmp_path: Path) -> None:
    """It would go by the date of the file, and not by the text that was read."""
    path = write_line(tmp_path)
    program = f"from clhd.cli import main; main(['plan', {str(path)!r}])"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "__pycache__").exists()


def test_a_kernel_in_a_file_is_compiled_for_the_text_that_runs(tmp_path: Path) -> None:
    """numba keeps machine code by the date of a file; here by its text, also if both are written in one second."""
    head = "from clhd.core.kernels import kernel\n\n@kernel\ndef rise(slope, t):\n    return slope * t\n"
    changes = (
        ("import numpy as np\n", f"import numpy as np\n\n{head}"),
        ("values.slope * time +", "rise(values.slope, time) +"),
    )
    program = (
        "import clhd, sys, numpy\n"
        "from clhd.systems.registry import load_system, refer_to\n"
        "from pathlib import Path\n"
        "half = load_system(refer_to('line.py:Line', Path())).simulation\n"
        "point = half.point({'slope': 1.0, 'size': 10**12}, 0)\n"
        "print(half.compute([point], numpy.array([1.0]), [0]).values['height'].round(3).item())\n"
    )

    def run() -> str:
        root = str(Path(clhd.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": root, "NUMBA_CACHE_DIR": ""}
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    write_line(tmp_path, *changes)
    assert [run(), run()] == ["1.0", "1.0"]
    text = (tmp_path / "line.py").read_text()
    (tmp_path / "line.py").write_text(text.replace("return slope * t", "return slope + 2"))
    assert run() == "3.0"
    (tmp_path / "line.py").write_text(text)
    assert run() == "1.0"
