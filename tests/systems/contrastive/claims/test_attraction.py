"""C5: what its judge says of numbers that are made up to hold, to fail and to leave it in doubt."""

import numpy as np
import pytest
from scipy.stats import norm

from clhd.systems.contrastive.claims.attraction import judge_attraction
from tests.systems.contrastive.claims.attraction_summaries import KURTOSIS, make_summaries

THRESHOLDS = {"growth_spread": 1e-6, "least_shift": 0.02, "allowance": 0.03}

CASES = {
    "as expected": ({}, "holds", {}),
    "kurtosis changes the growth rate": ({"growth": (0.72, 0.70)}, "does not hold", {"equal_growth": "does not hold"}),
    "SGD does not follow the ODE": (
        {"share": (0.5, 0.54, 0.75, 1.0)},
        "does not hold",
        {"agreement": "does not hold", "moved_border": "holds"},
    ),
    "the border stays": (
        {"share": (0.5, 0.51, 0.5, 1.0), "area": (0.5, 0.5, 0.5, 1.0)},
        "does not hold",
        {"moved_border": "does not hold"},
    ),
    "the area stays, though the share moves": (
        {"area": (0.5, 0.5, 0.505, 1.0)},
        "does not hold",
        {"moved_border": "does not hold", "agreement": "holds"},
    ),
    "SGD lies at the end of the allowance": (
        {"share": (0.5, 0.54, 0.638, 1.0)},
        "undecided",
        {"agreement": "undecided"},
    ),
    "many runs had not ended": ({"undecided": 0.2}, "undecided", {"agreement": "undecided"}),
    "there are no growth rates": ({"growth": (np.nan, np.nan)}, "undecided", {"equal_growth": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdict, parts = CASES[case]
    judgement = judge_attraction(make_summaries(**changes), THRESHOLDS)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_agreement_is_asked_only_while_both_pure_states_are_stable():
    """At kurtosis 2.5, where the second pure state is unstable, SGD may say anything."""
    judgement = judge_attraction(make_summaries(share=(0.5, 0.54, 0.61, 0.2)), THRESHOLDS)
    assert judgement.verdict == "holds"
    assert judgement.evidence["both_pure_states_stable"].tolist() == [True, True, True, False]
    assert judgement.evidence["shift_at_largest_stable_kurtosis"]["area"].value == pytest.approx(0.11)


def test_without_a_stable_pair_of_unequal_features_nothing_is_decided():
    summaries = make_summaries()
    summaries["selection"].dataset["pure_eigenvalue_theory"][1:] = 0.1
    assert judge_attraction(summaries, THRESHOLDS).verdict == "undecided"


def test_the_evidence_says_where_informative_states_lose_stability():
    evidence = judge_attraction(make_summaries(), THRESHOLDS).evidence
    stability = evidence["local_stability_of_informative_states"]
    assert stability["critical_kurtosis_tanh"] == pytest.approx(2.5)
    assert stability["critical_kurtosis_expanding_unit"] == pytest.approx(2.5)
    assert stability["eigenvalue_by_law"] == {"gaussian": 0.0, "laplace": 0.13, "uniform": -0.12}
    assert evidence["kurtosis"].tolist() == KURTOSIS


def test_intervals_are_wilsons_widened_by_undecided_runs():
    exact, wide = (
        judge_attraction(make_summaries(undecided=share), THRESHOLDS).evidence["selection_probability_by_sgd"][0]
        for share in (0.0, 0.1)
    )
    # 5120 of 10240: half width z / (2 sqrt(N + z^2)) around one half; three kurtoses and the moved border are judged.
    normal = norm.isf(0.025 / 4)
    half = normal / (2 * np.sqrt(10240 + normal**2))
    assert [exact.low, exact.high] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-12)
    assert wide.high - wide.low == pytest.approx(0.1 + 2 * half, abs=1e-3)
