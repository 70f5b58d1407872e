"""The figures of escape, rare selection, phases and the best correlation: what they show of made-up summaries."""

import math

import numpy as np
import pytest
import xarray as xr
from scipy.special import ndtri

from clhd.figures.style import use_style
from clhd.systems.contrastive.figures.escape import plot_escape, plot_rare_selection
from clhd.systems.contrastive.figures.phases import (
    classify_rate,
    find_best_correlation,
    plot_best_correlation,
    plot_phases,
)
from clhd.systems.contrastive.sweeps.phases import BORDERS, PHASES
from clhd.systems.contrastive.theory.states.escape import Growth, escape_distribution, weaker_probability
from tests.systems.contrastive.claims.attraction_summaries import make_summary
from tests.systems.contrastive.claims.noise_summaries import STATUS, describe

NOISE = [0.1, 0.5, 1.0]
RATES = [0.5, 1.0, 2.0]


def make_border(*ends):
    return xr.DataArray(list(ends), {"phase_border_name": list(BORDERS)}, "phase_border_name")


@pytest.mark.parametrize(
    ("ends", "regions"),
    [
        ((0.0, 1.0, np.nan, 1.5), ["informative", "both", "uninformative"]),
        ((1.2, 0.0, np.nan, 0.0), ["collapsed", "collapsed", "uninformative"]),
        ((0.0, np.nan, 1.5, 1.7), ["informative", "informative", "diverging"]),
    ],
)
def test_the_region_of_a_rate_follows_from_the_borders(ends, regions):
    assert list(classify_rate(make_border(*ends), np.array([0.7, 1.1, 1.8]))) == regions


def test_the_best_correlation_is_the_top_of_a_parabola_or_an_end():
    rho = xr.DataArray(np.linspace(-1, 1, 9), dims="noise_correlation", name="noise_correlation")
    tops = xr.DataArray([-2.0, -0.37, 0.1], dims="place")
    similarity = (0.9 - 0.1 * (rho - tops) ** 2).assign_coords(noise_correlation=rho)
    nothing = xr.zeros_like(similarity.isel(place=[0]))
    best = find_best_correlation(xr.concat([similarity, nothing], "place"))
    np.testing.assert_allclose(best.values, [-1.0, -0.37, 0.1, np.nan], atol=1e-12)


def make_counts(coordinates, replicas):
    shape = [len(values) for values in coordinates.values()]
    counts = np.zeros((*shape, len(STATUS)), int)
    counts[..., STATUS.index("ok")] = replicas
    return xr.DataArray(counts, {**coordinates, "status": STATUS}, (*coordinates, "status"))


def describe_experiment(summary, **more):
    attributes = {"experiment": {**summary.experiment, "seed": 1, "constants": {}, **more}}
    attributes |= {"code": "test", "created": "today"}
    object.__setattr__(summary, "dataset", summary.dataset.assign_attrs(attributes))
    return summary


def make_escape(*, delay=0.0):
    """Runs that have the law of the theory, later by `delay`."""
    growth, reach, size = Growth(0.4, np.array([3.0]), np.array([0.5])), 0.5, [10**k for k in range(2, 7)]
    time, levels = np.linspace(0, 6, 121), [0.05, 0.25, 0.5, 0.75, 0.95]
    normal = np.tile(ndtri(0.5 + (np.arange(128) + 0.5) / 256), (len(size), 1))  # the quantiles of abs(Z)
    exact = [(0.5 * math.log(n) + math.log(reach / math.sqrt(0.5))) / 3 for n in size]
    runs = np.array(exact)[:, None] - np.log(normal) / 3 + delay
    theory = np.array([escape_distribution(growth, reach, n, time) for n in size])
    over = ("dimension", "time")
    dataset = xr.Dataset(
        {
            "escape_time_mean": ("dimension", runs.mean(axis=1)),
            "escape_time_standard_error": ("dimension", runs.std(axis=1) / math.sqrt(128)),
            "escape_time_quantile": (("dimension", "quantile"), np.quantile(runs, levels, axis=1).T),
            "escape_time_theory": ("dimension", (1 - theory).sum(axis=1) * 0.05),
            "escape_time_z_score": ("dimension", np.zeros(len(size))),
            "escaped_share_mean": (over, (runs[:, :, None] < time).mean(axis=1)),
            "escaped_share_theory": (over, theory),
            "growth_rate_theory": (("dimension", "feature"), np.full((len(size), 1), 3.0)),
            "replica_count": make_counts({"dimension": size}, 128),
        },
        {"dimension": size, "time": time, "quantile": levels, "feature": [1]},
    )
    return describe_experiment(make_summary("escape", dataset), quantity="escape_time", replicas=128)


def make_rare_selection():
    moments, size = [2.0, 2.5], [100, 1000, 10_000]
    growth = [Growth(0.4, np.array([3.0, rate]), np.array([0.5, 0.5])) for rate in (1.8, 2.4)]
    weaker = np.array([[weaker_probability(g, 0.6, n) for n in size] for g in growth])
    share = np.stack([1 - weaker, weaker, 0 * weaker, 0 * weaker], axis=-1)
    over = ("second_moment_2", "dimension", "outcome")
    dataset = xr.Dataset(
        {
            "probability_mean": (over, share),
            "probability_standard_error": (over, np.full(share.shape, 0.01)),
            "probability_theory": (over, share),
            "growth_rate_theory": (
                ("second_moment_2", "dimension", "feature"),
                np.array([[g.growth_rate] * len(size) for g in growth]),
            ),
            "replica_count": make_counts({"second_moment_2": moments, "dimension": size}, 512),
        },
        {
            "second_moment_2": moments,
            "dimension": size,
            "outcome": ["feature_1", "feature_2", "none", "undecided"],
            "feature": [1, 2],
        },
    )
    return describe_experiment(make_summary("rare_selection", dataset), quantity="probability", replicas=512)


def make_phases():
    """Informative below rate 1.2, both up to 1.6, beyond it uninformative; SGD has the phases of the theory."""
    moments, starts = [0.5, 1.5], [0.05, 0.9]
    border = np.tile([0.0, 1.2, np.nan, 1.6], (2, len(NOISE), 1))
    share = np.zeros((2, len(NOISE), len(RATES), 2, 4))
    share[..., :2, :, 2] = 1
    share[..., 2, :, 1] = 1
    share[0, 0, 2, 1] = [0, 0, 0, 1]  # one start diverges, which the theory does not allow
    over = ("second_moment", "base_noise_variance", "learning_rate", "initial_cosine_similarity")
    coordinates = dict(zip(over, (moments, NOISE, RATES, starts), strict=True))
    dataset = xr.Dataset(
        {
            "phase_share_mean": ((*over, "end_phase"), share),
            "phase_border_theory": ((*over[:2], "phase_border_name"), border),
            "replica_count": make_counts(coordinates, 8),
        },
        {**coordinates, "end_phase": list(PHASES), "phase_border_name": list(BORDERS)},
    )
    return describe_experiment(make_summary("phases", dataset), quantity="phase_share", replicas=8)


def make_correlations():
    names = ("noise_correlation", "base_noise_variance", "augmentation_noise_variance", "learning_rate", "batch")
    values = ([-1.0, -0.5, 0.0, 0.5, 1.0], [0.1, 0.5], [0.25, 1.0], [0.3, 1.0], [2, 4])
    coordinates = dict(zip(names, values, strict=True))
    similarity = xr.DataArray(np.zeros([5, 2, 2, 2, 2]), coordinates, names)
    similarity = similarity + 0.9 - 0.01 * (similarity.noise_correlation + similarity.base_noise_variance) ** 2
    return describe_experiment(make_summary("optimal_correlation", describe(similarity)), description="Best")


def draw(plot, summary):
    with use_style():
        figure, caption = plot(summary)
        figure.canvas.draw()
    return figure, caption


def test_the_slope_of_escape_is_in_the_caption():
    _, caption = draw(plot_escape, make_escape())
    assert "theory: 1 / (2 gamma) = 0.167" in caption
    low, high = (float(x) for x in caption.split("(95 %: ")[1].split(")")[0].split(" to "))
    assert low < 1 / 6 < high


def test_a_law_that_is_late_shows_as_a_distance():
    near, far = (draw(plot_escape, make_escape(delay=delay))[1] for delay in (0.0, 1.0))
    largest = [float(text.split("same n: ")[1].split(" ")[0]) for text in (near, far)]
    assert largest[0] < largest[1] - 0.4


def test_the_exponent_of_each_second_moment_is_in_legend_and_caption():
    figure, caption = draw(plot_rare_selection, make_rare_selection())
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["$m_2$ = 2: $n^{\N{MINUS SIGN}0.333}$", "$m_2$ = 2.5: $n^{\N{MINUS SIGN}0.125}$"]
    assert "m_2 = 2: -0.3" in caption


def test_a_phase_that_the_theory_does_not_allow_is_counted():
    figure, caption = draw(plot_phases, make_phases())
    assert len(figure.axes) == 2
    assert "in 35 of 36 cases" in caption
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    states = ["uninformative", "informative or uninformative", "informative"]  # no collapse
    marks = ["SGD: uninformative", "SGD: informative", "SGD: diverged"]
    assert labels == [*states, *marks, "threshold", "end of the informative branch"]


def test_the_best_correlations_stand_in_the_cells():
    figure, caption = draw(plot_best_correlation, make_correlations())
    cells = [text.get_text().split("\n")[1] for text in figure.axes[0].texts]
    assert cells == ["\N{MINUS SIGN}0.10", "\N{MINUS SIGN}0.50"] * 2
    assert "0 of 16 places" in caption
