"""C5: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from clhd.systems.contrastive.claims.attraction import judge_attraction
from tests.systems.contrastive.claims.attraction_summaries import KURTOSIS, make_summaries

THRESHOLDS = {"growth_spread": 1e-6, "least_shift": 0.02, "allowance": 0.03, "largest_move": 0.05}

MOVING = (-0.3, -0.1, 0.1)
CASES = {
    "as expected": ({}, ("holds", "holds", "holds"), {}),
    "the eigenvalue of the pure state moves": (
        {"pure_eigenvalue": MOVING},
        ("does not hold", "holds", "does not hold"),
        {"informative": "does not hold", "uninformative": "holds"},
    ),
    "kurtosis changes the growth rate": (
        {"growth": (0.72, 0.70)},
        ("does not hold", "holds", "does not hold"),
        {"uninformative": "does not hold", "informative": "holds"},
    ),
    "SGD does not follow the ODE": (
        {"share": (0.5, 0.54, 0.75, 1.0)},
        ("does not hold", "does not hold", "holds"),
        {"agreement": "does not hold", "moved_border": "holds"},
    ),
    "the border stays": (
        {"share": (0.5, 0.51, 0.5, 1.0), "area": (0.5, 0.5, 0.5, 1.0)},
        ("does not hold", "does not hold", "holds"),
        {"moved_border": "does not hold"},
    ),
    "the area stays, though the share moves": (
        {"area": (0.5, 0.5, 0.505, 1.0)},
        ("does not hold", "does not hold", "holds"),
        {"moved_border": "does not hold", "agreement": "holds"},
    ),
    "SGD lies at the end of the allowance": (
        {"share": (0.5, 0.54, 0.638, 1.0)},
        ("undecided", "undecided", "holds"),
        {"agreement": "undecided"},
    ),
    "many runs had not ended": ({"undecided": 0.2}, ("undecided", "undecided", "holds"), {"agreement": "undecided"}),
    "there are no growth rates": (
        {"growth": (np.nan, np.nan)},
        ("undecided", "holds", "undecided"),
        {"uninformative": "undecided"},
    ),
    "there is no pure state": (
        {"pure_eigenvalue": (np.nan,) * 3},
        ("undecided", "holds", "undecided"),
        {"informative": "undecided"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdicts, details = CASES[case]
    judgement = judge_attraction(make_summaries(**changes), THRESHOLDS)
    assert [part.id for part in judgement.parts] == ["C5a", "C5b"]
    assert (judgement.verdict, *(part.verdict for part in judgement.parts)) == verdicts
    regions, stability = (part.evidence["verdicts"] for part in judgement.parts)
    assert details.items() <= (regions | stability).items()


def test_agreement_is_asked_only_while_both_pure_states_are_stable():
    """At kurtosis 2.5, where the second pure state is unstable, SGD may say anything."""
    judgement = judge_attraction(make_summaries(share=(0.5, 0.54, 0.61, 0.2)), THRESHOLDS)
    assert judgement.verdict == "holds"
    evidence = judgement.parts[0].evidence
    assert evidence["both_pure_states_stable"].tolist() == [True, True, True, False]
    assert evidence["shift_at_largest_stable_kurtosis"]["area"].value == pytest.approx(0.11)


def test_without_a_stable_pair_of_unequal_features_nothing_is_decided():
    summaries = make_summaries()
    summaries["selection"].dataset["pure_eigenvalue_theory"][1:] = 0.1
    assert judge_attraction(summaries, THRESHOLDS).verdict == "undecided"


def test_the_evidence_says_where_informative_states_lose_stability():
    regions, stability = judge_attraction(make_summaries(pure_eigenvalue=MOVING), THRESHOLDS).parts
    evidence, stability = regions.evidence, stability.evidence
    assert stability["critical_kurtosis_tanh"] == {"only": pytest.approx(2.5)}
    assert stability["relative_move_of_pure_eigenvalue"]["only"].value == pytest.approx(0.4 / 0.72)
    assert stability["critical_kurtosis_expanding_unit"] == pytest.approx(2.5)
    assert stability["eigenvalue_by_law"] == {"gaussian": 0.0, "laplace": 0.13, "uniform": -0.12}
    assert evidence["kurtosis"].tolist() == KURTOSIS


def test_intervals_are_wilsons_widened_by_undecided_runs():
    exact, wide = (
        judge_attraction(make_summaries(undecided=share), THRESHOLDS)
        .parts[0]
        .evidence["selection_probability_by_sgd"][0]
        for share in (0.0, 0.1)
    )
    # 5120 of 10240: half width z / (2 sqrt(N + z^2)) around one half; six are judged together.
    normal = norm.isf(0.025 / 6)
    half = normal / (2 * np.sqrt(10240 + normal**2))
    assert [exact.low, exact.high] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-12)
    assert wide.high - wide.low == pytest.approx(0.1 + 2 * half, abs=1e-3)


def test_the_orthogonal_background_is_judged_too():
    """Its share is 0.61, and by the ODE 0.608."""
    summaries = make_summaries()
    summaries["orthogonal"].dataset["probability_theory"][..., 0] = 0.7
    regions = judge_attraction(summaries, THRESHOLDS).parts[0]
    assert regions.evidence["verdicts"] == {"moved_border": "holds", "agreement": "does not hold"}
    summaries["orthogonal"].dataset["probability_theory"][..., 0] = 0.5
    summaries["orthogonal"].dataset["probability_mean"][..., :2] = 0.5
    assert judge_attraction(summaries, THRESHOLDS).parts[0].evidence["verdicts"]["moved_border"] == "does not hold"


def test_every_background_must_leave_the_eigenvalue_where_it_is():
    summaries = make_summaries()
    dataset = summaries["stability"].dataset
    moving = dataset.assign(pure_eigenvalue_theory=dataset["pure_eigenvalue_theory"] + 0.1 * dataset["kurtosis"])
    both = xr.concat([dataset, moving], xr.DataArray(["isotropic", "orthogonal"], dims="background", name="background"))
    object.__setattr__(summaries["stability"], "dataset", both)
    stability = judge_attraction(summaries, THRESHOLDS).parts[1]
    assert stability.evidence["verdicts"]["informative"] == "does not hold"
    assert list(stability.evidence["critical_kurtosis_tanh"]) == ["isotropic", "orthogonal"]
