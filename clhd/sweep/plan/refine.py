"""Refinement: which points of a fine grid are wanted, where a quantity crosses a level, and what it is in between.

The coarse grid is wanted first. A *cell* of it is the box between neighbouring points. A cell in which the known
points differ is split: its points at half the spacing are wanted then. Each round halves the spacing along the refined
axes, up to that of the fine grid; other axes are not refined, and every position along them is a grid of its own.

| symbol | name | meaning |
|---|---|---|
| side | lowest and highest | -1 below the level, 1 above it, both where the error leaves that open; or a label |
| step | 2^(rounds - r) | spacing of the grid of round r, in positions of the fine grid |

Points of a cell differ if the lowest and the highest side in it do. A cell that was left alone is looked at again when
a neighbour adds points to its faces, so a border is followed into cells whose corners do not show it.

A decision only adds points, and rests on points that are known. So the points that are wanted in the end do not depend
on the order in which they became known, nor on when the question was asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, product
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clhd.sweep.plan.blocks import BoolArray
from clhd.systems.declarations import FloatArray

IntArray = NDArray[np.int64]
# Probability with which at least one corner of a cell may be taken for decided although it is not (Bonferroni).
_ERROR_RATE = 0.05


class Sides(NamedTuple):
    """The lowest and the highest side on which each point can lie; +inf and -inf where that is not known."""

    low: FloatArray
    high: FloatArray


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
    return Sides(np.where(known, low, np.inf), np.where(known, high, -np.inf))


def find_labels(values: FloatArray) -> Sides:
    """Return the label of each point as its side; NaN has none."""
    known = np.isfinite(values)
    return Sides(np.where(known, values, np.inf), np.where(known, values, -np.inf))


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
        seen = Sides(np.where(wanted, sides.low, np.inf), np.where(wanted, sides.high, -np.inf))
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
    """The points that split all cells, of every size, in which points differ."""
    wanted = np.zeros(sides.low.shape, dtype=bool)
    for step in (2**k for k in range(rounds, 0, -1)):
        lowest, highest = sides
        for axis in along:
            lowest, highest = _fold(lowest, axis, step, np.minimum), _fold(highest, axis, step, np.maximum)
        split = lowest < highest
        if not split.any():
            break  # points that differ within a cell differ within the larger one that holds it
        _mark_halves(wanted, split, along, step)
    return wanted


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
            between = line[:-1:2] if is_label else (line[:-1:2] + line[2::2]) / 2
            line[1::2] = np.where(np.isnan(line[1::2]), between, line[1::2])
    return filled
