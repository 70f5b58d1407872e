"""The figure of C2: overlap and squared norm by the McKean-Vlasov equation and by the ODEs, and their difference.

Left and middle: trajectories by learning rate. Right: largest difference against the cells of the weight axis.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.core.text import format_number
from clhd.figures.style import INK, MARKERS, MUTED, PAGE, letter_panels, make_figure, pick_colours
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.reduction import PARAMETERS, measure_errors

_SYMBOLS = {"overlap": "$q$", "squared_norm": "$r$"}
_MARKERS = dict(zip(PARAMETERS, MARKERS, strict=False))


def plot_reduction(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C2 from the summaries by role and its entry in claims.json; return it with a caption."""
    summary = summaries["refinement"]
    rates = summary.dataset["learning_rate"].values
    colours = pick_colours(len(rates), ordered=True)
    figure = make_figure(PAGE, 2.3)
    panels = figure.subplots(1, 3)
    for axes, name in zip(panels, PARAMETERS, strict=False):
        _plot_trajectories(axes, summary, name, colours)
    handles = [
        Line2D([], [], color=colour, label=f"$\\eta$ = {format_number(rate)}")
        for rate, colour in zip(rates, colours, strict=True)
    ]
    panels[0].legend(handles=handles, loc="lower right")
    marker = Line2D([], [], marker="o", color=INK, markerfacecolor="white", linestyle="", label="PDE")
    panels[1].legend(handles=[Line2D([], [], color=INK, label="ODE"), marker], loc="best")
    _plot_errors(panels[2], summary, colours)
    letter_panels(panels)
    return figure, _caption(summary, claim)


def _plot_trajectories(axes: Axes, summary: Summary, name: str, colours: list[Any]) -> None:
    """One order parameter in time: the ODE as a line, the equation on its finest axis as markers."""
    dataset = summary.dataset.squeeze("feature", drop=True).sortby("cells").isel(cells=-1)
    time = dataset["time"].values
    for k, colour in enumerate(colours):
        point = dataset.isel(learning_rate=k)
        axes.plot(time, point[f"{name}_ode_theory"], color=colour)
        axes.plot(time[k::3], point[f"{name}_theory"][k::3], _MARKERS[name], color=colour, markerfacecolor="white")
    axes.set(xlabel="time $t$", ylabel=f"{name.replace('_', ' ')} {_SYMBOLS[name]}", xlim=(time[0], time[-1]))


def _plot_errors(axes: Axes, summary: Summary, colours: list[Any]) -> None:
    """Largest difference over time against the cells, with a guide of slope -2."""
    errors = {name: measure_errors(summary.dataset, name) for name in PARAMETERS}
    cells = errors[PARAMETERS[0]]["cells"].values.astype(float)
    for name, error in errors.items():
        for colour, values in zip(colours, error.values, strict=True):
            axes.plot(cells, values, _MARKERS[name], color=colour, markerfacecolor="white")
    highest = max(float(error.isel(cells=0).max()) for error in errors.values())
    guide = 1.8 * highest * (cells[0] / cells) ** 2
    axes.plot(cells, guide, color=MUTED, linestyle="--", linewidth=0.8)
    middle = len(cells) // 2
    axes.annotate(
        r"slope $-2$", (cells[middle], guide[middle]), (3, 2), textcoords="offset points", color=MUTED, fontsize=7
    )
    handles = [
        Line2D([], [], marker=_MARKERS[name], color=INK, markerfacecolor="white", linestyle="", label=_SYMBOLS[name])
        for name in PARAMETERS
    ]
    axes.legend(handles=handles, loc="lower left")
    axes.set(xscale="log", yscale="log", xlabel="cells of the weight axis", ylabel="largest difference")
    axes.set_xticks(cells, [format_number(count) for count in cells])
    axes.minorticks_off()


def _caption(summary: Summary, claim: Mapping[str, Any]) -> str:
    evidence = claim["evidence"]
    orders = [order["value"] for order in evidence["orders"].values() if order["value"] is not None]
    fitted = f"between {min(orders):.3f} and {max(orders):.3f}" if orders else "unknown"
    finest = format_number(np.max(summary.dataset["cells"]))
    return (
        f"{claim['statement']} Verdict: {claim['verdict']}. Left and middle: overlap and squared norm by the ODEs "
        f"(lines) and by the McKean-Vlasov equation with {finest} cells (markers), by learning rate. Right: largest "
        "difference between them over all times, against the cells of the equation's weight axis, whose error is of "
        f"second order; fitted orders are {fitted}.\n"
    )
