"""`Grid`: the labelled points of an experiment, all checked before anything runs."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.errors import ClhdError
from clhd.sweep.axis import Axis, format_value
from clhd.systems.base import Value

# So many impossible points are told apart by their messages; of the others only the number is reported.
_MOST_MESSAGES = 3


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


class PointCheck:
    """Makes something of the points of a grid, one at a time and in any order, and remembers which are impossible.

    Parameters
    ----------
    grid : Grid
    make : callable
        Returns what is made of the parameters of a point, or raises ClhdError.
    """

    def __init__(self, grid: Grid, make: Callable[[dict[str, Value]], Any]) -> None:
        self.grid = grid
        self._make = make
        self._made = np.empty(grid.shape, dtype=object)  # a tenth of a dict's memory
        # Of each axis, what each position sets.
        self._settings = [[dict(zip(axis.parameters, v, strict=True)) for v in axis.values] for axis in grid.axes]
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, tuple[tuple[int, ...], str]] = {}

    def visit(self, index: tuple[int, ...]) -> None:
        """Make one point."""
        values = dict(self.grid.constants)
        for settings, position in zip(self._settings, index, strict=True):
            values.update(settings[position])
        try:
            self._made[index] = self._make(values)
        except ClhdError as error:
            # Messages that differ in the value alone are one reason.
            reason = str(error).partition(" = ")[0]
            self._counts[reason] += 1
            self._examples[reason] = min(self._examples.get(reason, (index, str(error))), (index, str(error)))

    def finish(self) -> NDArray[np.object_]:
        """What was made, of the shape of the grid.

        Raises
        ------
        ClhdError
            If points are impossible: one line for each reason, naming the first such point and how many there are.
        """
        first = sorted((*self._examples[reason], reason) for reason in self._counts)
        if first:
            raise ClhdError("\n".join(self._describe(*entry) for entry in first[:_MOST_MESSAGES]))
        return self._made

    def _describe(self, place: tuple[int, ...], example: str, reason: str) -> str:
        if not self.grid.axes:
            return example
        count = f"{self._counts[reason]} of {self.grid.size} points are impossible"
        return f"axes: {count}, the first at {self.grid.describe(place)}: {example}"


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
            raise ClhdError(f"{name}: is no axis here; the axes are {', '.join(known)}")
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
