"""`Grid`: the labelled points of an experiment."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from clhd.core.text import format_value
from clhd.errors import ClhdError
from clhd.sweep.spec.axis import Axis
from clhd.systems.declarations import Value


@dataclass(frozen=True)
class Grid:
    """The product of some axes, around constants.

    Parameters
    ----------
    axes : tuple of Axis
        The first varies slowest.
    constants : mapping of name to value
    """

    axes: tuple[Axis, ...]
    constants: Mapping[str, Value]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of positions along each axis."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        """Number of points."""
        return math.prod(self.shape)

    def values(self, index: tuple[int, ...]) -> dict[str, Value]:
        """The parameters of one point."""
        values = dict(self.constants)
        for axis, position in zip(self.axes, index, strict=True):
            values.update(zip(axis.parameters, axis.values[position], strict=True))
        return values

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Positions of all points; the last axis varies fastest."""
        return product(*(range(length) for length in self.shape))

    def describe(self, index: tuple[int, ...]) -> str:
        """Where a point stands, such as ``kurtosis=3, dimension=1000``."""
        return ", ".join(axis.label(position) for axis, position in zip(self.axes, index, strict=True)) or "the point"


def parse_place(grid: Grid, place: Mapping[str, str]) -> tuple[int, ...]:
    """The position of the point that a user names by the values of its axes, as text.

    Raises
    ------
    ClhdError
        If an axis is missing, unknown, or has no such value; the values that it has are named.
    """
    known = [parameter for axis in grid.axes for parameter in axis.parameters]
    for name in place:
        if name not in known:
            raise ClhdError(f"{name}: is no axis here; axes: {', '.join(known) or 'none'}")
    index = []
    for axis in grid.axes:
        wanted = {name: place[name] for name in axis.parameters if name in place}
        if not wanted and len(axis) > 1:
            raise ClhdError(f"{', '.join(axis.parameters)}: must be given, as in {axis.label(0).replace(', ', ' ')}")
        matches = [
            position
            for position, values in enumerate(axis.values)
            if all(
                _is_same(value, wanted[name])
                for name, value in zip(axis.parameters, values, strict=True)
                if name in wanted
            )
        ]
        if len(matches) != 1:
            found = "several points" if matches else "no point"
            allowed = "; ".join(axis.label(position) for position in range(min(len(axis), 12)))
            given = ", ".join(f"{name}={text}" for name, text in wanted.items())
            raise ClhdError(f"{given}: {found} of the axis; it has {allowed}{' ...' if len(axis) > 12 else ''}")
        index.append(matches[0])
    return tuple(index)


def _is_same(value: Value, text: str) -> bool:
    try:
        return (isinstance(value, int | float) and float(text) == value) or format_value(value) == text
    except ValueError:
        return format_value(value) == text
