"""The judges on made-up summaries: yes, no, undecided."""

import numpy as np
import pytest
import xarray as xr

from clhd.sweep.results.summary_reader import Summary
from clhd.systems.two_layers.claims import judge_modulation, judge_rank, judge_specialisation

T3, T4, T5 = {"least_covered": 0.9, "most_covered": 0.1}, {"most_rank": 1.5}, {"most_correlation": -0.8}


def make_summary(output, axes, mean, error=0.001, times=(0.0, 3000.0)):
    """A summary with the given means at the last time, and means that must not count before."""
    dims = (*axes, "time") if times else tuple(axes)
    mean = np.asarray(mean, float)
    values = np.stack([np.full_like(mean, -7.0), mean], axis=-1) if times else mean
    data = {f"{output}_mean": (dims, values), f"{output}_standard_error": (dims, np.full_like(values, error))}
    data["replica_count"] = ((*axes, "status"), np.full((*mean.shape, 1), 12))
    return Summary(xr.Dataset(data, coords={**axes, "status": ["ok"], **({"time": list(times)} if times else {})}))


ACTIVATIONS = {"activation": ["linear", "relu"], "units_per_token": [1, 5]}


@pytest.mark.parametrize(
    ("covered", "error", "verdict"),
    [
        ([[0.0, 0.05], [0.95, 1.0]], 0.001, "holds"),
        ([[0.0, 0.05], [0.70, 1.0]], 0.001, "does not hold"),
        ([[0.0, 0.60], [0.95, 1.0]], 0.001, "does not hold"),
        ([[0.0, 0.05], [0.95, 1.0]], 0.1, "undecided"),
        ([[0.0, 0.05], [0.95, np.nan]], 0.001, "undecided"),
    ],
)
def test_specialisation_asks_for_relu_that_covers_and_linear_units_that_do_not(covered, error, verdict):
    summary = make_summary("covered", ACTIVATIONS, covered, error)
    assert judge_specialisation({"specialisation": summary}, T3).verdict == verdict


def test_specialisation_has_a_verdict_for_each_network():
    summary = make_summary("covered", ACTIVATIONS, [[0.0, 0.05], [0.70, 1.0]])
    evidence = judge_specialisation({"specialisation": summary}, T3).evidence
    assert evidence["verdicts"] == {"units_per_token = 1": "does not hold", "units_per_token = 5": "holds"}
    assert evidence["relu_minus_linear"]["units_per_token = 1"] == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("ranks", "error", "verdict"),
    [([1.2, 1.1], 0.01, "holds"), ([1.2, 4.0], 0.01, "does not hold"), ([1.2, 1.3], 0.5, "undecided")],
)
def test_the_rank_must_be_one_at_every_output_dimension(ranks, error, verdict):
    summary = make_summary("rank", {"output_dimension": [2, 50]}, ranks, error)
    assert judge_rank({"ranks": summary}, T4).verdict == verdict


@pytest.mark.parametrize(
    ("orders", "error", "verdict"),
    [
        ([[-0.99, -0.95], [-0.9, -1.0]], 0.01, "holds"),
        ([[-0.99, -0.95], [-0.5, -1.0]], 0.01, "does not hold"),
        ([[-0.99, -0.95], [-0.82, -1.0]], 0.05, "undecided"),
        ([[-0.99, -0.95], [-0.9, -1.0]], np.nan, "undecided"),
    ],
)
def test_modulation_asks_for_the_order_in_every_network(orders, error, verdict):
    axes = {"activation": ["linear", "relu"], "batch_norm": ["none", "mean"]}
    summary = make_summary("order_correlation", axes, orders, error, times=())
    assert judge_modulation({"modulation": summary}, T5).verdict == verdict


def test_intervals_of_the_order_hold_together_although_other_outputs_have_times():
    # 0.9 - 0.8 is 2.8 standard errors: enough for one interval of 95 % of twelve runs (2.2), and for four that hold
    # together if the error is known exactly (2.5), but not if it is known from twelve runs (2.98).
    axes = {"activation": ["linear", "relu"], "batch_norm": ["none", "mean"]}
    summary = make_summary("order_correlation", axes, [[-0.99, -0.95], [-0.9, -1.0]], 0.1 / 2.8, times=())
    with_times = Summary(summary.dataset.assign_coords(time=[0.0, 1000.0, 3000.0, 4000.0, 5000.0]))
    assert judge_modulation({"modulation": with_times}, T5).verdict == "undecided"
