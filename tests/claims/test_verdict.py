"""Verdicts: an interval against a range."""

import math

import numpy as np
import pytest
from scipy import special

from clhd.claims.verdict import UPPER_TAIL, Estimate, Verdict, above, all_hold, below, within
from clhd.core.statistics import NORMAL_95

HOLDS, FAILS, UNDECIDED = Verdict.HOLDS, Verdict.FAILS, Verdict.UNDECIDED


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-1.1, -0.9, HOLDS),
        (-1.2, -0.8, HOLDS),
        (-1.3, -1.0, UNDECIDED),
        (-1.0, -0.7, UNDECIDED),
        (-2.0, 0.0, UNDECIDED),
        (-2.0, -1.3, FAILS),
        (-0.7, -0.1, FAILS),
        (math.nan, -0.9, UNDECIDED),
    ],
)
def test_an_interval_is_compared_with_a_range(low: float, high: float, verdict: Verdict) -> None:
    assert within(Estimate(-1.0, low, high), (-1.2, -0.8)) == verdict


def test_limits_are_ranges_with_one_end() -> None:
    estimate = Estimate.with_error(1.0, 0.1)
    assert estimate.as_dict() == pytest.approx({"value": 1.0, "low": 0.804, "high": 1.196}, abs=1e-3)
    assert [above(estimate, 0.5), above(estimate, 1.0), above(estimate, 2.0)] == [HOLDS, UNDECIDED, FAILS]
    assert [below(estimate, 0.5), below(estimate, 1.0), below(estimate, 2.0)] == [FAILS, UNDECIDED, HOLDS]
    assert within(Estimate.exact(1.0), (1.0, 1.0)) == HOLDS


def test_intervals_that_are_to_hold_together_are_wider() -> None:
    """Bonferroni: of ten at 95 %, each is of 99.5 %, whose normal quantile is 2.807."""
    estimate = Estimate.with_error(1.0, 0.1, among=10)
    assert [estimate.low, estimate.high] == pytest.approx([1 - 0.2807, 1 + 0.2807], abs=1e-4)
    assert Estimate.with_error(1.0, 0.1, among=1) == Estimate.with_error(1.0, 0.1)


@pytest.mark.parametrize(("runs", "count"), [(2, 8), (12, 4), (100, 1)])
def test_intervals_of_few_runs_hold_together_as_often_as_they_say(runs: int, count: int) -> None:
    values = np.random.default_rng(4).standard_normal((20_000, count, runs))
    error = values.std(axis=-1, ddof=1) / np.sqrt(runs)
    half = Estimate.with_error(0.0, 1.0, among=count, runs=runs).high * error
    # The standard error of the share is 0.0015; normal intervals have 0.13, 0.89 and 0.947.
    assert np.mean(np.all(abs(values.mean(axis=-1)) <= half, axis=-1)) == pytest.approx(0.951, abs=0.005)


def test_an_exact_number_needs_no_estimate() -> None:
    assert [above(1.0, 1.0), below(1.0, 0.5), within(math.nan, (0.0, 1.0))] == [HOLDS, FAILS, UNDECIDED]


def test_numbers_with_errors_hold_together_unless_more_are_judged() -> None:
    numbers, errors = [[1.0, 2.0], [3.0, 4.0]], [[0.1, 0.2], [0.3, 0.4]]
    expected = [Estimate.with_error(k, k / 10, among=4) for k in (1.0, 2.0, 3.0, 4.0)]
    assert Estimate.of_all(numbers, errors) == expected
    assert Estimate.of_all([1.0], [0.1], among=4) == expected[:1]
    few = Estimate.of_all([1.0, 2.0], [0.1, 0.2], runs=[3, 5])
    assert few == [Estimate.with_error(k, k / 10, among=2, runs=runs) for k, runs in ((1.0, 3), (2.0, 5))]


def test_one_failure_fails_them_all_and_one_doubt_leaves_them_undecided() -> None:
    assert all_hold([HOLDS, HOLDS]) == HOLDS
    assert all_hold([HOLDS, UNDECIDED]) == UNDECIDED
    assert all_hold([HOLDS, UNDECIDED, FAILS]) == FAILS
    assert all_hold([]) == UNDECIDED


def test_the_width_of_an_interval_is_that_of_the_normal_law() -> None:
    assert special.ndtri(UPPER_TAIL) == NORMAL_95
