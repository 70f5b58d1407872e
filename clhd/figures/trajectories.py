"""Learning curves: a quantity against time, over the limit of infinite dimension with its predicted band."""

import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clhd.core.text import format_number, format_place, label_axis
from clhd.errors import ClhdError
from clhd.figures.caption import compose_caption, describe_incomplete
from clhd.figures.roles import describe_fixed, share_out, thin
from clhd.figures.style import ALARM, MUTED, PAGE, make_figure, pick_colours, pick_markers
from clhd.sweep.results.summary_reader import Summary

_MOST_COLOURS, _MOST_COLUMNS, _MOST_TIMES = 6, 4, 14
_QUANTILES = (0.05, 0.95)
_BAND = 1.6448536269514722  # standard deviations on each side hold 90 % of a normal law


def plot_trajectories(summary: Summary) -> tuple[Figure, str]:
    """Draw learning curves: by feature (colour) and dimension (panels), or by whatever axes there are.

    Returns
    -------
    (figure, caption)
    """
    mean = summary.get("mean")
    if mean.sizes["time"] < 2:
        raise ClhdError(f"summary of {summary.name}: has one time only; a learning curve needs more, or figure: lines")
    (colour_axis, column_axis), fixed = share_out(summary, ("feature", "dimension"), roles=2)
    mean, theory = mean.isel(fixed), summary.get("theory").isel(fixed)
    spread = summary.get("theory_standard_deviation").isel(fixed)
    lower, upper = (end.isel(fixed) for end in _find_ends(summary))
    series = [0] if colour_axis is None else thin(mean.sizes[colour_axis], _MOST_COLOURS)
    columns = [0] if column_axis is None else thin(mean.sizes[column_axis], _MOST_COLUMNS)
    ordered = colour_axis not in {None, "feature"} and mean[colour_axis].dtype.kind in "iuf"
    colours, markers = pick_colours(len(series), ordered=ordered), pick_markers(len(series))
    figure = make_figure(PAGE, 2.9)
    panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    time = mean["time"].values
    some = thin(time.size, _MOST_TIMES)
    stride = time.size // _MOST_TIMES  # of the points; those of the series stand beside each other
    for panel, column in zip(panels, columns, strict=True):
        for k, (position, colour, marker) in enumerate(zip(series, colours, markers, strict=True)):
            seen = [
                index + k * stride // len(series) for index in some if index + k * stride // len(series) < time.size
            ]
            place = ({} if colour_axis is None else {colour_axis: position}) | (
                {} if column_axis is None else {column_axis: column}
            )
            limit, width = theory.isel(place).values, _BAND * spread.isel(place).values
            panel.fill_between(time, limit - width, limit + width, color=colour, alpha=0.2, linewidth=0)
            panel.plot(time, limit, color=colour)
            centre, low, high = (array.isel(place).values for array in (mean, lower, upper))
            bars = np.maximum(np.nan_to_num([centre - low, high - centre]), 0)[:, seen]
            panel.errorbar(time[seen], centre[seen], bars, fmt=marker, color=colour, elinewidth=0.7, markeredgewidth=0)
        if column_axis is not None:
            panel.set_title(format_place(mean[column_axis], mean[column_axis].values[column]))
        panel.set_xlabel(label_axis(mean["time"].attrs, "time"))
        _cross_out(panel, bool(mean.isel({} if column_axis is None else {column_axis: column}).isnull().any()))
    panels[0].set_ylabel(label_axis(mean.attrs | {"long_name": summary.long_name}, summary.quantity))
    handles: list[Artist] = []
    if colour_axis is not None:
        coordinate = mean[colour_axis]
        name = str(coordinate.attrs.get("long_name", colour_axis))
        for position, colour, marker in zip(series, colours, markers, strict=True):
            label = f"{name} {format_number(coordinate.values[position])}"
            handles.append(Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=label))
    handles.append(Line2D([], [], color=MUTED, marker="o", linestyle="", markeredgewidth=0, label="simulation, 90 %"))
    if summary.has("theory"):
        handles.append(Line2D([], [], color=MUTED, label="theory"))
    if summary.has("theory_standard_deviation"):
        handles.append(Patch(color=MUTED, alpha=0.3, linewidth=0, label="predicted 90 %"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    note = describe_incomplete(summary)
    if note:
        figure.suptitle(note, color=ALARM)
    what = f"{summary.long_name.capitalize()} against time. "
    what += "Points: mean of the runs, bars "
    if summary.has("quantile"):
        what += "from their 5 to their 95 % quantile"
    else:
        what += f"of {_BAND:.3f} standard deviations of them, 90 % of a normal law (single runs are not kept)"
    if summary.has("theory"):
        what += ". Lines: limit of infinite dimension"
    if summary.has("theory_standard_deviation"):
        what += "; shaded: 90 % of the runs as the fluctuation theory predicts them"
    where = describe_fixed(summary, fixed)
    return figure, compose_caption(summary, f"{what}. {f'All at {where}.' if where else ''}".strip())


def _find_ends(summary: Summary) -> tuple[xr.DataArray, xr.DataArray]:
    """Between which values 90 % of the runs lie; by their standard deviation where only moments are kept."""
    if summary.has("quantile"):
        quantile = summary.get("quantile")
        return quantile.sel(quantile=_QUANTILES[0]), quantile.sel(quantile=_QUANTILES[1])
    mean, width = summary.get("mean"), _BAND * summary.get("standard_deviation")
    return mean - width, mean + width


def _cross_out(panel: Axes, is_missing: bool) -> None:
    """Say in a panel that something is missing there."""
    if is_missing:
        panel.plot(0.03, 0.03, "x", color=ALARM, transform=panel.transAxes, clip_on=False)
