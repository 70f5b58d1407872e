"""`interpolate` replaces a smooth function of time, which takes long to evaluate, by polynomials on a few intervals.

On an interval the function is taken at Chebyshev points t_k = middle - half cos(pi k / n), which n = 8, 16, 32, 64
share, so no value is computed twice. The coefficients of Chebyshev polynomials fall geometrically for a smooth
function; those of the last quarter tell the error. Where 64 would not do, the interval is halved.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| t_k | ``points`` | (n + 1,) | of time |
| f(t_k) | ``values`` | (n + 1, value) | |
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray

_FEWEST, _MOST = 8, 64
# An interval is not halved if it is this much shorter than the time from the beginning to its end, or this much shorter
# than the whole: what jumps inside it hardly counts. The whole may be long, and the function vary near its beginning.
_SHORTEST, _SHORTEST_OF_WHOLE = 2.0**-10, 2.0**-40


class _Piece(NamedTuple):
    """The interpolant of one interval."""

    end: float
    points: FloatArray
    values: FloatArray

    def at(self, time: float) -> FloatArray:
        """Return the value by the barycentric formula of Chebyshev points."""
        distances = time - self.points
        nearest = int(np.argmin(np.abs(distances)))
        if distances[nearest] == 0.0:
            return np.asarray(self.values[nearest])
        weights = 1.0 / distances
        weights[1::2] *= -1.0
        weights[[0, -1]] *= 0.5
        return np.asarray(weights @ self.values / weights.sum())


def interpolate(
    function: Callable[[FloatArray], FloatArray], begin: float, end: float, *, accuracy: float
) -> Callable[[float], FloatArray]:
    """Return a function of time that agrees with a smooth `function` between two times.

    Parameters
    ----------
    function : callable
        Returns the values (time, value) at an increasing array of times.
    begin, end : float
        begin < end.
    accuracy : float
        Of the values, relative to the largest of them on an interval.

    Returns
    -------
    callable
        Returns the values at one time, shape (value,).
    """
    pieces: list[_Piece] = []
    intervals = [(begin, end)]
    while intervals:
        left, right = intervals.pop()
        shortest = max(_SHORTEST * (right - begin), _SHORTEST_OF_WHOLE * (end - begin))
        piece = _interpolate_once(function, left, right, accuracy, is_last=right - left <= shortest)
        if piece is not None:
            pieces.append(piece)
        else:
            middle = 0.5 * (left + right)
            intervals += [(middle, right), (left, middle)]
    ends = np.array([piece.end for piece in pieces[:-1]])
    return lambda time: pieces[int(np.searchsorted(ends, time))].at(time)


def _interpolate_once(
    function: Callable[[FloatArray], FloatArray], left: float, right: float, accuracy: float, *, is_last: bool
) -> _Piece | None:
    """Return the interpolant of an interval; None if the most points would not be enough, unless it `is_last`."""
    count = _FEWEST
    points = _place_points(left, right, count)
    values = function(points)
    while True:
        tail = _measure_tail(values)
        if tail <= accuracy or (is_last and count == _MOST):
            return _Piece(right, points, values)
        # With n points the tail of a geometric series is about a power n of it.
        if not is_last and (count == _MOST or tail ** (_MOST / count) > accuracy):
            return None
        count *= 2
        points = _place_points(left, right, count)
        finer = np.empty((count + 1, values.shape[1]))
        finer[::2], finer[1::2] = values, function(points[1::2])
        values = finer


def _place_points(left: float, right: float, count: int) -> FloatArray:
    points = 0.5 * (left + right) - 0.5 * (right - left) * np.cos(np.pi * np.arange(count + 1) / count)
    points[[0, -1]] = left, right
    return points


def _measure_tail(values: FloatArray) -> float:
    """Return the largest of the last quarter of the coefficients, relative to the largest value."""
    scale = np.abs(values).max()
    if not scale > 0.0:
        return 0.0
    count = len(values) - 1
    orders = np.arange(count + 1 - count // 4, count + 1)
    cosines = np.cos(np.pi / count * np.outer(orders, np.arange(count + 1)))
    cosines[:, [0, -1]] *= 0.5
    return float(2.0 / count * np.abs(cosines @ values).max() / scale)
