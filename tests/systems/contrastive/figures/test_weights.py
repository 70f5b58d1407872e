"""The figures of C1 and C2: what they show of made-up summaries."""

import pytest

from clhd.claims.judge import make_plain
from clhd.figures.style import use_style
from clhd.systems.contrastive.claims.reduction import REDUCTION
from clhd.systems.contrastive.claims.weights import WEIGHTS
from clhd.systems.contrastive.figures.reduction import plot_reduction
from clhd.systems.contrastive.figures.weights import plot_weights
from tests.systems.contrastive.claims.weights_summaries import make_refinement, make_weights_summaries

C1 = {"exponent_range": (-0.6, -0.4), "largest_ratio": 1.1, "allowance": 0.05}
C2 = {"order_range": (1.8, 2.2), "largest_error": 1e-4}


def draw(claim, plot, summaries, thresholds):
    judgement = claim.judge(summaries, thresholds)
    entry = {"statement": claim.statement, "verdict": str(judgement.verdict), "evidence": judgement.evidence}
    with use_style():
        return plot(summaries, make_plain(entry))


@pytest.fixture(scope="module")
def weights():
    return draw(WEIGHTS, plot_weights, make_weights_summaries(), C1)


@pytest.fixture(scope="module")
def reduction():
    return draw(REDUCTION, plot_reduction, make_refinement(), C2)


def test_densities_are_of_unit_area_and_sgd_lies_on_the_equation(weights):
    figure, _ = weights
    assert [axes.get_title() for axes in figure.axes[:3]] == [
        "feature values ±1, $\\lambda_1$ = 0",
        "feature values ±1, $\\lambda_1$ = 0.3",
        "sparse feature, $\\lambda_1$ = 0.3",
    ]
    theory, sgd = (line.get_xydata() for line in figure.axes[0].lines[:2])
    steps = theory[1, 0] - theory[0, 0], sgd[1, 0] - sgd[0, 0]
    assert theory[:, 1].sum() * steps[0] == pytest.approx(1, abs=1e-6)
    assert sgd[:, 1].sum() * steps[1] == pytest.approx(1, abs=1e-6)


def test_each_penalty_and_time_has_its_distances_and_a_name(weights):
    figure, _ = weights
    labels = [text.get_text() for text in figure.axes[3].get_legend().get_texts()]
    assert labels == ["$\\lambda_1$ = 0", "$\\lambda_1$ = 0.3", "$t$ = 1", "$t$ = 3"]
    assert len(figure.axes[3].containers) == 4


def test_the_captions_say_verdict_and_exponents(weights, reduction):
    assert "Verdict: holds." in weights[1]
    assert "fitted exponents are between \N{MINUS SIGN}0.500 and \N{MINUS SIGN}0.500" in weights[1]
    assert "Verdict: holds." in reduction[1]
    assert "fitted orders are between 2.000 and 2.000" in reduction[1]


def test_a_caption_without_exponents_says_so():
    _, caption = draw(WEIGHTS, plot_weights, make_weights_summaries(missing=True), C1)
    assert "Verdict: undecided." in caption
    assert "exponents are unknown" in caption


def test_the_reduction_has_a_panel_for_each_parameter_and_one_of_differences(reduction):
    figure, _ = reduction
    assert [axes.get_ylabel() for axes in figure.axes] == ["overlap $q$", "squared norm $r$", "largest difference"]
    assert len(figure.axes[2].lines) == 2 * 2 + 1  # two parameters, two learning rates, the guide
