"""The matrix of cases: what its judge says of numbers that are made up to hold, to fail and to leave it in doubt."""

import json

import numpy as np
import pytest

from clhd.analysis.claims import make_plain, read_claims
from clhd.analysis.matrix import COLUMNS, EXPERIMENTS, THRESHOLDS, judge_matrix
from clhd.errors import ClhdError
from clhd.figures.claims.matrix import plot_matrix, plot_universality
from tests.analysis.matrix_summaries import make_summaries, make_universality

VALUES = {
    "bias_coefficient": 10.0,
    "growth_spread": 1e-6,
    "least_move": 0.05,
    "least_similarity": 0.1,
    "least_gain": 1e-4,
    "least_part": 0.5,
    "spread_ratio_range": (0.8, 1.25),
}

CELLS = {
    "SGD follows": ({"deviation": 0.005}, "C3", "holds"),
    "SGD deviates, but not at the larger dimension": ({"deviation": 0.05, "larger": 0.003}, "C3", "holds"),
    "SGD deviates at both": ({"deviation": 0.05, "larger": 0.05}, "C3", "does not hold"),
    "SGD lies at the end of the allowance": ({"deviation": 0.01, "larger": 0.01}, "C3", "undecided"),
    "the theory is too vague": ({"averaging_error": 0.02}, "C3", "undecided"),
    "SGD diverges": ({"diverged": 1}, "C3", "diverged"),
    "one growth rate, of SGD's sign": ({}, "C4", "holds"),
    "kurtosis changes the growth rate": ({"rates": ((-0.1, 0.5), (-0.1, 0.6))}, "C4", "does not hold"),
    "SGD grows where it should decay": ({"change": ((0.02, 0.3), (-0.02, 0.2))}, "C4", "does not hold"),
    "SGD does not move": ({"change": ((-0.001, 0.3), (-0.02, 0.2))}, "C4", "undecided"),
    "nothing ever grows": (
        {"rates": ((-0.1, -0.1), (-0.1, -0.1)), "change": ((-0.02, -0.02), (-0.02, -0.02))},
        "C4",
        "undecided",
    ),
    "the eigenvalue moves": ({}, "C5", "holds"),
    "the eigenvalue stays": ({"eigenvalue": (0.0, 1e-9)}, "C5", "does not hold"),
    "there is no pure state": ({"eigenvalue": (-0.2, np.nan)}, "C5", "undecided"),
    "noise degrades": ({}, "C6", "holds"),
    "noise helps": ({"similarity": (0.6, 0.8, 0.7, 0.6)}, "C6", "does not hold"),
    "noise does nothing that is seen": ({"similarity": (0.701, 0.8, 0.7, 0.6)}, "C6", "undecided"),
    "nothing is learned, whatever the noise": ({"similarity": (0.05, 0.04, 0.03, 0.02)}, "C6", "undecided"),
    "similarity falls with the correlation": ({}, "C7a", "holds"),
    "it falls from 0 on only": ({"similarity": (0.9, 0.65, 0.7, 0.6)}, "C7a", "does not hold"),
    "it falls too little": ({"similarity": (0.9, 0.701, 0.7, 0.6)}, "C7a", "undecided"),
    "the gradient variance gives most": ({}, "C7b", "holds"),
    "the drift gives most": ({"gain": (0.02, 0.03, -0.01)}, "C7b", "does not hold"),
    "there is no gain": ({"gain": (-0.01, 0.01, -0.02)}, "C7b", "undecided"),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_verdict_of_a_cell_follows_the_numbers(name):
    changes, column, verdict = CELLS[name]
    row = judge_matrix(make_summaries(**changes), VALUES)["rows"][0]
    assert row["cells"][column]["verdict"] == verdict


def test_a_verdict_that_is_not_of_the_numbers_alone_has_a_reason():
    cells = judge_matrix(make_summaries(gain=(0.0, 0.0, 0.0)), VALUES)["rows"][0]["cells"]
    assert "no gain" in cells["C7b"]["reason"]
    assert cells["C6"]["reason"] == ""


def test_a_case_without_theory_is_judged_by_sgd_alone():
    first, second = judge_matrix(make_summaries(), VALUES)["rows"]
    assert (first["loss"], second["loss"]) == ("bilinear", "infonce")
    verdicts = {column: cell["verdict"] for column, cell in second["cells"].items()}
    assert verdicts == dict.fromkeys(COLUMNS, "no theory") | {"C6": "holds", "C7a": "holds"}


def test_a_case_that_no_experiment_has_is_not_computed():
    summaries = make_summaries()
    dataset = summaries["pure"].dataset
    summaries["pure"] = type(summaries["pure"])(dataset.assign_coords(activation=("case", ["erf"])))
    rows = judge_matrix(summaries, VALUES)["rows"]
    assert [row["activation"] for row in rows] == ["tanh", "erf", "relu"]
    assert rows[0]["cells"]["C5"]["verdict"] == rows[1]["cells"]["C6"]["verdict"] == "not computed"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"difference": (0.2, 0.0)}, "holds"),  # the largest dimension decides
        ({"difference": (0.0, 0.03)}, "does not hold"),
        ({"difference": (0.0, 0.01)}, "undecided"),
        ({"ratio": 2.0}, "does not hold"),
        ({"ratio": 1.2}, "undecided"),
    ],
)
def test_universality_follows_the_numbers(changes, verdict):
    assert judge_matrix(make_summaries(**changes), VALUES)["universality"]["verdict"] == verdict


def test_laws_of_further_experiments_are_held_against_the_same_chain():
    summaries = make_summaries()
    further = make_universality((0.0, 0.05), 1.0).dataset.isel(variant=[1]).drop_vars(["engine", "noise_law"])
    further = further.drop_vars("feature_law").rename(variant="noise_degrees_of_freedom")
    further = further.assign_coords(noise_degrees_of_freedom=[5.0])
    further.attrs["experiment"]["constants"] = {"engine": "full", "noise_law": "student_t"}
    summaries["universality_student"] = type(summaries["universality"])(further)
    universality = judge_matrix(summaries, VALUES)["universality"]
    verdicts = {law["law"]: law["verdict"] for law in universality["evidence"]["laws"]}
    assert verdicts == {
        "rademacher noise, gaussian features": "holds",
        "student_t noise, gaussian features (noise degrees of freedom 5)": "does not hold",
    }
    assert universality["verdict"] == "does not hold"


def test_the_figures_show_every_cell_and_every_law():
    matrix = make_plain(judge_matrix(make_summaries(), VALUES) | {"thresholds": VALUES})
    matrix = json.loads(json.dumps(matrix))
    figure, caption = plot_matrix(matrix)
    (axes,) = figure.axes
    assert len(axes.patches) == len(matrix["rows"]) * len(COLUMNS)
    assert "C6 2 of 2 (0 against)" in caption
    figure, caption = plot_universality(matrix)
    assert "holds" in caption
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["rademacher noise, gaussian features"]


def write_settings(path, experiments):
    lines = [f"    {role}: {name}" for role, name in experiments.items()]
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in VALUES.items()}
    thresholds = [
        f"    {name}: {value:.7f}" if isinstance(value, float) else f"    {name}: {value}"
        for name, value in values.items()
    ]
    path.write_text("\n".join(["matrix:", "  experiments:", *lines, "  thresholds:", *thresholds]) + "\n")
    return path


def test_optional_experiments_are_read_where_the_config_has_them(tmp_path):
    roles = {role: role for role in [*EXPERIMENTS, "universality_sparse"]}
    path = write_settings(tmp_path / "claims.yaml", roles)
    assert "universality_sparse" in read_claims(path, roles)["matrix"].experiments
    assert "universality_sparse" not in read_claims(path, EXPERIMENTS)["matrix"].experiments
    assert read_claims(path, roles)["matrix"].thresholds.keys() == THRESHOLDS.keys()


def test_other_experiments_must_be_there(tmp_path):
    path = write_settings(tmp_path / "claims.yaml", {role: role for role in EXPERIMENTS})
    with pytest.raises(ClhdError, match=r"matrix\.experiments\.pure = 'pure': must be one of"):
        read_claims(path, [role for role in EXPERIMENTS if role != "pure"])
