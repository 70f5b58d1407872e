"""C2: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest

from clhd.systems.contrastive.claims.reduction import fit_order, judge_reduction
from tests.systems.contrastive.claims.weights_summaries import make_refinement

THRESHOLDS = {"order_range": (1.8, 2.2), "largest_error": 1e-4}

CASES = {
    "as expected": ({}, "holds", {"order": "holds", "agreement": "holds"}),
    "the axes converge too slowly": ({"order": 1.0, "size": 0.1}, "does not hold", {"order": "does not hold"}),
    "there is a difference that no axis lowers": (
        {"floor": 5e-4},
        "does not hold",
        {"order": "does not hold", "agreement": "does not hold"},
    ),
    "the finest axis is too coarse": (
        {"size": 100.0},
        "does not hold",
        {"order": "holds", "agreement": "does not hold"},
    ),
    "errors follow no power law": ({"floor": 1e-5}, "undecided", {"order": "undecided", "agreement": "holds"}),
    "two axes show no order": ({"cells": (800, 1600)}, "undecided", {"order": "undecided", "agreement": "holds"}),
    "the equation was not solved": ({"missing": True}, "undecided", {"order": "undecided", "agreement": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdict, parts = CASES[case]
    judgement = judge_reduction(make_refinement(**changes), THRESHOLDS)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_the_order_of_axes_may_be_any():
    """Cells in another order in the file change nothing."""
    one, other = (
        judge_reduction(make_refinement(cells=cells), THRESHOLDS) for cells in ((100, 200, 800), (800, 100, 200))
    )
    assert one.evidence["orders"] == other.evidence["orders"]
    assert one.evidence["cells"].tolist() == other.evidence["cells"].tolist() == [100, 200, 800]
    name = "difference_extrapolated_to_infinitely_many_cells"
    assert one.evidence[name] == pytest.approx(other.evidence[name])
    assert one.evidence["difference_on_finest_axis"] == other.evidence["difference_on_finest_axis"]
    assert one.verdict == other.verdict == "holds"


def test_extrapolation_removes_an_error_of_second_order_and_keeps_a_floor():
    name = "difference_extrapolated_to_infinitely_many_cells"
    assert max(judge_reduction(make_refinement(), THRESHOLDS).evidence[name].values()) < 1e-14
    kept = judge_reduction(make_refinement(floor=1e-5), THRESHOLDS).evidence[name]
    assert list(kept.values()) == pytest.approx([1e-5] * 4)


def test_the_interval_of_an_order_is_that_of_a_line():
    """Errors 1, e^s / 4, 1 / 16 have slope -2 and, with 1 degree of freedom, a half width of 12.706 errors."""
    scatter = 0.01
    order = fit_order(np.array([1.0, 2.0, 4.0]), np.array([1.0, np.exp(scatter) / 4, 1 / 16]))
    residuals = scatter * np.array([-1, 2, -1]) / 3
    error = np.sqrt(np.sum(residuals**2) / 1 / (2 * np.log(2) ** 2))
    assert order.value == pytest.approx(2)
    assert order.high - order.value == pytest.approx(12.7062 * error, rel=1e-4)
