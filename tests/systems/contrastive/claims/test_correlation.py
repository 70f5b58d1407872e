"""C7: what its judge says of numbers that are made up to hold, to fail and to leave it in doubt."""

import numpy as np
import pytest

from clhd.systems.contrastive.claims.correlation import judge_correlation
from tests.systems.contrastive.claims.noise_summaries import make_cases, make_map, make_setting, make_switched_map

THRESHOLDS = {"least_share": 0.95, "least_change": 1e-4, "least_part": 0.5, "allowance": 0.005}


def rises_at_one_place(similarity):
    similarity[0, 0, 1] = [0.8, 0.82, 0.7]


def is_unknown_at_one_place(similarity):
    similarity[1, 1, 1, 0] = np.nan


CASES = {
    "as expected": ({}, {}, {}, ("holds", "holds", "holds")),
    "the drift does it in one case": (
        {},
        {},
        {"variance_part": (1.0, -0.5)},
        ("does not hold", "holds", "does not hold"),
    ),
    "the drift does a little more than half": (
        {},
        {},
        {"variance_part": (1.0, 0.49)},
        ("does not hold", "holds", "does not hold"),
    ),
    "SGD does not follow the ODE": ({}, {}, {"sgd_shift": 0.02}, ("undecided", "holds", "undecided")),
    "SGD has wide errors": ({}, {}, {"error": 0.01}, ("undecided", "holds", "undecided")),
    "there is no gain to explain, and no order": (
        {},
        {},
        {"gain": -0.05},
        ("does not hold", "does not hold", "undecided"),
    ),
    "positive correlation does better": ({"rise": -0.05}, {}, {}, ("does not hold", "does not hold", "holds")),
    "errors are larger than the changes": ({"error": 0.2}, {}, {}, ("undecided", "undecided", "holds")),
    "the map has an exception": ({}, {"change": rises_at_one_place}, {}, ("does not hold", "does not hold", "holds")),
    "the map is not known": ({}, {"change": is_unknown_at_one_place}, {}, ("undecided", "undecided", "holds")),
    "nothing is learned on the map": ({}, {"growth": -0.1}, {}, ("undecided", "undecided", "holds")),
}


def judge(setting=None, on_map=None, cases=None):
    summaries = {
        "setting": make_setting(**setting or {}),
        "map": make_map(**on_map or {}),
        "switched_map": make_switched_map(),
        "cases": make_cases(**cases or {}),
    }
    return judge_correlation(summaries, THRESHOLDS)


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    *changes, expected = CASES[case]
    judgement = judge(*changes)
    assert [part.id for part in judgement.parts] == ["C7a", "C7b"]
    assert (judgement.verdict, *(part.verdict for part in judgement.parts)) == expected


def test_the_gain_is_given_by_switch():
    found = judge(cases={"variance_part": (1.0, -0.5)}).parts[1].evidence["cases"]["tanh"]
    assert found["gain"] == pytest.approx({"both": 0.05, "drift": 0.075, "gradient_variance": -0.025})
    assert found["part_of_gradient_variance"] == pytest.approx(-0.5)
    assert found["verdict"] == "does not hold"


def test_all_of_the_map_is_judged_and_anticorrelated_views_are_given_apart():
    """The place where the order is reversed has more augmentation noise than base noise."""
    on_map = make_map(rises_at_one_place).dataset.assign_coords(base_noise_variance=[0.25, 1.0])
    summary = make_map()
    object.__setattr__(summary, "dataset", on_map.assign_attrs(summary.dataset.attrs))
    ordering = judge_correlation(
        {"setting": make_setting(), "map": summary, "switched_map": make_switched_map(), "cases": make_cases()},
        THRESHOLDS,
    ).parts[0]
    assert ordering.verdict == "does not hold"
    assert ordering.evidence["map"]["share"].value == 0.75
    assert ordering.evidence["map_without_anticorrelated_views"]["share"].value == 1
    apart = ordering.evidence["map_with_anticorrelated_views"]
    assert apart["share"].value == 0.5
    assert apart["exceptions"] == [
        {"second_moment": 1.0, "base_noise_variance": 0.25, "augmentation_noise_variance": 0.5}
    ]


def test_noise_that_does_better_than_none_is_found():
    def helps(similarity):
        similarity[1, 0, 1] = [0.95, 0.8, 0.7]

    found = judge(on_map={"change": helps}).parts[0].evidence["better_than_no_augmentation_noise"]
    place = {"second_moment": 2.0, "base_noise_variance": 0.5, "augmentation_noise_variance": 0.5}
    assert (found["points"], found["count"], found["where"]) == (4, 1, [place])


def test_times_of_reversed_order_are_found():
    on_map, cases = make_map(), make_cases()
    on_map.dataset["cosine_similarity_theory"][0, 1, 1, :, 0] = [[0.5], [0.6], [0.7]]
    cases.dataset["cosine_similarity_theory"].loc[{"case": "tanh", "noise_correlation": 1, "time": 10}] = 0.99
    summaries = {"setting": make_setting(), "map": on_map, "switched_map": make_switched_map(), "cases": cases}
    found = judge_correlation(summaries, THRESHOLDS).parts[0].evidence["finite_times"]
    assert found["places_of_map_reversed"].tolist() == [1, 0, 0]
    assert found["times_of_case_reversed"]["tanh"].tolist() == [10.0]
    assert found["times_of_case_reversed"]["linear"].tolist() == []


def test_the_mechanism_is_counted_over_the_map():
    """The gain is 0.025 at each of four places; the gradient variance alone gives 0.02, and at one place 0.01."""
    on_map = make_map()
    on_map.dataset["gradient_variance_theory"][:, 0, 1, 0, -1] = 0.9
    summaries = {"setting": make_setting(), "map": on_map, "switched_map": make_switched_map(), "cases": make_cases()}
    found = judge_correlation(summaries, THRESHOLDS).parts[1].evidence["map"]
    where = found.pop("where_mechanism_holds")
    assert found == {
        "places_with_gain": 4,
        "places_unknown": 0,
        "mechanism_holds": 3,
        "gradient_variance_alone_gains": 4,
        "drift_alone_gains": 0,
        "gradient_variance_smaller_at_start": 0,
        "gradient_variance_smaller_at_steady_state": 2,
    }
    assert {"second_moment": 1.0, "base_noise_variance": 0.5} not in where


def test_a_switched_place_that_is_not_at_rest_is_unknown():
    switched = make_switched_map()
    switched.dataset["cosine_similarity_theory"][1, 1, 1, 1] -= 0.01
    summaries = {"setting": make_setting(), "map": make_map(), "switched_map": switched, "cases": make_cases()}
    found = judge_correlation(summaries, THRESHOLDS).parts[1].evidence["map"]
    assert (found["places_with_gain"], found["places_unknown"], found["mechanism_holds"]) == (4, 1, 2)


def test_the_steps_of_all_settings_and_cases_hold_together():
    """Two variances and two cases, of two steps each: eight at 95 %, each at 99.375 %."""
    steps = judge().parts[0].evidence["change_by_sgd"]
    assert sum(len(found) for found in steps.values()) == 8
    half = 2.7343687865 * 0.001 * np.sqrt(2)
    assert [step.high - step.value for found in steps.values() for step in found] == pytest.approx([half] * 8)
