"""The figure of C1: densities of the weights, their distance by dimension, and the support of a sparse feature.

Above: densities at the last time, SGD over the McKean-Vlasov equation, with and without an L1 penalty, and of a sparse
feature. Below: distance by dimension; recall and precision against the threshold.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.core.arrays import FloatArray
from clhd.core.statistics import NORMAL_95
from clhd.core.text import format_number
from clhd.figures.style import CATEGORIES, INK, MARKERS, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.distances import measure_distances
from clhd.systems.contrastive.claims.support import measure_support

_SIGNS = {
    -1: (CATEGORIES[1], "s", r"$\xi < 0$"),
    0: (CATEGORIES[2], "^", r"$\xi = 0$"),
    1: (CATEGORIES[0], "o", r"$\xi > 0$"),
}
_PENALTIES = (INK, CATEGORIES[3], CATEGORIES[5])
_REACH = 3.2  # largest weights that are shown, in standard deviations
_BIN = 3  # steps of the weight axis in one bin of SGD's density


def plot_weights(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C1 from the summaries by role and its entry in claims.json; return it with a caption."""
    large, support = summaries["large"], summaries["support"]
    penalties = large.dataset["l1_penalty"].values
    panels = [(large, penalties[0]), (large, penalties[-1]), (support, support.dataset["l1_penalty"].values[-1])]
    figure = make_figure(PAGE, 4.2)
    axes = figure.subplots(2, 3)
    for panel, (summary, penalty) in zip(axes[0], panels, strict=True):
        _plot_densities(panel, summary, penalty)
    axes[0, 0].set_ylabel("density")
    axes[0, 2].legend(handles=_density_handles(), loc="upper left", bbox_to_anchor=(-0.02, 1.02), handlelength=1.2)
    _plot_distances(axes[1, 0], summaries)
    _plot_support(axes[1, 1], support, "recall")
    _plot_support(axes[1, 2], support, "precision")
    letter_panels(axes.flat)
    return figure, _caption(summaries, claim)


def _plot_densities(axes: Axes, summary: Summary, penalty: float) -> None:
    """Densities at the last time and the largest dimension, by the sign of the feature value."""
    point = summary.dataset.sel(l1_penalty=penalty, time=summary.last_time)
    point = point.isel(dimension=int(np.argmax(point["dimension"].values)))
    for sign in point["feature_sign"].values.tolist():
        colour, marker, _ = _SIGNS[sign]
        here = point.sel(feature_sign=sign)
        places, heights = _differentiate(here["distribution_theory"], 1)
        axes.plot(places, heights, color=colour, linewidth=0.9)
        places, heights = _differentiate(here["distribution_mean"], _BIN)
        axes.plot(places, heights, marker, color=colour, markerfacecolor="white", markersize=2.4)
    reach = _REACH * float(np.sqrt(point["squared_norm_theory"]))
    law = "sparse feature" if 0 in summary.dataset["feature_sign"] else "feature values ±1"
    axes.set(xlabel="weight $w$", xlim=(-reach, reach), title=f"{law}, $\\lambda_1$ = {format_number(penalty)}")
    axes.set_ylim(0, axes.get_ylim()[1])


def _differentiate(distribution: xr.DataArray, step: int) -> tuple[FloatArray, FloatArray]:
    """Centre and mean density of each bin of `step` edges; weight 0, where there is a kink, is the edge of a bin."""
    edges, values = distribution["weight_edge"].values, distribution.values
    start = int(np.argmin(np.abs(edges))) % step
    edges, values = edges[start::step], values[start::step]
    return (edges[1:] + edges[:-1]) / 2, np.diff(values) / np.diff(edges)


def _density_handles() -> list[Line2D]:
    names = [Line2D([], [], color=colour, label=label) for colour, _, label in (_SIGNS[sign] for sign in (1, 0, -1))]
    sgd = Line2D([], [], marker="o", color=INK, markerfacecolor="white", markersize=2.4, linestyle="", label="SGD")
    return [*names, Line2D([], [], color=INK, label="PDE"), sgd]


def _plot_distances(axes: Axes, summaries: Mapping[str, Summary]) -> None:
    """Distance by dimension: colour for the penalty, marker for the time; a guide of slope -1/2."""
    distances = measure_distances(summaries)
    sizes, times = distances.mean["dimension"].values.astype(float), distances.mean["time"].values
    for penalty, colour in zip(distances.mean["l1_penalty"].values, _PENALTIES, strict=False):
        for k, time in enumerate(times):
            place = {"l1_penalty": penalty, "time": time}
            shift = 1.06 ** (k - (len(times) - 1) / 2)  # side by side
            axes.errorbar(
                sizes * shift,
                distances.mean.sel(place),
                NORMAL_95 * distances.error.sel(place),
                color=colour,
                marker=MARKERS[k],
                markerfacecolor="white",
                linewidth=0.5,
            )
    guide = 1.35 * float(distances.mean.isel(dimension=0).max()) * np.sqrt(sizes[0] / sizes)
    axes.plot(sizes, guide, color=MUTED, linestyle="--", linewidth=0.8)
    middle = len(sizes) // 2
    axes.annotate(
        r"slope $-1/2$", (sizes[middle], guide[middle]), (3, 2), textcoords="offset points", color=MUTED, fontsize=7
    )
    handles = [
        Line2D([], [], color=colour, label=f"$\\lambda_1$ = {format_number(penalty)}")
        for penalty, colour in zip(distances.mean["l1_penalty"].values, _PENALTIES, strict=False)
    ] + [
        Line2D([], [], color=MUTED, marker=MARKERS[k], markerfacecolor="white", linestyle="", label=f"$t$ = {time:g}")
        for k, time in enumerate(times)
    ]
    axes.legend(handles=handles, loc="lower left")
    axes.set(xscale="log", yscale="log", xlabel="dimension $n$", ylabel="distance to the PDE")


def _plot_support(axes: Axes, summary: Summary, word: str) -> None:
    """Recall or precision against the threshold at the last time, with and without a penalty."""
    penalties, every = summary.dataset["l1_penalty"].values, 3
    reach = 0.0
    for penalty, colour, marker in zip(penalties, _PENALTIES, MARKERS, strict=False):
        sgd, theory = (measure_support(summary, stage, penalty, summary.last_time) for stage in ("mean", "theory"))
        label = f"$\\lambda_1$ = {format_number(penalty)}"
        axes.plot(theory.threshold, getattr(theory, word), color=colour, label=label)
        axes.errorbar(
            sgd.threshold[::every],
            getattr(sgd, word)[::every],
            NORMAL_95 * getattr(sgd, f"{word}_error")[::every],
            color=colour,
            marker=marker,
            markerfacecolor="white",
            linestyle="",
        )
        reach = max(reach, float(theory.threshold[theory.recall > 0.01].max()))
    axes.set(xlabel=r"threshold $\theta$", ylabel=f"{word} of the support", xlim=(0, reach), ylim=(0, 1.03))
    axes.legend(loc="lower left" if word == "recall" else "lower right")


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    large, support = summaries["large"], summaries["support"]
    exponents = [exponent["value"] for exponent in claim["evidence"]["exponents"].values()]
    sizes = {
        name: format_number(summary.dataset["dimension"].max())
        for name, summary in (("large", large), ("support", support))
    }
    fraction = format_number(support.experiment["constants"]["feature_fraction"])
    exponent_text = _describe_range([value for value in exponents if value is not None])
    return (
        f"{claim['statement']} Verdict: {claim['verdict']}. Above: density of the weights, by the value of the feature "
        "at their coordinate, by the McKean-Vlasov equation (lines) and by SGD "
        f"(markers), at the last time: n = {sizes['large']}, {large.replicas} replicas, at time {large.last_time:g}; "
        f"sparse feature (a share {fraction} of its values is not 0): n = {sizes['support']}, {support.replicas} "
        f"replicas, at time {support.last_time:g}. An L1 penalty gives a kink at weight 0. "
        "Below left: Wasserstein-1 distance of the weights of one run to the equation, averaged over runs, with "
        f"intervals of 95 %; fitted exponents are {exponent_text}. Below middle and right: the share of "
        "the feature's support whose weights exceed a threshold in size, and the share of the support among the "
        "coordinates that do, by equation (lines) and SGD (markers), with intervals of 95 %.\n"
    )


def _describe_range(values: list[float]) -> str:
    if not values:
        return "unknown"
    low, high = (f"{value:.3f}".replace("-", "\N{MINUS SIGN}") for value in (min(values), max(values)))
    return f"between {low} and {high}"
