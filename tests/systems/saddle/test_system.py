"""The saddle as a system: refused parameters, a small sweep from the file to claims and figures, same bits alone."""

import numpy as np
import pytest

import clhd
from clhd.figures.style import use_style
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.experiment import parse_experiment
from clhd.systems.saddle.figures import plot_saddle

SMALL = {
    "name": "saddle",
    "system": "saddle",
    "constants": {"descent_steps": 400},
    "axes": {"schedule": ["gradient_descent", "ratio"], "dimension": [3, 4]},
    "replicas": 2,
}


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"dimension": 13}, "dimension = 13: must be at most largest_dimension = 12"),
        ({"dimension": 2}, "dimension = 2: must be a whole number, 3 or more"),
        ({"dimension": 4, "negative_eigenvalues": 2}, "negative_eigenvalues = 2: must be 1 if hessian = canonical"),
        (
            {"dimension": 4, "hessian": "random", "negative_eigenvalues": 4},
            "negative_eigenvalues = 4: must be less than dimension = 4",
        ),
        ({"dimension": 4, "step_size": 1}, "step_size = 1: must be a number"),
        ({"dimension": 4, "schedule": "mine"}, "schedule = 'mine': must be one of alternating, fixed"),
    ],
)
def test_parameters_that_do_not_go_together_get_one_line(constants, message):
    table = {"name": "s", "system": "saddle", "constants": constants, "replicas": 1}
    with pytest.raises(clhd.ClhdError) as error:
        check_experiment(parse_experiment(table))
    assert message in str(error.value)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, clhd.run_experiment(parse_experiment(SMALL), results=folder)


def test_a_small_sweep_has_the_dimensions_of_the_theorem(tree):
    summary = tree[1]["summary"]
    expected = np.broadcast_to([2.0, 3.0], (2, 2))
    np.testing.assert_array_equal(summary["attraction_dimension_mean"], expected)
    np.testing.assert_array_equal(summary["attraction_dimension_theory"], expected)
    assert (summary["replica_count"].sel(status="ok") == 2).all()


def test_a_run_has_the_same_bits_alone(tree):
    alone = SMALL | {"name": "alone", "axes": {"schedule": ["ratio"], "dimension": [4]}}
    run = (
        clhd.run_experiment(parse_experiment(alone), results=tree[0])["simulation"]["lyapunov_exponent"]
        .squeeze()
        .values
    )
    among = tree[1]["simulation"]["lyapunov_exponent"].sel(schedule="ratio", dimension=4).squeeze().values
    assert run.tobytes() == among.tobytes()


def test_the_figure_draws_any_axes(tree):
    summary = read_summary(tree[0] / "saddle" / "summary.zarr")
    with use_style():
        figure, caption = plot_saddle(summary)
    assert len(figure.axes) == 3
    assert "4 points with 2 replicas each; all runs are ok" in caption
    one = SMALL | {
        "name": "one",
        "axes": {"step_size": [0.1, 0.2]},
        "constants": {"descent_steps": 400, "dimension": 4},
    }
    clhd.run_experiment(parse_experiment(one), results=tree[0])
    with use_style():
        figure, _ = plot_saddle(read_summary(tree[0] / "one" / "summary.zarr"))
    assert figure.axes[0].get_xlabel() == "step size"
