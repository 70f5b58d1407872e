"""Claims, figures and the report are not shown as true after their evidence has changed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import clhd.systems.registry
from clhd.cli import main
from clhd.report.write import compose_report
from clhd.sweep.results import products
from clhd.sweep.results.products import find_product_faults
from clhd.sweep.results.summary import write_summary
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.config import ConfigContent, read_config
from clhd.sweep.spec.experiment import read_experiment
from tests.clients import open_threads


@pytest.fixture
def made(project: ConfigContent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigContent:
    """A copy of the project, with its report."""
    shutil.copytree(project.results.absolute().parent, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    assert main(["report", "config.yaml"]) == 0
    return read_config("config.yaml", check=False)


def change_digit(results: Path) -> None:
    text = (results / "claims.json").read_text()
    (results / "claims.json").write_text(text.replace("-0.5123", "-0.5124"))


def change_caption(results: Path) -> None:
    path = results / "first" / "figures" / "first.rst"
    path.write_text(path.read_text().replace("Experiment first", "Experiment second"))


def change_settings(results: Path) -> None:
    Path("claims.yaml").write_text("C1: {other: 1}\n")


def grow(results: Path) -> None:
    text = Path("first.yaml").read_text().replace("slope: [-1, 0, 1]", "slope: [-1, 0, 1, 2]")
    Path("first.yaml").write_text(text)
    with open_threads(1) as client:
        run_experiment("first.yaml", client, results=results)


def lose_record(results: Path) -> None:
    (results / ".claims.json").unlink()


CHANGES: list[tuple[Callable[[Path], None], list[str], bool]] = [
    (change_digit, ["results/claims.json: was changed or damaged after clhd wrote it; `clhd claims` makes it"], True),
    (change_caption, ["results/first/figures/first.rst: was changed or damaged after clhd wrote it"], False),
    (change_settings, ["results/claims: was made before its settings changed"], True),
    (lose_record, ["results/.claims.json: is missing, so nobody knows what"], True),
    (
        grow,
        [
            "results/first/figures/first: rests on another summary of first than is there now",
            "results/claims: rests on another summary of first",
            "results/report: rests on another summary of first",
        ],
        True,
    ),
]


@pytest.mark.parametrize(("edit", "expected", "is_of_claims"), CHANGES, ids=[edit.__name__ for edit, *_ in CHANGES])
def test_what_rests_on_something_else_is_named_and_the_report_says_so(
    made: ConfigContent,
    capsys: pytest.CaptureFixture[str],
    edit: Callable[[Path], None],
    expected: list[str],
    is_of_claims: bool,
) -> None:
    assert find_product_faults(made, made.results) == []
    assert "Not up to date" not in compose_report(made, made.results)
    edit(made.results)
    made = read_config("config.yaml", check=False)
    faults = find_product_faults(made, made.results)
    assert len(faults) == len(expected)
    assert all(fault.startswith(text) for fault, text in zip(faults, expected, strict=True))
    page = compose_report(made, made.results)
    assert ("When they were judged: Of 3 statements" in page) == is_of_claims
    assert ("Not up to date: " in page) == is_of_claims
    capsys.readouterr()
    assert main(["status", "config.yaml", "--check"]) == 1
    assert capsys.readouterr().err.splitlines() == faults


def test_another_version_of_the_code_is_told(made: ConfigContent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "digest_code", lambda: "other")
    faults = find_product_faults(made, made.results)
    assert [fault.partition(": ")[2] for fault in faults] == [
        "was made by another version of the code; `clhd plot FILE` makes it again",
        "was made by another version of the code; `clhd claims` makes it again",
        "was made by another version of the code; `clhd report` makes it again",
    ]


def test_the_same_results_written_again_or_copied_change_nothing(made: ConfigContent) -> None:
    write_summary(read_experiment("first.yaml"), made.results)
    assert find_product_faults(made, made.results) == []


def test_a_record_that_was_changed_is_told(made: ConfigContent) -> None:
    record = made.results / ".claims.json"
    content = json.loads(record.read_bytes())
    content["files"]["claims.json"] = "0" * 32
    record.write_text(json.dumps(content))
    assert [fault.partition(": ")[2] for fault in find_product_faults(made, made.results)] == [
        "was changed or damaged after clhd wrote it; `clhd claims` makes it again"
    ]
