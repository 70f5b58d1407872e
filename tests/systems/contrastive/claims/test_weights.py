"""C1: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest
from scipy.special import ndtr

from clhd.systems.contrastive.claims.distances import measure_distances, sign_shares
from clhd.systems.contrastive.claims.support import measure_support
from clhd.systems.contrastive.claims.weights import judge_weights
from tests.systems.contrastive.claims.weights_summaries import (
    FRACTION,
    OVERLAP,
    WIDTH,
    make_distances,
    make_law,
    make_support,
    make_weights_summaries,
)

THRESHOLDS = {"exponent_range": (-0.6, -0.4), "largest_ratio": 1.1, "allowance": 0.05}

CASES = {
    "as expected": ({}, "holds", {"rate": "holds", "size": "holds", "support": "holds"}),
    "distances do not fall": ({"exponent": 0.0}, "does not hold", {"rate": "does not hold", "size": "does not hold"}),
    "distances fall slowly": ({"exponent": -0.33}, "does not hold", {"rate": "does not hold"}),
    "distances fall too fast": ({"exponent": -1.0}, "does not hold", {"rate": "does not hold", "size": "holds"}),
    "distances fall, but are large": ({"scale": 8.0}, "does not hold", {"rate": "holds", "size": "does not hold"}),
    "the exponent lies at the end of its range": ({"exponent": -0.402}, "undecided", {"rate": "undecided"}),
    "distances are hardly known": ({"error": 2.0}, "undecided", {"rate": "undecided", "size": "undecided"}),
    "no run was ok": ({"missing": True}, "undecided", {"rate": "undecided", "size": "undecided"}),
    "SGD recovers less of the support": (
        {"support": {"sgd_overlap": 1.2}},
        "does not hold",
        {"rate": "holds", "size": "holds", "support": "does not hold"},
    ),
    "SGD differs by about the allowance": (
        {"support": {"sgd_overlap": 1.425, "error": 0.01}},
        "undecided",
        {"support": "undecided"},
    ),
    "the support is hardly known": ({"support": {"error": 0.1}}, "undecided", {"support": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdict, parts = CASES[case]
    judgement = judge_weights(make_weights_summaries(**changes), THRESHOLDS)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_the_exponents_of_all_times_and_penalties_are_known_together():
    """Four intervals: each of level 1 - 0.05 / 4, and errors of 16 runs, so Student's t is 2.837 in place of 1.960."""
    errors = {"error": 0.02}
    evidence = judge_weights(make_weights_summaries(**errors), THRESHOLDS).evidence
    assert list(evidence["exponents"]) == [f"l1_penalty {p}, time {t}" for p in ("0", "0.3") for t in (1, 3)]
    # The error of a line's slope, through values with an error of 2 % each.
    x = np.log([100, 300, 1000, 3000, 10_000])
    error = 0.02 / np.sqrt(np.sum((x - x.mean()) ** 2))
    for exponent in evidence["exponents"].values():
        assert exponent.value == pytest.approx(-0.5, abs=1e-6)
        assert exponent.high - exponent.value == pytest.approx(2.8366 * error, rel=1e-2)


def test_one_experiment_may_play_both_roles():
    both = make_distances([100, 1000, 10_000])
    distances = measure_distances({"small": both, "large": both})
    assert distances.mean["dimension"].values.tolist() == [100, 1000, 10_000]
    assert distances.mean["time"].values.tolist() == [1, 3]  # the start is no evidence


def test_the_largest_dimensions_may_be_those_of_some_penalties_and_times():
    summaries, place = make_weights_summaries(), {"l1_penalty": [0.0], "time": [0.0, 3.0]}
    widest = make_distances([100_000, 1_000_000])
    widest = type(widest)(widest.dataset.sel(place))
    alone = judge_weights(summaries, THRESHOLDS).evidence
    found = judge_weights(summaries | {"largest": widest}, THRESHOLDS)
    assert found.verdict == "holds"
    name = "l1_penalty 0, time 3"
    sizes = {place: here["dimension"][-1] for place, here in found.evidence["distances"].items()}
    assert sizes == dict.fromkeys(sizes, 10_000) | {name: 1_000_000}
    for other in sizes.keys() - {name}:
        assert found.evidence["exponents"][other] == alone["exponents"][other]
    noticed = [evidence["smallest_error_that_is_noticed"][name]["distance"] for evidence in (alone, found.evidence)]
    assert noticed[1] == pytest.approx(noticed[0] / 10, rel=1e-6)
    summaries["largest"] = type(widest)(make_distances([1_000_000], scale=8.0).dataset.sel(place))
    assert judge_weights(summaries, THRESHOLDS).verdict == "does not hold"


def test_runs_whose_forces_fluctuate_stay_within_what_is_explained():
    """300 runs of 400 weights: a common shift and stretch, and independent draws; the distance must not be more."""
    generator = np.random.default_rng(5)
    n, runs = 400, 300
    summary = make_distances([n])
    weight = summary.dataset["weight_edge"].values
    law = make_law([1], weight)[0]
    distances, overlaps, norms = [], [], []
    for _ in range(runs):
        shift, stretch = generator.normal(0, [1.0, 0.4]) / np.sqrt(n)
        weights = OVERLAP + shift + WIDTH * (1 + stretch) * generator.standard_normal(n)
        empirical = np.searchsorted(np.sort(weights[: n // 2]), weight) / (n // 2)  # of one sign
        distances.append(np.trapezoid(np.abs(empirical - law), weight))
        overlaps.append(weights.mean())
        norms.append(np.mean(weights**2))
    summary.dataset["overlap_standard_deviation"][:] = np.std(overlaps)
    summary.dataset["squared_norm_standard_deviation"][:] = np.std(norms)
    found = measure_distances({"small": summary, "large": summary})
    explained, of_draws = (float(values[0, 0, 0]) for values in (found.explained, found.of_draws))
    assert of_draws < np.mean(distances) < explained


def test_the_distance_of_independent_draws_is_that_of_independent_draws():
    """Of 500 x 1000 draws, to three standard errors."""
    generator = np.random.default_rng(6)
    summary = make_distances([2000])
    weight = summary.dataset["weight_edge"].values
    law = make_law([1], weight)[0]
    draws = np.sort(OVERLAP + WIDTH * generator.standard_normal((500, 1000)), axis=1)
    empirical = np.array([np.searchsorted(row, weight, side="right") for row in draws]) / 1000
    distances = np.trapezoid(np.abs(empirical - law), weight, axis=1)
    expected = float(measure_distances({"small": summary, "large": summary}).of_draws[0, 0, 0])
    assert abs(distances.mean() - expected) < 3 * distances.std() / np.sqrt(500)


def test_recall_and_precision_of_normal_weights_are_known():
    summary = make_support()
    found = measure_support(summary, "theory", 0.3, 3.0)
    k = int(np.argmin(np.abs(found.threshold - 1.0)))
    hit = ndtr((1.5 - 1.0) / WIDTH) + ndtr((-1.5 - 1.0) / WIDTH)
    false = 2 * ndtr(-1.0 / WIDTH)
    assert found.recall[k] == pytest.approx(hit, abs=1e-12)
    assert found.precision[k] == pytest.approx(FRACTION * hit / (FRACTION * hit + (1 - FRACTION) * false), abs=1e-12)
    assert not found.recall_error.any()


def test_the_error_of_the_precision_is_that_of_the_worst_case():
    """Recall lower and false alarms higher by their errors, to first order."""
    error = 1e-6
    found = measure_support(make_support(error=error), "mean", 0.0, 3.0)
    k = int(np.argmin(np.abs(found.threshold - 1.0)))
    tails = ndtr((np.array([0.5, -2.5, -1.0, -1.0])) / WIDTH)  # on the support, then off it
    errors = error * np.sqrt(tails * (1 - tails))
    hits, false = FRACTION * tails[:2].sum(), (1 - FRACTION) * tails[2:].sum()
    low_hits, high_false = hits - FRACTION * errors[:2].sum(), false + (1 - FRACTION) * errors[2:].sum()
    worst = low_hits / (low_hits + high_false)
    assert found.precision_error[k] == pytest.approx(found.precision[k] - worst, rel=1e-4)


@pytest.mark.parametrize(
    ("summary", "shares"), [(make_distances([100]), [0.5, 0.5]), (make_support(), [0.1, 0.8, 0.1])]
)
def test_signs_have_the_shares_of_the_feature_law(summary, shares):
    assert sign_shares(summary).values == pytest.approx(shares)
