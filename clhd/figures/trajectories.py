"""Trajectories: a quantity against time, over the theory with its predicted band."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clhd.core.text import format_number, format_place, label_axis
from clhd.errors import InputError
from clhd.figures.caption import capitalise, compose_caption, warn_incomplete
from clhd.figures.roles import describe_fixed, share_out, thin
from clhd.figures.style import ALARM, MUTED, PAGE, make_figure, pick_colours, pick_markers
from clhd.sweep.results.summary_reader import Summary

_MOST_COLOURS, _MOST_COLUMNS, _MOST_TIMES = 6, 4, 14
_QUANTILES = (0.05, 0.95)
_BAND = 1.6448536269514722  # standard deviations on each side hold 90 % of a normal law


def plot_trajectories(summary: Summary) -> tuple[Figure, str]:
    """Draw trajectories: by component (colour) and size (panels), or by whatever axes there are."""
    mean = summary.get("mean")
    if mean.sizes.get("time", 0) < 2:
        raise InputError(f"summary of {summary.name}: a trajectory needs two or more times; declare figure: lines")
    (colour_axis, column_axis), fixed = share_out(summary, (summary.component, summary.size), roles=2)
    mean, theory = mean.isel(fixed), summary.get("theory").isel(fixed)
    spread = summary.get("theory_standard_deviation").isel(fixed)
    lower, upper = (end.isel(fixed) for end in _find_ends(summary))
    series = [0] if colour_axis is None else thin(mean.sizes[colour_axis], _MOST_COLOURS)
    columns = [0] if column_axis is None else thin(mean.sizes[column_axis], _MOST_COLUMNS)
    ordered = colour_axis not in {None, summary.component} and mean[colour_axis].dtype.kind in "iuf"
    looks = list(zip(series, pick_colours(len(series), ordered=ordered), pick_markers(len(series)), strict=True))
    figure = make_figure(PAGE, 2.9)
    panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    for panel, column in zip(panels, columns, strict=True):
        place = {} if column_axis is None else {column_axis: column}
        for k, (position, colour, marker) in enumerate(looks):
            one = place | ({} if colour_axis is None else {colour_axis: position})
            _draw_theory(panel, theory.isel(one), spread.isel(one), colour)
            seen = _choose_times(mean.sizes["time"], k / len(looks))
            centre, low, high = (array.isel(one).isel(time=seen) for array in (mean, lower, upper))
            bars = np.maximum(np.nan_to_num([centre - low, high - centre]), 0)  # one run has no bars
            look: Any = {"fmt": marker, "color": colour, "elinewidth": 0.7, "markeredgewidth": 0}
            panel.errorbar(centre["time"], centre, bars, **look)
        if column_axis is not None:
            panel.set_title(format_place(mean[column_axis], mean[column_axis].values[column]))
        panel.set_xlabel(label_axis(mean["time"].attrs, "time"))
        if bool(mean.isel(place).isnull().any()):
            panel.plot(0.03, 0.03, "x", color=ALARM, transform=panel.transAxes, clip_on=False)
    panels[0].set_ylabel(label_axis(mean.attrs | {"long_name": summary.long_name}, summary.quantity))
    handles = _list_handles(summary, None if colour_axis is None else mean[colour_axis], looks)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    warn_incomplete(figure, summary)
    return figure, compose_caption(summary, f"{_describe(summary)} {describe_fixed(summary, fixed)}".strip())


def _choose_times(count: int, shift: float) -> list[int]:
    """Positions of the times at which points are drawn; the points of several series stand beside each other."""
    offset = int(count // _MOST_TIMES * shift)
    return [position + offset for position in thin(count, _MOST_TIMES) if position + offset < count]


def _draw_theory(panel: Axes, theory: xr.DataArray, spread: xr.DataArray, colour: Any) -> None:
    time, width = theory["time"], _BAND * spread
    panel.fill_between(time, theory - width, theory + width, color=colour, alpha=0.2, linewidth=0)
    panel.plot(time, theory, color=colour)


def _list_handles(summary: Summary, coordinate: xr.DataArray | None, looks: list[tuple[int, Any, str]]) -> list[Artist]:
    """What the legend shows."""
    handles: list[Artist] = []
    if coordinate is not None:
        name = str(coordinate.attrs.get("long_name", coordinate.name))
        for position, colour, marker in looks:
            label = f"{name} {format_number(coordinate.values[position])}"
            handles.append(Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=label))
    label = "simulation, 90 %" if summary.has("standard_deviation") else "simulation"
    handles.append(Line2D([], [], color=MUTED, marker="o", linestyle="", markeredgewidth=0, label=label))
    if summary.has("theory"):
        handles.append(Line2D([], [], color=MUTED, label="theory"))
    if summary.has("theory_standard_deviation"):
        handles.append(Patch(color=MUTED, alpha=0.3, linewidth=0, label="predicted 90 %"))
    return handles


def _describe(summary: Summary) -> str:
    text = f"{capitalise(summary.long_name)} against {summary.dataset['time'].attrs.get('long_name', 'time')}. "
    if not summary.has("standard_deviation"):
        text += "Points: the simulation"
    elif summary.has("quantile"):
        text += "Points: mean of the runs, bars from their 5 to their 95 % quantile"
    else:
        text += f"Points: mean of the runs, bars of {_BAND:.3f} standard deviations of them, 90 % of a normal law "
        text += "(single runs are not kept)"
    if summary.has("theory"):
        text += f". Lines: {summary.limit}"
    if summary.has("theory_standard_deviation"):
        text += "; shaded: 90 % of the runs as the fluctuation theory predicts them"
    return f"{text}."


def _find_ends(summary: Summary) -> tuple[xr.DataArray, xr.DataArray]:
    """The values between which 90 % of the runs lie; by their standard deviation where only moments are kept."""
    if summary.has("quantile"):
        quantile = summary.get("quantile")
        return quantile.sel(quantile=_QUANTILES[0]), quantile.sel(quantile=_QUANTILES[1])
    mean, width = summary.get("mean"), _BAND * summary.get("standard_deviation")
    return mean - width, mean + width
