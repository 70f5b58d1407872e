"""C7: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from clhd.sweep.spec.yaml_file import read_yaml
from clhd.systems.contrastive.claims.correlation import judge_correlation
from clhd.systems.contrastive.claims.where import count_places, in_letters_model, read_places
from tests.systems.contrastive.claims.noise_summaries import make_cases, make_drawn, make_places, make_setting

ROOT = Path(__file__).parents[4]
THRESHOLDS = {
    "least_region": 0.05,
    "least_change": 1e-4,
    "least_part": 0.5,
    "allowance": 0.01,
    "least_confirmed": 0.9,
}
ORTHOGONAL = {"background": "orthogonal"}


def does_no_better(similarity):
    similarity.loc[{"noise": ["b", "c"]}] = 0.8


def does_better_with_a_linear_unit_alone(similarity):
    does_no_better(similarity)
    similarity.loc[{"case": "linear, none", "noise": ["b", "c"]}] = 0.85


def does_better_with_isotropic_background_alone(similarity):
    similarity.loc[ORTHOGONAL | {"noise": ["b", "c"]}] = 0.8


def the_drift_does_it_but_at_one_place(similarity):
    similarity.loc[{"noise": "c"}] = 0.81
    similarity.loc[{"noise": "c", "case": "erf, none", "batch": 2, "base_noise_variance": 1.0}] = 0.84


def is_unknown_with_orthogonal_background(similarity):
    similarity.loc[ORTHOGONAL | {"noise": "b"}] = np.nan


CASES = {
    "as expected": ({}, {}, ("holds", "holds", "holds")),
    "it does no better anywhere": ({"change": does_no_better}, {}, ("does not hold",) * 3),
    "it does better with a linear unit alone": (
        {"change": does_better_with_a_linear_unit_alone},
        {},
        ("does not hold",) * 3,
    ),
    "it does better with isotropic background alone": (
        {"change": does_better_with_isotropic_background_alone},
        {},
        ("does not hold",) * 3,
    ),
    "the drift does it": ({"part": 0.49}, {}, ("does not hold", "holds", "does not hold")),
    "the gradient variance does it at one place of twelve": (
        {"change": the_drift_does_it_but_at_one_place},
        {},
        ("holds", "holds", "holds"),
    ),
    "nothing is known": ({"change": is_unknown_with_orthogonal_background}, {}, ("undecided",) * 3),
    "SGD does not follow the ODE at three places of twenty": ({}, {"shift": 0.03}, ("undecided",) * 3),
    "SGD does not follow the ODE at one place of twenty": (
        {},
        {"shift": 0.03, "shifted": 1},
        ("holds", "holds", "holds"),
    ),
    "SGD has wide errors": ({}, {"error": 0.01}, ("undecided",) * 3),
}


def judge(places=None, drawn=None):
    summaries = {
        "setting": make_setting(),
        "map": make_places(**places or {}),
        "three_views": make_places(batch=False),
        "drawn": make_drawn(**drawn or {}),
        "cases": make_cases(),
    }
    return judge_correlation(summaries, THRESHOLDS)


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    *changes, expected = CASES[case]
    judgement = judge(*changes)
    assert [part.id for part in judgement.parts] == ["C7a", "C7b"]
    assert (judgement.verdict, *(part.verdict for part in judgement.parts)) == expected


def test_places_are_counted_in_the_letters_model_and_in_every_part():
    evidence = judge({"change": the_drift_does_it_but_at_one_place}).evidence
    found = evidence["letters_model"]
    assert (found["places"], found["places_that_learn"], found["places_unknown"]) == (12, 12, 0)
    assert found["by_gradient_variance"].value == pytest.approx(1 / 12)
    assert (found["better_than_none"].value, found["worse_than_independent"].value) == (0, 0)
    assert found["gradient_variance_smaller"].value == 1
    split = evidence["by_size_of_the_augmentation_noise"]
    assert split["up_to_the_base_noise"]["by_gradient_variance"].value == pytest.approx(1 / 6)
    assert split["beyond_the_base_noise"]["by_gradient_variance"].value == 0
    assert len(evidence["parts_of_the_map"]) == 4 * 2 * 2
    assert len(evidence["parts_of_the_map_with_three_views"]) == 4 * 2
    assert evidence["parts_of_the_map"]["isotropic, erf, none, batch=2"]["by_gradient_variance"].value == 0.5


def test_the_region_and_its_counter_region_are_listed():
    def is_worse_at_one_place(similarity):
        the_drift_does_it_but_at_one_place(similarity)
        similarity.loc[ORTHOGONAL | {"noise": "b", "case": "tanh, none", "batch": 4, "base_noise_variance": 0.25}] = 0.7

    ordering, mechanism = judge({"change": is_worse_at_one_place}).parts
    place = {"batch": 2.0, "base_noise_variance": 1.0, "learning_rate": 0.5, "case": "erf, none"}
    assert mechanism.evidence["region"] == [place]
    place = {"batch": 4.0, "base_noise_variance": 0.25, "learning_rate": 0.5, "case": "tanh, none"}
    assert ordering.evidence["counter_region"] == [place]
    assert ordering.evidence["gain_quartiles"] == pytest.approx([-0.1, 0.05, 0.05, 0.05, 0.05])


def test_a_switched_state_needs_no_growth_rate_but_rest():
    """The theory gives no growth rate for a switched state, which would then count as a feature not learned."""
    places = make_places()
    assert float(read_places(places)["switched"].min()) == pytest.approx(0.84)
    places.dataset["cosine_similarity_theory"].loc[{"noise": "c", "time": 10.0}] -= 0.01
    found = count_places(in_letters_model(read_places(places)), 1e-4, 0.5)
    assert np.isnan(found["by_gradient_variance"].value)
    assert found["better_than_independent"].value == 1


def test_the_gain_of_a_case_is_given_by_switch():
    found = judge().parts[1].evidence["cases"]["tanh"]
    assert found["gain"] == pytest.approx({"both": 0.05, "drift": 0.01, "gradient_variance": 0.04})
    assert found["part_of_gradient_variance"] == pytest.approx(0.8)


@pytest.mark.parametrize("folder", ["experiments", "paper"])
def test_the_places_of_sgd_are_those_that_the_seed_draws(folder):
    axes = read_yaml(ROOT / "config" / "experiments" / "noise_where.yaml")["axes"]
    units, others = axes["case"]["together"], ("batch", "background", "base_noise_variance", "learning_rate")
    cases = zip(*units.values(), strict=True)
    places = [(*case, *rest) for case, *rest in product(cases, *(axes[name] for name in others))]
    chosen = np.sort(np.random.default_rng(12).choice(len(places), len(places) // 10, replace=False))
    drawn = read_yaml(ROOT / "config" / folder / "noise_where_drawn.yaml")["axes"]["place"]["together"]
    assert list(drawn) == [*units, *others]
    assert list(zip(*drawn.values(), strict=True)) == [places[k] for k in chosen]


@pytest.mark.parametrize("folder", ["experiments", "paper"])
def test_the_places_of_the_best_correlation_are_those_that_the_seed_draws(folder):
    axes = read_yaml(ROOT / "config" / folder / "optimal_correlation.yaml")["axes"]
    del axes["noise_correlation"]
    places = list(product(*axes.values()))
    chosen = np.sort(np.random.default_rng(65).choice(len(places), 6, replace=False))
    drawn = read_yaml(ROOT / "config" / folder / "optimal_correlation_drawn.yaml")["axes"]["place"]["together"]
    assert list(drawn) == list(axes)
    assert list(zip(*drawn.values(), strict=True)) == [places[k] for k in chosen]
