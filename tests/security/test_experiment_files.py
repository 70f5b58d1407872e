"""Any content of a file of config/ gives a valid plan or clear lines; never a traceback, and nothing is written."""

import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clhd.claims.judge import read_claims
from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.spec.config import read_config
from clhd.sweep.spec.experiment import Experiment, parse_experiment, read_experiment
from clhd.sweep.spec.yaml_file import read_yaml
from tests.security.fuzz import ROOT, as_yaml, campaign, mutated_bytes, mutated_values, no_hang, run_clearly, tally

FILES = sorted([*(ROOT / "config" / "experiments").glob("*.yaml"), *(ROOT / "config" / "paper").glob("*.yaml")])
# Of a list, so many values are kept: what is fuzzed is what the file says, not how long it is.
_KEPT = 2
_MOST = {"count": _KEPT, "replicas": 256}
_ANSWERS = {0: "valid plans", 2: "refused"}
_TOY: dict[str, Any] = {
    "system": "toy",
    "constants": {"colour": "red", "features": 2, "weight_2": 2},
    "axes": {"slope": [0, 1], "size": {"start": 1, "stop": 100, "count": 2, "spacing": "log"}},
    "times": [0, 1],
    "replicas": 2,
    "seed": 3,
}


def thin(value: Any) -> Any:
    """The same with few values along every axis."""
    if isinstance(value, dict):
        small = {key: thin(entry) for key, entry in value.items()}
        return small | {key: most for key, most in _MOST.items() if isinstance(small.get(key), int)}
    return [thin(entry) for entry in value[:_KEPT]] if isinstance(value, list) else value


TABLES = [thin(read_yaml(file)) for file in FILES] + [_TOY]


def list_folder(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def plan(data: bytes, workspace: Path, capsys: pytest.CaptureFixture[str]) -> int:
    path = workspace / "fuzzed.yaml"
    path.write_bytes(data)
    code = run_clearly(["plan", path], capsys, str(path))
    assert list_folder(workspace) == [str(path)]
    tally("experiment files", _ANSWERS[code])
    return code


@campaign(250)
@given(st.sampled_from(TABLES).flatmap(mutated_values))
def test_an_experiment_with_other_values_is_a_valid_plan_or_clear_lines(
    workspace: Path, capsys: pytest.CaptureFixture[str], table: Any
) -> None:
    plan(as_yaml(table), workspace, capsys)


@campaign(150)
@given(st.sampled_from(TABLES).flatmap(lambda table: mutated_bytes(as_yaml(table))))
def test_an_experiment_with_other_bytes_is_a_valid_plan_or_clear_lines(
    workspace: Path, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    plan(data, workspace, capsys)


TOY = """system: toy
axes: {slope: [0, 1]}
times: [0, 1]
replicas: 2
"""
BRIGHT = """system: contrastive
times: [0]
replicas: 1
constants: {dimension: 10, base_noise_variance: 1e30, initial_squared_norm: uninformative, initial_overlap: 0.1}
"""
_LAUGHS = "\n".join(f"a{k}: &a{k} [{', '.join(['*a' + str(k - 1)] * 9)}]" for k in range(1, 30))


# Each was a traceback, a wrong number or a hang once, or is one of those in programs that read YAML.
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a table"),
        (TOY + 'description: "\\ud800"', "the character '\\ud800' is not allowed"),
        (TOY + 'description: "\\e[2J"', "the character '\\x1b' is not allowed"),
        (TOY + '"a\\nb": 1', "the key 'a\\nb' is no short line of text"),
        (TOY + "x" * 200 + ": 1", "is no short line of text"),
        ("a0: &a0 [1]\n" + _LAUGHS, "the alias *a0 is not allowed; write the value out"),
        ("axes: &a {slope: *a}", "the alias *a is not allowed"),
        ("<<: {system: toy}\n" + TOY, "unknown key '<<'"),
        (TOY + "seed: !!python/object/apply:os.system [id]", "the tag tag:yaml.org,2002:python/object"),
        (TOY + "seed: !!int ''", "the tag tag:yaml.org,2002:int is not allowed"),
        (TOY + "seed: !!bool maybe", "the tag tag:yaml.org,2002:bool is not allowed"),
        (TOY + "seed: 0x" + "F" * 5000, "seed = '0xFFF"),
        (TOY + "seed: 1:30", "seed = '1:30': must be a number"),
        (TOY + "seed: " + "9" * 5000, "a number of 5000 digits is not allowed"),
        (TOY + "description: " + "[" * 5000, "is nested too deeply"),
        (TOY.replace("[0, 1]", "[0, '" + "x" * 10**5 + "']", 1), "must be a number"),
        (
            TOY.replace("[0, 1]", "{start: 0, stop: 1, count: 1000000000}", 1),
            "axes: 1000000000 points (1000000000 of slope) are more than 4000000; give fewer, or split",
        ),
        (TOY.replace("[0, 1]", "{start: 0, stop: 1, count: 2, spacing: {a: 1}}", 1), "must be linear or log"),
        (TOY + "constants: {weight_\u00b2: 1}", "weight_\u00b2: is no parameter of this system"),
        (
            TOY.replace("[0, 1]}", "&, weight: &, size: &}".replace("&", "{start: 1, stop: 1000, count: 1000}")),
            "axes: 1000000000 points (1000 of slope x 1000 of weight x 1000 of size) are more than 4000000",
        ),
        (
            TOY.replace("replicas: 2", "replicas: 1e30"),
            "runs are more than 400000000; give fewer, or split the experiment, or keep: moments",
        ),
        (TOY + "# " + "x" * 2**20, "is larger than 1048576 bytes"),
        (
            BRIGHT,
            "needs noise variances of at most 100, not 1e+30; give the norm as a number",
        ),
    ],
    ids=lambda text: text[-40:] if "\n" in text else None,
)
def test_what_was_found_gets_one_line(
    workspace: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = workspace / "found.yaml"
    path.write_text(text, encoding="utf-8")
    with no_hang():
        code = main(["plan", str(path)])
    printed = capsys.readouterr()
    assert code == 2
    (line,) = printed.err.splitlines()
    assert line.startswith(str(path))
    assert message in line
    assert len(line) < 1000
    assert sorted(workspace.iterdir()) == [path]


@pytest.mark.parametrize("data", [b"system: toy\0", b"\xff\xfe", b"\xc3(", b"a: \xed\xa0\x80"])
def test_bytes_that_are_no_text_get_one_line(workspace: Path, capsys: pytest.CaptureFixture[str], data: bytes) -> None:
    assert plan(data, workspace, capsys) == 2


def test_a_grid_of_a_billion_points_is_refused_before_memory_is_exhausted(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    ranges = "".join(
        f"  {name}: {{start: 0.1, stop: 1, count: 1000}}\n"
        for name in ("second_moment", "weight_decay", "learning_rate")
    )
    rest = "system: contrastive\ntimes: [0, 1]\nreplicas: 100\nconstants: {dimension: 100, initial_overlap: 0}\naxes:\n"
    path.write_text(rest + ranges, encoding="utf-8")
    limit = 4 * 2**30

    def set_limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "clhd", "plan", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=set_limit, check=False)
    assert done.returncode == 2, done.stderr
    product = "1000 of second_moment x 1000 of weight_decay x 1000 of learning_rate"
    assert done.stderr == (
        f"{path}: axes: 1000000000 points ({product}) are more than 4000000; give fewer, or split the experiment\n"
    )


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "/proc/self/mem", "/", "a" * 300])
def test_what_is_no_file_of_yaml_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run_clearly(["plan", name], capsys, name) == 2


def test_numbers_and_words_can_stand_along_one_axis() -> None:
    table = {
        "system": "contrastive",
        "times": [0],
        "replicas": 1,
        "axes": {"initial_squared_norm": ["uninformative", 2, 1]},
    }
    (axis,) = parse_experiment(table).axes
    assert axis.values == ((1.0,), (2.0,), ("uninformative",))


# config.yaml and claims.yaml

CONFIG = read_yaml(ROOT / "config" / "config.yaml")
CLAIMS = read_yaml(ROOT / "config" / "claims.yaml")


def refuse_or_take(read: Any, path: Path, data: bytes) -> None:
    """A reader takes the file, or raises clear lines, each of which names a file."""
    path.write_bytes(data)
    with no_hang():
        try:
            read(path)
            tally("lists of experiments or claims", "read")
        except ClhdError as error:
            tally("lists of experiments or claims", "refused")
            for line in str(error).splitlines():
                assert ": " in line
                assert len(line) < 2000
                assert line.isprintable()


@campaign(60)
@given(st.one_of(mutated_values(CONFIG).map(as_yaml), mutated_bytes(as_yaml(CONFIG))))
def test_a_list_of_experiments_is_read_or_gets_clear_lines(tmp_path: Path, data: bytes) -> None:
    refuse_or_take(lambda path: read_config(path, check=False), tmp_path / "config.yaml", data)


@cache
def read_experiments() -> dict[str, Experiment]:
    return {Path(file).stem: read_experiment(ROOT / file, check=False) for file in CONFIG["experiments"]}


@campaign(60)
@given(st.one_of(mutated_values(CLAIMS).map(as_yaml), mutated_bytes(as_yaml(CLAIMS))))
def test_a_file_of_claims_is_read_or_gets_clear_lines(tmp_path: Path, data: bytes) -> None:
    refuse_or_take(lambda path: read_claims(path, read_experiments()), tmp_path / "claims.yaml", data)
