"""The figures: specialisation over time, and the order in which locations are learned."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from clhd.figures.caption import compose_caption
from clhd.figures.series import draw_means, split_series
from clhd.figures.style import INK, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.two_layers.data import DEPENDENCES
from clhd.systems.two_layers.simulation import COVERED, PASSED

_COLUMNS = 6  # panels that a page has room for


def _make_columns(
    data: xr.Dataset, dims: Sequence[str], height: float, sharex: Any
) -> tuple[Figure, Any, list[xr.Dataset], str]:
    """Return a figure with a column of two panels for each point of some axes, their data, and what is not drawn."""
    places = list(np.ndindex(*(data.sizes[dim] for dim in dims)))
    shown = [dict(zip(dims, place, strict=True)) for place in places[:_COLUMNS]]
    figure = make_figure(PAGE, height)
    rows = figure.subplots(2, len(shown), sharex=sharex, sharey="row", squeeze=False)
    for panel, at in zip(rows[0], shown, strict=True):
        panel.set_title("\n".join(f"{dim.replace('_', ' ')}: {data[dim].values[k]}" for dim, k in at.items()))
    letter_panels(rows.flat)
    rest = f" The first {_COLUMNS} of {len(places)} networks." if len(places) > _COLUMNS else ""
    return figure, rows, [data.isel(at) for at in shown], rest


def plot_specialisation(summary: Summary) -> tuple[Figure, str]:
    """Draw matches above and covered tokens below, over time, a column for each size of the network."""
    axes = [axis for axis in summary.grid_axes if axis != "activation"]
    by = "activation" if "activation" in summary.grid_axes else None
    figure, rows, networks, rest = _make_columns(summary.dataset, axes, 3.6, True)
    for data, upper, lower in zip(networks, *rows, strict=True):
        for name, part, look in split_series(data, by, ordered=False):
            draw_means(upper, part["time"], part, "chi_plus", **look | {"linestyle": "-"})
            draw_means(upper, part["time"], part, "chi_minus", **look | {"linestyle": ":"})
            draw_means(lower, part["time"], part, "covered", **look | {"linestyle": "-", "label": name})
        lower.set_xlabel("iterations")
    rows[0, 0].set_ylabel("match of tokens\n(dotted: unused)")
    rows[1, 0].set_ylabel(f"share of tokens with\nmatch above {COVERED:g}")
    rows[1, 0].legend(loc="upper left")
    what = (
        "Above, the mean over used (lines) and unused (dotted) tokens of the largest weight of a token in a hidden "
        f"unit of length 1; below, the share of used tokens for which it is above {COVERED:g}. Bars: 95 % intervals of "
        "the mean."
    )
    return figure, compose_caption(summary, what + rest)


def plot_modulation(summary: Summary) -> tuple[Figure, str]:
    """Draw the match of each location over time, and the passage times against the dependence below."""
    figure, rows, networks, rest = _make_columns(summary.dataset, summary.grid_axes, 3.8, "row")
    for data, upper, lower in zip(networks, *rows, strict=True):
        upper.axhline(PASSED, color=INK, linewidth=0.5)
        for (_, at, look), q in zip(split_series(data, "token_location", ordered=True), DEPENDENCES, strict=True):
            upper.plot(at["time"], at["chi_plus_location_mean"], color=look["color"], label=f"q = {q:g}")
            draw_means(lower, q, at, "passage_time", color=look["color"], marker="o")
        order, error = float(data["order_correlation_mean"]), float(data["order_correlation_standard_error"])
        lower.text(
            0.97, 0.95, rf"$\rho = {order:.3f} \pm {error:.3f}$", ha="right", va="top", transform=lower.transAxes
        )
        upper.set_xlabel("iterations")
        lower.set_xlabel("dependence $q$")
    latest = float(summary.dataset["passage_time_mean"].max())
    rows[1, 0].set_ylim(0, 1.35 * latest if latest > 0 else None)  # room for the text
    rows[0, 0].set_ylabel(r"match of tokens $\chi_+$")
    rows[1, 0].set_ylabel(f"iterations until\nthe match passes {PASSED:g}")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    what = (
        "Above, the match of the tokens of each location, which depend on the pattern with probability q. Below, when "
        f"it passes {PASSED:g}: mean over the runs that pass, with 95 % intervals; no point where none does. rho: mean "
        "and standard error over runs of the rank correlation of passage time and q."
    )
    return figure, compose_caption(summary, what + rest)
