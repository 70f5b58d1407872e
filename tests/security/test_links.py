"""No link in results/ makes clhd change a file or folder elsewhere: the table of all files that it writes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from clhd.claims.claim import CaseTable, Claim, Judgement
from clhd.claims.verdict import Verdict
from clhd.cli import main
from clhd.figures.style import make_figure
from tests.security.conftest import EXPERIMENT, know_toy
from tests.sweep.toy import ToySystem

ROOT = Path(__file__).parents[2]
# All that clhd writes into results/ besides stores and locks; a file that is written as well must be named here.
FILES = {
    "claims.json", "claims_T1.json", "report.html", ".claims.json", ".report.json", "toy/figures/.toy.json",
    "toy/show.html", "toy/.show.json",
    "figures/C1.pdf", "figures/C1.png", "figures/C1.svg", "figures/C1.rst",
    "figures/T1.pdf", "figures/T1.png", "figures/T1.svg", "figures/T1.rst",
    "toy/figures/toy.pdf", "toy/figures/toy.png", "toy/figures/toy.rst",
}  # fmt: skip
# The command that opens a lock.
LOCKS = {
    "simulation.lock": "simulate", "simulation.writing": "simulate", "theory.lock": "predict",
    "theory.writing": "predict", "summary.lock": "summarise", "summary.writing": "summarise",
}  # fmt: skip
FOLDERS = {
    "figures": "claims judged.yaml",
    "toy/figures": "plot toy.yaml",
    "toy/summary.zarr": "summarise toy.yaml",
    "toy/summary.zarr/height_mean": "summarise toy.yaml",
    "toy/simulation.zarr": "simulate more.yaml",
    "toy/simulation.zarr/height": "simulate more.yaml",
    "toy/simulation.zarr/height/c": "simulate more.yaml",
    "toy/simulation.zarr/height/c/0": "simulate more.yaml",
    "toy/simulation.zarr/status/c/0": "simulate more.yaml",
    "toy/simulation.zarr/slope": "simulate toy.yaml --repair",
    "toy/theory.zarr/height/c": "predict toy.yaml --repair",
}
CONFIG = "{experiments: [toy.yaml], claims: claims.yaml}\n"
CLAIMS = "C1: {experiments: {line: toy}, thresholds: {}}\nT1: {experiments: {}, thresholds: {}}\n"


def draw(*_: Any) -> tuple[Figure, str]:
    return make_figure(1, 1), "caption\n"


def judge(*_: Any) -> Judgement:
    return Judgement(verdict=Verdict.HOLDS, evidence={})


def judge_cases(*_: Any) -> Mapping[str, Any]:
    return {"columns": [], "rows": []}


HERE = "tests.security.test_links"
HEIGHTS = Claim(
    statement="The toy has heights.", experiments={"line": "a line"}, thresholds={}, judge=judge, figure=f"{HERE}:draw"
)
CASES = CaseTable(experiments={}, thresholds={}, judge=judge_cases, figures={"T1": f"{HERE}:draw"})


def know_claims(patch: pytest.MonkeyPatch) -> None:
    """Have a claim and a table about the toy, both with a figure."""
    know_toy(patch)
    patch.setattr(ToySystem, "claims", {"C1": f"{HERE}:HEIGHTS", "T1": f"{HERE}:CASES"})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which clhd has written all that it writes."""
    folder = tmp_path_factory.mktemp("written")
    (folder / "toy.yaml").write_text(EXPERIMENT)
    (folder / "claims.yaml").write_text(CLAIMS)
    (folder / "judged.yaml").write_text(CONFIG)
    (folder / "more.yaml").write_text(EXPERIMENT.replace("replicas: 4", "replicas: 6") + "name: toy\n")
    (folder / "mine").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        know_claims(patch)
        patch.chdir(folder)
        write_all()
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, in which commands run."""
    know_claims(monkeypatch)
    folder = tmp_path / "work"
    shutil.copytree(written, folder)
    monkeypatch.chdir(folder)
    return folder


def write_all() -> None:
    """Run each command that writes into results/."""
    for command in (
        "run toy.yaml",
        "plot toy.yaml",
        "claims judged.yaml",
        "report judged.yaml",
        "show toy.yaml --no-open",
    ):
        assert main(command.split()) == 0


def move_and_link(path: Path, folder: Path) -> None:
    """Put a link in the place of a file or folder, which is somebody's own from now on."""
    target = folder / "mine" / "_".join(path.relative_to(folder).parts)
    path.rename(target)
    path.symlink_to(target)


def read_own(folder: Path) -> dict[str, bytes | None]:
    """All that is somebody's own: names, and contents of files."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted((folder / "mine").rglob("*"))}


def is_in_store(path: Path) -> bool:
    return any(part.endswith(".zarr") for part in path.parts)


def test_files_that_are_links_are_replaced_and_their_targets_stay(folder: Path) -> None:
    results = folder / "results"
    written = {
        str(path.relative_to(results)) for path in results.rglob("*") if path.is_file() and not is_in_store(path)
    }
    assert written == FILES | {f"toy/.{name}" for name in LOCKS}
    for name in FILES:
        move_and_link(results / name, folder)
    before = read_own(folder)
    assert len(before) == len(FILES)
    write_all()
    assert read_own(folder) == before
    assert not [name for name in FILES if (results / name).is_symlink()]


@pytest.mark.parametrize("name", [".report.html.new", ".claims.json.new", "toy/.summary.zarr.new"])
def test_names_of_unfinished_files_of_earlier_versions_lead_nowhere(folder: Path, name: str) -> None:
    (folder / "mine" / "thesis.txt").write_text("mine")
    (folder / "results" / name).symlink_to(folder / "mine" / ("thesis.txt" if "zarr" not in name else ""))
    before = read_own(folder)
    write_all()
    assert read_own(folder) == before


@pytest.mark.parametrize("name", LOCKS)
@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "to nothing"])
def test_a_lock_that_is_a_link_is_refused_and_its_target_stays(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, exists: bool
) -> None:
    lock, target = folder / "results" / "toy" / f".{name}", folder / "mine" / "thesis.txt"
    lock.unlink()
    lock.symlink_to(target)
    if exists:
        target.write_text("mine")
    before = read_own(folder)
    capsys.readouterr()
    assert main([LOCKS[name], "toy.yaml"]) == 2
    message = f"results/toy/.{name}: is a link to {target}, and clhd writes a file of this name; move it away\n"
    assert capsys.readouterr().err == message
    assert read_own(folder) == before


def test_files_of_stores_that_are_links_are_replaced_and_their_targets_stay(folder: Path) -> None:
    for path in [path for path in (folder / "results").rglob("*") if path.is_file() and is_in_store(path)]:
        move_and_link(path, folder)
    before = read_own(folder)
    assert len(before) > 50
    for command in ("run toy.yaml --repair", "run more.yaml", "run more.yaml --fresh"):
        assert main(command.split()) in (0, 2)
        assert read_own(folder) == before


@pytest.mark.parametrize("place", FOLDERS)
def test_folders_that_are_links_are_refused_or_replaced_and_their_targets_stay(
    folder: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    path = folder / "results" / place
    move_and_link(path, folder)
    before = read_own(folder)
    capsys.readouterr()
    code = main(FOLDERS[place].split())
    assert read_own(folder) == before
    if code != 0:
        assert code == 2
        assert capsys.readouterr().err.startswith(f"results/{place}: is a link")
    elif "simulation" in place or "theory" in place:  # nothing had to be written there
        assert main(["run", "more.yaml"]) in (0, 2)
        assert read_own(folder) == before
    else:
        assert not path.is_symlink()


@pytest.mark.parametrize("variable", ["height", "status"])
def test_damaged_chunks_behind_a_link_are_not_repaired(
    folder: Path, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    place = Path("results", "toy", "simulation.zarr", variable, "c", "0")
    for chunk in [path for path in place.rglob("*") if path.is_file()]:
        chunk.write_bytes(b"damaged")
    move_and_link(folder / place, folder)
    before = read_own(folder)
    capsys.readouterr()
    assert main(["simulate", "toy.yaml", "--repair"]) == 2
    assert capsys.readouterr().err.startswith(f"{place}: is a link to {folder}/mine/")
    assert read_own(folder) == before


def test_logs_and_markers_of_the_workflow_that_are_links_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text("{system: flaky, axes: {slope: [0, 1]}, times: [0, 1], replicas: 2}")
    (tmp_path / "list.yaml").write_text("experiments: [toy.yaml]\n")
    (tmp_path / "results" / "toy" / "logs").mkdir(parents=True)
    (tmp_path / "mine").mkdir()
    names = [
        "report.log", "status.log", "toy/logs/simulate_points.log", "toy/logs/summarise_points.log",
        "toy/.simulation.done", "toy/.summary.done",
    ]  # fmt: skip
    for name in names:
        target = tmp_path / "mine" / name.replace("/", "_")
        target.write_text("mine")
        (tmp_path / "results" / name).symlink_to(target)
    before = read_own(tmp_path)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", "list.yaml"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "workflow"), str(ROOT)])}
    done = subprocess.run(
        [*command, "--cores", "1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "report.html").is_file()
    assert read_own(tmp_path) == before
