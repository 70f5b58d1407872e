"""C3: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from clhd.core.statistics import fit_power_law
from clhd.systems.contrastive.claims.convergence import fit_bias, judge_convergence, match_spread
from tests.systems.contrastive.claims.convergence_summaries import THRESHOLDS, make_summaries

CASES = {
    "as expected": ({}, "holds", {}),
    "the bias falls as the root of the dimension": (
        {"bias": -0.5},
        "does not hold",
        {"bias_exponent": "does not hold"},
    ),
    "the bias stays: SGD goes elsewhere": ({"bias": 0.0}, "does not hold", {"bias_exponent": "does not hold"}),
    "too few runs see the bias": ({"runs": 2**9}, "undecided", {"bias_exponent": "undecided"}),
    "the exponent of the bias is at the end of its range": (
        {"bias": -1.25},
        "undecided",
        {"bias_exponent": "undecided"},
    ),
    "the spread falls too slowly": (
        {"spread": -0.4},
        "does not hold",
        {"spread_exponent": "does not hold", "bias_exponent": "holds"},
    ),
    "the spread is not the theory's": (
        {"size": 1.3},
        "does not hold",
        {"spread_ratio": "does not hold", "spread_exponent": "holds"},
    ),
    "few runs leave the spread in doubt": (
        {"large_runs": 16},
        "undecided",
        {"spread_ratio": "undecided", "spread_exponent": "undecided"},
    ),
    "nothing could be had": ({"size": np.nan}, "undecided", {"spread_ratio": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdict, parts = CASES[case]
    judgement = judge_convergence(make_summaries(**changes), THRESHOLDS)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_a_dimension_beyond_the_power_law_is_left_out_of_its_fit():
    dataset = make_summaries(extra=0.003)["bias"].dataset
    fit = fit_bias(dataset, "overlap")
    assert fit.smallest == 55
    assert fit.exponent.low < -1 < fit.exponent.high
    assert fit_bias(make_summaries()["bias"].dataset, "overlap").smallest == 30


def test_the_interval_of_a_fit_holds_for_every_start_that_the_data_may_choose():
    dataset = make_summaries()["bias"].dataset
    fit, size = fit_bias(dataset, "overlap"), dataset["dimension"].values.astype(float)
    bias = (dataset["overlap_mean"] - dataset["overlap_theory"]).isel(time=-1).squeeze().values
    error = dataset["overlap_standard_error"].isel(time=-1).squeeze().values
    slope = fit_power_law(size, bias, error)
    starts = len(size) - 3  # four dimensions at least
    tail = 0.025 / (9 * starts)  # three parts, three quantities
    assert fit.exponent.high - fit.exponent.value == pytest.approx(norm.isf(tail) * slope.error)


def test_a_bias_that_is_no_power_law_has_no_exponent():
    dataset = make_summaries()["bias"].dataset.copy(deep=True)
    dataset["overlap_mean"][::2] += 0.01
    fit = fit_bias(dataset, "overlap")
    assert fit.smallest == 0
    assert np.isnan(fit.exponent.value)


def test_the_fitted_line_goes_through_the_points():
    fit = fit_bias(make_summaries()["bias"].dataset, "cosine_similarity")
    assert fit.values == pytest.approx(-0.2 / np.array([30, 55, 100, 180, 300, 550, 1000]), rel=0.1)


def test_the_evidence_holds_small_dimensions_and_earlier_times():
    evidence = judge_convergence(make_summaries(), THRESHOLDS).evidence
    assert list(evidence["spread_ratio_at_small_dimensions"]["overlap"]) == [30, 55, 100, 180, 300, 550, 1000]
    earlier = evidence["bias"]["only"]["exponent_at_earlier_times"]
    assert earlier["1"]["overlap"].value == pytest.approx(-1, abs=0.1)


def test_every_start_is_judged_and_shown():
    """From norm 1 the bias falls as the root of the dimension; the spread's start is norm 2."""
    good, bad = make_summaries(), make_summaries(bias=-0.5)
    norms = xr.DataArray([1.0, 2.0], dims="initial_squared_norm", name="initial_squared_norm")
    both = xr.concat([bad["bias"].dataset, good["bias"].dataset], norms, combine_attrs="override")
    object.__setattr__(good["bias"], "dataset", both)
    good["spread"].dataset.attrs["experiment"]["constants"] = {"initial_squared_norm": 2}
    judgement = judge_convergence(good, THRESHOLDS)
    assert judgement.evidence["verdicts"]["bias_exponent"] == "does not hold"
    found = judgement.evidence["bias"]
    assert list(found) == ["squared norm 1", "squared norm 2"]
    assert found["squared norm 1"]["exponent"]["overlap"].value == pytest.approx(-0.5, abs=0.1)
    assert found["squared norm 2"]["exponent"]["overlap"].value == pytest.approx(-1, abs=0.1)
    one, two = found["squared norm 2"]["exponent"]["overlap"], fit_bias(make_summaries()["bias"].dataset, "overlap")
    assert one.high - one.value > two.exponent.high - two.exponent.value  # twelve intervals, not nine
    assert match_spread(good)["overlap_mean"].values == pytest.approx(both["overlap_mean"].values[1])
