"""Lines and points: a quantity at the last time against one axis, a second by colour, further ones by panels.

Above, theory as lines and the means of the simulation as points; below, their difference in standard errors. This is
the figure of every experiment that declares no other. Systems use it for figures of their own, with fixed axes.
"""

import math
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.core.text import format_number, format_place, label_axis
from clhd.figures.caption import (
    capitalise,
    compose_caption,
    describe_end,
    describe_means,
    describe_missing,
    warn_incomplete,
)
from clhd.figures.roles import Roles, assign_roles, describe_fixed, find_places, thin
from clhd.figures.style import ALARM, FAINT, INK, MUTED, PAGE, make_figure, pick_colours, pick_markers
from clhd.sweep.results.summary_reader import Summary

MOST_COLOURS, MOST_COLUMNS, MOST_ROWS = 6, 4, 3
_CHARACTERS, _LINE = 130, 0.14  # of a line of the legend: how many, and its height in inches
_FEW_PLACES = 4  # on a logarithmic axis: each of them is a tick
_SCORE_LINEAR_TO = 4.0  # standard errors; beyond, the scale of the lower panels is logarithmic


def plot_lines(
    summary: Summary, wish: tuple[str, ...] = (), *, start: bool = False, remark: str = ""
) -> tuple[Figure, str]:
    """Draw a quantity at the last time.

    Parameters
    ----------
    wish : tuple of str
        Axes along x, by colour, and by columns and rows of panels.
    start : bool
        Draw where the quantity started, too.
    remark : str
        Sentences for the caption.
    """
    roles = assign_roles(summary, wish)
    mean, error, theory, score = (
        summary.get_last(name).isel(roles.fixed) for name in ("mean", "standard_error", "theory", "z_score")
    )
    begin = summary.get("mean").isel(roles.fixed | {"time": 0}) if start and summary.has_times else None
    columns, rows = _pick(mean, roles.column, MOST_COLUMNS), _pick(mean, roles.row, MOST_ROWS)
    has_scores = summary.has("z_score")
    heights = [2.6, 1.0] if has_scores else [2.6]
    figure = make_figure(PAGE, (2.9 if has_scores else 2.2) * len(rows) + 0.5)
    panels = figure.subplots(
        len(heights) * len(rows),
        len(columns),
        squeeze=False,
        sharex=True,
        gridspec_kw={"height_ratios": heights * len(rows)},
    )
    shown = _pick(mean, roles.colour, MOST_COLOURS)
    coordinate = None if roles.colour is None else mean[roles.colour]
    ordered = coordinate is not None and coordinate.dtype.kind in "iuf"
    colours, markers = pick_colours(len(shown), ordered=ordered), pick_markers(len(shown))
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            place = _at(roles.column, column) | _at(roles.row, row)
            upper = panels[len(heights) * r, c]
            for position, colour, marker in zip(shown, colours, markers, strict=True):
                one = place | _at(roles.colour, position)
                if theory.isel(one).notnull().any():
                    values = theory.isel(one).transpose(roles.x).values
                    upper.plot(find_places(theory[roles.x])[0], values, color=colour, zorder=2)
                _draw_points(upper, mean.isel(one), error.isel(one), roles.x, colour, marker)
                if has_scores:
                    _draw_scores(panels[len(heights) * r + 1, c], score.isel(one), roles.x, colour, marker)
            if begin is not None:
                _draw_start(upper, begin.isel(place))
            _mark_missing(upper, mean.isel(place), roles.x)
            upper.set_title(_title(mean, roles, column, row))
    _align(panels, mean, roles, len(heights), summary)
    has_start = begin is not None
    _add_legend(figure, coordinate, shown, colours, markers, has_theory=summary.has("theory"), has_start=has_start)
    warn_incomplete(figure, summary)
    left_out = _left_out(mean, ((roles.colour, shown), (roles.column, columns), (roles.row, rows)))
    sentences = [_describe(summary, roles, mean, has_start=has_start), remark, left_out]
    sentences.append(describe_fixed(summary, roles.fixed))
    return figure, compose_caption(summary, " ".join(sentence for sentence in sentences if sentence))


def _pick(data: xr.DataArray, axis: str | None, limit: int) -> list[int]:
    return [0] if axis is None else thin(data.sizes[axis], limit)


def _at(axis: str | None, position: int) -> dict[str, int]:
    return {} if axis is None else {axis: position}


def _draw_points(panel: Axes, mean: xr.DataArray, error: xr.DataArray, x: str, colour: Any, marker: str) -> None:
    bars = np.nan_to_num(2 * error.transpose(x).values)  # one replica has no error
    places = find_places(mean[x])[0]
    panel.errorbar(places, mean.transpose(x).values, bars, fmt=marker, color=colour, markeredgewidth=0, zorder=3)


def _draw_scores(panel: Axes, score: xr.DataArray, x: str, colour: Any, marker: str) -> None:
    places = find_places(score[x])[0]
    panel.plot(places, score.transpose(x).values, marker, color=colour, markersize=2.6, markeredgewidth=0)


def _draw_start(panel: Axes, begin: xr.DataArray) -> None:
    """Draw a line at the start if all points have the same; random starts differ."""
    values = begin.values[np.isfinite(begin.values)]
    if values.size and np.ptp(values) < 1e-9:
        panel.axhline(float(values[0]), color=INK, linestyle=":", linewidth=0.8, zorder=1)


def _mark_missing(panel: Axes, mean: xr.DataArray, x: str) -> None:
    """Draw crosses at the foot of a panel, where a series has no replica that is ok."""
    missing = mean.isnull()
    some = missing.any([dim for dim in missing.dims if dim != x])
    places = find_places(mean[x])[0][some.values]
    if places.size:
        transform = panel.get_xaxis_transform()
        panel.plot(places, np.full(places.size, 0.02), "x", color=ALARM, transform=transform, clip_on=False, zorder=4)


def _title(mean: xr.DataArray, roles: Roles, column: int, row: int) -> str:
    places = ((roles.column, column), (roles.row, row))
    return ", ".join(format_place(mean[axis], mean[axis].values[k]) for axis, k in places if axis is not None)


def _align(panels: Any, mean: xr.DataArray, roles: Roles, group: int, summary: Summary) -> None:
    """Set scales, ticks and labels: shared along rows, written at the left and at the foot."""
    places, logarithmic, labels = find_places(mean[roles.x])
    uppers = panels[::group].ravel()
    limits = [panel.get_ylim() for panel in uppers]
    for panel in uppers:
        panel.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    for panel in panels[1::2].ravel() if group > 1 else ():
        panel.axhspan(-2, 2, color=FAINT, linewidth=0, zorder=0)
        panel.set_yscale("symlog", linthresh=_SCORE_LINEAR_TO, linscale=1.0)
    if group > 1:
        _limit_scores(panels[1::2].ravel())
    for panel in panels[:, 1:].ravel():
        panel.tick_params(labelleft=False)
    symbol = f"{label_axis(summary.get('mean').attrs | {'long_name': summary.long_name}, summary.quantity)}"
    for r, panel in enumerate(panels[:, 0]):
        panel.set_ylabel("$z$" if group > 1 and r % 2 else symbol)
    for panel in panels[-1]:
        panel.set_xlabel(label_axis(mean[roles.x].attrs, roles.x))
        if logarithmic:
            panel.set_xscale("log")
            if len(places) <= _FEW_PLACES:  # over one or two decades matplotlib would write 2 x 10^0 and its like
                panel.set_xticks(places, [format_number(place) for place in places])
                panel.minorticks_off()
        if labels is not None:
            panel.set_xticks(range(len(labels)), labels, rotation=30, ha="right")


def _limit_scores(panels: Any) -> None:
    """Set one symmetric range for all lower panels, with ticks at 0, at 2 and at the last power of ten."""
    values = [np.abs(line.get_ydata()) for panel in panels for line in panel.lines]
    finite = [v[np.isfinite(v)].max(initial=0.0) for v in (np.asarray(v, dtype=float) for v in values)]
    top = max([3.0, *finite])
    far = 10.0 ** np.floor(np.log10(top)) if top >= 10 else 5.0
    ticks = [-far, -2.0, 0.0, 2.0, far] if top > 5 else [-2.0, 0.0, 2.0]
    for panel in panels:
        panel.set_ylim(-1.5 * top, 1.5 * top)
        panel.set_yticks(ticks, [format_number(tick) for tick in ticks])
        panel.minorticks_off()


def _add_legend(
    figure: Figure,
    coordinate: xr.DataArray | None,
    shown: list[int],
    colours: list[Any],
    markers: list[str],
    *,
    has_theory: bool,
    has_start: bool,
) -> None:
    handles: list[Any] = []
    if coordinate is not None:
        for position, colour, marker in zip(shown, colours, markers, strict=True):
            value = coordinate.values[position]
            label = format_place(coordinate, value) if isinstance(value, str) else format_number(value)
            handles.append(Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=label))
    handles.append(Line2D([], [], color=MUTED, marker="o", linestyle="", markeredgewidth=0, label="simulation"))
    if has_theory:
        handles.append(Line2D([], [], color=MUTED, label="theory"))
    if has_start:
        handles.append(Line2D([], [], color=INK, linestyle=":", linewidth=0.8, label="start"))
    title = None if coordinate is None else label_axis(coordinate.attrs, str(coordinate.name))
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = min(len(handles), max(1, _CHARACTERS // (longest + 6)), 9)
    figure.set_figheight(figure.get_figheight() + _LINE * (math.ceil(len(handles) / columns) - 1))
    figure.legend(handles=handles, title=title, loc="outside lower center", ncols=columns)


def _left_out(mean: xr.DataArray, chosen: tuple[tuple[str | None, list[int]], ...]) -> str:
    """A sentence on the axes of which only some values are shown; empty if all are."""
    parts = [
        f"{len(positions)} of the {mean.sizes[axis]} values of {mean[axis].attrs.get('long_name', axis)}"
        for axis, positions in chosen
        if axis is not None and len(positions) < mean.sizes[axis]
    ]
    return f"Shown are {', '.join(parts)}." if parts else ""


def _describe(summary: Summary, roles: Roles, mean: xr.DataArray, *, has_start: bool) -> str:
    words: dict[Any, str] = {axis: str(mean[axis].attrs.get("long_name", axis)) for axis in mean.dims}
    panels = " and ".join(words[axis] for axis in (roles.column, roles.row) if axis is not None)
    by = f", by {words[roles.colour]} (colour)" if roles.colour else ""
    by += f" and {panels} (panels)" if panels else ""
    what = f"{summary.long_name}{describe_end(summary)} against {words[roles.x]}{by}"
    text = f"{capitalise(what)}. {describe_means(summary)}"
    if summary.has("theory"):
        text += f". Lines: {summary.limit}"
    if summary.has("z_score"):
        text += "; below: z, mean minus theory in standard errors, grey up to 2"
    if has_start:
        text += ". Dotted: the value at the start"
    return f"{text}{describe_missing(bool(mean.isnull().any()))}."
