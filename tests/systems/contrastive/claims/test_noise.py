"""C6: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest
import xarray as xr

from clhd.systems.contrastive.claims.learned import falls_along
from clhd.systems.contrastive.claims.noise import VARIANCE, judge_noise
from tests.systems.contrastive.claims.noise_summaries import make_map, make_setting

THRESHOLDS = {"least_share": 0.95, "least_change": 1e-4}


def rises_at_one_place(similarity):
    similarity[0, 0, 1] = 0.95


def is_unknown_at_one_place(similarity):
    similarity[0, 0, 1] = np.nan


CASES = {
    "as expected": ({}, {}, "holds", {"sgd": "holds", "theory": "holds", "map": "holds"}),
    "noise helps": ({"fall": -0.1}, {}, "does not hold", {"sgd": "does not hold", "theory": "does not hold"}),
    "noise does no more than time might": ({"fall": 1e-4}, {}, "does not hold", {"theory": "does not hold"}),
    "noise does nothing": ({"fall": 1e-9}, {}, "does not hold", {"sgd": "undecided", "theory": "does not hold"}),
    "SGD rises though the theory falls": ({"sgd_fall": -0.1}, {}, "does not hold", {"sgd": "does not hold"}),
    "errors are larger than the changes": ({"error": 0.2}, {}, "undecided", {"sgd": "undecided", "theory": "holds"}),
    "no run was ok": ({"error": np.nan}, {}, "undecided", {"sgd": "undecided"}),
    "it rises at one place of four": ({}, {"change": rises_at_one_place}, "does not hold", {"map": "does not hold"}),
    "one place of four is unknown": ({}, {"change": is_unknown_at_one_place}, "undecided", {"map": "undecided"}),
    "nothing grows anywhere": ({}, {"growth": -0.1}, "undecided", {"map": "undecided"}),
    "the weights die, their direction stays": ({}, {"overlap": 1e-5}, "undecided", {"map": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    setting, on_map, verdict, parts = CASES[case]
    judgement = judge_noise({"setting": make_setting(**setting), "map": make_map(**on_map)}, THRESHOLDS)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_places_where_the_similarity_does_not_fall_are_listed():
    summaries = {"setting": make_setting(), "map": make_map(rises_at_one_place)}
    found = judge_noise(summaries, THRESHOLDS).evidence["map"]
    assert found["exceptions"] == [{"second_moment": 1.0, "base_noise_variance": 0.5}]
    assert found["share"].value == 0.75


def test_noise_that_kills_a_feature_degrades_it():
    """Where something is learned without noise only, the similarity falls to 0."""
    on_map = make_map()
    on_map.dataset["growth_rate_theory"][0, 0, 1] = -0.1
    evidence = judge_noise({"setting": make_setting(), "map": on_map}, THRESHOLDS).evidence
    assert evidence["map"]["share"].value == 1
    assert evidence["learned_without_noise_only"] == [{"second_moment": 1.0, "base_noise_variance": 0.5}]
    assert evidence["learned_with_noise_only"] == []


def test_a_place_that_is_not_at_rest_is_unknown():
    on_map = make_map()
    on_map.dataset["cosine_similarity_theory"][0, 0, 1, 1] -= 0.01
    found = judge_noise({"setting": make_setting(), "map": on_map}, THRESHOLDS).evidence["map"]
    assert found["places_unknown"] == 1
    assert found["share"].as_dict() == {"value": 1.0, "low": 0.75, "high": 1.0}


def test_changes_have_the_errors_of_both_ends():
    change = judge_noise({"setting": make_setting(), "map": make_map()}, THRESHOLDS).evidence["change_by_sgd"][0]
    # Two steps that hold together at 95 %: each at 97.5 %.
    half = 2.241402727604947 * 0.001 * np.sqrt(2)
    expected = {"value": -0.05, "low": -0.05 - half, "high": -0.05 + half}
    assert change.as_dict() == pytest.approx(expected, abs=1e-12)


def test_the_last_step_counts_if_one_of_its_ends_is_learned():
    """It falls along 0.9, 0.8, 0; along 0.9, 0, 0 the last step, between points that learn nothing, is out."""
    places = xr.DataArray(
        [[0.9, 0.8, 0.0], [0.9, 0.0, 0.0], [0.0, 0.0, 0.8], [0.0, 0.0, 0.0]], dims=("place", VARIANCE)
    )
    assert falls_along(places, VARIANCE, 1e-4).values.tolist() == [1, 1, 0, -1]


def test_the_evidence_says_how_far_from_rest_the_setting_is():
    setting = make_setting()
    setting.dataset["cosine_similarity_theory"].loc[{"time": 10.0, "augmentation_noise_variance": 1.0}] += 0.003
    found = judge_noise({"setting": setting, "map": make_map()}, THRESHOLDS).evidence["largest_last_change_in_setting"]
    assert found == {"from_time": 10.0, "to_time": 20.0, "sgd": 0.0, "theory": pytest.approx(0.003)}
