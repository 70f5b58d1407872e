"""T1 and T2 on made-up summaries: yes, no, and undecided."""

import numpy as np
import pytest
import xarray as xr

from clhd.claims.judge import make_plain
from clhd.claims.verdict import Verdict
from clhd.figures.style import use_style
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.one_layer.claims import T1, T2
from clhd.systems.one_layer.figures import plot_width

THRESHOLDS = {"least_optima": 2.0, "largest_difference": 0.0, "largest_energy_error": 0.01}


def make_optima(*, relu=0.0, linear=0.0, spread=0.0, energy=1.0, theory=3.0):
    """Three optima of relu and one of linear units, at two counts and overlaps of the patterns, with changes."""
    dims = ("activation", "pattern_count", "pattern_overlap")
    is_relu, zeros = np.array([0.0, 1.0])[:, None, None], np.zeros((2, 2, 2))
    count = np.where(is_relu > 0, theory, 1.0) + zeros
    energies = np.where(np.arange(4) < count[..., None], 0.1, np.nan)
    variables = {
        "optima_theory": (dims, count),
        "optima_mean": (dims, count + relu * is_relu + linear * (1 - is_relu)),
        "optima_standard_deviation": (dims, spread * is_relu + zeros),
        "optimum_energy_theory": ((*dims, "optimum_rank"), energies),
        "optimum_energy_mean": ((*dims, "optimum_rank"), energies * energy),
    }
    coordinates = {"activation": ["linear", "relu"], "pattern_count": [4, 6], "pattern_overlap": [0.0, 0.5]}
    return _summarise(variables, coordinates)


def make_width(found=(1.0, 9.0, 10.0), error=0.0):
    """Layers of 1, 10 and 100 units at two ratios; at the second, the widest finds what is told."""
    dims, full = ("probability_ratio", "layer_size"), (1.0, 9.0, 10.0)
    variables = {
        "optima_found_mean": (dims, np.array([full, found])),
        "optima_found_standard_error": (dims, np.full((2, 3), error)),
        "optima_theory": ("probability_ratio", [10.0, 10.0]),
        "basin_share_mean": (("probability_ratio", "optimum_rank"), np.full((2, 4), 0.1)),
    }
    return _summarise(variables, {"probability_ratio": [1.0, 3.0], "layer_size": [1, 10, 100]})


def _summarise(variables, coordinates):
    experiment = {"name": "one_layer", "system": "one_layer", "constants": {}, "replicas": 4, "seed": 1}
    return Summary(xr.Dataset(variables, coordinates).assign_attrs(experiment=experiment, code="1", created="2020"))


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, ("holds", "holds", "holds", "holds")),
        ({"relu": -1.0}, ("holds", "does not hold", "holds", "holds")),
        ({"theory": 1.0}, ("does not hold", "holds", "holds", "holds")),
        ({"spread": 0.1}, ("holds", "does not hold", "holds", "holds")),  # not all layers find them
        ({"energy": 0.98}, ("holds", "holds", "does not hold", "holds")),
        ({"linear": 1.0}, ("holds", "holds", "holds", "does not hold")),
        ({"relu": np.nan}, ("undecided", "undecided", "holds", "undecided")),
        ({"energy": np.nan}, ("holds", "holds", "undecided", "holds")),
    ],
)
def test_t1(changes, verdicts):
    found = T1.judge({"optima": make_optima(**changes)}, THRESHOLDS)
    assert tuple(part.verdict for part in found.parts) == verdicts
    whole = "does not hold" if "does not hold" in verdicts else "undecided" if "undecided" in verdicts else "holds"
    assert found.verdict == whole


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.HOLDS),
        ({"found": (1.0, 5.0, 9.0)}, Verdict.FAILS),
        ({"found": (1.0, 5.0, 9.6), "error": 0.1}, Verdict.UNDECIDED),
        ({"found": (1.0, 5.0, np.nan)}, Verdict.UNDECIDED),
    ],
)
def test_t2(changes, verdict):
    assert T2.judge({"width": make_width(**changes)}, {"least_share": 0.95}).verdict == verdict


def test_the_figure_of_t2_expects_what_the_basins_say():
    summaries = {"width": make_width()}
    judgement = T2.judge(summaries, {"least_share": 0.95})
    claim = {"statement": T2.statement, "verdict": str(judgement.verdict), "evidence": judgement.evidence}
    with use_style():
        figure, caption = plot_width(summaries, make_plain(claim))
    expected = figure.axes[0].lines[0].get_ydata()
    np.testing.assert_allclose(expected[[0, -1]], [4 * 0.1, 4 * (1 - 0.9**100)])
    assert "The numbers say: holds" in caption
