"""`add_border`: the level set of a refined quantity as data: where it crosses its level along one axis.

For each line of points along the first refined axis, and each ``crossing`` of the level on it:

| variable | meaning |
|---|---|
| border | position at which a line through the points of the interval meets the level |
| border_low, border_high | the nearest points below and above whose side of the level is decided |

The interval holds the spacing of the points, and their noise: a point whose standard error leaves its side open is
inside. NaN where a line of points has fewer crossings, or is not known around one.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.sweep.plan.refine import find_sides
from clhd.sweep.spec.rounds import LABEL, Refinement

_CROSSING = "crossing"


def find_crossings(
    places: FloatArray,
    values: FloatArray,
    errors: FloatArray,
    level: float,
    dims: int,
    runs: FloatArray | float = np.inf,
) -> FloatArray:
    """Return where values along a line of points cross a level: estimate, low and high end of its interval, in rows.

    The places ascend. A value, with its standard error, is NaN if the point is not known. The number of refined axes
    and the numbers of runs decide the level of the test, see `clhd.sweep.plan.refine.find_sides`.
    """
    known = np.isfinite(values)
    places, values = places[known], values[known]
    low, high, *_ = find_sides(values, errors[known], level, dims, np.broadcast_to(runs, known.shape)[known])
    decided = np.flatnonzero((low == high) & (low != 0))
    found = []
    for first, last in pairwise(decided.tolist()):
        if low[first] != low[last]:
            inside = slice(first, last + 1)
            found.append((_meet(places[inside], values[inside], level), places[first], places[last]))
    return np.array(found, dtype=float).reshape(-1, 3)


def _meet(places: FloatArray, values: FloatArray, level: float) -> float:
    """Where a line through some points meets the level; their middle if it does not meet it among them."""
    slope, height = np.polyfit(places - places[0], values - level, 1)
    place = places[0] - height / slope if slope else np.nan
    return float(place if places[0] <= place <= places[-1] else (places[0] + places[-1]) / 2)


def add_border(summary: xr.Dataset, refinement: Refinement, choice: xr.DataArray) -> xr.Dataset:
    """Add the round in which each point was first wanted, -1 for never, and the border if there is a level."""
    words = {"long_name": "round of refinement", "units": "1", "description": "0: coarse grid; -1: not wanted"}
    summary["refinement_round"] = choice.astype(np.int8).assign_attrs(words)
    if refinement.level == LABEL:
        return summary
    values = select_quantity(summary, refinement)
    name = f"{refinement.output}_standard_error"
    has_errors = refinement.kind == "simulation"
    errors = select_quantity(summary, refinement, name) if has_errors else xr.zeros_like(values)
    runs = summary["replica_count"].sel(status="ok", drop=True) if has_errors else xr.full_like(values, np.inf)
    along = refinement.along[0]
    dims = [str(dim) for dim in values.dims if dim != along]
    lines = values.where(choice >= 0).transpose(*dims, along).values
    of_lines, of_runs = (part.broadcast_like(values).transpose(*dims, along).values for part in (errors, runs))
    places, shape = summary[along].values.astype(float), lines.shape[:-1]
    found = {
        index: find_crossings(
            places, lines[index], of_lines[index], float(refinement.level), len(refinement.along), of_runs[index]
        )
        for index in np.ndindex(*shape)
    }
    most = max([1, *(len(rows) for rows in found.values())])
    borders = np.full((*shape, most, 3), np.nan)
    for index, rows in found.items():
        borders[index][: len(rows)] = rows
    words = {key: str(value) for key, value in summary[along].attrs.items()}
    long_name, what = words.get("long_name", along), values.attrs.get("long_name", refinement.quantity)
    for k, (suffix, end) in enumerate((("", ""), ("_low", "low end of the "), ("_high", "high end of the "))):
        label = f"{end}{'interval of the ' if end else ''}{long_name} at which the {what} is {refinement.level:g}"
        own = words | {"long_name": label, "description": "border of a refined quantity"}
        summary[f"border{suffix}"] = xr.Variable((*dims, _CROSSING), borders[..., k], own)
    return summary


def select_quantity(summary: xr.Dataset, refinement: Refinement, name: str = "") -> xr.DataArray:
    """Return a variable of a summary at the position that a refinement selects: that which decides, or another."""
    values = summary[name or refinement.quantity].sel(dict(refinement.select))
    inner = [dim for dim in values.dims if values.sizes[dim] == 1 and dim not in summary["refinement_round"].dims]
    return values.squeeze(inner, drop=True)
