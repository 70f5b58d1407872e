"""Figures of one layer: optima and basins by overlap; optima found by width."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clhd.core.text import format_number, format_plain
from clhd.figures.caption import compose_caption, describe_verdict
from clhd.figures.roles import assign_roles, describe_fixed, name_axis
from clhd.figures.series import draw_means, split_series
from clhd.figures.style import COLUMN, INK, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary


def plot_optima(summary: Summary) -> tuple[Figure, str]:
    """Draw the number of optima, and the shares of their basins, against overlap or another axis."""
    roles = assign_roles(summary, ("pattern_overlap", "pattern_count"), roles=2)
    dataset = summary.dataset.isel(roles.fixed).squeeze(drop=True)
    axis, by = roles.x, roles.colour
    figure = make_figure(PAGE, 2.7)
    left, right = figure.subplots(1, 2)
    series = list(split_series(dataset, by, ordered=True))
    labels = ["" if by is None else format_plain(dataset[by], value) for value, _, _ in series]
    for (_, group, look), label in zip(series, labels, strict=True):
        left.plot(group[axis], group["optima_theory"], color=look["color"])
        left.plot(group[axis], group["optima_mean"], **look, label=label)
    left.set(xlabel=name_axis(dataset, axis), ylabel="optima", ylim=(0, None))
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    if by:
        left.legend()
    middle = len(series) // 2
    _plot_shares(right, series[middle][1], axis)
    right.set(xlabel=name_axis(dataset, axis), ylabel="share of the units", ylim=(0, 0.5), title=labels[middle])
    right.legend(loc="upper center", ncols=4, columnspacing=0.8, title="optimum, by energy")
    letter_panels((left, right))
    what = (
        "a: optima, by enumeration (lines) and as distinct ends of live units (marks). b: share of the units that end "
        "at each optimum, by place of its energy, and of units that no pattern activates (squares; the line is their "
        f"share of the sphere). {describe_fixed(summary, roles.fixed)}"
    )
    return figure, compose_caption(summary, what)


def _plot_shares(axes: Axes, group: xr.Dataset, axis: str) -> None:
    shares = group["basin_share_mean"]
    shares = shares.where(shares > 0).dropna("optimum_rank", how="all")
    for rank, share, look in split_series(shares, "optimum_rank", ordered=True):
        axes.plot(group[axis], share, color=look["color"], marker="o", label=f"{rank}", linewidth=0.6)
    axes.plot(group[axis], group["dead_share_theory"], color=INK, linestyle="--")
    axes.plot(group[axis], group["dead_share_mean"], color=INK, marker="s", linestyle="", label="dead")


def plot_width(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the optima that a layer finds against its width, over what the shares of the basins make one expect."""
    layers = summaries["width"].dataset
    fine = np.geomspace(1, layers["layer_size"].values[-1], 100)
    figure = make_figure(COLUMN, 2.6)
    axes = figure.subplots()
    for ratio, group, look in split_series(layers, "probability_ratio", ordered=True):
        point = group.squeeze(drop=True)
        shares = point["basin_share_mean"].values
        axes.plot(fine, (1 - (1 - shares[:, None]) ** fine).sum(axis=0), color=look["color"], linewidth=0.8)
        label = f"ratio {format_number(ratio)}"
        draw_means(axes, point["layer_size"], point, "optima_found", errors=2, **look, label=label)
    axes.axhline(float(layers["optima_theory"].max()), color=INK, linewidth=0.6, linestyle="--")
    axes.set(xscale="log", xlabel="units", ylabel="optima found", ylim=(0, None))
    axes.legend(loc="lower right", title="probabilities, first : last")
    return figure, (
        f"{describe_verdict(claim)} Optima that the first units of a layer find, with "
        "2 standard errors over layers; lines: expected from the measured shares of the basins; dashed: all optima.\n"
    )
