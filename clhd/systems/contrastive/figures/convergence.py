"""The figure of C3: bias, spread, and the spread's ratio to the fluctuation theory, against the dimension."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.core.statistics import NORMAL_95
from clhd.core.text import format_number
from clhd.figures.style import CATEGORIES, INK, MARKERS, MUTED, PAGE, letter_panels, make_figure, pick_looks
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.convergence import (
    QUANTITIES,
    fit_bias,
    list_starts,
    match_spread,
    select,
    spread_ratios,
)

_SIZE = "dimension"
_SYMBOLS = dict(zip(QUANTITIES, ("q", "r", "S"), strict=True))


def plot_convergence(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C3 from the summaries by role and its entry in claims.json; return it with a caption."""
    starts, spread = list_starts(summaries["bias"].dataset), summaries["spread"].dataset
    small = match_spread(summaries)
    figure = make_figure(PAGE, 2.9)
    panels = figure.subplots(1, len(starts) + 2)
    for axes, (start, bias) in zip(panels, starts.items(), strict=False):
        _plot_bias(axes, bias)
        if len(starts) > 1:
            axes.set_title(f"from {start}")
    _plot_spread(panels[-2], small, spread)
    _plot_ratios(panels[-1], (small, spread), summaries["weak_start"].dataset)
    for axes in panels:
        axes.set_xlabel("dimension $n$")
    letter_panels(panels)
    figure.legend(handles=_handles(), loc="outside lower center", ncols=6, columnspacing=1.2)
    return figure, _caption(summaries, claim)


def _plot_bias(axes: Axes, bias: xr.Dataset) -> None:
    """Distance of the mean from the ODE, and the fitted power law where it was fitted."""
    size, highest = bias[_SIZE].values, 0.0
    for k, quantity in enumerate(QUANTITIES):
        distance = select(bias, f"{quantity}_mean", -1) - select(bias, f"{quantity}_theory", -1)
        width = NORMAL_95 * select(bias, f"{quantity}_standard_error", -1)
        fit = fit_bias(bias, quantity)
        colour, near = CATEGORIES[k], size * 1.06 ** (k - 1)  # side by side
        height = np.abs(distance)
        highest = max(highest, float(height[0]))
        foot = np.minimum(width, 0.999 * height)
        axes.errorbar(near, height, [foot, width], color=colour, marker=MARKERS[k], linestyle="", elinewidth=0.7)
        is_used = size >= fit.smallest
        axes.plot(size[is_used], np.abs(fit.values[is_used]), color=colour)
    _plot_guide(axes, size, 2.2 * highest, -1.0, r"$\propto n^{-1}$")
    axes.set(xscale="log", yscale="log", ylabel="distance of the mean from the ODE", ylim=(4e-5, None))


def _plot_spread(axes: Axes, bias: xr.Dataset, spread: xr.Dataset) -> None:
    """Standard deviations, and lines of the fluctuation theory."""
    for k, quantity in enumerate(QUANTITIES):
        for dataset, face in ((bias, "white"), (spread, CATEGORIES[k])):
            size = dataset[_SIZE].values
            axes.plot(size, select(dataset, f"{quantity}_theory_standard_deviation", -1), color=CATEGORIES[k])
            measured = select(dataset, f"{quantity}_standard_deviation", -1)
            axes.plot(size, measured, color=CATEGORIES[k], marker=MARKERS[k], markerfacecolor=face, linestyle="")
    size = np.array([30.0, 1e6])
    top = float(select(bias, "overlap_standard_deviation", -1)[0])
    _plot_guide(axes, size, 2.2 * top, -0.5, r"$\propto n^{-1/2}$")
    axes.set(xscale="log", yscale="log", ylabel="standard deviation over the runs")


def _plot_guide(axes: Axes, size: Any, height: float, exponent: float, label: str) -> None:
    """Draw a power law as a guide, above the points."""
    values = height * (size / size[0]) ** exponent
    axes.plot(size, values, color=MUTED, linestyle="--", linewidth=0.8)
    middle = float(np.sqrt(size[0] * size[-1]))
    place = (middle, height * (middle / size[0]) ** exponent)
    axes.annotate(label, place, (4, 2), textcoords="offset points", color=MUTED, fontsize=7)


def _plot_ratios(axes: Axes, datasets: tuple[xr.Dataset, ...], weak_start: xr.Dataset) -> None:
    axes.axhline(1, color=INK, linewidth=0.8)
    for k, (quantity, look) in enumerate(zip(QUANTITIES, pick_looks(len(QUANTITIES), ordered=False), strict=True)):
        for dataset, face in zip(datasets, ("white", look["color"]), strict=True):
            ratio, error = spread_ratios(dataset, quantity)
            near = dataset[_SIZE].values * 1.12 ** (k - 1)  # side by side
            axes.errorbar(near, ratio, NORMAL_95 * error, **look, markerfacecolor=face, elinewidth=0.7)
    ratio, _ = spread_ratios(weak_start, "cosine_similarity")
    axes.plot(weak_start[_SIZE], ratio, color=MUTED, marker="x", linestyle="", markersize=4)
    axes.set(xscale="log", ylabel="measured / predicted spread")


def _handles() -> list[Line2D]:
    handles = [
        Line2D([], [], color=CATEGORIES[k], marker=MARKERS[k], label=f"{name.replace('_', ' ')} ${_SYMBOLS[name]}$")
        for k, name in enumerate(QUANTITIES)
    ]
    very_many = Line2D([], [], color=INK, marker="o", markerfacecolor="white", linestyle="", label="very many runs")
    weak = Line2D([], [], color=MUTED, marker="x", linestyle="", label="$S$ from a small start")
    return [*handles, very_many, weak]


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    evidence = claim["evidence"]
    bias, spread, weak = (summaries[role] for role in ("bias", "spread", "weak_start"))
    first, letters = format_number(evidence["spread_dimensions"][0]), "abcdefgh"[: len(evidence["bias"]) + 2]
    exponents = "; ".join(
        f"({letter}) " + (f"from {start}: " if len(evidence["bias"]) > 1 else "") + _list(found["exponent"])
        for letter, (start, found) in zip(letters, evidence["bias"].items(), strict=False)
    )
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']}. Bars of 95 %. Distance of the mean of "
        f"{format_number(bias.replicas)} runs from the ODE at time {format_number(evidence['bias_time'])}; lines: "
        "power laws, fitted from the dimension upwards from which one fits, with exponents (theory: \N{MINUS SIGN}1) "
        f"{exponents}. ({letters[-2]}) Standard deviation over the runs at time "
        f"{format_number(evidence['spread_time'])}, {format_number(spread.replicas)} of them at large "
        "dimensions; lines: the fluctuation theory, without a free "
        f"number. Exponents fitted from dimension {first}: {_list(evidence['spread_exponent'])} (theory: "
        f"\N{MINUS SIGN}0.5). ({letters[-1]}) Measured over predicted standard deviation, from dimension {first} on "
        f"average {_list(evidence['spread_ratio'])}; the theory is of leading "
        f"order in 1/n. Crosses: {format_number(weak.replicas)} runs from a smaller cosine similarity. What follows "
        "\N{PLUS-MINUS SIGN} is wider than a single 95 % interval: all these intervals are judged together, and hold "
        "together at 95 % (Bonferroni).\n"
    )


def _list(estimates: Mapping[str, Any]) -> str:
    """Numbers with half the width of their intervals, by the symbol of the quantity."""
    return ", ".join(f"{_describe(estimate)} ({_SYMBOLS[name]})" for name, estimate in estimates.items())


def _describe(estimate: Any) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "not known"
    return f"{format_number(round(value, 3))} ± {format_number(round((high - low) / 2, 3))}"
