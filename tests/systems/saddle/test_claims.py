"""L1 to L4 on made-up summaries: yes, no, and undecided."""

import numpy as np
import pytest

from clhd.claims.judge import make_plain
from clhd.claims.verdict import Verdict
from clhd.figures.style import use_style
from clhd.systems.saddle.claims import L1, L2, L3, L4, measure_fading
from clhd.systems.saddle.figures import plot_stalling
from tests.systems.saddle.saddles import SCHEDULES, summarise

SIZES = np.array([3, 4, 5])
EXACT = {"largest_difference": 0.0}


def make_schedules(*, region=0.0, modified=0.0, spread=0.0, common=0.0, rate=0.02):
    """The canonical Hessian: n - 1 and floor((n - 1)/2), with additions; rates 0.1, and another of the ratio."""
    shape, dims = (len(SCHEDULES), 3), ("schedule", "dimension")
    is_ratio = np.array([name == "ratio" for name in SCHEDULES])[:, None]
    return summarise(
        {
            "attraction_dimension_mean": (dims, SIZES - 1.0 + region + modified * is_ratio),
            "attraction_dimension_standard_deviation": (dims, np.full(shape, spread)),
            "common_dimension_mean": (dims, (SIZES - 1) // 2 + common + np.zeros(shape)),
            "common_dimension_standard_deviation": (dims, np.zeros(shape)),
            "slowest_contraction_mean": (dims, -np.where(is_ratio, rate, 0.1) + np.zeros(shape)),
            "largest_exponent_mean": (dims, np.full(shape, 0.05)),
            "escape_step_mean": (dims, np.full(shape, 100.0)),
        },
        {"schedule": SCHEDULES, "dimension": SIZES},
    )


def make_random(addition=0.0):
    counts = np.array([1, 2])
    dims = ("negative_eigenvalues", "schedule")
    return summarise(
        {
            "attraction_dimension_mean": (dims, 8.0 - counts[:, None] + addition + np.zeros((2, 4))),
            "attraction_dimension_standard_deviation": (dims, np.zeros((2, 4))),
        },
        {"negative_eigenvalues": counts, "schedule": SCHEDULES},
        {"dimension": 8},
    )


def make_growing(*, bend=0.0, left=1.0):
    """Exponents of n = 5 that fade as K^-p, with an addition to each power."""
    powers, steps, dims = np.array([0.5, 1.0, 2.0]), np.array([1000, 4000]), ("growth_power", "descent_steps")
    fading = -(steps ** -(powers[:, None] + bend))
    ranks = np.stack([-fading, fading, 2 * fading, 3 * fading, 0 * fading - 0.1], axis=-1)
    return summarise(
        {
            "lyapunov_exponent_mean": ((*dims, "growth_rank"), ranks),
            "attraction_dimension_mean": (dims, np.where(powers > 1, left, 4.0)[:, None] + np.zeros((3, 2))),
            "stalled_directions_mean": (dims, np.zeros((3, 2))),
        },
        {"growth_power": powers, "descent_steps": steps, "growth_rank": np.arange(1, 6)},
        {"dimension": 5},
    )


@pytest.mark.parametrize(
    ("changes", "addition", "verdict"),
    [
        ({}, 0.0, Verdict.HOLDS),
        ({"modified": -1.0}, 0.0, Verdict.HOLDS),  # of the other scheme
        ({"region": -1.0}, 0.0, Verdict.FAILS),
        ({"spread": 0.5}, 0.0, Verdict.FAILS),  # not all runs have the dimension
        ({}, 1.0, Verdict.FAILS),
        ({"region": np.nan}, 0.0, Verdict.UNDECIDED),
    ],
)
def test_l1(changes, addition, verdict):
    found = L1.judge({"schedules": make_schedules(**changes), "random": make_random(addition)}, EXACT)
    assert found.verdict == verdict


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, ("does not hold", "holds")),
        ({"modified": (SIZES - 1) // 2 - SIZES + 1}, ("holds", "holds")),
        ({"common": 1.0}, ("does not hold", "does not hold")),
        ({"modified": np.nan, "common": np.nan}, ("undecided", "undecided")),
    ],
)
def test_l2(changes, verdicts):
    found = L2.judge({"schedules": make_schedules(**changes)}, EXACT)
    assert tuple(part.verdict for part in found.parts) == verdicts
    assert found.verdict == verdicts[0]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.HOLDS),
        ({"bend": 0.2}, Verdict.FAILS),
        ({"left": 4.0}, Verdict.FAILS),
        ({"left": np.nan}, Verdict.UNDECIDED),
    ],
)
def test_l3(changes, verdict):
    assert L3.judge({"growing": make_growing(**changes)}, {"largest_deviation": 0.1}).verdict == verdict


def test_the_fitted_power_is_that_of_the_exponents():
    np.testing.assert_allclose(measure_fading(make_growing().dataset, 5), [0.5, 1, 2], atol=1e-12)


@pytest.mark.parametrize(
    ("rate", "verdict"), [(0.02, Verdict.FAILS), (0.095, Verdict.HOLDS), (np.nan, Verdict.UNDECIDED)]
)
def test_l4(rate, verdict):
    assert L4.judge({"schedules": make_schedules(rate=rate)}, {"least_share": 0.9}).verdict == verdict


def test_the_figure_of_l3_tells_the_fitted_powers():
    summaries = {"growing": make_growing()}
    judgement = L3.judge(summaries, {"largest_deviation": 0.1})
    claim = {"statement": L3.statement, "verdict": str(judgement.verdict), "evidence": judgement.evidence}
    with use_style():
        figure, caption = plot_stalling(summaries, make_plain(claim))
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["$p$ = 0.5, fitted 0.5", "$p$ = 1, fitted 1", "$p$ = 2, fitted 2"]
    assert "The numbers say: holds" in caption
