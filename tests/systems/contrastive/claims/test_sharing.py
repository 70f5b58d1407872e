"""C8: what its judge says of numbers that are made up, and what its figure shows of them."""

import numpy as np
import pytest
import xarray as xr

from clhd.claims.judge import make_plain
from clhd.figures.style import use_style
from clhd.systems.contrastive.claims.sharing import SHARING, judge_sharing
from clhd.systems.contrastive.figures.sharing import plot_sharing
from clhd.systems.contrastive.sweeps.sharing import SHARINGS
from tests.systems.contrastive.claims.attraction_summaries import make_summary

THRESHOLDS = {"least_share": 0.9, "margin": 1.1}
PENALTY = np.array([0.0, 0.4, 0.58, 0.8, 1.0])
CRITICAL, RUNS = 0.6, 128


def make_shares(parted, runs):
    """SGD that ends in "each" with the given shares, else in "same"."""
    shares = np.zeros((len(PENALTY), len(SHARINGS)))
    shares[:, SHARINGS.index("each")] = parted
    shares[:, SHARINGS.index("same")] = 1 - np.array(parted)
    counts = np.zeros((len(PENALTY), 5), int)
    counts[:, 1] = runs
    return xr.Dataset(
        {
            "sharing_probability_mean": (("decorrelation", "sharing"), shares),
            "replica_count": (("decorrelation", "status"), counts),
        },
        {
            "decorrelation": PENALTY,
            "sharing": list(SHARINGS),
            "status": ["not_run", "ok", "diverged", "not_converged", "failed"],
        },
    )


def make_summaries(*, shared=(0, 0, 0.3, 1, 1), random=(0.5, 0.8, 1, 1, 1), critical=CRITICAL, runs=RUNS):
    rates = np.outer(PENALTY - CRITICAL, [1.0])
    theory = {
        "critical_penalty_theory": (("decorrelation", "feature"), np.full((len(PENALTY), 1), critical)),
        **{
            f"{name}_rate_theory": (("decorrelation", "feature"), rates)
            for name in ("joint", "antisymmetric", "distance")
        },
    }
    on_map = xr.Dataset(
        {
            "critical_penalty_theory": (
                ("kurtosis", "augmentation_noise_variance", "feature"),
                np.array([[0.5, 0.4], [0.75, 0.8]])[..., None],
            )
        },
        {"kurtosis": [1.0, 2.0], "augmentation_noise_variance": [0.1, 0.8], "feature": [1]},
    )
    return {
        "shared": make_summary(
            "sharing", make_shares(shared, runs).assign(theory).assign_coords(feature=[1]), dimension=1000
        ),
        "random": make_summary("sharing_random", make_shares(random, runs)),
        "map": make_summary("sharing_map", on_map),
    }


CASES = {
    "as the theory says": ({}, "holds", {"below": "holds", "above": "holds", "random": "holds"}),
    "units part below": ({"shared": (0, 1, 1, 1, 1)}, "does not hold", {"below": "does not hold", "above": "holds"}),
    "units stay together": ({"shared": (0, 0, 0, 0, 1)}, "does not hold", {"above": "does not hold"}),
    "nobody parts next to the critical penalty": ({"shared": (0, 0, 0, 1, 1)}, "holds", {"above": "holds"}),
    "random starts share": ({"random": (0.5, 0.8, 1, 0.5, 1)}, "does not hold", {"random": "does not hold"}),
    "few runs": ({"runs": 8}, "undecided", {"below": "undecided"}),
    "no run was ok": ({"runs": 0}, "undecided", {"above": "undecided"}),
    "nothing is shared": ({"critical": np.nan}, "undecided", {"below": "undecided", "random": "undecided"}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict_follows_the_numbers(case):
    changes, verdict, parts = CASES[case]
    judgement = judge_sharing(make_summaries(**changes), THRESHOLDS)
    assert judgement.verdict == verdict
    assert parts.items() <= judgement.evidence["verdicts"].items()


def test_the_map_says_how_the_critical_penalty_moves():
    changes = judge_sharing(make_summaries(), THRESHOLDS).evidence["change_along"]
    np.testing.assert_allclose(changes["kurtosis"]["changes"], [0.25, 0.4])
    np.testing.assert_allclose(changes["augmentation_noise_variance"]["changes"], [-0.1, 0.05])


def test_a_place_without_a_critical_penalty_is_left_out_of_its_changes():
    summaries = make_summaries()
    summaries["map"].dataset["critical_penalty_theory"][0, 0] = np.nan
    changes = judge_sharing(summaries, THRESHOLDS).evidence["change_along"]
    np.testing.assert_allclose(changes["kurtosis"]["changes"], [0.4])
    assert "changes by 0.4," in draw(summaries)[1]


def draw(summaries):
    judgement = judge_sharing(summaries, THRESHOLDS)
    entry = {"statement": SHARING.statement, "verdict": str(judgement.verdict), "evidence": judgement.evidence}
    with use_style():
        return plot_sharing(summaries, make_plain(entry))


def test_the_figure_shows_shares_rates_and_the_map():
    figure, caption = draw(make_summaries())
    shares, rates, on_map = figure.axes
    np.testing.assert_allclose(shares.containers[0].lines[0].get_ydata(), [0, 0, 0.3, 1, 1], atol=0.005)
    assert [line.get_xdata()[0] for line in rates.lines if len(set(line.get_xdata())) == 1] == [CRITICAL]
    assert len(on_map.lines) == 2
    assert "The numbers say: holds" in caption
    assert "it changes by 0.25, 0.4," in caption
