"""Q2 and Q3: what their judges say of counts that are made up to be right, wrong, and unknown."""

import numpy as np
import pytest
import xarray as xr

from clhd.claims.verdict import Verdict
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.attractors import Q2, Q3, find_right

METHODS = ["hdbscan", "quickshift++"]
DIMS = ("case", "dimension", "time", "cluster_method")


def make_summary(cases, *, early=1.0, wrong=0, method=0, spread=0.0):
    """Counts of each case at a first time and, right but for some cases, at a last time."""
    theory = np.broadcast_to(np.array(cases, float)[:, None, None, None], (len(cases), 2, 2, 2)).copy()
    mean = theory.copy()
    mean[:, :, 0] = early
    mean[:wrong, :, 1, method] += 1
    return Summary(
        xr.Dataset(
            {
                "attractors_mean": (DIMS, mean),
                "attractors_theory": (DIMS, theory),
                "attractors_standard_deviation": (DIMS, np.full_like(mean, spread)),
            },
            {"cluster_method": METHODS, "dimension": [200, 500], "time": [10.0, 150.0]},
        )
    )


def make_circle(*, theory=np.nan, count=1.0):
    dims = ("dimension", "time", "cluster_method")
    values = {"mean": count, "theory": theory, "standard_deviation": 0.0}
    return Summary(
        xr.Dataset(
            {f"attractors_{name}": (dims, np.full((2, 1, 2), value)) for name, value in values.items()},
            {"cluster_method": METHODS},
        )
    )


def make_settings(*, few=9.0):
    """Two cases with 40 and 10 neighbours: right with the many, and some number with the few."""
    dims = ("case", "setting", "time", "cluster_method")
    mean = np.array([[4.0, few], [2.0, few]])[:, :, None, None]
    theory = np.array([[4.0, 4.0], [2.0, 2.0]])[:, :, None, None]
    return Summary(
        xr.Dataset(
            {
                "attractors_mean": (dims, mean),
                "attractors_theory": (dims, theory),
                "attractors_standard_deviation": (dims, 0 * mean),
            },
            {"cluster_neighbours": ("setting", [40, 10]), "cluster_method": METHODS[1:]},
        )
    )


COUNTERS = {
    "right": ({}, ("holds", "holds")),
    "one case in six is wrong": ({"wrong": 1}, ("does not hold", "holds")),
    "by the other method": ({"wrong": 1, "method": 1}, ("holds", "does not hold")),
    "clouds differ": ({"spread": 0.5}, ("does not hold", "does not hold")),
    "one cloud each": ({"spread": np.nan}, ("holds", "holds")),
}


@pytest.mark.parametrize("case", COUNTERS)
def test_q2_follows_the_counts(case):
    changes, verdicts = COUNTERS[case]
    summaries = {"two": make_summary([1, 2, 4, 4], **changes), "three": make_summary([6, 4])}
    judgement = Q2.judge(summaries, {"least_share": 0.9})
    assert tuple(str(part.verdict) for part in judgement.parts) == verdicts
    assert judgement.verdict == ("holds" if set(verdicts) == {"holds"} else "does not hold")


def test_q2_is_undecided_without_a_theory():
    summaries = {"two": make_summary([1, np.nan]), "three": make_summary([6, 4])}
    assert Q2.judge(summaries, {"least_share": 0.9}).verdict == Verdict.UNDECIDED


LIMITS = {
    "all fail": ({}, "holds", set()),
    "ten neighbours are enough": ({"settings": make_settings(few=4.0)}, "holds", set()),  # right at one point of two
    "the ends are known at once": ({"two": make_summary([4, 4], early=4.0)}, "does not hold", {"short_times"}),
    "there is no continuum": ({"circle": make_circle(theory=4.0)}, "does not hold", {"continuum"}),
    "no cluster on the circle": ({"circle": make_circle(count=0.0)}, "does not hold", {"continuum"}),
    "clouds are missing": ({"circle": make_circle(count=np.nan)}, "undecided", {"continuum"}),
}


@pytest.mark.parametrize("case", LIMITS)
def test_q3_follows_the_counts(case):
    changes, verdict, others = LIMITS[case]
    summaries = {"two": make_summary([1, 2, 4, 4]), "circle": make_circle(), "settings": make_settings()} | changes
    judgement = Q3.judge(summaries, {"most_share": 0.5})
    assert judgement.verdict == verdict
    assert {name for name, found in judgement.evidence["verdicts"].items() if found != "holds"} == others


def test_a_point_is_right_if_all_its_clouds_are():
    right = find_right(make_summary([2, 4], wrong=1).dataset.isel(time=-1))
    assert right.sel(cluster_method="hdbscan").values.tolist() == [[0, 0], [1, 1]]
    assert right.sel(cluster_method="quickshift++").values.tolist() == [[1, 1], [1, 1]]
