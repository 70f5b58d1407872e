"""Checks of arguments: each function returns the value in its one inner form, or raises ClhdError."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.machine import count_cores
from clhd.core.text import format_count
from clhd.errors import InputError

# A product of a few numbers of this size, and of their squares, is still a finite number.
LARGEST = 1e50


def parse_number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    above: float = -math.inf,
) -> float:
    """Return `value` as a float with ``minimum <= value <= maximum``, ``value > above`` and ``|value| <= LARGEST``."""
    if isinstance(value, (bool, np.bool_, np.complexfloating, str, bytes)):
        raise InputError(f"{name} = {value!r}: must be a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):  # OverflowError: an int larger than any float
        raise InputError(f"{name} = {value!r}: must be a number") from None
    if not (math.isfinite(number) and minimum <= number <= maximum and number > above):
        raise InputError(f"{name} = {value!r}: must be {_describe_range(minimum, maximum, above)}")
    if abs(number) > LARGEST:
        raise InputError(f"{name} = {number:g}: must not exceed {LARGEST:g} in size")
    return number + 0.0  # -0.0 becomes 0.0: equal models have equal keys


def _describe_range(minimum: float, maximum: float, above: float) -> str:
    if math.isfinite(minimum) and math.isfinite(maximum):
        return f"a number from {minimum:g} to {maximum:g}"
    if math.isfinite(above) and math.isfinite(maximum):
        return f"a number greater than {above:g}, at most {maximum:g}"
    if math.isfinite(above):
        return f"a finite number greater than {above:g}"
    if math.isfinite(minimum):
        return f"a finite number, {minimum:g} or more"
    return "a finite number"


def parse_count(name: str, value: Any, *, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`; a float with a whole value (``1e3``) is accepted."""
    number = parse_number(name, value)
    if number != int(number) or number < minimum:
        raise InputError(f"{name} = {value!r}: must be a whole number, {minimum} or more")
    return int(value) if isinstance(value, int) else int(number)


def parse_threads(threads: int | None) -> int:
    """Return the number of threads that share some work, by default one per core."""
    return count_cores() if threads is None else parse_count("threads", threads, minimum=1)


def parse_choice(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return `value` if it is one of the `allowed` words."""
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name} = {value!r}: must be one of {', '.join(sorted(allowed))}")
    return value


def read_array(value: Any) -> NDArray[np.float64]:
    """Return `value` as a new array of floats; raise TypeError or ValueError, also for text and complex numbers.

    numpy alone would read text as numbers, and drop imaginary parts.
    """
    return np.array(value).astype(np.float64, casting="same_kind")


def parse_vector(name: str, value: Any, *, length: int | None = None) -> NDArray[np.float64]:
    """Return `value` as a new vector of floats, at most `LARGEST` in size; `length` is checked if given."""
    try:
        vector = read_array(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} = {value!r}: must be a list of numbers") from None
    if vector.ndim != 1 or (length is not None and len(vector) != length):
        wanted = "a list of numbers" if length is None else f"a list of {format_count(length, 'number')}"
        raise InputError(f"{name} = {value!r}: must be {wanted}")
    if not np.all(np.isfinite(vector)):
        raise InputError(f"{name} = {value!r}: must hold finite numbers only")
    if np.any(np.abs(vector) > LARGEST):
        raise InputError(f"{name} = {value!r}: must hold no number that exceeds {LARGEST:g} in size")
    return vector


def parse_times(value: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return output times (steps per dimension) as an array: one or more, not negative, strictly increasing."""
    times = parse_vector("time", value)
    if len(times) == 0 or times[0] < 0 or np.any(np.diff(times) <= 0):
        raise InputError(f"time = {value!r}: must be one or more times, 0 or later, in strictly increasing order")
    return times
