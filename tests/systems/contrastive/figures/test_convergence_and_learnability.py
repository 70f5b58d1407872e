"""The figures of C3 and C4: what they show of made-up summaries."""

import pytest

from clhd.claims.judge import make_plain
from clhd.figures.style import use_style
from clhd.systems.contrastive.claims.convergence import CONVERGENCE
from clhd.systems.contrastive.claims.learnability import LEARNABILITY
from clhd.systems.contrastive.figures.convergence import plot_convergence
from clhd.systems.contrastive.figures.learnability import plot_learnability
from tests.systems.contrastive.claims import convergence_summaries, learnability_summaries


def draw(claim, plot, summaries, thresholds):
    judgement = claim.judge(summaries, thresholds)
    entry = {
        "statement": claim.statement,
        "verdict": str(judgement.verdict),
        "evidence": judgement.evidence,
        "thresholds": thresholds,
    }
    with use_style():
        figure, caption = plot(summaries, make_plain(entry))
        figure.draw_without_rendering()
    return figure, caption


@pytest.mark.parametrize(("changes", "verdict"), [({}, "holds"), ({"runs": 2**9}, "undecided")])
def test_convergence_says_its_exponents(changes, verdict):
    summaries = convergence_summaries.make_summaries(**changes)
    figure, caption = draw(CONVERGENCE, plot_convergence, summaries, convergence_summaries.THRESHOLDS)
    assert len(figure.axes) == 3
    assert f"The numbers say: {verdict}." in caption
    assert ("not known (q)" in caption) == (verdict == "undecided")


@pytest.mark.parametrize(("changes", "verdict"), [({}, "holds"), ({"slope": 0.0}, "undecided")])
def test_learnability_says_its_thresholds(changes, verdict):
    summaries = learnability_summaries.make_summaries(**changes)
    figure, caption = draw(LEARNABILITY, plot_learnability, summaries, learnability_summaries.TOLERANCES)
    assert len(figure.axes) == 4 + 1  # a colour bar
    assert f"The numbers say: {verdict}." in caption
    assert "at kurtosis 8" in caption
    assert ("not known at kurtosis 1" in caption) == (verdict == "undecided")
    assert "leave their slope open" not in caption


def test_learnability_says_at_which_learning_rates_the_border_is_not_known():
    summaries = learnability_summaries.make_summaries()
    phase = summaries["phase"].dataset
    phase["overlap_standard_error"][:] = 1.0  # far more than the overlap
    _, caption = draw(LEARNABILITY, plot_learnability, summaries, learnability_summaries.TOLERANCES)
    rates = ", ".join(f"{rate:g}" for rate in phase["learning_rate"].values)
    assert f"intervals of 95 %; at {rates} the rates leave their slope open)" in caption
