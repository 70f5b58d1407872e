"""The figure of C8: which features two units have by the penalty, the rates at which they part, and the map."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clhd.core.text import format_number
from clhd.figures.series import split_series
from clhd.figures.style import INK, MUTED, PAGE, letter_panels, make_figure, pick_looks
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.sharing import PENALTY, measure_outcome

_RATES = {"antisymmetric_rate": "different features", "distance_rate": "outside the features", "joint_rate": "joint"}
_NOISE = "augmentation_noise_variance"


def plot_sharing(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C8 from the summaries by role and its entry in claims.json; return it with a caption."""
    figure = make_figure(PAGE, 2.5)
    panels = figure.subplots(1, 3)
    critical = float(claim["evidence"]["critical_penalty"])
    _plot_shares(panels[0], summaries["shared"].dataset, summaries["random"].dataset)
    _plot_rates(panels[1], summaries["shared"].dataset)
    for axes in panels[:2]:
        axes.axvline(critical, color=MUTED, linestyle=":", zorder=0)
        axes.set_xlabel(r"penalty $\lambda_c$")
    _plot_map(panels[2], summaries["map"].dataset)
    letter_panels(panels)
    return figure, _caption(summaries, claim)


def _plot_shares(axes: Axes, shared: xr.Dataset, random: xr.Dataset) -> None:
    """Share of the runs in which each unit has its own feature, with 95 % intervals."""
    # Named at the curves, since a legend would touch them: text, and the height of its middle at the left.
    starts = (("start on\none feature", 0.16, shared), ("random start", 0.92, random))
    for (label, height, dataset), look in zip(starts, pick_looks(2, ordered=False), strict=True):
        shares = measure_outcome(dataset, "each")
        value, low, high = (np.array([getattr(share, name) for share in shares]) for name in ("value", "low", "high"))
        spread = np.maximum([value - low, high - value], 0)
        axes.errorbar(dataset[PENALTY], value, spread, **look | {"linestyle": "-", "linewidth": 0.8})
        axes.text(0.06, height, label, color=look["color"], va="center", transform=axes.transAxes)
    axes.set(ylim=(-0.03, 1.03), ylabel="share of runs, each its own")


def _plot_rates(axes: Axes, shared: xr.Dataset) -> None:
    """Growth rates of deviations from the state that shares feature 1."""
    theory = shared.sel(feature=1)
    axes.axhline(0, color=INK, linewidth=0.6)
    for (name, label), look in zip(_RATES.items(), pick_looks(len(_RATES), ordered=False), strict=True):
        axes.plot(theory[PENALTY], theory[f"{name}_theory"], **look | {"linestyle": "-", "label": label})
    axes.set(ylabel="growth rate of a deviation")
    axes.legend(loc="upper left", title="deviation", frameon=True, framealpha=1, edgecolor="none", borderpad=0)


def _plot_map(axes: Axes, dataset: xr.Dataset) -> None:
    """The critical penalty against the kurtosis, by the variance of the augmentation noise."""
    critical = dataset["critical_penalty_theory"].sel(feature=1)
    for variance, line, look in split_series(critical, _NOISE, ordered=True):
        axes.plot(line["kurtosis"], line, **look | {"linestyle": "-", "label": format_number(variance)})
    axes.set(xlabel="kurtosis $k$", ylabel=r"critical penalty $\lambda_c^{\ast}$")
    axes.set_ylim(0, 1.45 * float(critical.max()))  # room for the legend
    axes.legend(loc="upper left", title="augmentation noise $s_a^2$", ncols=2)


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    evidence, shared = claim["evidence"], summaries["shared"]
    along = evidence["change_along"]
    changes = {
        axis: ", ".join(format_number(round(x, 3)) for x in along[axis]["changes"]) or "nothing that is known"
        for axis in along
    }
    ends = {axis: [format_number(along[axis]["values"][k]) for k in (0, -1)] for axis in along}
    critical = format_number(round(float(evidence["critical_penalty"]), 4))
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']}. "
        f"(a) Share of {shared.replicas} runs of SGD in which each of two units ends with a feature of its own, with "
        "95 % intervals; either both units start on feature 1, or with random weights. "
        "(b) Growth rates of small deviations from the state in which both units share feature 1, by theory. "
        f"Dotted: the critical penalty, {critical}, where the first rate becomes positive. "
        "(c) The critical penalty by theory, where there is one; 0: the shared state is unstable without a penalty. "
        f"From kurtosis {ends['kurtosis'][0]} to {ends['kurtosis'][1]} it changes by {changes['kurtosis']}, "
        f"from augmentation noise of variance {ends[_NOISE][0]} to {ends[_NOISE][1]} by {changes[_NOISE]}.\n"
    )
