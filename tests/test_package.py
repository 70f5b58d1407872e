"""The package: its version, its work without extras, the study that it writes, and the files for its hosts."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import clhd
from clhd.cli import main
from clhd.figures.plot import find_figure
from clhd.study import _FILES
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.spec.config import read_config

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("cryptography", "distributed", "matplotlib", "sklearn", "snakemake")


def test_the_version_is_the_same_everywhere() -> None:
    version = PROJECT["version"]
    assert re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == version  # type: ignore[index]
    assert f'set version = "{version}"' in (ROOT / "recipe" / "meta.yaml").read_text()
    assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text()
    assert clhd.__version__ == version


def test_the_recipe_asks_for_what_the_package_needs() -> None:
    recipe = (ROOT / "recipe" / "meta.yaml").read_text().partition("  run:")[2].partition("test:")[0]
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *extras["cluster"], *extras["plot"], *extras["workflow"][1:]]
    names = {"dask": "dask-core", "matplotlib": "matplotlib-base", "snakemake": "snakemake-minimal"}
    for name, bounds in (re.fullmatch(r"([a-z0-9]+)(.*)", line).groups() for line in asked):  # type: ignore[union-attr]
        assert f"- {names.get(name, name)} {bounds}\n" in recipe


def run_without_extras(code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python where no library of an extra can be imported."""
    blocked = f"import sys\nfor name in {EXTRAS}: sys.modules[name] = None\n"
    return subprocess.run([sys.executable, "-c", blocked + code], capture_output=True, text=True, check=False)


def test_the_core_needs_no_extra_and_says_which_one_is_missing(tmp_path: Path) -> None:
    code = f"""
import threading
import clhd
from clhd.cli import main
threading.Thread(target=threading.Event().wait, daemon=True).start()
for name in clhd.__all__:
    try:
        getattr(clhd, name)
    except clhd.ExtraError as error:
        print(name, error)
open({str(tmp_path / "a.yaml")!r}, "w").write("system: contrastive\\ntimes: [1]\\nreplicas: 10000\\n"
    "constants: {{dimension: 1000000, initial_cosine_similarity: 0.1}}")
sys.exit(main(["simulate", {str(tmp_path / "a.yaml")!r}, "--results", {str(tmp_path)!r}]))
"""
    # A process with threads forks no children, and its own threads compute for seconds only: this is work of minutes.
    done = run_without_extras(code)
    assert done.stdout == ""
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "this needs distributed, which is not installed: pip install 'clhd[cluster]'"


def test_the_core_computes_what_takes_minutes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "system: contrastive\ntimes: [1]\nreplicas: 1\nconstants: {dimension: 50, initial_cosine_similarity: 0.1}\n"
    )
    code = f"from clhd.cli import main\nsys.exit(main(['predict', {str(file)!r}, '--results', {str(tmp_path)!r}]))"
    done = run_without_extras(code)
    assert done.returncode == 0, done.stderr


def test_mistakes_are_told_before_an_extra_that_is_missing(tmp_path: Path) -> None:
    code = f"""
import os
from clhd.cli import main
os.chdir({str(tmp_path)!r})
for command in (["claims"], ["paper"], ["init", "."], ["claims"]):
    main(command)
"""
    done = run_without_extras(code)
    here, papers, listed = done.stderr.splitlines()
    assert here == papers
    assert here.startswith("there is no config/config.yaml here, and results holds no results: ")
    assert listed == "config/config.yaml: names no claims; give a list with the key claims, such as config/claims.yaml"


def test_a_new_study_is_right_and_overwrites_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "my-study"]) == 0
    assert main(["init", "my study"]) == 0
    assert "type cd 'my study', then snakemake" in capsys.readouterr().out
    assert main(["init", "my-study"]) == 2
    assert capsys.readouterr().err == "my-study: exists already; choose another name\n"
    monkeypatch.chdir("my-study")
    for experiment in read_config("config/config.yaml").experiments.values():
        assert len(check_experiment(experiment)) == 2
        assert find_figure(experiment) == "trajectories"
    assert (Path(clhd.__file__).parent / "workflow" / "Snakefile").is_file()  # which its Snakefile includes


@pytest.mark.parametrize(
    "file", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda file: str(file.relative_to(ROOT))
)
def test_editors_find_the_schema_of_every_experiment(file: Path) -> None:
    if file.name == "claims.yaml":  # has no schema
        return
    found = re.match(r"# yaml-language-server: \$schema=(\S+)\n", file.read_text())
    assert found
    kind = "experiment" if "system" in yaml.safe_load(file.read_text()) else "config"
    assert (file.parent / found[1]).resolve() == ROOT / "config" / f"{kind}.schema.json"


@pytest.mark.parametrize(
    ("change", "is_right"),
    [
        ({}, True),
        ({"system": "my.py:Model", "constants": {"my_gain": 2}}, True),
        ({"constants": {"initial_squared_norm": "uninformative", "kurtosis_2": 2}}, True),
        ({"constants": {"kurtosis_2": [2]}}, False),
        ({"constants": {"learning_rat": 2}}, False),
    ],
)
def test_the_schema_agrees_with_clhd(change: dict[str, Any], *, is_right: bool) -> None:
    """An editor must not mark the experiment of `clhd init`, nor the parameters of a system of one's own."""
    table = yaml.safe_load(_FILES["config/experiments/first.yaml"]) | change
    schema = json.loads((ROOT / "config" / "experiment.schema.json").read_text())
    assert jsonschema.Draft202012Validator(schema).is_valid(table) == is_right


def test_the_workflow_of_github_runs_the_script_of_the_continuous_integration() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert any(".ci/run" in step for step in steps if step)
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
