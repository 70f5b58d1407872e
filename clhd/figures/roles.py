"""Which axis of a figure plays which role.

| word | meaning |
|---|---|
| roles | the axis along x, the axis shown by colour, the axes of columns and rows of panels; others stay at one value |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.core.text import format_place, format_plain, join_words
from clhd.errors import InputError
from clhd.sweep.results.summary_reader import Summary

# A range that spans this factor is shown on a logarithmic scale.
_LOGARITHMIC_FROM = 20.0


@dataclass(frozen=True)
class Roles:
    """Which axis of a figure shows what."""

    x: str
    colour: str | None
    column: str | None
    row: str | None
    fixed: dict[str, int]  # axes for which there is no role, at the one position that is drawn


def assign_roles(summary: Summary, wish: Sequence[str], *, roles: int = 4) -> Roles:
    """Return the role of each axis of an experiment: first the wishes, in the order x, colour, column, row.

    Parameters
    ----------
    wish : sequence of str
        Axes by role. Where the experiment lacks one, another axis takes its place: users change axes.
    roles : int
        How many roles the figure has. Axes beyond stay at one value: the size at its last, others at the middle one.

    Raises
    ------
    ClhdError
        If the experiment has no axis.
    """
    chosen, fixed = share_out(summary, wish, roles)
    given = [axis for axis in chosen if axis is not None]
    if not given:
        raise InputError(f"summary of {summary.name}: has no axis with more than one value, so nothing can be drawn")
    colour, column, row = [*given[1:], None, None, None][:3]  # no gaps: x before colour before columns before rows
    return Roles(given[0], colour, column, row, fixed)


def share_out(summary: Summary, wish: Sequence[str], roles: int) -> tuple[list[str | None], dict[str, int]]:
    """Return the axis of each role, None where none is left, and the positions of the axes without a role."""
    left = [axis for axis in summary.axes if axis not in wish]
    chosen: list[str | None] = [axis if axis in summary.axes else None for axis in wish[:roles]]
    chosen += [None] * (roles - len(chosen))
    for k, axis in enumerate(chosen):
        if axis is None and left:
            chosen[k] = left.pop(0)
    sizes = summary.get("mean").sizes
    spare = [axis for axis in summary.axes if axis not in chosen]
    return chosen, {axis: sizes[axis] - 1 if axis == summary.size else sizes[axis] // 2 for axis in spare}


def describe_fixed(summary: Summary, fixed: Mapping[str, int]) -> str:
    """Return a sentence on the values at which axes without a role stay, such as ``All at speed = 3.``, or nothing."""
    values = [summary.dataset[axis] for axis in fixed]
    places = [format_plain(value, value.values[k]) for value, k in zip(values, fixed.values(), strict=True)]
    return f"All at {join_words(places)}." if places else ""


def name_axis(data: xr.Dataset, axis: str) -> str:
    """Return what an axis is called: its long name, else its own."""
    return str(data[axis].attrs.get("long_name", axis))


def need_axes(summary: Summary, *needed: str) -> None:
    """Raise ClhdError if an experiment lacks an axis that its figure shows."""
    lacking = [name for name in needed if name not in summary.dataset.dims]
    if lacking:
        raise InputError(f"summary of {summary.name}: its figure needs the axis {', '.join(lacking)}")


def thin(count: int, limit: int) -> list[int]:
    """Return at most `limit` positions of `count`, evenly spread, with both ends."""
    if count <= limit:
        return list(range(count))
    return sorted({round(k) for k in np.linspace(0, count - 1, limit)})


def spread_ticks(count: int, limit: int) -> list[int]:
    """Return at most `limit` positions of `count`, from the first on, all the same step apart."""
    return list(range(0, count, max(1, -(-(count - 1) // (limit - 1)))))


def find_places(coordinate: xr.DataArray) -> tuple[NDArray[np.float64], bool, list[str] | None]:
    """Return where the values of a coordinate stand on an axis.

    Returns
    -------
    (places, logarithmic, labels)
        Numbers stand at their value. Words stand side by side under their labels.
    """
    if coordinate.dtype.kind not in "iuf":
        labels = [format_place(coordinate, str(value)) for value in coordinate.values]
        return np.arange(float(coordinate.size)), False, labels
    places = coordinate.values.astype(float)
    # As numbers of Python, since numpy warns where a ratio or a product is infinite.
    logarithmic = places.size > 1 and 0 < _LOGARITHMIC_FROM * float(places.min()) <= float(places.max())
    return places, logarithmic, None
