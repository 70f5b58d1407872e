"""`clhd claims` judges each time, and writes its files and figures only if something has changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from clhd.cli import main
from clhd.sweep.results.products import find_claims_faults
from clhd.sweep.spec.config import read_config

EXPERIMENT = """
system: saddle
axes: {schedule: [gradient_descent, fixed, ratio, alternating], dimension: [3, 4]}
replicas: 2
"""
CLAIMS = "L2: {experiments: {schedules: small}, thresholds: {largest_difference: 0}}\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the results of an experiment and a claim about it."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(EXPERIMENT)
    Path("config.yaml").write_text("experiments: [small.yaml]\nclaims: claims.yaml\n")
    Path("claims.yaml").write_text(CLAIMS)
    assert main(["run", "small.yaml"]) == 0
    return tmp_path


def test_commands_import_no_library_that_they_do_not_use(study: Path) -> None:
    assert main(["claims", "config.yaml"]) == 0
    drawing = {"dask", "scipy.stats", "zarr"}
    for command, unused in (
        (["claims", "config.yaml"], {*drawing, "matplotlib"}),
        (["show", "small", "--no-open"], {*drawing, "matplotlib"}),
        (["plot", "small.yaml"], drawing),
    ):
        program = f"import sys; from clhd.cli import main; main({command}); print({unused} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()", command


def test_files_are_written_again_only_if_they_rest_on_what_has_changed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def judge() -> tuple[str, bool]:
        """The verdict that is printed, and whether files were written."""
        capsys.readouterr()
        assert main(["claims", "config.yaml"]) == 0
        output = capsys.readouterr().out
        return output.splitlines()[0], "its figures are those of these verdicts, and stay" not in output

    verdict, is_written = judge()
    assert is_written
    assert judge() == (verdict, False)
    changes = [
        Path("results/.claims.json").unlink,
        lambda: Path("results/claims.json").write_text("{}"),
        lambda: Path("claims.yaml").write_text(CLAIMS.replace("largest_difference: 0", "largest_difference: 1")),
    ]
    for change in changes:
        change()
        assert judge()[1], change
        assert not judge()[1], change


SYSTEM = """
import clhd
from clhd.claims.claim import Claim, Judgement
from clhd.claims.verdict import Estimate, above
from clhd.figures.style import make_figure


class Own(clhd.System):
    title = "own"
    parameters = {"x": clhd.Parameter(kind="number", default=0.0, meaning="x")}
    outputs = {"y": clhd.Output(dims=(), words=clhd.describe("y"))}
    time = None
    claims = {"O1": ":FIRST", "O2": ":SECOND"}
    figures = {"own": ":plot_good"}

    def estimate_seconds(self, values, time):
        return 0.001

    def simulate(self, values, time, random):
        return {"y": values.x}


def judge(summaries, thresholds):
    value = Estimate.exact(float(summaries["all"].dataset["y_mean"].mean()))
    return Judgement(verdict=above(value, 0.0), evidence={"y": value})


def plot_bad(summaries, claim):
    return make_figure(1, 1), claim["none"]


def plot_good(*arguments):
    return make_figure(1, 1), "good\\n"


FIRST = Claim(statement="First.", experiments={"all": "all"}, thresholds={}, judge=judge, figure=":plot_bad")
SECOND = Claim(statement="Second.", experiments={"all": "all"}, thresholds={}, judge=judge, figure=":plot_good")
"""


@pytest.fixture
def own_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the results of a system in a file, two claims about it, and a figure that fails."""
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(SYSTEM)
    Path("small.yaml").write_text("{system: 'own.py:Own', axes: {x: [1, 2]}, replicas: 2}")
    Path("config.yaml").write_text("experiments: [small.yaml]\nclaims: claims.yaml\n")
    Path("claims.yaml").write_text(
        "".join(f"{c}: {{experiments: {{all: small}}, thresholds: {{}}}}\n" for c in ("O1", "O2"))
    )
    assert main(["run", "small.yaml"]) == 0
    return tmp_path


def test_a_figure_that_fails_costs_no_verdict_and_no_other_figure(
    own_study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("results/figures").mkdir()
    Path("results/figures/O1.png").write_bytes(b"of an earlier code")
    capsys.readouterr()
    assert main(["claims", "config.yaml"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    number = SYSTEM.splitlines().index('    return make_figure(1, 1), claim["none"]') + 1
    assert line == f"figure = 'O1': {own_study}/own.py, line {number}: KeyError: 'none'"
    assert sorted(path.name for path in Path("results/figures").iterdir()) == ["O2.pdf", "O2.png", "O2.rst", "O2.svg"]
    config = read_config(Path("config.yaml"), check=False)
    assert find_claims_faults(config, Path("results")) == {}
    assert main(["paper", "config.yaml"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == line
    assert Path("results/latex/figures/O2.pdf").is_file()
    assert Path("results/latex/clhd.bib").is_file()


def test_what_an_authors_judge_raises_is_one_line(own_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.py").write_text(SYSTEM.replace("above(value, 0.0)", "above(value, 1 / 0)"))
    capsys.readouterr()
    assert main(["claims", "config.yaml"]) == 2
    number = SYSTEM.splitlines().index('    return Judgement(verdict=above(value, 0.0), evidence={"y": value})') + 1
    assert capsys.readouterr().err == (
        f"claim O1: {own_study}/own.py, line {number}: ZeroDivisionError: division by zero\n"
    )
