"""The border that a refined experiment follows: a map of its quantity, the computed points, the border with its band.

Colour is the quantity at the computed points and, between them, the mean of neighbours; of a label, the label of a
neighbour. The band is the interval of the border, which holds the spacing of the points and their noise.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from clhd.core.text import format_count, format_number, format_place, label_axis
from clhd.errors import InputError
from clhd.figures.caption import capitalise, compose_caption
from clhd.figures.roles import describe_fixed, thin
from clhd.figures.style import COLUMN, INK, PAGE, SEQUENTIAL, make_figure
from clhd.sweep.plan.refine import fill_between
from clhd.sweep.results.border import select_quantity
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.spec.rounds import LABEL, Refinement

_MOST_PANELS = 4


def plot_border(summary: Summary) -> tuple[Figure, str]:
    """Draw the map of a quantity that two refined axes share, with its border, in a panel for each value of a third.

    Raises
    ------
    ClhdError
        If the experiment is not refined along two axes.
    """
    table = summary.experiment.get("refine")
    if table is None or len(table["along"]) != 2:
        raise InputError(f"summary of {summary.name}: figure = 'border': needs two refined axes, refine.along")
    refine = Refinement.model_validate(table)
    values = select_quantity(summary.dataset, refine)
    values = values.where(summary.dataset["refinement_round"] >= 0)
    y, x = refine.along
    third, fixed = _choose_panels(values, refine)
    values = values.isel(fixed).transpose(..., y, x)
    shown = [{}] if third is None else [{third: k} for k in thin(values.sizes[third], _MOST_PANELS)]
    norm = Normalize(float(values.min()), float(values.max()))
    figure = make_figure(PAGE if len(shown) > 1 else COLUMN, 2.4)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for panel, place in zip(panels, shown, strict=True):
        _draw_map(panel, values.isel(place), refine, norm)
        if refine.level != LABEL:
            _draw_border(panel, summary.dataset.isel(fixed | place), refine)
        if third is not None:
            panel.set_title(format_place(values[third], values[third].values[place[third]]))
        panel.set_xlabel(label_axis(values[x].attrs, x))
        panel.spines[["top", "right"]].set_visible(True)
    panels[0].set_ylabel(label_axis(values[y].attrs, y))
    bar = figure.colorbar(ScalarMappable(norm, SEQUENTIAL), ax=panels, pad=0.02)
    bar.set_label(label_axis(values.attrs, refine.quantity).replace(" (", "\n("))  # else it is longer than a small map
    return figure, compose_caption(summary, _describe(summary, refine, values, fixed), with_agreement=False)


def _choose_panels(values: xr.DataArray, refine: Refinement) -> tuple[str | None, dict[str, int]]:
    """The axis that the panels show, and the middle of those beyond."""
    others = [str(dim) for dim in values.dims if dim not in refine.along]
    several = sorted((dim for dim in others if values.sizes[dim] > 1), key=lambda dim: -values.sizes[dim])
    third = several[0] if several else None
    return third, {dim: values.sizes[dim] // 2 for dim in others if dim != third}


def _draw_map(panel: Axes, values: xr.DataArray, refine: Refinement, norm: Normalize) -> None:
    """Draw the quantity, and a point wherever it was computed."""
    y, x = (values[name].values.astype(float) for name in refine.along)
    filled = fill_between(values.values, (0, 1), refine.rounds, is_label=refine.level == LABEL)
    panel.pcolormesh(x, y, np.ma.masked_invalid(filled), cmap=SEQUENTIAL, norm=norm, shading="nearest", rasterized=True)
    rows, columns = np.nonzero(np.isfinite(values.values))
    panel.plot(x[columns], y[rows], "o", color="white", markersize=1.6, markeredgewidth=0.3, markeredgecolor=INK)


def _draw_border(panel: Axes, data: xr.Dataset, refine: Refinement) -> None:
    """Draw every crossing of the level with its interval."""
    across: Any = data[refine.along[1]].values.astype(float)
    for k in range(data.sizes["crossing"]):
        border, low, high = (data[f"border{end}"].isel(crossing=k).values for end in ("", "_low", "_high"))
        panel.fill_between(across, low, high, color="white", alpha=0.6, linewidth=0)
        panel.plot(across, border, color="white", linewidth=1.6)
        panel.plot(across, border, color=INK, linewidth=0.8)


def _describe(summary: Summary, refine: Refinement, values: xr.DataArray, fixed: dict[str, int]) -> str:
    names = [str(values[name].attrs.get("long_name", name)) for name in refine.along]
    chosen = summary.dataset["refinement_round"] >= 0
    what = capitalise(str(values.attrs.get("long_name", refine.quantity)))
    border = "Regions of one label."
    if refine.level != LABEL:
        widest = float((summary.dataset["border_high"] - summary.dataset["border_low"]).max())
        border = (
            f"Line: its border at {format_number(float(refine.level))}, with the interval that holds spacing and noise "
            f"(white, at most {format_number(widest)} wide)."
        )
    points = f"{format_count(int(chosen.sum()), 'point')} of {chosen.size}"
    return (
        f"{what} over {names[1]} and {names[0]}. {border} Dots: the points that were computed, {points}, in "
        f"{format_count(refine.rounds, 'round')}; colour between them is interpolated. "
        f"{describe_fixed(summary, fixed)}".strip()
    )
