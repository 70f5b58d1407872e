"""The exact solution as a system: each run beside its own prediction, bad input, one replica, claims and figures."""

import json

import numpy as np
import pytest

import clhd
from clhd.claims.judge import judge_claims, read_claims
from clhd.cli import main
from clhd.errors import ClhdError
from clhd.figures.style import use_style
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.spec.experiment import read_experiment
from clhd.systems.latent_variable.figures import plot_mechanisms, plot_phases
from clhd.systems.registry import find_system, import_named

STEPS = """
system: latent_variable
constants: {initial: fixed, network_width: 64, scale_exponent: 0.5}
axes:
  initial_alignment: [-1, 0.5]
  cross_moment: [0, 2]
  step_size: [0.0625, 0.125]
times: [0, 0.5, 1, 2]
replicas: 1
figure: mechanisms
"""
PHASES = """
system: latent_variable
axes:
  scaling:
    together:
      scale_exponent: [0.5, 0, 1.25]
      rate_exponent_u: [0, 1, -1.25]
      rate_exponent_w: [0, 1, -1.25]
      initial_exponent_u: [0, 1, 0]
  network_width: [10, 1000]
constants: {step_size: 0.25}
times: [0, 16]
replicas: 32
figure: phases
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with both experiments, their results and figures."""
    folder = tmp_path_factory.mktemp("latent_variable")
    for name, text in {"steps": STEPS, "phases": PHASES}.items():
        (folder / f"{name}.yaml").write_text(text)
        clhd.run_experiment(folder / f"{name}.yaml", results=folder)
        assert main(["plot", str(folder / f"{name}.yaml"), "--results", str(folder)]) == 0
    return folder


def open_summary(folder, name):
    return clhd.open_results(folder / name)["summary"].to_dataset().load()


def test_each_run_has_the_prediction_of_its_own_start(folder):
    summary = open_summary(folder, "phases")
    assert np.all(summary["replica_count"].sel(status="ok") == 32)
    start = summary.isel(time=0)
    assert np.all(start["response_deviation_largest"] <= 1e-12 * abs(start["response_quantile"]).max("quantile"))
    assert np.all(start["response_standard_deviation"] > 0)
    # Run and prediction differ by rounding alone, so a z-score would be a quotient of rounding errors.
    assert np.all(np.isnan(start["response_z_score"]))
    end = summary.isel(time=-1).sel(network_width=1000)  # at 10, some kernels shrink, and the end comes later
    assert np.all(end["response_deviation_largest"] < 1e-5)  # exp(-16), times the response, which is 1 in the end
    assert np.all(abs(end["response_theory"] - 1) < 1e-5)


def test_a_summary_of_one_replica_has_deviations_and_no_errors(folder):
    summary = open_summary(folder, "steps")
    assert np.all(np.isfinite(summary["response_deviation_largest"]))
    assert np.all(np.isnan(summary["response_z_score"]))
    assert np.all(summary["invariant_drift_mean"] < 0.1)
    assert summary["phase_index_theory"].values == pytest.approx(-0.5)


def test_the_bits_of_a_run_do_not_depend_on_its_company():
    system = find_system("latent_variable")
    time = np.array([1.0, 3.0])
    points = [system.simulation.point({"network_width": 33, "cross_moment": b}, 4) for b in (0.5, 2.0)]
    together = system.simulation.compute(points, time, range(5)).values
    alone = system.simulation.compute(points[1:], time, [3]).values
    assert all(together[name][1, 3].tobytes() == alone[name][0, 0].tobytes() for name in together)


BAD_INPUT = {
    "no width": ({}, "network_width: must be given"),
    "alignment": (
        {"network_width": 5, "initial_alignment": 0.5},
        "initial_alignment = 0.5: must be 0 unless initial is fixed",
    ),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_line(case):
    values, message = BAD_INPUT[case]
    with pytest.raises(ClhdError, match=message):
        find_system("latent_variable").simulation.point(values, 0)


def test_the_cost_grows_with_width_and_steps():
    half = find_system("latent_variable").simulation

    def cost(**values):
        return half.cost(half.point(values, 0), np.array([10.0])).seconds

    assert cost(network_width=10**6) > 5 * cost(network_width=10**5) > 5 * cost(network_width=10)
    assert cost(network_width=10**6, step_size=0.01) > 4 * cost(network_width=10**6)
    assert cost(network_width=10**6, initial="fixed") < 1e-3


CLAIMS = """
X1: {experiments: {steps: steps}, thresholds: {order_range: [0.9, 1.1], largest_error_per_step: 1}}
X2: {experiments: {phases: phases}, thresholds: {exponent_tolerance: 0.5}}
X3: {experiments: {steps: steps}, thresholds: {order_range: [0.9, 1.1]}}
X4: {experiments: {phases: phases}, thresholds: {frozen_kernel: 0.01, least_move: 0.1}}
"""


def test_claims_are_judged_from_summaries(folder):
    (folder / "claims.yaml").write_text(CLAIMS)
    experiments = {name: read_experiment(folder / f"{name}.yaml") for name in ("steps", "phases")}
    settings = read_claims(folder / "claims.yaml", experiments)
    entries = {entry["id"]: entry for entry in judge_claims(settings, folder)["claims"]}
    assert {name: str(entry["verdict"]) for name, entry in entries.items()} == {
        "X1": "holds", "X2": "holds", "X3": "holds", "X4": "does not hold"
    }  # fmt: skip
    assert {part["id"]: str(part["verdict"]) for part in entries["X4"]["parts"]} == {
        "balanced": "holds",
        "unbalanced": "does not hold",
    }
    json.dumps(entries, default=str)


def change(folder, name, **changes):
    """The summary of an experiment, each variable changed by a function."""
    dataset = open_summary(folder, name)
    for variable, function in changes.items():
        dataset[variable] = function(dataset[variable])
    return Summary(dataset)


def nothing(values):
    return 0 * values


# Of each claim: the role of its experiment, what changes there, and the verdict on it.
CHANGES = {
    "X1: second order": ("X1", {"response_deviation_largest": lambda x: x * x["step_size"]}, "does not hold"),
    "X1: large": ("X1", {"response_deviation_largest": lambda x: 50 * x}, "does not hold"),
    "X1: unknown": ("X1", {"response_deviation_largest": lambda x: x * np.nan}, "undecided"),
    "X2: other exponents": ("X2", {"kernel_exponent_theory": lambda x: x + 1}, "does not hold"),
    "X2: large errors": ("X2", {"log_kernel_change_standard_error": lambda x: x + 1}, "undecided"),
    "X3: an exception": ("X3", {"rule_breaks_mean": lambda x: x + (x["cross_moment"] == 2)}, "does not hold"),
    "X3: a drift that stays": ("X3", {"invariant_drift_mean": lambda x: 0 * x + 0.1}, "does not hold"),
    "X4: nothing moves": (
        "X4",
        {
            "alignment_mean": nothing,
            "alignment_standard_error": nothing,
            "norm_product_mean": lambda x: 0 * x + 1,
            "norm_product_standard_error": nothing,
        },
        "holds",
    ),
    "X4: nothing is known": (
        "X4",
        {"alignment_mean": nothing, "norm_product_standard_error": lambda x: 1e3 * x + 1e3},
        "undecided",
    ),
    "X4: nothing freezes": ("X4", {"log_kernel_change_mean": lambda x: 0 * x}, "undecided"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_verdicts_follow_the_numbers(folder, case):
    name, changes, verdict = CHANGES[case]
    system = find_system("latent_variable")
    claim = import_named(system.claims[name], system)
    role = "steps" if name in ("X1", "X3") else "phases"
    thresholds = {
        "order_range": (0.9, 1.1),
        "largest_error_per_step": 1,
        "exponent_tolerance": 0.5,
        "frozen_kernel": 0.01,
        "least_move": 0.1,
    }
    assert claim.judge({role: change(folder, role, **changes)}, thresholds).verdict == verdict


def test_figures_are_drawn_and_say_what_they_rest_on(folder):
    for name, text in {"steps": "8 points with 1 replica each", "phases": "6 points with 32 replicas each"}.items():
        assert (folder / name / "figures" / f"{name}.png").stat().st_size > 10_000
        assert text in (folder / name / "figures" / f"{name}.rst").read_text()


@pytest.mark.parametrize(("plot", "name"), [(plot_mechanisms, "phases"), (plot_phases, "steps")])
def test_a_figure_names_the_axis_that_it_lacks(folder, plot, name):
    with use_style(), pytest.raises(ClhdError, match="its figure needs the axis"):
        plot(Summary(open_summary(folder, name)))
