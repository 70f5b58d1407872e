"""Refinement: which points of a fine grid are wanted, where a quantity crosses a level, and what it is in between.

The coarse grid is wanted first. A *cell* of it is the box between neighbouring points. A cell in which the known
points differ is split: its points at half the spacing are wanted then. Each round halves the spacing along the refined
axes, up to that of the fine grid; other axes are not refined, and every position along them is a grid of its own.

| symbol | name | meaning |
|---|---|---|
| side | lowest and highest | -1 below the level, 1 above it, both where the error leaves that open; or a label |
| step | 2^(rounds - r) | spacing of the grid of round r, in positions of the fine grid |

Points of a cell differ if the lowest and the highest side in it do. Where the noise dominates, the cell is not split:
if a corner whose side is open has a larger error than the corners differ from each other, a smaller cell would show
noise alone, and only more replicas help. If the number of replicas is free, such corners get twice as many; a corner
whose side is decided needs no more. A cell with such a corner waits until all of its corners are known. A cell that was
left alone is looked at again when a neighbour adds points to its faces, so a border is followed into cells whose
corners do not show it. Around a cell that is split, a margin of cells is split too, for regions that are thinner than a
cell.

A decision only adds points or replicas. It rests on a state in which all that was wanted before is known, with the
replicas that were wanted then. So what is wanted in the end does not depend on the order in which points became known,
nor on when the question was asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import BoolArray, FloatArray, IntArray
from clhd.core.statistics import count_errors

# Regions of a label have thin tongues, which reach between the corners of a cell; a level is crossed smoothly.
LABEL_MARGIN = 1


class Sides(NamedTuple):
    """What decides, of each point of the fine grid."""

    low: FloatArray  # the lowest side on which a point can lie; +inf where that is not known
    high: FloatArray  # the highest side; -inf where that is not known
    value: FloatArray  # mean of a quantity; 0 of a label
    reach: FloatArray  # the standard errors within which the side of a quantity is open; 0 of a label


@dataclass(frozen=True)
class Choice:
    """The points of the fine grid that are wanted so far."""

    round: IntArray  # in which each point was first wanted, 0 for the coarse grid; -1 if it is not wanted
    doublings: IntArray  # how often the first number of replicas of each point is doubled
    is_done: bool  # False if wanted points are not known yet: more may be wanted then

    @property
    def wanted(self) -> BoolArray:
        """A mask of the wanted points."""
        return self.round >= 0


def find_sides(
    values: FloatArray, errors: FloatArray, level: float, dims: int, runs: FloatArray | float = np.inf
) -> Sides:
    """Return the side of the level on which each point of the fine grid lies, by its value and standard error.

    A value that is NaN has no side; an error that is NaN leaves it open. With so many refined axes, a cell has 2^dims
    corners, whose sides hold together at 95 %. For `runs` see `clhd.core.statistics.count_errors`.
    """
    known = np.isfinite(values)
    reach = np.where(np.isnan(errors), np.inf, errors) * count_errors(2**dims, runs)
    with np.errstate(invalid="ignore"):
        low, high = np.sign(values - reach - level), np.sign(values + reach - level)
    return Sides(np.where(known, low, np.inf), np.where(known, high, -np.inf), values, np.where(known, reach, np.nan))


def find_labels(values: FloatArray) -> Sides:
    """Return the label of each point as its side; NaN has none."""
    known, none = np.isfinite(values), np.zeros(values.shape)
    return Sides(np.where(known, values, np.inf), np.where(known, values, -np.inf), none, none)


def choose_points(
    sides: Sides,
    known: BoolArray,
    along: Sequence[int],
    rounds: int,
    *,
    margin: int = 0,
    doubled: Sequence[tuple[Sides, BoolArray]] = (),
) -> Choice:
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
    margin : int
        Cells on each side of a split cell, of its size, that are split too.
    doubled : sequence of (Sides, array of bool)
        The same with 2, 4, ... times as many replicas, for points where the noise dominates.

    Returns
    -------
    Choice
        Where all points of a round are known, those of the next round as well.
    """
    found = np.where(_mark_lattice(known.shape, along, 2**rounds), 0, -1)
    doublings = np.zeros(known.shape, dtype=np.int64)
    while True:  # each time adds points or replicas, or is the last
        wanted = found >= 0
        seen, is_known = sides, known
        if doubled:
            pairs = [(sides, known), *doubled]
            seen = Sides(*(np.choose(doublings, arrays) for arrays in zip(*(pair[0] for pair in pairs), strict=True)))
            is_known = np.choose(doublings, [pair[1] for pair in pairs])
        if not is_known[wanted].all():
            return Choice(found, doublings, is_done=False)
        # What is not wanted plays no part, even if an earlier run has computed it.
        low, high = np.where(wanted, seen.low, np.inf), np.where(wanted, seen.high, -np.inf)
        more, noisy = _find_more(seen._replace(low=low, high=high), wanted, along, rounds, margin)
        more &= ~wanted
        noisy &= doublings < len(doubled)
        if not (more | noisy).any():
            return Choice(found, doublings, is_done=True)
        found[more] = found.max() + 1
        doublings[noisy] += 1


def _mark_lattice(shape: Sequence[int], along: Sequence[int], step: int) -> BoolArray:
    """A mask of every so many-th position along some axes."""
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(None, None, step) if axis in along else slice(None) for axis in range(len(shape)))] = True
    return mask


def _find_more(
    sides: Sides, known: BoolArray, along: Sequence[int], rounds: int, margin: int
) -> tuple[BoolArray, BoolArray]:
    """The points that split all cells in which points differ, and the corners whose noise hides whether they do."""
    wanted, noisy = (np.zeros(sides.low.shape, dtype=bool) for _ in range(2))
    exists: BoolArray | None = None  # cells of a size are the parts of the larger cells that are split
    for step in (2**k for k in range(rounds, -1, -1)):
        lowest, highest = sides.low, sides.high
        for axis in along:
            lowest, highest = _fold(lowest, axis, step, np.minimum), _fold(highest, axis, step, np.maximum)
        differs = lowest < highest
        if exists is not None:
            differs &= exists
        split = differs & ~_mark_noisy(noisy, differs, sides, known, along, step)
        if step == 1 or not split.any():
            break
        split = _widen(split, along, margin)
        if exists is not None:
            split &= exists
        _mark_halves(wanted, split, along, step)
        exists = split
        for axis in along:
            exists = np.repeat(exists, 2, axis)
    return wanted, noisy


def _mark_noisy(
    noisy: BoolArray, cells: BoolArray, sides: Sides, known: BoolArray, along: Sequence[int], step: int
) -> BoolArray:
    """Mark the open corners of some cells whose errors are larger than the corners differ; return the cells with one.

    In other words: the error, translated into the axes by the slope across the cell, is larger than the spacing. A
    corner whose side is decided needs no more replicas, however large its error is. A cell with an open corner, of
    which another corner is not known yet, is returned as well: it is decided when that corner is known.
    """
    corners = []
    for shifts in product((0, 1), repeat=len(along)):
        region = [slice(None)] * noisy.ndim
        for axis, shift in zip(along, shifts, strict=True):
            region[axis] = slice(shift * step, (shift + cells.shape[axis] - 1) * step + 1, step)
        corners.append(tuple(region))
    least = most = sides.value[corners[0]]
    is_whole = np.ones(cells.shape, dtype=bool)
    for corner in corners:
        least, most = np.fmin(least, sides.value[corner]), np.fmax(most, sides.value[corner])
        is_whole &= known[corner]
    found: BoolArray = np.zeros(cells.shape, dtype=bool)
    is_open = sides.low < sides.high
    for corner in corners:
        has_open = cells & is_open[corner]
        is_noisy = has_open & is_whole & (sides.reach[corner] > most - least)
        noisy[corner] |= is_noisy
        found |= is_noisy | has_open & ~is_whole
    return found


def _widen(cells: BoolArray, along: Sequence[int], margin: int) -> BoolArray:
    """Some cells with their neighbours up to a distance along each axis."""
    for axis in along:
        line = np.moveaxis(cells, axis, 0)
        wide = line.copy()
        for k in range(1, margin + 1):
            wide[k:] |= line[:-k]
            wide[:-k] |= line[k:]
        cells = np.moveaxis(wide, 0, axis)
    return cells


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
