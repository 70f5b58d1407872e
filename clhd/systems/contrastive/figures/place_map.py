"""`draw_place_maps`: a change over second moment and base noise, one panel for each learning rate.

Cells have one size for any spacing of the values. A cross marks an exception, a dash a place where nothing is learned,
a question mark a place that is not known.
"""

from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from clhd.core.text import format_number
from clhd.figures.style import FAINT, INK, MUTED

_HORIZONTAL, _VERTICAL, _PANEL = "base_noise_variance", "second_moment", "learning_rate"
_DARK = 0.55  # share of the colour range beyond which text is white
_MANY = 6  # most values along an axis for which cells have room for numbers


def draw_place_maps(figure: SubFigure, change: xr.DataArray, falls: xr.DataArray, label: str) -> list[Axes]:
    """Draw the panels with their colour bar; return them.

    Parameters
    ----------
    figure : SubFigure
    change : DataArray (second_moment, base_noise_variance, learning_rate)
        Shown as colour, around 0, and as a number.
    falls : DataArray of the same dims
        From `clhd.systems.contrastive.claims.learned.falls_along`.
    label : str
        Label of the colour bar.
    """
    change = change.where(falls >= 0)
    limit = float(np.nanmax(np.abs(change)))
    rates = change[_PANEL].values
    panels = list(figure.subplots(1, len(rates), sharey=True, squeeze=False)[0])
    for axes, rate in zip(panels, rates, strict=True):
        here = {_PANEL: rate}
        image = _draw_panel(axes, change.sel(here), falls.sel(here), limit)
        axes.set_title(rf"$\eta$ = {format_number(rate)}")
    panels[0].set_ylabel("second moment $m$")
    figure.supxlabel("variance of the base noise $s_b^2$", fontsize=8)
    figure.colorbar(image, ax=panels, pad=0.02, aspect=12).set_label(label)
    return panels


def _draw_panel(axes: Axes, change: xr.DataArray, falls: xr.DataArray, limit: float) -> Any:
    change, falls = change.transpose(_VERTICAL, _HORIZONTAL), falls.transpose(_VERTICAL, _HORIZONTAL)
    axes.set_facecolor(FAINT)
    image = axes.imshow(
        np.ma.masked_invalid(change.values),
        origin="lower",
        aspect="auto",
        cmap=mpl.colormaps["RdBu"],
        vmin=-limit,
        vmax=limit,
    )
    for i, j in np.ndindex(falls.shape):
        value, colour = float(change.values[i, j]), INK
        if np.isfinite(value) and abs(value) > _DARK * limit:
            colour = "white"
        mark = _mark(float(falls.values[i, j]), value, is_small=max(falls.shape) > _MANY)
        weight = "bold" if mark.startswith("\N{MULTIPLICATION SIGN}") else "normal"
        axes.text(
            j,
            i,
            mark,
            ha="center",
            va="center",
            fontsize=5.5,
            weight=weight,
            color=MUTED if falls.values[i, j] < 0 else colour,
        )
    for axis, name in ((axes.xaxis, _HORIZONTAL), (axes.yaxis, _VERTICAL)):
        values = falls[name].values
        axis.set_ticks(range(len(values)), [format_number(value) for value in values])
        axis.set_tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _mark(falls: float, change: float, *, is_small: bool) -> str:
    """The text of a cell: the change, with a cross above it at an exception."""
    if np.isnan(falls):
        return "?"
    if falls < 0:
        return "\N{EN DASH}"
    cross = "\N{MULTIPLICATION SIGN}" if falls == 0 else ""
    # Three decimals, without the zero before the point: more do not fit.
    return (
        cross
        if is_small
        else f"{cross}\n" * bool(cross) + f"{change:+.3f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")
    )
