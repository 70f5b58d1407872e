"""The page docs/own-model.md is true: its files, its commands, and its numbers."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import clhd
from clhd.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
FILES = {name: (ROOT / "examples" / name).read_text(encoding="utf-8") for name in ("oja.py", "oja.yaml")}


def list_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


def list_commands() -> list[list[str]]:
    """Every command of the page, in its order."""
    lines = [line for block in list_blocks("sh") for line in block.splitlines()]
    assert all(line.startswith("clhd ") for line in lines)
    return [line.split()[1:] for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the files of the page lie and all its commands have run."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "config.yaml").write_text("experiments: [oja.yaml]\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in list_commands():
            assert main(command) == 0, command
    return folder


def test_the_files_of_the_page_are_those_of_the_folder_examples() -> None:
    assert list_blocks("python")[0] == FILES["oja.py"]
    assert list_blocks("yaml") == [FILES["oja.yaml"]]


def test_the_example_is_as_short_as_the_page_promises() -> None:
    code = [line for line in FILES["oja.py"].splitlines() if line.strip() and not line.strip().startswith(('"""', "#"))]
    assert len(code) <= 40


def test_the_page_has_every_command_that_looks_at_results() -> None:
    assert {command[0] for command in list_commands()} == {
        "plan", "run", "plot", "why", "replay", "verify", "status", "report", "summarise"
    }  # fmt: skip


def test_theory_and_simulation_agree_at_large_dimension(folder: Path) -> None:
    summary = clhd.open_results(folder / "results" / "oja")["summary"].to_dataset().sel(dimension=1000)
    score = summary["cosine_similarity_z_score"].values
    assert score.shape == (3, 4)
    assert np.abs(score).max() < 4  # 12 of them: 1 in 1300 by chance, and the seed is fixed
    assert np.abs(summary["cosine_similarity_mean"] - summary["cosine_similarity_theory"]).max() < 0.02


def test_the_theory_solves_the_ode_of_the_page(folder: Path) -> None:
    """u = S^2 obeys du/dt = 2 eta u (a - b u), a logistic equation: a = s - eta/2, b = s (1 + eta/2)."""
    found = clhd.open_results(folder / "results" / "oja")["theory"].to_dataset()["cosine_similarity"]
    eta, start = 0.5, 0.3**2
    a, b = found["spike"] - eta / 2, found["spike"] * (1 + eta / 2)
    known = a * start / (b * start + (a - b * start) * np.exp(-2 * eta * a * found["time"]))
    xr.testing.assert_allclose(found, np.sqrt(known).transpose("spike", "time").rename(found.name), rtol=1e-7)


def test_figure_and_report_speak_of_the_example(folder: Path) -> None:
    assert {path.name for path in (folder / "results/oja/figures").iterdir()} == {
        "oja.pdf",
        "oja.png",
        "oja.rst",
        ".oja.json",
    }
    page = (folder / "results" / "report.html").read_text(encoding="utf-8")
    assert "Cosine similarity with the spike, by its strength and by dimension" in page


def test_an_axis_grows_and_what_was_known_keeps_its_bits(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "grown")
    monkeypatch.chdir(tmp_path / "grown")
    line = re.findall(r"Change the line to `(dimension: .*?)`", PAGE)[0]
    text = FILES["oja.yaml"].replace("dimension: [100, 1000]", line)
    assert line in text
    Path("oja.yaml").write_text(text)
    assert main(["run", "oja.yaml"]) == 0
    assert "144 ok; 48 computed now" in capsys.readouterr().out
    before, after = (clhd.open_results(path / "results" / "oja")["simulation"] for path in (folder, Path()))
    known = after.to_dataset()["cosine_similarity"].sel(dimension=[100, 1000])
    assert known.values.tobytes() == before.to_dataset()["cosine_similarity"].values.tobytes()


@pytest.mark.parametrize("code", list_blocks("python")[1:])
def test_the_other_python_of_the_page_runs(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    exec(compile(code, "own-model.md", "exec"), {})
