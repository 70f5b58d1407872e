"""The checks of `make race`: the same answer, the points after a kill, the page. No time is looked at."""

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.race import ode_problem, sgd, sgd_numpy, sgd_problem, sweep
from benchmarks.race.__main__ import write_page
from benchmarks.race.measure import compare_samples
from benchmarks.race.ode_scipy import fast_velocity, velocity
from benchmarks.race.sgd_numpy import Batched, OneByOne
from clhd.systems.contrastive.theory.flow.drift import Flow


def test_samples_of_one_law_are_the_same_and_others_differ() -> None:
    random = np.random.default_rng(1)
    sample, other = random.normal(size=(2, 256, 2))
    assert compare_samples(sample, other) == "same"
    assert compare_samples(sample + np.array([0.0, 0.6]), other).startswith("differs: mean by")
    assert compare_samples(sample * np.array([1.7, 1.0]), other).startswith("differs: spread by")
    sample[3, 1] = np.nan
    assert compare_samples(sample, other) == "not finite"


def test_every_competitor_starts_with_the_same_overlaps() -> None:
    features, weights = sgd_problem.start(50, 3, 0)
    assert np.allclose(features @ features.T / 50, np.eye(2))
    assert np.allclose(weights @ features.T / 50, sgd_problem.OVERLAP)
    assert np.allclose(np.sum(weights**2, axis=1) / 50, sgd_problem.SQUARED_NORM)


def test_a_competitor_with_another_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Opposite(Batched):
        """Has noise of the opposite correlation in the two views of a sample."""

        def advance(self, steps: int) -> None:
            with monkeypatch.context() as patch:
                patch.setattr(sgd_numpy, "COMMON", -sgd_problem.COMMON)
                super().advance(steps)

    makers = {"right": Batched, "reference": OneByOne, "wrong": Opposite}
    monkeypatch.setattr(sgd, "REFERENCE", "reference")
    verdicts = sgd.check({name: sgd.Competitor(make, (4,)) for name, make in makers.items()}, 40, 256, 3.0)
    assert verdicts["right"] == verdicts["reference"] == "same"
    assert verdicts["wrong"].startswith("differs: ")


def test_the_right_hand_side_of_the_competitors_is_that_of_the_theory() -> None:
    flow = Flow(ode_problem.MODEL)
    for state in ([0.3, 0.2, 1.0], [0.7, 0.1, 1.3], [0.05, -0.6, 0.6]):
        exact = flow.velocity(np.array(state))
        assert np.abs(velocity(0.0, np.array(state)) - exact).max() < 1e-8
        assert np.abs(fast_velocity(0.0, np.array(state)) - exact).max() < 1e-8


_SNAKEMAKE = "Snakemake, a job per 100 points"
_SCRIPT = """
import os, time
from pathlib import Path
import numpy as np
from benchmarks.race.sweeps.work import X, Y, expected
values = np.array([[expected(x, y) for y in Y] for x in X])
with open(os.environ["RACE_CALLS"], "ab", buffering=0) as calls:
    for i in range(100):
        if not Path(f"row-{i}.npy").exists():
            calls.write(b"." * 100)
            time.sleep(0.002)
            np.save("new.npy", values[i] + (i == FAULT))
            os.replace("new.npy", f"row-{i}.npy")  # no row is there in part
"""


@pytest.mark.parametrize(("fault", "wrong"), [(-1, 0), (70, 100)], ids=["sound", "one wrong row"])
def test_a_killed_sweep_is_run_again_and_its_points_are_counted(
    fault: int, wrong: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.py").write_text(_SCRIPT.replace("FAULT", str(fault)))
    monkeypatch.setattr(sweep, "SWEEPS", tmp_path)
    script = sweep.Competitor("numpy", ("rows.py",), [sys.executable, "rows.py"], sweep.COMPETITORS[_SNAKEMAKE].read)
    monkeypatch.setattr(sweep, "COMPETITORS", {"rows": script})
    (outcome,) = sweep.race(["rows"], rounds=1)
    assert (outcome.lost, outcome.wrong, outcome.files, outcome.lines) == (0, wrong, 100, 12)
    assert outcome.again <= 100  # the row that the kill interrupted
    assert outcome.note == ("wrong without a kill" if wrong else "")


def test_points_without_a_value_are_lost() -> None:
    truth = np.array([[sweep.expected(x, y) for y in sweep.Y] for x in sweep.X])
    truth[3, 4:6] = np.nan
    truth[7, 7] += 1e-6
    assert sweep.compare(truth) == (2, 1)
    assert sweep.compare(None) == (sweep.POINTS, 0)


def test_a_table_goes_to_its_place_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- race ode: begin -->\nold\n<!-- race ode: end -->\nb\n")
    write_page("ode", "new", page)
    assert page.read_text() == "a\n<!-- race ode: begin -->\n\nnew\n\n<!-- race ode: end -->\nb\n"
    with pytest.raises(SystemExit, match="has no place for the race sgd"):
        write_page("sgd", "new", page)
