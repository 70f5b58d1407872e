"""The figures of C6 and C7: what they show of made-up summaries."""

import numpy as np
import pytest
import xarray as xr

from clhd.claims.judge import make_plain
from clhd.figures.style import use_style
from clhd.systems.contrastive.claims.correlation import CORRELATION
from clhd.systems.contrastive.claims.noise import NOISE
from clhd.systems.contrastive.figures.correlation import describe_case, plot_correlation
from clhd.systems.contrastive.figures.noise import plot_noise
from tests.systems.contrastive.claims.noise_summaries import (
    make_cases,
    make_drawn,
    make_map,
    make_places,
    make_setting,
)

THRESHOLDS = {
    "least_share": 0.95,
    "least_region": 0.05,
    "least_change": 1e-4,
    "least_part": 0.5,
    "allowance": 0.01,
    "least_confirmed": 0.9,
}


def rises_at_one_place_and_is_unknown_at_another(similarity):
    similarity[0, 1, 1] = 0.95
    similarity[1, 1, 1] = np.nan


def make_map_of_two_rates():
    summary = make_map(rises_at_one_place_and_is_unknown_at_another)
    rates = xr.DataArray([0.1, 0.5], dims="learning_rate", name="learning_rate")
    both = xr.concat([summary.dataset, make_map().dataset], rates)
    object.__setattr__(summary, "dataset", both.assign_attrs(summary.dataset.attrs))
    return summary


def draw(claim, plot, **summaries):
    judgement = claim.judge(summaries, THRESHOLDS)
    parts = [{"id": part.id, "verdict": str(part.verdict), "evidence": part.evidence} for part in judgement.parts]
    entry = {
        "statement": claim.statement,
        "verdict": str(judgement.verdict),
        "evidence": judgement.evidence,
        "thresholds": THRESHOLDS,
        "parts": parts,
    }
    with use_style():
        return plot(summaries, make_plain(entry))


@pytest.fixture(scope="module")
def noise():
    return draw(NOISE, plot_noise, setting=make_setting(), map=make_map_of_two_rates())


@pytest.fixture(scope="module")
def correlation():
    return draw(
        CORRELATION,
        plot_correlation,
        setting=make_setting(),
        map=make_places(),
        three_views=make_places(part=-0.2, batch=False),
        drawn=make_drawn(),
        cases=make_cases(variance_part=(1.0, -0.5)),
    )


def marks_of(axes):
    return [text.get_text() for text in axes.texts][:4]


def test_the_map_of_noise_has_a_panel_for_each_rate_and_marks_its_exceptions(noise):
    figure, _ = noise
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_title()}
    assert list(panels) == [r"$\eta$ = 0.1", r"$\eta$ = 0.5"]
    minus = "\N{MINUS SIGN}"
    assert marks_of(panels[r"$\eta$ = 0.1"]) == [f"{minus}.050", "\N{MULTIPLICATION SIGN}\n+.050", f"{minus}.050", "?"]
    assert marks_of(panels[r"$\eta$ = 0.5"]) == [f"{minus}.050"] * 4


def test_the_caption_of_noise_counts_the_places(noise):
    _, caption = noise
    assert "does not hold" in caption
    assert "at 6 of 7 places" in caption
    assert "not known (1)" in caption


def test_each_dimension_of_sgd_is_named(noise):
    figure, _ = noise
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["ODE", "SGD, $n$ = 100", "SGD, $n$ = 1,000"]


def test_the_bars_of_a_case_are_its_gains_by_switch(correlation):
    figure, _ = correlation
    heights = [[bar.get_height() for bar in figure.axes[k].patches] for k in (2, 5)]
    assert heights[0] == pytest.approx([0.05, 0.0, 0.05], abs=1e-12)
    assert heights[1] == pytest.approx([0.05, 0.075, -0.025], abs=1e-12)


def test_the_caption_of_correlation_says_both_verdicts_and_the_shares(correlation):
    _, caption = correlation
    assert "(it does better somewhere: holds; by the variance of the gradient: holds)" in caption
    assert "Of the 12 places" in caption
    assert "than no augmentation noise at 0.0 %; at 100.0 % the gradient variance" in caption
    assert "SGD follows the ODE at 20 of 20 drawn places" in caption


def test_a_map_has_rows_of_batches_and_columns_of_backgrounds(correlation):
    """After two cases of three panels: gain, gain over none, part; three views come last and have a negative part."""
    figure, _ = correlation
    gain, over_none, part = (np.ma.getdata(figure.axes[6 + k].images[0].get_array()) for k in range(3))
    assert gain.shape == (3, 4)
    for values, expected in ((gain, [0.05] * 3), (over_none, [-0.05] * 3), (part, [0.8, 0.8, -0.2])):
        np.testing.assert_allclose(values, np.repeat(np.array(expected)[:, None], 4, axis=1))
    labels = [text.get_text() for text in figure.axes[6].get_yticklabels()]
    assert labels == ["$B$ = 2", "$B$ = 4", "3 views"]


def test_a_case_is_described_by_what_sets_it_apart():
    assert describe_case("activation=linear, constraint=sphere, weight_decay=0") == "linear, sphere"
    assert describe_case("activation=tanh, constraint=none, weight_decay=0.6") == "tanh, weight decay 0.6"
