"""Series of a figure that a system draws itself: one for each value of an axis, with a look of its own."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from clhd.core.statistics import NORMAL_95
from clhd.figures.style import pick_looks

Data = TypeVar("Data", xr.Dataset, xr.DataArray)


def split_series(data: Data, axis: str | None, *, ordered: bool) -> Iterator[tuple[Any, Data, dict[str, Any]]]:
    """Yield each value of an axis, its part of the data, and how to draw its points; None and all without an axis.

    `ordered` says whether the values have an order, which the colours then show.
    """
    if axis is None:
        yield None, data, pick_looks(1, ordered=ordered)[0]
        return
    values = data[axis].values
    for k, (value, look) in enumerate(zip(values, pick_looks(len(values), ordered=ordered), strict=True)):
        yield value, data.isel({axis: k}), look


def draw_means(panel: Axes, x: Any, data: xr.Dataset, output: str, *, errors: float = NORMAL_95, **look: Any) -> None:
    """Draw the means of an output at the places x, with bars of so many standard errors; by default, of 95 %.

    The data are those of a summary, with one dim; a single run has no error, and no bar.
    """
    bars = errors * np.nan_to_num(data[f"{output}_standard_error"])
    panel.errorbar(x, data[f"{output}_mean"], bars, **look)


def shift_series(count: int, width: float) -> list[float]:
    """Return by how much to shift each of `count` series, so that they stand side by side, `width` apart."""
    return [width * (k - (count - 1) / 2) for k in range(count)]
