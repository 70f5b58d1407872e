"""The matrix of cases: the verdicts of its judge on made-up numbers: holds, does not hold, undecided."""

import numpy as np
import pytest
from scipy.special import ndtri

from clhd.claims.judge import read_claims
from clhd.core.statistics import NORMAL_95
from clhd.errors import ClhdError
from clhd.sweep.spec.experiment import parse_experiment
from clhd.systems.contrastive.claims.matrix import COLUMNS, EXPERIMENTS, THRESHOLDS, judge_matrix
from tests.systems.contrastive.claims.matrix_summaries import ERROR, make_summaries, make_summary, make_universality

VALUES = {
    "largest_deviation": 0.01,
    "growth_spread": 1e-6,
    "least_move": 0.05,
    "least_overlap": 0.1,
    "least_gain": 1e-4,
    "least_part": 0.5,
    "spread_ratio_range": (0.8, 1.25),
}

CELLS = {
    "SGD follows": ({"deviation": 0.005}, "C3", "holds"),
    "SGD deviates as 1/n": ({"deviation": 0.05, "larger": 0.005}, "C3", "holds"),
    "SGD deviates by less at the larger dimension, but not as 1/n": (
        {"deviation": 0.05, "larger": 0.025},
        "C3",
        "does not hold",
    ),
    "SGD deviates little at the smaller dimension only": ({"deviation": 0.0, "larger": 0.02}, "C3", "does not hold"),
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
    "everything grows": (
        {"rates": ((0.1, 0.5), (0.1, 0.5)), "change": ((0.02, 0.3), (0.02, 0.2))},
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
    "the strongest noises leave nothing, and steps between them say nothing": (
        {"similarity": (0.05, 0.8, 0.05, 0.06)},
        "C7a",
        "holds",
    ),
    "the weights die, their direction stays": ({"overlap": 1e-3}, "C6", "undecided"),
    "similarity falls with the correlation": ({}, "C7a", "holds"),
    "it falls from 0 on only": ({"similarity": (0.9, 0.65, 0.7, 0.6)}, "C7a", "does not hold"),
    "it falls too little": ({"similarity": (0.9, 0.701, 0.7, 0.6)}, "C7a", "undecided"),
    "the gradient variance gives most": ({}, "C7b", "holds"),
    "the drift gives most": ({"gain": (0.02, 0.03, -0.01)}, "C7b", "does not hold"),
    "the gradient variance gives most, but the averages are vague": ({"switch_error": 0.005}, "C7b", "undecided"),
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
        ({"control": (0.0, 0.03)}, "undecided"),
        ({"control": (0.0, 0.03), "difference": (0.0, 0.03)}, "undecided"),
    ],
)
def test_universality_follows_the_numbers(changes, verdict):
    assert judge_matrix(make_summaries(**changes), VALUES)["universality"]["verdict"] == verdict


def test_laws_of_further_experiments_are_held_against_the_same_chain():
    summaries = make_summaries()
    further = make_universality((0.0, 0.05), 1.0).dataset.isel(variant=[2]).drop_vars(["engine", "noise_law"])
    further = further.drop_vars("feature_law").rename(variant="noise_degrees_of_freedom")
    further = further.assign_coords(noise_degrees_of_freedom=[5.0])
    further.attrs["experiment"]["constants"] = {"engine": "full", "noise_law": "student_t"}
    summaries["universality_student"] = type(summaries["universality"])(further)
    universality = judge_matrix(summaries, VALUES)["universality"]
    verdicts = {law["law"]: law["verdict"] for law in universality["evidence"]["laws"]}
    assert [law["is_control"] for law in universality["evidence"]["laws"]] == [True, False, False]
    assert verdicts == {
        "Gaussian noise, Gaussian features": "holds",
        "Rademacher noise, Gaussian features": "holds",
        "Student-t noise, Gaussian features (noise degrees of freedom 5)": "does not hold",
    }
    assert universality["verdict"] == "does not hold"


def test_universality_without_the_projected_chain_says_what_it_lacks():
    summaries = make_summaries()
    summaries["universality"] = type(summaries["universality"])(summaries["universality"].dataset.isel(variant=[1, 2]))
    with pytest.raises(KeyError, match="engine = projected"):
        judge_matrix(summaries, VALUES)


def without_the_larger(summaries):
    """The role is there, but has another case."""
    other = summaries["larger"].dataset.assign_coords(activation=("case", ["erf"]))
    return summaries | {"larger": type(summaries["larger"])(other)}


@pytest.mark.parametrize(("deviation", "verdict"), [(0.005, "holds"), (0.05, "does not hold"), (0.01, "undecided")])
def test_where_there_is_one_dimension_its_deviation_is_judged(deviation, verdict):
    rows = judge_matrix(without_the_larger(make_summaries(deviation=deviation)), VALUES)["rows"]
    cell = next(row["cells"]["C3"] for row in rows if row["activation"] == "tanh")
    assert cell["verdict"] == verdict
    assert cell["evidence"]["largest_difference"].value == pytest.approx(deviation)
    assert not cell["evidence"]["is_extrapolated"]


def test_two_dimensions_are_extrapolated_with_the_errors_of_both():
    cell = judge_matrix(make_summaries(deviation=0.05, larger=0.014), VALUES)["rows"][0]["cells"]["C3"]
    found = cell["evidence"]["largest_difference"]
    assert found.value == pytest.approx((10 * 0.014 - 0.05) / 9)
    among = 4 * 3  # noises and times
    half = ndtri(1 - 0.025 / among) * ERROR * np.hypot(10, 1) / 9
    assert found.high - found.value == pytest.approx(half)


def test_the_larger_dimension_is_read_where_there_is_one():
    summaries = make_summaries()
    summaries["larger"].dataset["cosine_similarity_mean"][:] -= 0.2
    cells = judge_matrix(summaries, VALUES)["rows"][0]["cells"]
    assert cells["C6"]["evidence"]["cosine_similarity"].tolist() == pytest.approx([0.7, 0.5])
    cells = judge_matrix(without_the_larger(summaries), VALUES)["rows"][0]["cells"]
    assert cells["C6"]["evidence"]["cosine_similarity"].tolist() == pytest.approx([0.9, 0.7])


def test_cells_and_statements_at_the_last_time_say_so():
    matrix = judge_matrix(make_summaries(), VALUES)
    statements = {column["id"]: column["statement"] for column in matrix["columns"]}
    assert [name for name, statement in statements.items() if statement.startswith("at time 30, ")] == [
        "C6",
        "C7a",
        "C7b",
    ]
    change = matrix["rows"][0]["cells"]["C7a"]["evidence"]["largest_last_change"]
    assert change == {"from_time": 25.0, "to_time": 30.0, "sgd": pytest.approx(0.002), "theory": pytest.approx(0.002)}


def test_an_error_that_both_gains_share_is_counted_once():
    cell = judge_matrix(make_summaries(switch_error=1e-4), VALUES)["rows"][0]["cells"]["C7b"]
    share = cell["evidence"]["part_of_gradient_variance"]
    # Kept 0.015 of 0.02; each similarity, near 0.8 at squared norm 1, has an error of up to 1e-4 (1 + 0.82 / 2).
    draws = np.random.default_rng(1).standard_normal((3, 400_000)) * 1e-4 * (1 + 0.82 / 2)
    ratios = (0.015 + draws[0] - draws[2]) / (0.02 + draws[1] - draws[2])
    assert share.value == pytest.approx(0.75)
    assert (share.high - share.value) / NORMAL_95 == pytest.approx(ratios.std(), rel=0.01)


def write_settings(path, experiments):
    lines = [f"    {role}: {name}" for role, name in experiments.items()]
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in VALUES.items()}
    thresholds = [
        f"    {name}: {value:.7f}" if isinstance(value, float) else f"    {name}: {value}"
        for name, value in values.items()
    ]
    path.write_text("\n".join(["matrix:", "  experiments:", *lines, "  thresholds:", *thresholds]) + "\n")
    return path


def make_experiments(names):
    table = {"system": "contrastive", "times": [0]}
    return {name: parse_experiment({"name": name, **table}, check=False) for name in names}


def test_optional_experiments_are_read_where_the_config_has_them(tmp_path):
    roles = {role: role for role in [*EXPERIMENTS, "universality_sparse"]}
    path = write_settings(tmp_path / "claims.yaml", roles)
    assert "universality_sparse" in read_claims(path, make_experiments(roles))["matrix"].experiments
    assert "universality_sparse" not in read_claims(path, make_experiments(EXPERIMENTS))["matrix"].experiments
    assert read_claims(path, make_experiments(roles))["matrix"].thresholds.keys() == THRESHOLDS.keys()


def test_other_experiments_must_be_there(tmp_path):
    path = write_settings(tmp_path / "claims.yaml", {role: role for role in EXPERIMENTS})
    with pytest.raises(ClhdError, match=r"matrix\.experiments\.pure = 'pure': must be one of"):
        read_claims(path, make_experiments(role for role in EXPERIMENTS if role != "pure"))


def test_cases_of_the_covariance_loss_are_rows_with_their_batch():
    """Their loss, background and learning rate are constants of their experiment."""
    summaries, batch = make_summaries(), make_summaries()["steady"]
    dataset = batch.dataset.drop_vars(["loss", "learning_rate"]).assign_coords(batch=("case", [4]))
    constants = {"dimension": 1000, "loss": "covariance", "background": "orthogonal", "learning_rate": 0.5}
    summaries["batch_steady"] = make_summary("matrix_batch_steady", dataset, **constants)
    row = judge_matrix(summaries, VALUES)["rows"][-1]
    of_case = [row[name] for name in ("loss", "activation", "learning_rate", "background", "batch")]
    assert of_case == ["covariance", "tanh", 0.5, "orthogonal", 4]
    assert (row["cells"]["C6"]["verdict"], row["cells"]["C4"]["verdict"]) == ("holds", "not computed")
