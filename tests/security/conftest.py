"""The toy system, as for the tests of the sweep, and a folder in which it was run."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import clhd.systems
from clhd.cli import main

EXPERIMENT = """system: toy
constants: {seconds: 0.001}
axes:
  slope: [0, 1, 2]
  pair: {together: {weight: [1, 2], colour: [red, blue]}}
  size: [4]
times: [0, 1, 2]
replicas: 4
"""


@pytest.fixture(autouse=True)
def toy_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clhd.systems.SYSTEMS, "toy", "tests.sweep.toy:ToySystem")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which a command runs."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the toy was run, summarised and drawn."""
    folder = tmp_path_factory.mktemp("pristine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clhd.systems.SYSTEMS, "toy", "tests.sweep.toy:ToySystem")
        patch.chdir(folder)
        Path("toy.yaml").write_text(EXPERIMENT)
        Path("config.yaml").write_text("experiments: [toy.yaml]\n")
        assert main(["run", "toy.yaml"]) == 0
        assert main(["plot", "toy.yaml"]) == 0
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
