"""The toy system, as for the tests of the sweep, and a folder in which it was run."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import clhd.systems.registry
from clhd.claims.claim import Claim, Judgement
from clhd.claims.verdict import Verdict
from clhd.cli import main
from clhd.sweep.results.summary_reader import Summary
from tests.sweep.toy import ToySystem

EXPERIMENT = """system: toy
constants: {work: 0.001}
axes:
  slope: [0, 1, 2]
  pair: {together: {weight: [1, 2], colour: [red, blue]}}
  size: [4]
times: [0, 1, 2]
replicas: 4
"""
CLAIMS = "C1: {experiments: {line: toy}, thresholds: {}}\n"


def judge_toy(summaries: Mapping[str, Summary], _: Mapping[str, Any]) -> Judgement:
    return Judgement(verdict=Verdict.HOLDS, evidence={"heights": summaries["line"].dataset["height_mean"].values})


HEIGHTS = Claim(statement="The toy has heights.", experiments={"line": "a line"}, thresholds={}, judge=judge_toy)


def know_toy(patch: pytest.MonkeyPatch) -> None:
    """Have the toy system, and one claim about it, without a figure."""
    patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    patch.setattr(ToySystem, "claims", {"C1": "tests.security.conftest:HEIGHTS"})


@pytest.fixture(autouse=True)
def toy_system(monkeypatch: pytest.MonkeyPatch) -> None:
    know_toy(monkeypatch)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which a command runs."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy was run, summarised and drawn; what its claim comes to is set aside."""
    folder = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        know_toy(patch)
        patch.chdir(folder)
        Path("toy.yaml").write_text(EXPERIMENT)
        Path("config.yaml").write_text("experiments: [toy.yaml]\n")
        Path("claims.yaml").write_text(CLAIMS)
        Path("judged.yaml").write_text("{experiments: [toy.yaml], claims: claims.yaml}\n")
        assert main(["run", "toy.yaml"]) == 0
        assert main(["plot", "toy.yaml"]) == 0
        assert main(["claims", "judged.yaml"]) == 0
        Path("results/claims.json").rename("right-claims.json")
    return folder


@pytest.fixture
def work(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """A new copy of that folder, in which commands run."""
    folder = tmp_path / "work"

    def renew() -> Path:
        if folder.exists():
            shutil.rmtree(folder)
        shutil.copytree(pristine, folder)
        monkeypatch.chdir(folder)
        return folder

    return renew
