"""The toy system, as for the tests of the sweep, and the size of a fuzz campaign."""

from pathlib import Path

import pytest

import clhd.systems


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
