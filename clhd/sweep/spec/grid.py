"""`Grid`: the labelled points of an experiment; `Axis`: one dim of it, with the values of its parameters.

| in the file | axis |
|---|---|
| ``slope: [1, 3, 8]`` | these values |
| ``slope: {start: 1, stop: 8, count: 15}`` | a range, both ends included; ``spacing: log`` for equal ratios |
| ``pair: {together: {slope_1: [1, 1], slope_2: [1, 2]}}`` | a dim "pair" along which both vary |

Values ascend along an axis, whatever their order in the file. An axis that lists a value twice is refused.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from clhd.core.checks import parse_count, parse_number
from clhd.core.text import format_value
from clhd.errors import InputError
from clhd.systems.declarations import Parameter, Value

_PLAIN = re.compile("[a-z][a-z0-9_]{0,99}")
# Digits of a value of a range: 0.30000000000000004 must be equal to a 0.3 that is written out.
_DIGITS = 12
# The most values of a range.
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class Axis:
    """One dim of a grid."""

    name: str  # of the dim: the parameter, or any word if several parameters vary along the axis
    parameters: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]  # for each position, one value for each parameter

    def __len__(self) -> int:
        return len(self.values)

    @property
    def is_single(self) -> bool:
        """True if one parameter varies along the axis, whose name it then has."""
        return self.parameters == (self.name,)

    def label(self, position: int) -> str:
        """Return a position as text, such as ``slope_1=1, slope_2=2``."""
        return ", ".join(f"{p}={format_value(v)}" for p, v in zip(self.parameters, self.values[position], strict=True))

    def merged(self, other: "Axis") -> "Axis":
        """Return the axis with the values of both; raise ClhdError if two different values have one label."""
        held = set(self.values)
        check_labels(self, [value for value in other.values if value not in held])
        return Axis(self.name, self.parameters, _order({*self.values, *other.values}))

    def typed_like(self, held: "Axis") -> "Axis":
        """The axis with whole numbers where `held` has some; a range read without its system has floats only."""
        whole = [isinstance(value, int) for value in held.values[0]]
        values = (
            tuple(
                round(v) if is_whole and isinstance(v, float) else v for v, is_whole in zip(value, whole, strict=True)
            )
            for value in self.values
        )
        return Axis(self.name, self.parameters, tuple(values))

    def positions(self, other: "Axis") -> list[int]:
        """Return the positions of the values of `other` along this axis, which has all of them."""
        index = {value: position for position, value in enumerate(self.values)}
        return [index[value] for value in other.values]


def check_labels(axis: Axis, more: Sequence[tuple[Value, ...]] = ()) -> None:
    """Raise ClhdError if two values of an axis, or one and one of `more`, are equal to the digits that a label shows.

    They are most often one value, computed in two ways: two points would then be taken for one.
    """
    known: dict[tuple[str, ...], tuple[Value, ...]] = {}
    for place, value in enumerate((*axis.values, *more)):
        label = tuple([format_value(entry) for entry in value])
        twin = known.setdefault(label, value)
        if twin != value and (not more or place >= len(axis)):
            one, other = (", ".join(map(repr, values)) for values in (twin, value))
            raise InputError(f"{axis.name}: {one} and {other} are equal to {_DIGITS} digits; keep one of them")


def is_plain_name(name: str) -> bool:
    """Return True for lower-case letters, digits and _, starting with a letter: names for files, shells and stores."""
    return _PLAIN.fullmatch(name) is not None


def describe_axis(axis: Axis) -> Any:
    """Return the axis as plain values, which `parse_axis` reads back."""
    columns = {name: [value[k] for value in axis.values] for k, name in enumerate(axis.parameters)}
    return columns[axis.name] if axis.is_single else {"together": columns}


def parse_axis(name: str, entry: Any, find_parameter: Callable[[str], Parameter]) -> Axis:
    """Make an axis of its entry in the file; raise ClhdError if it is empty, or a value or parameter is not allowed."""
    if not (isinstance(entry, Mapping) and "together" in entry):
        column = _parse_column(name, entry, find_parameter(name))
        if isinstance(entry, Mapping) and len(set(column)) < len(column):
            found = f"the {len(column)} values of the range are only {len(set(column))} after rounding"
            raise InputError(f"{name}: {found}; lower count, or list the values")
        return _sort(Axis(name, (name,), tuple((value,) for value in column)))
    columns = entry["together"]
    if len(entry) > 1 or not isinstance(columns, Mapping) or not columns:
        raise InputError(f"{name}: together must be a table of parameters and their values, and stand alone")
    parsed = {str(key): _parse_column(str(key), values, find_parameter(str(key))) for key, values in columns.items()}
    lengths = {key: len(values) for key, values in parsed.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length} of {key}" for key, length in lengths.items())
        raise InputError(f"{name}: values that vary together must be of one length, not {found}")
    if name in parsed and len(parsed) > 1:
        raise InputError(f"{name}: several parameters vary along it, so it needs a name that is none of theirs")
    if not is_plain_name(name):
        raise InputError(f"{name}: is the name of a dim, and must be lower-case letters, digits and _")
    return _sort(Axis(name, tuple(parsed), tuple(zip(*parsed.values(), strict=True))))


def _parse_column(name: str, entry: Any, parameter: Parameter) -> list[Value]:
    if not parameter.can_vary:
        raise InputError(f"{name}: cannot be an axis, because it fixes the shape of the results; make it a constant")
    values = parse_numbers(name, entry)
    if not values:
        raise InputError(f"{name} = []: must hold at least one value")
    if isinstance(entry, Mapping) and parameter.kind == "count":
        values = [round(value) for value in values]
    if any(isinstance(value, list) for value in values):
        raise InputError(f"{name} = {entry!r}: must hold numbers or words; lists of coefficients can only be constants")
    return [parameter.parse(name, value) for value in values]


def _sort(axis: Axis) -> Axis:
    if not all(isinstance(entry, int | float | str) for value in axis.values for entry in value):
        raise InputError(f"{axis.name}: must hold numbers or words")
    seen: set[tuple[Value, ...]] = set()
    for position, value in enumerate(axis.values):
        if value in seen:
            raise InputError(f"{axis.name}: {axis.label(position)} is listed twice")
        seen.add(value)
    return Axis(axis.name, axis.parameters, _order(axis.values))


def _order(values: Iterable[tuple[Value, ...]]) -> tuple[tuple[Value, ...], ...]:
    """Ascending values, numbers before words."""
    values = tuple(values)
    try:
        return tuple(sorted(values))
    except TypeError:  # numbers beside words, which need a key: of a million values, that takes 2 s longer
        return tuple(sorted(values, key=lambda value: [(isinstance(entry, str), entry) for entry in value]))


def count_values(name: str, entry: Any) -> int:
    """Return the number of values along an axis from its entry in the file; no value is made.

    Raises ClhdError if the entry is no list, range or table of these.
    """
    if isinstance(entry, list | tuple):
        return len(entry)
    if isinstance(entry, Mapping) and "count" in entry:
        return parse_count(f"{name}.count", entry["count"], minimum=1)
    if isinstance(entry, Mapping) and isinstance(columns := entry.get("together"), Mapping) and columns:
        return max(count_values(str(key), column) for key, column in columns.items())
    raise InputError(f"{name} = {entry!r}: must be a list, a range, or several of these together")


def parse_numbers(name: str, entry: Any) -> list[Any]:
    """Return the values of a list or of a range; a list may hold anything."""
    if isinstance(entry, list | tuple):
        return list(entry)
    if not isinstance(entry, Mapping):
        raise InputError(f"{name} = {entry!r}: must be a list, or a range such as {{start: 0, stop: 1, count: 5}}")
    unknown = set(entry) - {"start", "stop", "count", "spacing"}
    missing = {"start", "stop", "count"} - set(entry)
    if unknown or missing:
        found = f"has no key {', '.join(sorted(unknown))}" if unknown else f"lacks {', '.join(sorted(missing))}"
        raise InputError(f"{name}: a range {found}; it is {{start: 0, stop: 1, count: 5, spacing: linear or log}}")
    start, stop = (parse_number(f"{name}.{key}", entry[key]) for key in ("start", "stop"))
    count = parse_count(f"{name}.count", entry["count"], minimum=1)
    if count > _MOST_VALUES:
        raise InputError(f"{name}.count = {entry['count']!r}: must be a whole number from 1 to {_MOST_VALUES}")
    spacing = entry.get("spacing", "linear")
    if spacing not in ("linear", "log"):  # a tuple: it may be a list
        raise InputError(f"{name}.spacing = {spacing!r}: must be linear or log")
    if spacing == "log" and not (start > 0 and stop > 0):
        raise InputError(f"{name}: a range with spacing log must start and stop above 0, not at {start:g} and {stop:g}")
    if count == 1 and start != stop:
        raise InputError(f"{name}.count = 1: a range from {start:g} to {stop:g} has both ends, so 2 values or more")
    if not math.isfinite(stop - start):
        raise InputError(f"{name}: a range from {start:g} to {stop:g} is too wide")
    values = np.geomspace(start, stop, count) if spacing == "log" else np.linspace(start, stop, count)
    return [round_value(value) for value in values.tolist()]


def round_value(value: float) -> float:
    """Return a computed value to the digits that make it equal to one that is written out."""
    return float(f"{value:.{_DIGITS}g}")


@dataclass(frozen=True)
class Grid:
    """The product of some axes, with constants."""

    axes: tuple[Axis, ...]  # the first varies slowest
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
        """Return the parameters of one point."""
        values = dict(self.constants)
        for axis, position in zip(self.axes, index, strict=True):
            values.update(zip(axis.parameters, axis.values[position], strict=True))
        return values

    def indices(self) -> Iterator[tuple[int, ...]]:
        """Yield the positions of all points; the last axis varies fastest."""
        return product(*(range(length) for length in self.shape))

    def describe(self, index: tuple[int, ...]) -> str:
        """Return the values of a point along the axes, such as ``slope=3, size=1000``."""
        return ", ".join(axis.label(position) for axis, position in zip(self.axes, index, strict=True)) or "the point"


def parse_place(grid: Grid, place: Mapping[str, str]) -> tuple[int, ...]:
    """Return the position of the point that a user names by the values of its axes, as text.

    Raises ClhdError if an axis is missing or unknown, or has no such value; the message names its values.
    """
    _check_names(grid, place)
    for axis in grid.axes:
        if len(axis) > 1 and not place.keys() & set(axis.parameters):
            raise InputError(f"{', '.join(axis.parameters)}: must be given, as in {axis.label(0).replace(', ', ' ')}")
    (index,) = parse_places(grid, place)
    return index


def parse_places(grid: Grid, place: Mapping[str, str]) -> list[tuple[int, ...]]:
    """Return the positions of all points that have the values that a user names; any axis may be left out.

    Raises as `parse_place` does.
    """
    _check_names(grid, place)
    return list(product(*(_find_positions(axis, place) for axis in grid.axes)))


def _check_names(grid: Grid, place: Mapping[str, str]) -> None:
    known = [parameter for axis in grid.axes for parameter in axis.parameters]
    for name in place:
        if name not in known:
            raise InputError(f"{name}: is no axis here; axes: {', '.join(known) or 'none'}")


def _find_positions(axis: Axis, place: Mapping[str, str]) -> list[int]:
    """The position along an axis that a user names, or all positions."""
    wanted = {name: place[name] for name in axis.parameters if name in place}
    if not wanted:
        return list(range(len(axis)))
    matches = [
        position
        for position, values in enumerate(axis.values)
        if all(
            _is_same(value, wanted[name]) for name, value in zip(axis.parameters, values, strict=True) if name in wanted
        )
    ]
    exact = [position for position in matches if _is_exact(axis, position, wanted)]
    matches = exact if len(exact) == 1 else matches
    if len(matches) == 1:
        return matches
    given = ", ".join(f"{name}={text}" for name, text in wanted.items())
    labels = [axis.label(position) for position in range(min(len(axis), 12))]
    if axis.is_single:
        labels = [label.partition("=")[2] for label in labels]
        given = f"{axis.name} has no value {wanted[axis.name]}" if not matches else given
    problem = f"{given}: stands for several points" if matches else given
    problem = problem if axis.is_single or matches else f"{given}: there is no such point"
    more = ", ..." if len(axis) > 12 else ""
    raise InputError(f"{problem}; the values are {(', ' if axis.is_single else '; ').join(labels)}{more}")


def _is_exact(axis: Axis, position: int, wanted: Mapping[str, str]) -> bool:
    """Return True if the texts give the values of a position to the last bit, not only to the digits of a label."""
    values = dict(zip(axis.parameters, axis.values[position], strict=True))
    return all(str(values[name]) == text for name, text in wanted.items())


def _is_same(value: Value, text: str) -> bool:
    try:
        return (isinstance(value, int | float) and float(text) == value) or format_value(value) == text
    except ValueError:
        return format_value(value) == text
