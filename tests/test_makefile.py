"""The Makefile, with a program in place of Python that prints its arguments."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder whose name holds a space, with the Makefile and an environment that was made here."""
    folder = tmp_path / "my project"
    (folder / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements/lock.txt", "requirements/build.txt", "pyproject.toml"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    python = folder / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"\necho\n")
    python.chmod(0o755)
    (folder / ".venv" / ".installed").write_text(f"{folder}\n")
    return folder


def make(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    of_this_run = ("MAKEFLAGS", "MAKELEVEL", "CONFIG", "ARGS")  # as of `make test ARGS=...`
    environment = {name: value for name, value in os.environ.items() if name not in of_this_run}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=folder, env=environment | settings, capture_output=True, text=True, check=False)


def test_the_name_of_a_list_may_hold_spaces(project: Path) -> None:
    (project / "my list.yaml").touch()
    assert make(project).stdout == "<-P><-m><snakemake>\n"
    assert make(project, "CONFIG=my list.yaml").stdout == "<-P><-m><snakemake><--configfile><my list.yaml>\n"
    assert make(project, "report", "CONFIG=my list.yaml").stdout == "<-P><-m><clhd><report><my list.yaml>\n"
    done = make(project, "CONFIG=no list.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("CONFIG=no list.yaml: there is no such file\n")


@pytest.mark.parametrize("how", [shutil.copytree, shutil.move])
def test_the_environment_of_a_copied_or_moved_project_is_made_again(project: Path, tmp_path: Path, how: object) -> None:
    assert callable(how)
    place = Path(how(project, tmp_path / "elsewhere"))
    done = make(place, "PYTHON=false")  # the installation itself is not tried here
    assert done.stdout.startswith(".venv was made at another path, before the project was copied or moved: it is made")
    assert "clhd needs Python 3.11 or newer" in done.stderr
    assert not (place / ".venv").exists()


def test_no_recipe_runs_a_script_of_the_environment() -> None:
    """Such a script names the path at which it was made."""
    recipes = (ROOT / "Makefile").read_text().partition(".DEFAULT_GOAL")[2]
    assert {word for word in recipes.split() if "$(BIN)/" in word} == {"@$(BIN)/python", "$(BIN)/python"}


def test_the_continuous_integration_runs_what_make_test_leaves_out() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    markers = {marker.partition(":")[0] for marker in settings["markers"]}
    script = (ROOT / ".ci" / "run").read_text()
    marked = dict(re.findall(r"^ +marked (\w+) (\w+) ", script, flags=re.MULTILINE))
    assert set(marked.values()) == markers
    # The exit code of a step counts if the step is shown.
    started = {*marked, *re.findall(r"\bstep \d+ (\w+) ", script)}
    assert set(re.findall(r"^for name in (.*); do$", script, flags=re.MULTILINE)[0].split()) == started


def test_without_a_home_that_can_be_written_snakemake_keeps_its_cache_in_the_project(project: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$XDG_CACHE_HOME"\n')
    assert make(project, XDG_CACHE_HOME="", HOME=os.devnull).stdout == f"{project}/.snakemake/cache\n"
    assert make(project, XDG_CACHE_HOME=str(project / "cache"), HOME=os.devnull).stdout == f"{project}/cache\n"
