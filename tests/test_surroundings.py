"""Settings of other programs, closed streams and moved environments: none ends in a traceback or a wrong number."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clhd.core.surroundings import check_installation
from clhd.errors import ClhdError, describe_unwritable
from clhd.sweep.store.provenance import describe_code

ROOT = Path(__file__).parents[1]
TOY = "system: flaky\naxes: {slope: [0, 2]}\ntimes: [0, 1]\nreplicas: 2\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an experiment of a toy system."""
    (tmp_path / "toy.yaml").write_text(TOY)
    (tmp_path / "config.yaml").write_text("experiments: [toy.yaml]\n")
    return tmp_path


def run_shell(folder: Path, command: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a line of bash, in which clhd is the command."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "workflow"), str(ROOT)]),
        "PYTHONUNBUFFERED": "",
        **settings,
    }
    script = f'set -o pipefail; clhd() {{ "{sys.executable}" -P -m clhd "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


def test_a_file_of_the_user_is_not_taken_for_a_library_of_its_name(folder: Path) -> None:
    for name in ("yaml", "numpy", "dask", "argparse"):
        (folder / f"{name}.py").write_text("raise SystemExit('a file of the user was run')\n")
    done = run_shell(folder, f'"{sys.executable}" -m clhd plan toy.yaml && "{sys.executable}" -m clhd run toy.yaml')
    assert done.returncode == 0, done.stderr


def write_other_repository(folder: Path) -> Path:
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    for arguments in (["init", "--quiet"], ["commit", "--quiet", "--allow-empty", "--message", "other"]):
        subprocess.run([*git, *arguments], check=True, env=environment)
    return folder / ".git"


def test_settings_that_are_meant_for_other_programs_are_ignored(folder: Path) -> None:
    settings = {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # as a notebook sets it
        "ZARR_CODEC_PIPELINE__PATH": "zarrs.ZarrsCodecPipeline",
        "ZARR_ASYNC__CONCURRENCY": "many",
        "DASK_DISTRIBUTED__WORKER__PRELOAD": "not_there.py",
        "DASK_DISTRIBUTED__NANNY__PRELOAD": "not_there",
        "DASK_DISTRIBUTED__SCHEDULER__PRELOAD": "not_there",
        "SOURCE_DATE_EPOCH": "yesterday",
        "GIT_DIR": str(write_other_repository(folder)),  # as in a hook
        "GIT_WORK_TREE": str(folder),
        "PYTHONIOENCODING": "ascii",
    }
    done = run_shell(folder, "clhd run toy.yaml && clhd plot toy.yaml", **settings)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "results" / "toy" / "simulation.zarr" / "zarr.json").read_bytes())
    assert json.dumps(describe_code().partition(" ")[0])[:-1] in json.dumps(record["attributes"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("dask/mine.yaml", "distributed: [unclosed\n", "the settings of Dask on this machine are wrong: A dask config"),
        ("dask/mine.yaml", "only text\n", "the settings of Dask on this machine are wrong: A dask config file at"),
        ("zarr/zarr.yaml", "x: [\n", "the settings of Zarr on this machine are wrong: A config file at"),
        (
            "zarr/zarr.yaml",
            "codec_pipeline: {path: zarrs.ZarrsCodecPipeline}\n",
            "the settings of Zarr on this machine are wrong: Pipeline class 'zarrs.ZarrsCodecPipeline' not found",
        ),
    ],
    ids=["Dask, malformed", "Dask, text", "Zarr, malformed", "Zarr, not installed"],
)
def test_a_wrong_settings_file_of_a_library_is_one_line(folder: Path, name: str, text: str, message: str) -> None:
    file = folder / ".config" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    done = run_shell(folder, "clhd run toy.yaml", HOME=str(folder), XDG_CONFIG_HOME=str(folder / ".config"))
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert not list(folder.rglob("*.zarr/status/c/*")), "nothing was computed"


def test_numba_without_its_compiler_is_refused_in_one_line(folder: Path) -> None:
    (folder / "small.yaml").write_text(TOY.replace("flaky", "contrastive").replace("slope: [0, 2]", "dimension: [20]"))
    done = run_shell(folder, "clhd plan small.yaml", NUMBA_DISABLE_JIT="1")
    assert done.returncode == 2
    assert "NUMBA_DISABLE_JIT=1: kernels work only compiled; unset this variable" in done.stderr
    assert done.stderr.count("\n") == 1


def test_closed_streams_cost_neither_the_run_nor_a_file(folder: Path) -> None:
    """Else the first file that a run opens gets the number of the stream, and what is printed goes into it."""
    assert run_shell(folder, "clhd run toy.yaml <&- >&- 2>&-").returncode == 0
    assert run_shell(folder, "clhd status config.yaml --check").returncode == 0
    done = run_shell(folder, "clhd plan none.yaml 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("clhd status config.yaml | exec 0<&-", 141, ""),
        ("clhd --help | exec 0<&-", 141, ""),
        ("mkfifo fifo; exec 3<>fifo 4>fifo 3<&-; clhd plan none.yaml 2>&4", 141, ""),
        ("clhd status config.yaml > /dev/full", 2, "standard output: cannot be written: No space left on device"),
    ],
    ids=["pipe", "help", "errors", "full disk"],
)
def test_output_that_nobody_takes_is_no_interrupt_and_no_traceback(
    folder: Path, command: str, code: int, error: str
) -> None:
    done = run_shell(folder, command)
    assert done.returncode == code
    assert done.stderr.startswith(error)
    assert done.stderr.count("\n") == bool(error)


def test_the_version_names_the_commit(folder: Path) -> None:
    done = run_shell(folder, "clhd --version")
    assert (done.returncode, done.stdout) == (0, f"clhd {describe_code()}\n")


def test_very_many_mistakes_are_a_few_lines_and_a_strange_key_names_the_keys(folder: Path) -> None:
    (folder / "many.yaml").write_text("".join(f"zzz{number}: 1\n" for number in range(60_000)))
    done = run_shell(folder, "clhd plan many.yaml")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "... and 59982 more lines like these"
    (folder / "one.yaml").write_text(TOY + "zzz: 1\n")
    done = run_shell(folder, "clhd plan one.yaml")
    assert done.stderr.startswith("one.yaml: unknown key 'zzz'; the keys are system, ")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(errno.ENOSPC, "full"), "written: full; free some, then the same command goes on from there"),
        (OSError(errno.EROFS, "read-only"), "written: read-only"),
        (OSError(errno.EIO, "broken"), "read or written: broken"),
        (OSError(errno.EACCES, "denied"), "read or written: denied"),
        (OSError(errno.ENOENT, "gone", str(Path(__file__).with_name("gone"))), "read: gone"),
        (OSError(errno.ENOENT, "gone", "/no/such/folder/file"), "read or written: gone"),
    ],
)
def test_an_error_of_the_file_system_is_not_said_of_a_write_if_it_may_be_of_a_read(error: OSError, what: str) -> None:
    assert describe_unwritable("place", error) == f"place: cannot be {what}"


def test_the_environment_of_a_copied_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for project in ("original", "copy"):
        (tmp_path / project / "clhd").mkdir(parents=True)
        (tmp_path / project / "clhd" / "__init__.py").touch()
        (tmp_path / project / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / project / ".venv" / "pyvenv.cfg").touch()
    monkeypatch.delenv("PYTHONPATH", raising=False)
    original, copy = tmp_path / "original", tmp_path / "copy"
    monkeypatch.setattr("sys.prefix", str(original / ".venv"))
    check_installation(str(original / ".venv/bin/clhd"), original / "clhd")
    check_installation(str(original / "clhd/__main__.py"), original / "clhd")
    installed = original / ".venv/lib/site-packages/clhd"  # by `pip install .` in this project, without -e
    installed.mkdir(parents=True)
    check_installation(str(original / ".venv/bin/clhd"), installed)
    with pytest.raises(ClhdError, match=r"copy/.venv: was copied or moved .* install again: make -C .*copy install"):
        check_installation(str(copy / ".venv/bin/clhd"), original / "clhd")
    with pytest.raises(ClhdError, match="was copied or moved"):
        check_installation(str(copy / ".venv/bin/clhd"), installed)
    monkeypatch.setattr("sys.prefix", str(copy / ".venv"))
    with pytest.raises(ClhdError, match="was copied or moved"):
        check_installation(str(original / "clhd/__main__.py"), original / "clhd")
    monkeypatch.setenv("PYTHONPATH", str(original))
    check_installation(str(original / "clhd/__main__.py"), original / "clhd")


def test_the_command_draws_what_a_program_does_without_the_docstrings_of_matplotlib(folder: Path) -> None:
    plot = "from clhd.cli import main; main(['plot', 'toy.yaml'])"
    draw = "from clhd.figures.plot import plot_experiment; plot_experiment('results/toy/summary.zarr', 'others')"
    look = "from matplotlib.lines import Line2D; print(Line2D.set.__doc__)"
    assert run_shell(folder, "clhd run toy.yaml").returncode == 0
    assert run_shell(folder, f'"{sys.executable}" -c "{plot}; {look}"').stdout.endswith("\nNone\n")
    assert "Set multiple properties" in run_shell(folder, f'"{sys.executable}" -c "{draw}; {look}"').stdout
    for name in ("toy.pdf", "toy.png", "toy.rst"):
        assert (folder / "results/toy/figures" / name).read_bytes() == (folder / "others" / name).read_bytes()
