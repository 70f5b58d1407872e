"""C4: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest

from clhd.systems.contrastive.claims.learnability import find_crossing, find_zero, judge_learnability, measure_rates
from tests.systems.contrastive.claims.learnability_summaries import MOMENT, SLOPE, TOLERANCES, make_summaries

CASES = {
    "as expected": ({}, "holds", {}),
    "the kurtosis shifts the threshold": (
        {"shifts": (-0.015, 0.0, 0.03)},
        "does not hold",
        {"agreement": "does not hold", "equality": "does not hold"},
    ),
    "all thresholds are shifted alike": (
        {"shifts": (0.03, 0.03, 0.03)},
        "does not hold",
        {"agreement": "does not hold", "equality": "holds"},
    ),
    "two shifts within the tolerance differ by more than it": (
        {"shifts": (-0.008, 0.0, 0.008), "error": 4e-4},
        "does not hold",
        {"agreement": "holds", "equality": "does not hold"},
    ),
    "a threshold is at the end of the tolerance": (
        {"shifts": (0.0, 0.01, 0.0)},
        "undecided",
        {"agreement": "undecided"},
    ),
    "too few runs": ({"error": 4e-2}, "undecided", {"agreement": "undecided", "equality": "undecided"}),
    "nothing grows at any second moment": ({"slope": 0.0}, "undecided", {"agreement": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdict, parts = CASES[case]
    judgement = judge_learnability(make_summaries(**changes), TOLERANCES)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_a_point_that_is_not_there_leaves_it_undecided():
    summaries = make_summaries()
    summaries["growth"].dataset["overlap_mean"][1, 2] = np.nan
    judgement = judge_learnability(summaries, TOLERANCES)
    assert judgement.verdict == "undecided"
    assert np.isnan(judgement.evidence["threshold_by_sgd"][1].value)


def test_a_cut_on_the_cosine_similarity_plays_no_part_in_the_verdict():
    judgement = judge_learnability(make_summaries(late=(0.5, 0.5, 0.9)), TOLERANCES)
    assert judgement.verdict == "holds"
    cut = judgement.evidence["second_moment_at_which_cosine_similarity_passes_one_half"]
    assert cut["by_sgd"] == pytest.approx([0.5, 0.5, 0.9])
    assert (cut["dimension"], cut["time"]) == (1000, 40.0)


def test_the_systematic_error_is_that_of_the_estimator_on_the_ode():
    evidence = judge_learnability(make_summaries(bias=0.002), TOLERANCES).evidence
    assert evidence["systematic_error_of_the_estimator"] == pytest.approx([0.002] * 3, abs=1e-12)
    assert evidence["threshold_by_theory"] == pytest.approx([0.38] * 3, abs=1e-12)


def test_the_border_is_found_at_each_learning_rate():
    border = judge_learnability(make_summaries(), TOLERANCES).evidence["border_by_learning_rate"]
    assert border["by_theory"] == pytest.approx([0.32, 0.38, 0.44])
    assert all(
        found.low < exact < found.high for found, exact in zip(border["by_sgd"], border["by_theory"], strict=True)
    )


def test_the_bootstrap_has_the_width_of_the_delta_method():
    """Of a line through points with equal errors; the mean of the second moments is the zero."""
    error = 2e-3 / 2  # of a rate: that of the logarithm over the duration
    interval = judge_learnability(make_summaries(error=2e-3), TOLERANCES).evidence["threshold_by_sgd"][0]
    expected = 2 * 1.96 * error / SLOPE / np.sqrt(len(MOMENT))
    assert interval.high - interval.low == pytest.approx(expected, rel=0.06)


def test_rates_are_those_of_an_exponential():
    rates, errors = measure_rates(make_summaries(error=1e-3)["growth"].dataset, "kurtosis")
    assert rates.shape == errors.shape == (3, 7)
    assert errors == pytest.approx(5e-4)
    assert rates[0] == pytest.approx(SLOPE * (MOMENT - 0.38), abs=3 * 5e-4)


def test_a_line_without_a_slope_has_no_zero():
    moment, errors = np.linspace(0, 1, 5), np.full(5, 0.1)
    assert find_zero(moment, moment - 0.3, errors) == pytest.approx(0.3)
    assert np.isnan(find_zero(moment, 0.1 * (moment - 0.3), errors))
    assert np.isnan(find_zero(moment, 0.3 - moment, errors))


def test_a_level_that_is_not_passed_has_no_crossing():
    moment = np.array([0.0, 1.0, 2.0])
    assert find_crossing(moment, np.array([0.0, 0.4, 0.6]), 0.5) == pytest.approx(1.5)
    assert np.isnan(find_crossing(moment, np.array([0.0, 0.1, 0.2]), 0.5))
