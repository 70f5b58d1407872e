"""The figure of C5: what it shows of made-up summaries."""

import numpy as np
import pytest
import xarray as xr

from clhd.claims.judge import make_plain
from clhd.figures.style import use_style
from clhd.systems.contrastive.claims.attraction import ATTRACTION, judge_attraction, measure_share
from clhd.systems.contrastive.figures.attraction import plot_attraction
from clhd.systems.registry import find_system
from tests.systems.contrastive.claims.attraction_summaries import make_summaries, make_summary

THRESHOLDS = {"growth_spread": 1e-6, "least_shift": 0.02, "allowance": 0.03, "largest_move": 0.05}
VALUES = {"features": 2, "second_moment": 1.5, "learning_rate": 0.3, "weight_decay": 0.6, "nodes": 21}


@pytest.fixture(scope="module")
def portrait():
    system, kurtoses = find_system("portrait"), [1.5, 3.0]
    points = [system.theory.point(VALUES | {"kurtosis_1": 1.0, "kurtosis_2": k}, 0) for k in kurtoses]
    outputs, values = system.theory.outputs(VALUES), system.theory.compute(points, np.zeros(1), []).values
    portrait = xr.Dataset(
        {f"{name}_theory": (("kurtosis_2", *outputs.variables[name].dims), array) for name, array in values.items()},
        {"kurtosis_2": kurtoses} | {name: list(entries) for name, (entries, _) in outputs.coordinates.items()},
    )
    return make_summary("portrait", portrait)


@pytest.fixture(scope="module")
def figure_and_caption(portrait):
    return draw(make_summaries(pure_eigenvalue=(-0.3, -0.1, 0.1)) | {"portrait": portrait})


def draw(summaries):
    judgement = judge_attraction(summaries, THRESHOLDS)
    parts = [{"id": part.id, "verdict": str(part.verdict), "evidence": part.evidence} for part in judgement.parts]
    entry = {"statement": ATTRACTION.statement, "verdict": str(judgement.verdict), "parts": parts}
    with use_style():
        return plot_attraction(summaries, make_plain(entry))


def test_there_is_a_portrait_for_each_kurtosis_and_three_panels_below(figure_and_caption):
    figure, _ = figure_and_caption
    assert len(figure.axes) == 2 + 3
    assert [axes.get_title() for axes in figure.axes[:2]] == ["$k_2$ = 1.5", "$k_2$ = 3"]


def test_the_caption_says_the_verdict_and_where_stability_is_lost(figure_and_caption):
    _, caption = figure_and_caption
    assert "does not hold (regions: holds; local stability unaffected at the uninformative state: holds, " in caption
    assert "changes for tanh at kurtosis 2.5, for an expanding unit at 2.5;" in caption
    assert "gaussian 0, laplace 0.13, uniform \N{MINUS SIGN}0.12." in caption


def test_a_caption_without_a_critical_kurtosis_says_so(portrait):
    summaries = make_summaries() | {"portrait": portrait}
    for role in ("stability", "expanding"):
        summaries[role].dataset["pure_eigenvalue_theory"][:] = -0.1
    _, caption = draw(summaries)
    assert "changes for tanh at kurtosis unknown, for an expanding unit at unknown" in caption


def test_bars_of_selection_are_the_judges_intervals(figure_and_caption):
    """Undecided runs widen them."""
    figure, _ = figure_and_caption
    container = figure.axes[2].containers[-1]
    ends = container.lines[2][0].get_segments()[0][:, 1]
    share = measure_share(make_summaries()["selection"].dataset.sel(dimension=1000, kurtosis_2=1.0))
    assert ends.tolist() == pytest.approx([share.low, share.high])


def test_every_series_of_sgd_is_named(figure_and_caption):
    figure, _ = figure_and_caption
    labels = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert labels[-2:] == ["SGD, $n$ = 100", "SGD, $n$ = 1,000"]
