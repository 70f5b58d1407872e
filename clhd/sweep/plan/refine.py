"""Refinement: which points of a fine grid are wanted, where a quantity crosses a level, and what it is in between.

The coarse grid is wanted first. A *cell* of it is the box between neighbouring points. A cell in which the known
points differ is split: its points at half the spacing are wanted then. Each round halves the spacing along the refined
axes, up to that of the fine grid; other axes are not refined, and every position along them is a grid of its own.

| symbol | name | meaning |
|---|---|---|
| side | lowest and highest | -1 below the level, 1 above it, both where the error leaves that open; or a label |
| step | 2^(rounds - r) | spacing of the grid of round r, in positions of the fine grid |

Points of a cell differ if the lowest and the highest side in it do. Where the noise dominates, the cell is not split:
if a corner has a larger error than the corners differ from each other, a smaller cell would show noise alone, and only
more replicas help. A cell that was left alone is looked at again when a neighbour adds points to its faces, so a border
is followed into cells whose corners do not show it.

A decision only adds points, and rests on points that are known. So the points that are wanted in the end do not depend
on the order in which they became known, nor on when the question was asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, product
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import BoolArray, FloatArray, IntArray

# Probability with which at least one corner of a cell may be taken for decided although it is not (Bonferroni).
_ERROR_RATE = 0.05


class Sides(NamedTuple):
    """What decides, of each point of the fine grid.

    Parameters
    ----------
    low, high : array
        The lowest and the highest side on which a point can lie; +inf and -inf where that is not known.
    value, reach : array
        Of a quantity: mean, and the standard errors within which its side is open. Of a label, 0.
    """

    low: FloatArray
    high: FloatArray
    value: FloatArray
    reach: FloatArray


@dataclass(frozen=True)
class Choice:
    """The points that are wanted so far.

    Parameters
    ----------
    round : array of int
        Of each point of the fine grid, the round in which it was first wanted, 0 for the coarse grid; -1 if it is not
        wanted.
    is_done : bool
        False if wanted points are not known yet: more may be wanted then.
    """

    round: IntArray
    is_done: bool

    @property
    def wanted(self) -> BoolArray:
        """A mask of the wanted points."""
        return self.round >= 0


def count_errors(dims: int) -> float:
    """Return the standard errors by which a corner of a cell must differ from the level, so that its side is decided.

    Parameters
    ----------
    dims : int
        Number of refined axes; a cell has 2^dims corners, whose sides hold together at 95 %.
    """
    return NormalDist().inv_cdf(1 - _ERROR_RATE / (2 * 2**dims))


def find_sides(values: FloatArray, errors: FloatArray, level: float, dims: int) -> Sides:
    """Return the side of the level on which each point lies; a value that is NaN has none.

    Parameters
    ----------
    values, errors : array
        Of each point of the fine grid, with its standard error; an error that is NaN leaves the side open.
    level : float
    dims : int
        Number of refined axes.
    """
    known = np.isfinite(values)
    reach = np.where(np.isnan(errors), np.inf, errors) * count_errors(dims)
    with np.errstate(invalid="ignore"):
        low, high = np.sign(values - reach - level), np.sign(values + reach - level)
    return Sides(np.where(known, low, np.inf), np.where(known, high, -np.inf), values, np.where(known, reach, np.nan))


def find_labels(values: FloatArray) -> Sides:
    """Return the label of each point as its side; NaN has none."""
    known, none = np.isfinite(values), np.zeros(values.shape)
    return Sides(np.where(known, values, np.inf), np.where(known, values, -np.inf), none, none)


def choose_points(sides: Sides, known: BoolArray, along: Sequence[int], rounds: int) -> Choice:
    """Return the points of a fine grid that are wanted, by what is known of them.

    Parameters
    ----------
    sides : Sides
        Of each point of the fine grid; those of points that are not wanted play no part.
    known : array of bool
        True where a point was computed, even if it has no side.
    along : sequence of int
        The refined axes, of n * 2^rounds + 1 positions each.
    rounds : int

    Returns
    -------
    Choice
        Where all points of a round are known, those of the next round as well.
    """
    found = np.where(_mark_lattice(known.shape, along, 2**rounds), 0, -1)
    for number in count(1):  # a round adds a point, or is the last
        wanted = found >= 0
        if not known[wanted].all():
            return Choice(found, is_done=False)
        # What is not wanted plays no part, even if an earlier run has computed it.
        low, high = np.where(wanted, sides.low, np.inf), np.where(wanted, sides.high, -np.inf)
        seen = sides._replace(low=low, high=high)
        more = _split_cells(seen, along, rounds) & ~wanted
        if not more.any():
            return Choice(found, is_done=True)
        found[more] = number
    raise AssertionError("a grid has finitely many points")


def _mark_lattice(shape: Sequence[int], along: Sequence[int], step: int) -> BoolArray:
    """A mask of every so many-th position along some axes."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(None, None, step) if axis in along else slice(None) for axis in range(len(shape)))] = True
    return mask


def _split_cells(sides: Sides, along: Sequence[int], rounds: int) -> BoolArray:
    """The points that split all cells, of every size, in which points differ by more than their noise."""
    wanted = np.zeros(sides.low.shape, dtype=bool)
    exists: BoolArray | None = None  # cells of a size are the parts of the larger cells that are split
    for step in (2**k for k in range(rounds, 0, -1)):
        lowest, highest = sides.low, sides.high
        for axis in along:
            lowest, highest = _fold(lowest, axis, step, np.minimum), _fold(highest, axis, step, np.maximum)
        split = (lowest < highest) & ~_is_noisy(sides, along, step)
        if exists is not None:
            split &= exists
        if not split.any():
            break
        _mark_halves(wanted, split, along, step)
        exists = split
        for axis in along:
            exists = np.repeat(exists, 2, axis)
    return wanted


def _is_noisy(sides: Sides, along: Sequence[int], step: int) -> BoolArray:
    """True for a cell whose corners differ by less than the error of one: a smaller cell would show noise alone."""
    region: list[slice] = [slice(None)] * sides.low.ndim
    for axis in along:
        region[axis] = slice(None, None, step)
    least = most = sides.value[tuple(region)]
    reach = sides.reach[tuple(region)]
    for axis in along:
        first, last = ([slice(None)] * reach.ndim for _ in range(2))
        first[axis], last[axis] = slice(None, -1), slice(1, None)
        ends = tuple(first), tuple(last)
        least, most, reach = (
            operation(array[ends[0]], array[ends[1]])
            for operation, array in ((np.fmin, least), (np.fmax, most), (np.fmax, reach))
        )
    noisy: BoolArray = reach > most - least
    return noisy


def _fold(values: FloatArray, axis: int, step: int, operation: np.ufunc) -> FloatArray:
    """The extreme over each interval of `step` positions along an axis, with both of its ends."""
    moved = np.moveaxis(values, axis, 0)
    inner = operation.reduce(moved[:-1].reshape(-1, step, *moved.shape[1:]), axis=1)
    return np.moveaxis(operation(inner, moved[step::step]), 0, axis)


def _mark_halves(wanted: BoolArray, split: BoolArray, along: Sequence[int], step: int) -> None:
    """Mark the points at half the spacing of the cells that are split, their corners included."""
    for shifts in product((0, 1, 2), repeat=len(along)):
        region = [slice(None)] * wanted.ndim
        for axis, shift in zip(along, shifts, strict=True):
            start = shift * step // 2
            region[axis] = slice(start, start + (split.shape[axis] - 1) * step + 1, step)
        wanted[tuple(region)] |= split


def fill_between(values: FloatArray, along: Sequence[int], rounds: int, *, is_label: bool = False) -> FloatArray:
    """Return values for all points of a fine grid: halfway between neighbours where they are NaN.

    In a cell that was left alone, all points have one label.

    Parameters
    ----------
    values : array
        Of each point of the fine grid; NaN where it is not known.
    along : sequence of int
        The refined axes.
    rounds : int
    is_label : bool
        Take the label of a neighbour, in place of the mean of both.
    """
    filled = values.copy()
    for step in (2**k for k in range(rounds, 0, -1)):
        for place, axis in enumerate(along):
            region = [slice(None)] * filled.ndim
            for other in along:
                region[other] = slice(None, None, step)
            for done in along[: place + 1]:
                region[done] = slice(None, None, step // 2)
            line = np.moveaxis(filled[tuple(region)], axis, 0)  # a view
            first, last = line[:-1:2], line[2::2]
            both = first if is_label else (first + last) / 2
            between = np.where(np.isnan(first), last, np.where(np.isnan(last), first, both))
            line[1::2] = np.where(np.isnan(line[1::2]), between, line[1::2])
    return filled
