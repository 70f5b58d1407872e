"""Maps: a quantity at the last time over two axes, one panel for each value of two more.

Colour is the mean of the simulation, lines are contours of the theory on the same scale. Cells are of one size,
whatever the spacing of the axes.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from clhd.core.text import format_number, format_place, label_axis
from clhd.figures.caption import capitalise, compose_caption, describe_end, describe_missing, warn_incomplete
from clhd.figures.lines import plot_lines
from clhd.figures.roles import Roles, assign_roles, describe_fixed, spread_ticks, thin
from clhd.figures.style import ALARM, INK, PAGE, SEQUENTIAL, make_figure
from clhd.sweep.results.summary_reader import Summary

_MOST_COLUMNS, _MOST_ROWS, _MOST_TICKS, _LEVELS = 6, 5, 5, 5


def plot_grid(summary: Summary) -> tuple[Figure, str]:
    """Draw maps over the two axes with the most values, in columns and rows of panels over the next two.

    Returns
    -------
    (figure, caption)
        Those of `clhd.figures.lines` where there is one axis only.
    """
    roles = assign_roles(summary, _order_axes(summary))
    if roles.colour is None:
        return plot_lines(summary)
    mean, theory = (summary.get_last(name).isel(roles.fixed) for name in ("mean", "theory"))
    columns = [0] if roles.column is None else thin(mean.sizes[roles.column], _MOST_COLUMNS)
    rows = [0] if roles.row is None else thin(mean.sizes[roles.row], _MOST_ROWS)
    both = np.concatenate([mean.values.ravel(), theory.values.ravel()])
    both = both[np.isfinite(both)] if np.isfinite(both).any() else np.array([0.0, 1.0])
    norm = Normalize(float(both.min()), float(both.max()))
    levels = np.linspace(norm.vmin or 0.0, norm.vmax or 1.0, _LEVELS + 2)[1:-1]
    figure = make_figure(PAGE, 1.15 * len(rows) + 0.75 if len(rows) > 1 else 2.2)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    # Axes that share limits, or seek them, would look at all panels for each text, map and contour.
    for panel in panels.flat:
        panel.set(xlim=(0, mean.sizes[roles.x]), ylim=(0, mean.sizes[roles.colour]))
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            place = ({} if roles.column is None else {roles.column: column}) | (
                {} if roles.row is None else {roles.row: row}
            )
            _draw_map(panels[r, c], mean.isel(place), theory.isel(place), roles, norm, levels)
    _label(figure, panels, mean, roles, columns, rows)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, SEQUENTIAL), ax=panels, aspect=30, pad=0.01)
    bar.set_label(label_axis(mean.attrs | {"long_name": summary.long_name}, summary.quantity))
    if summary.has("theory"):
        for level in levels:
            bar.ax.axhline(level, color="white", linewidth=0.8)
    warn_incomplete(figure, summary)
    return figure, compose_caption(summary, _describe(summary, roles, mean, columns, rows))


def _order_axes(summary: Summary) -> tuple[str, ...]:
    """The two axes with the most values, then the others, the size last; else in the order of the file."""
    sizes = summary.get("mean").sizes
    longest = sorted(summary.axes, key=lambda axis: -sizes[axis])[:2]
    return tuple(sorted(summary.axes, key=lambda axis: (axis not in longest, axis == summary.size)))


def _draw_map(
    panel: Axes, mean: xr.DataArray, theory: xr.DataArray, roles: Roles, norm: Normalize, levels: Any
) -> None:
    order = (roles.colour, roles.x)
    values, limit = mean.transpose(*order).values, theory.transpose(*order).values
    panel.pcolormesh(np.ma.masked_invalid(values), cmap=SEQUENTIAL, norm=norm, rasterized=True)
    panel.set_facecolor("white")
    rows, columns = np.nonzero(~np.isfinite(values))
    panel.plot(columns + 0.5, rows + 0.5, "x", color=ALARM, markersize=3, markeredgewidth=0.8)
    if min(limit.shape) > 1 and np.isfinite(limit).any():
        places = (np.arange(limit.shape[1]) + 0.5, np.arange(limit.shape[0]) + 0.5)
        inside = [level for level in levels if np.nanmin(limit) < level < np.nanmax(limit)]
        if inside:
            drawn = panel.contour(*places, np.ma.masked_invalid(limit), levels=inside, colors="white", linewidths=0.8)
            drawn.set_path_effects([withStroke(linewidth=1.6, foreground=INK, alpha=0.4)])  # seen on yellow, too
    panel.spines[["top", "right"]].set_visible(True)


def _label(figure: Figure, panels: Any, mean: xr.DataArray, roles: Roles, columns: list[int], rows: list[int]) -> None:
    for axis, name in (("x", roles.x), ("y", roles.colour)):
        coordinate = mean[name]
        ticks = spread_ticks(coordinate.size, _MOST_TICKS if name == roles.colour or len(columns) < 4 else 3)
        labels = [format_number(coordinate.values[k]) for k in ticks]
        for panel in panels.flat:
            panel.set(**{f"{axis}ticks": [k + 0.5 for k in ticks], f"{axis}ticklabels": labels})
        if name == roles.x and coordinate.dtype.kind not in "iuf":
            for panel in panels[-1]:
                panel.tick_params(axis="x", rotation=30)
    for panel in panels.flat:
        panel.label_outer()
    for c, column in enumerate(columns):
        if roles.column is not None:
            panels[0, c].set_title(format_place(mean[roles.column], mean[roles.column].values[column]))
    for r, row in enumerate(rows):
        if roles.row is not None:
            text = format_place(mean[roles.row], mean[roles.row].values[row])
            panels[r, -1].annotate(
                text, (1.04, 0.5), xycoords="axes fraction", rotation=270, ha="left", va="center", color=INK
            )
    figure.supxlabel(label_axis(mean[roles.x].attrs, roles.x), fontsize=8)
    figure.supylabel(label_axis(mean[roles.colour].attrs, str(roles.colour)), fontsize=8)


def _describe(summary: Summary, roles: Roles, mean: xr.DataArray, columns: list[int], rows: list[int]) -> str:
    words: dict[Any, str] = {axis: str(mean[axis].attrs.get("long_name", axis)) for axis in mean.dims}
    panels = []
    for axis, place, shown in ((roles.column, "columns", columns), (roles.row, "rows", rows)):
        if axis is not None:
            part = "" if len(shown) == mean.sizes[axis] else f", {len(shown)} of {mean.sizes[axis]} values"
            panels.append(f"{words[axis]} ({place}{part})")
    over = f"{words[roles.x]} and {words[str(roles.colour)]}"
    each = f", for each {' and '.join(panels)}" if panels else ""
    what = f"{summary.long_name}{describe_end(summary)} over {over}{each}"
    text = f"{capitalise(what)}. Colour: mean of the simulation"
    if summary.has("theory"):
        text += f". White lines: contours of the {summary.limit}, at the levels marked on the colour bar"
    text += describe_missing(bool(mean.isnull().any()))
    return f"{text}. {describe_fixed(summary, roles.fixed)}".strip()
