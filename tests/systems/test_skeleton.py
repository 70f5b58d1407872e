"""`clhd new-system NAME` writes two files that run as they are, and overwrites nothing."""

from pathlib import Path

import numpy as np
import pytest

import clhd
from clhd.cli import main


def test_the_files_run_as_they_are_and_theory_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-system", "my_model"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_model.py", "my_model.yaml"]
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    command = printed.strip().rpartition("type clhd ")[2].split()
    assert command == ["run", "my_model.yaml"]
    assert main(command) == 0
    summary = clhd.open_results("results/my_model")["summary"].to_dataset()
    score = summary["position_z_score"].values
    assert np.abs(score).max() < 4  # 18 of them, with a fixed seed
    text = Path("my_model.py").read_text()
    assert "class MyModel(clhd.System)" in text
    assert not {word for word in ("NAME", "CLASS", "TITLE") if word in text + Path("my_model.yaml").read_text()}


@pytest.mark.parametrize("existing", ["model.py", "model.yaml"])
def test_nothing_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], existing: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(existing).write_text("mine")
    assert main(["new-system", "model"]) == 2
    assert capsys.readouterr().err == f"{existing}: exists already; choose another name, or move it away\n"
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert Path(existing).read_text() == "mine"


def test_a_word_of_python_is_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-system", "class"]) == 2
    assert capsys.readouterr().err == "NAME = 'class': is a word of Python itself; choose another\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["numpy", "random", "clhd"])
def test_a_module_is_not_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-system", name]) == 2
    error = f"NAME = '{name}': is a module of Python, which {name}.py would hide; choose another\n"
    assert capsys.readouterr().err == error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../model", "Model", "1st", "a-b", "", "a.b", "a/b"])
def test_a_name_must_be_one_of_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new-system", name]) == 2
    assert "must be lower-case letters, digits and _" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
