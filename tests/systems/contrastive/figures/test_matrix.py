"""The figures of the matrix and of universality: what they show of made-up summaries."""

import json

import numpy as np
import pytest

from clhd.claims.judge import make_plain
from clhd.figures.style import use_style
from clhd.systems.contrastive.claims.matrix import COLUMNS, judge_matrix
from clhd.systems.contrastive.figures.matrix import plot_crossed, plot_matrix, plot_universality
from tests.systems.contrastive.claims.matrix_summaries import make_summaries
from tests.systems.contrastive.claims.test_matrix import VALUES


def judge(summaries):
    """As claims_matrix.json holds it."""
    return json.loads(json.dumps(make_plain(judge_matrix(summaries, VALUES) | {"thresholds": VALUES})))


def draw(matrix):
    with use_style():
        figure, caption = plot_matrix(matrix)
    return figure, caption, [text.get_text() for text in figure.axes[0].texts]


def test_the_matrix_shows_every_cell():
    matrix = judge(make_summaries())
    figure, caption, _ = draw(matrix)
    assert len(figure.axes[0].patches) == len(matrix["rows"]) * len(COLUMNS)
    assert "C6 2 of 2 (0 against)" in caption
    assert "C6: at time 30, independent augmentation noise degrades" in caption


def test_a_cell_shows_the_number_that_its_verdict_rests_on():
    _, _, texts = draw(judge(make_summaries(deviation=0.05, larger=0.014, gain=(0.02, 0.005, 0.015))))
    assert "0.01" in texts  # (10 * 0.014 - 0.05) / 9
    assert "0.75" in texts


def test_a_cell_that_has_diverged_shows_no_number():
    _, caption, texts = draw(judge(make_summaries(diverged=1)))
    assert texts.count("\N{INFINITY}") == 3  # C3, C6 and C7a
    assert "C3 0 of 1 (0 against)" in caption


@pytest.mark.parametrize("similarity", [(0.9, 0.8, 0.7, np.nan), (np.nan, np.nan, np.nan, np.nan)])
def test_a_similarity_that_could_not_be_had_shows_no_number(similarity):
    summaries = make_summaries(similarity=similarity)
    _, _, texts = draw(judge(summaries))
    assert "nan" not in " ".join(texts)
    assert "\N{EN DASH}" in texts or not np.isnan(similarity[0])


def test_universality_names_every_law_and_the_control():
    matrix = judge(make_summaries())
    with use_style():
        figure, caption = plot_universality(matrix)
    assert "holds" in caption
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "Gaussian noise, Gaussian features (control)",
        "Rademacher noise, Gaussian features",
    ]


def test_units_and_constraints_are_crossed_for_the_loss_with_the_most_cases():
    matrix = judge(make_summaries())
    first, *others = matrix["rows"]
    crossed = [first | {"loss": "covariance", "batch": 2, "constraint": held} for held in ("none", "sphere")]
    relu = crossed[0] | {
        "activation": "relu",
        "cells": {name: {"verdict": "no theory", "reason": "no state of rest"} for name in COLUMNS},
    }
    with use_style():
        figure, caption = plot_crossed(matrix | {"rows": [first, *others, *crossed, relu]})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(figure.axes[0].patches) == 2 * 2 * len(COLUMNS)  # relu on the sphere is not run
    assert texts.count("no theory") == texts.count("not run") == len(COLUMNS)
    assert "covariance loss, batch 2" in caption
    assert "No theory for relu: no state of rest." in caption
