"""What a user meets who lives with a system of their own: changed files, one point, no claims, a lost disk."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import clhd
from clhd.cli import main

POINT = '''
import clhd


class Point(clhd.System):
    """A number, without time."""

    title, time = "point", None
    parameters = {"level": clhd.Parameter(kind="number", default=1.0, meaning="level")}
    outputs = {"height": clhd.Output(dims=(), words=clhd.describe("height"))}

    def simulate(self, values, time, random):
        return {"height": values.level + random.normal()}

    def predict(self, values, time):
        return {"height": values.level}
'''


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an experiment that has been run."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["new-system", "fall"]) == 0
        assert main(["run", "fall.yaml"]) == 0
        yield folder


@pytest.mark.usefixtures("study")
def test_a_study_without_claims_gives_a_paper_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["paper"]) == 0
    assert {"results/latex/clhd.tex", "results/latex/figures/fall.pdf"} <= set(capsys.readouterr().out.split())
    assert r"\newcommand\clhd[1]" in Path("results/latex/clhd.tex").read_text()


def test_what_is_drawn_of_an_old_summary_says_so(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = "results/fall/summary.zarr: does not rest on the results that are there now; "
    file = study / "fall.yaml"
    for command in (["plot", "fall.yaml"], ["show", "fall", "--no-open"]):
        assert main(command) == 0
        assert capsys.readouterr().err == ""
    file.write_text(file.read_text().replace("replicas: 16", "replicas: 20"))
    assert main(["simulate", "fall.yaml"]) == 0
    capsys.readouterr()
    assert main(["plot", "fall.yaml"]) == 0
    out, err = capsys.readouterr()
    assert "results/fall/figures/fall.png" in out
    assert err.startswith("results/fall/summary.zarr: was written before replicas of the experiment changed; ")
    assert main(["show", "fall", "--no-open"]) == 0
    out, err = capsys.readouterr()
    assert out == "results/fall/show.html\n"
    assert err == f"{old}`clhd summarise FILE` writes it again\n"


@pytest.mark.usefixtures("study")
def test_the_status_notices_a_changed_system_without_a_list_and_does_not_run_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = Path("fall.py")
    text = file.read_text()
    try:
        file.write_text(f"raise RuntimeError\n{text}")
        assert main(["status"]) == 0
    finally:
        file.write_text(text)
    assert f"was computed before {file.absolute()} changed" in capsys.readouterr().out
    file.rename("away.py")  # results can be read without it
    try:
        assert main(["status"]) == 0
    finally:
        Path("away.py").rename(file)
    assert "changed" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["plot fall.yaml", "archive list.yaml"])
def test_a_file_that_cannot_be_written_to_its_end_is_told_in_one_line(study: Path, command: str) -> None:
    (study / "list.yaml").write_text("experiments: [fall.yaml]\n")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10240, 10240))  # noqa: E731
    # Python would keep modules that end at the limit, and matplotlib its list of fonts.
    assert main(["plot", "fall.yaml"]) == 0
    shell = [sys.executable, "-B", "-m", "clhd", *command.split()]
    done = subprocess.run(shell, preexec_fn=limit, capture_output=True, text=True, check=False)
    file = {"plot": "results/fall/figures", "archive": "clhd-archive.zip"}[command.split(maxsplit=1)[0]]
    assert done.stderr == f"{file}: cannot be read or written: File too large\n"
    assert done.returncode == 2


def test_an_archive_takes_paths_by_a_link_to_its_folder(study: Path, tmp_path: Path) -> None:
    (study / "list.yaml").write_text("experiments: [fall.yaml]\n")
    assert main(["summarise", "fall.yaml"]) == 0
    (tmp_path / "link").symlink_to(study)
    assert main(["archive", str(tmp_path / "link" / "list.yaml"), "--output", str(tmp_path / "a.zip")]) == 0


@pytest.mark.parametrize("replicas", [1, 4])
def test_one_point_without_time_has_a_summary_and_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], replicas: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("point.py").write_text(POINT)
    Path("point.yaml").write_text(f"system: point.py:Point\nreplicas: {replicas}\n")
    Path("list.yaml").write_text("experiments: [point.yaml]\n")
    assert main(["run", "point.yaml"]) == 0
    summary = clhd.open_results("results/point").summary
    assert np.isnan(summary.height_standard_error) == (replicas == 1)
    assert summary.height_mean - summary.height_theory != 0
    capsys.readouterr()
    assert main(["plot", "point.yaml"]) == 2
    assert capsys.readouterr().err == (
        "point: has no figure of its own: this needs a simulation and an axis with two values, or a figure that the "
        "experiment names\n"
    )
    assert main(["paper", "list.yaml"]) == 0
    assert "results/latex/figures" not in capsys.readouterr().out
    Path("lines.yaml").write_text(f"system: point.py:Point\nreplicas: {replicas}\nfigure: lines\n")
    assert main(["run", "lines.yaml"]) == 2
    assert capsys.readouterr().err == (
        "lines.yaml: figure = 'lines': needs an axis with two values, and this experiment is one point; "
        "leave figure out, or give none\n"
    )
    assert not Path("results/lines").exists()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("plot_point", "'plot_point' must be text such as 'MODULE:NAME', or ':NAME'"),
        (":plot_point", "':plot_point': there is no plot_point in that module"),
    ],
)
def test_a_figure_that_a_system_names_wrongly_is_told_before_anything_is_computed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    target: str,
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("point.py").write_text(POINT.replace("    outputs =", f"    figures = {{'mine': '{target}'}}\n    outputs ="))
    Path("point.yaml").write_text("system: point.py:Point\nreplicas: 2\nfigure: mine\n")
    assert main(["run", "point.yaml"]) == 2
    assert capsys.readouterr().err == f"point.yaml: figure = 'mine': Point: {reason}\n"
    assert not Path("results").exists()


def test_a_message_has_no_characters_that_a_terminal_obeys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("point.py").write_text(POINT.replace("return {", r"raise ValueError('\x1b[31mröt\n\u202e') or {", 1))
    Path("point.yaml").write_text("system: point.py:Point\nreplicas: 1\n")
    assert main(["simulate", "point.yaml"]) == 1
    capsys.readouterr()
    assert main(["why", "point.yaml"]) == 0
    assert "\nerrors: ValueError: \\x1b[31mröt\n\\u202e\n" in capsys.readouterr().out


def test_results_on_a_disk_that_is_gone_are_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results").symlink_to("gone")
    for command in (["status"], ["report"], ["show", "fall"]):
        assert main(command) == 2
        error = "results: is a link to gone, which does not exist; create it, or mount its disk\n"
        assert capsys.readouterr().err == error
