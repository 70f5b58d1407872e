"""One layer as a system: refused parameters, a small sweep from the file to the figure, the same bits alone."""

import numpy as np
import pytest

import clhd
from clhd.figures.style import use_style
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.experiment import parse_experiment
from clhd.systems.one_layer.figures import plot_optima

CONSTANTS = {"layer_units": 200, "ascent_steps": 20_000}
SMALL = {
    "name": "one_layer",
    "system": "one_layer",
    "constants": CONSTANTS,
    "axes": {"activation": ["relu", "linear"], "pattern_count": [3, 4], "pattern_overlap": [-0.1, 0.3]},
    "replicas": 2,
}


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"pattern_count": 3, "pattern_overlap": -0.5}, "must be greater than -1/(pattern_count - 1) = -0.5"),
        ({"pattern_count": 11}, "pattern_count = 11: must be a whole number from 2 to 10"),
        ({"activation": "tanh"}, "activation = 'tanh': must be one of linear, relu"),
        ({"probability_ratio": 0.5}, "probability_ratio = 0.5: must be a number from 1 to 1000"),
    ],
)
def test_parameters_that_do_not_go_together_get_one_line(constants, message):
    table = {"name": "s", "system": "one_layer", "constants": constants, "replicas": 1}
    with pytest.raises(clhd.ClhdError) as error:
        check_experiment(parse_experiment(table))
    assert message in str(error.value)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    return folder, clhd.run_experiment(parse_experiment(SMALL), results=folder)


def test_a_small_sweep_finds_the_enumerated_optima(tree):
    summary = tree[1]["summary"]
    np.testing.assert_array_equal(summary["optima_mean"], summary["optima_theory"])
    assert (summary["optima_mean"].sel(activation="linear") == 1).all()
    assert (summary["dead_share_mean"].sel(activation="linear") == 0).all()
    assert summary["layer_size"].values.tolist() == [1, 10, 100, 200]
    assert summary["optima_found_mean"].sel(layer_size=200).equals(summary["optima_mean"].assign_coords(layer_size=200))


def test_a_run_has_the_same_bits_alone(tree):
    place = {"activation": "relu", "pattern_count": 4, "pattern_overlap": 0.3}
    alone = SMALL | {"name": "alone", "axes": {name: [value] for name, value in place.items()}}
    runs = clhd.run_experiment(parse_experiment(alone), results=tree[0])["simulation"]
    for name in ("optimum_energy", "basin_share"):
        among = tree[1]["simulation"][name].sel(place).squeeze().values
        assert runs[name].squeeze().values.tobytes() == among.tobytes()


def test_the_figure_draws_any_axes(tree):
    with use_style():
        figure, caption = plot_optima(read_summary(tree[0] / "one_layer" / "summary.zarr"))
    assert len(figure.axes) == 2
    assert "All at relu" in caption
    one = SMALL | {"name": "one", "axes": {"probability_ratio": [2, 3]}}
    clhd.run_experiment(parse_experiment(one), results=tree[0])
    with use_style():
        figure, _ = plot_optima(read_summary(tree[0] / "one" / "summary.zarr"))
    assert figure.axes[0].get_ylabel() == "optima"
