"""Names and paths stay where they belong: in results/, and out of the shell."""

import json
import os
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clhd.claims.judge import read_claims
from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.config import read_config
from clhd.sweep.spec.experiment import parse_experiment
from clhd.sweep.store.metadata import write_checksum
from clhd.sweep.store.store import Store
from tests.security.fuzz import ROOT

TOY: dict[str, Any] = {"system": "toy", "axes": {"slope": [0, 1]}, "times": [0, 1], "replicas": 2}
NAMES = (
    "", ".", "..", "../x", "/tmp/x", "a/b", "a\\b", ".hidden", "_x", "-x", "--fresh", "x.zarr", "claims.json", "a;b",
    "a\nb", "a\tb", "a\0b", "$(id)", "`id`", "'", '"', "*", "{experiment}", "\u00e9", "\ufb01", "\u2024", "\u0410",
    "a b", "Abc", "1a", "a" * 101, "a" * 5000, "figures",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[:20])
def test_the_name_of_an_experiment_cannot_leave_the_results(name: str) -> None:
    with pytest.raises(ClhdError, match="name = ") as error:
        parse_experiment({**TOY, "name": name})
    assert len(str(error.value).splitlines()) == 1
    with pytest.raises(ClhdError):  # as it stands in the attributes of a store
        parse_experiment({**TOY, "name": name}, check=False)


# What is no plain name without its last suffix, and what a file can be called.
STEMS = [
    name for name in NAMES if name and not {"/", "\0"} & {*name} and name[:2] not in {".", ".."} and len(name) < 99
]


@pytest.mark.parametrize("name", STEMS, ids=ascii)
def test_the_name_of_a_file_becomes_a_name_only_if_it_is_plain(
    workspace: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = workspace / f"{name}.yaml"
    path.write_text(json.dumps(TOY), encoding="utf-8")
    assert main(["run", "--", str(path)]) == 2
    assert "name = " in capsys.readouterr().err
    assert list(workspace.iterdir()) == [path]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../x",
            "a/b",
            ".x",
            "A",
            "x y",
            "zarr.json",
            "\u00e9",
            "time",
            "status",
            "error_message",
            "quantile",
            "replica",
        ),
        *("replica_block", "replica_count", "theory_status", "feature", "height", "height_mean", "steepness_theory"),
        *("slope", "colour"),
    ],
)
def test_a_dim_cannot_take_the_place_of_another_array(name: str) -> None:
    columns = {"slope": [1, 2], "weight": [3, 4]}
    with pytest.raises(ClhdError, match=f"axes.{name}") as error:
        parse_experiment({**TOY, "axes": {name: {"together": columns}}})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"figure": "../../x"}, "figure = '../../x': must be one of"),
        ({"figure": "os:system"}, "figure = 'os:system': must be one of"),
        ({"system": "os:system"}, "system = 'os:system': must be one of"),
        ({"axes": {"../slope": [1, 2]}}, "axes.../slope: is no parameter of this system"),
        ({"constants": {"__class__": 1}}, "constants.__class__: is no parameter of this system"),
    ],
)
def test_words_of_an_experiment_name_what_is_in_a_table_alone(
    workspace: Path, capsys: pytest.CaptureFixture[str], table: dict[str, Any], message: str
) -> None:
    (workspace / "toy.yaml").write_text(json.dumps({**TOY, **table}))
    assert main(["plot" if "figure" in table else "plan", "toy.yaml"]) == 2
    error = capsys.readouterr().err
    assert message in error or "does not exist" in error
    assert [path.name for path in workspace.iterdir()] == ["toy.yaml"]


@pytest.mark.parametrize("name", ["../x", "/etc", "", ".", "a\nb", "hill "])
def test_a_claim_rests_on_experiments_of_the_list_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps({"C1": {"experiments": {"line": name}, "thresholds": {}}}))
    with pytest.raises(ClhdError, match="must be one of hill"):
        read_claims(path, {"hill": parse_experiment(TOY)})


@pytest.mark.parametrize("key", ["results", "claims", "experiments"])
@pytest.mark.parametrize("value", ["--fresh", "-x", "a{b}c", "{experiment}", "a\nb"])
def test_paths_that_commands_or_snakemake_read_otherwise_are_refused(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "config.yaml"
    table: dict[str, Any] = {"experiments": ["toy.yaml"], key: [value] if key == "experiments" else value}
    path.write_text(json.dumps(table))
    with pytest.raises(ClhdError, match="printable characters, without braces"):
        read_config(path)


def test_two_files_of_one_name_do_not_share_a_folder(workspace: Path) -> None:
    for file in ("one.yaml", "two.yaml"):
        (workspace / file).write_text(json.dumps({**TOY, "name": "toy"}))
    (workspace / "config.yaml").write_text("experiments: [one.yaml, two.yaml]")
    with pytest.raises(ClhdError, match=r"two\.yaml: name = 'toy': is that of one\.yaml as well"):
        read_config(workspace / "config.yaml")


def test_the_name_in_a_summary_cannot_lead_a_figure_elsewhere(work: Callable[[], Path]) -> None:
    folder = work()
    for part in ("summary", "simulation"):
        file = folder / "results" / "toy" / f"{part}.zarr" / "zarr.json"
        document = json.loads(file.read_bytes())
        experiment = json.loads(document["attributes"]["experiment"]) | {"name": "../../../escaped"}
        document["attributes"]["experiment"] = json.dumps(experiment)
        file.write_text(json.dumps(document))
        write_checksum(file.parent, document["consolidated_metadata"]["metadata"], whole=())
    with pytest.raises(ClhdError, match="name = "):
        read_summary(folder / "results" / "toy" / "summary.zarr")
    with pytest.raises(ClhdError, match="name = "):
        Store(folder / "results" / "toy" / "simulation.zarr")
    assert main(["plot", "toy.yaml"]) == 2
    assert not list(folder.rglob("escaped*"))


ODD = """it's $(touch hacked) `touch hacked` "; touch hacked; #"""


def test_names_of_files_are_not_read_by_the_shell_of_the_rules(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    (folder / f"{ODD}.yaml").write_text(json.dumps({**TOY, "system": "flaky", "name": "toy"}))
    (folder / f"list {ODD}.yaml").write_text(json.dumps({"experiments": [f"{ODD}.yaml"], "results": f"out {ODD}"}))
    command = [
        Path(sys.executable).with_name("snakemake"),
        *("--snakefile", ROOT / "Snakefile", "--configfile", f"list {ODD}.yaml", "--cores", "1", "-n", "-p"),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "workflow"), str(ROOT)])}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = [line.partition("python -m clhd ")[2] for line in (done.stdout + done.stderr).splitlines()]
    commands = [shlex.split(line) for line in lines if line]
    assert {words[0] for words in commands} == {"simulate", "predict", "summarise", "plot", "report", "status"}
    for words in commands:
        if words[1] != "/dev/stdin":  # by which the list of experiments comes
            assert Path(words[1]).name in {f"{ODD}.yaml", f"list {ODD}.yaml"}
            assert words[words.index("--results") + 1] == f"out {ODD}"
        log = words[words.index("tee") + 2]
        assert log.startswith(f"out {ODD}/")
        assert ".log" in log
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002], ids=oct)
def test_all_that_is_written_follows_the_umask_and_nothing_is_left_elsewhere(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))  # TMPDIR is read only once
    (workspace / "toy.yaml").write_text(json.dumps({**TOY, "constants": {"work": 0.001}}))
    (workspace / "config.yaml").write_text("experiments: [toy.yaml]")
    before = os.umask(umask)
    try:
        for command in (["run", "toy.yaml"], ["plot", "toy.yaml"], ["report", "config.yaml"]):
            assert main(command) == 0
    finally:
        os.umask(before)
    written = list((workspace / "results").rglob("*"))
    assert len(written) > 50
    left = list(elsewhere.rglob("*"))
    assert {path.name for path in left} <= {"dask-scratch-space", "global.lock", "purge.lock"}, "Dask's own, and empty"
    for path in (workspace / "results", *written, *left):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o777 if path.is_dir() else 0o666) & ~umask, (path, oct(mode))
    hidden = {path.name for path in written if path.name.startswith(".")}
    locks = {f".{part}.{kind}" for part in ("simulation", "theory", "summary") for kind in ("lock", "writing")}
    assert hidden == locks | {".toy.json", ".report.json"}, "locks, and records of the figure and the report"


def test_hosts_are_named_by_stores_and_not_by_what_rests_on_them(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "machine-of-mine")
    (workspace / "toy.yaml").write_text(json.dumps({**TOY, "constants": {"work": 0.001}}))
    (workspace / "claims.yaml").write_text("C1: {experiments: {line: toy}, thresholds: {}}")
    (workspace / "config.yaml").write_text("{experiments: [toy.yaml], claims: claims.yaml}")
    for command in (["run", "toy.yaml"], ["plot", "toy.yaml"], ["claims", "config.yaml"], ["report", "config.yaml"]):
        assert main(command) == 0
    results = workspace / "results"
    files = [path for path in results.rglob("*") if path.is_file()]
    assert results / "report.html" in files
    named = {str(path.relative_to(results)) for path in files if b"machine-of-mine" in path.read_bytes()}
    assert named == {f"toy/{kind}.zarr/zarr.json" for kind in ("simulation", "theory")}
