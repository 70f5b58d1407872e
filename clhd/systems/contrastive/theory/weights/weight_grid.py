"""`WeightGrid`: cells on the axis of one weight, fine around 0 and wider outwards, and Gaussian laws on them.

Edges are w = b sinh(h k) for whole k. One edge is at 0, where an L1 penalty makes a kink, and a thin layer if the noise
is weak. Outwards the widths grow in proportion to w, so a longer axis needs few more cells. Centres are b sinh of the
middle in k, where the sum over cells is the trapezoid rule: moments of smooth densities wider than their cells are
exact up to rounding.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| b | ``scale`` | | of a weight |
| h | ``step`` | | |
| | ``half`` | | cells on each side of 0 |
| | ``edges``, ``centres``, ``widths`` | (cell + 1,), (cell,), (cell,) | of a weight |
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from clhd.core.arrays import FloatArray

# b in units of the root of the initial squared norm: cells in the bulk are nearly uniform, four times finer than in
# the tail.
_SCALE = 0.5


@dataclass(frozen=True)
class WeightGrid:
    """Cells between the edges b sinh(h k), k = -half .. half."""

    scale: float
    step: float
    half: int

    @cached_property
    def edges(self) -> FloatArray:
        """Edges of the cells, shape (cell + 1,)."""
        edges: FloatArray = self.scale * np.sinh(self.step * np.arange(-self.half, self.half + 1))
        return edges

    @cached_property
    def centres(self) -> FloatArray:
        """Centres of the cells (the middle in k), shape (cell,)."""
        centres: FloatArray = self.scale * np.sinh(self.step * (np.arange(-self.half, self.half) + 0.5))
        return centres

    @cached_property
    def widths(self) -> FloatArray:
        """Widths of the cells, shape (cell,)."""
        return np.diff(self.edges)

    def extended(self) -> "WeightGrid":
        """Return a grid with the same cells and an eighth more on each side."""
        return WeightGrid(self.scale, self.step, self.half + self.half // 8 + 1)


def make_grid(norm: float, reach: float, cells: int) -> WeightGrid:
    """Return a grid of `cells` cells over |w| <= `reach`, fine on the scale of sqrt(`norm`)."""
    scale = _SCALE * math.sqrt(norm)
    return WeightGrid(scale, math.asinh(reach / scale) / (cells // 2), cells // 2)


def pad_cells(masses: FloatArray, half: int) -> FloatArray:
    """Pad masses of shape (..., cell) with zeros to a grid of `half` cells on each side of 0."""
    more = half - masses.shape[-1] // 2
    return np.pad(masses, [(0, 0)] * (masses.ndim - 1) + [(more, more)])


def gaussian_masses(grid: WeightGrid, means: FloatArray, deviation: float) -> FloatArray:
    """Return the masses of the cells under N(mean, deviation^2), shape (atom, cell), each row with sum 1.

    A law narrower than a cell is widened to its width, which changes second moments by the width squared.
    """
    at_mean = np.interp(means, grid.centres, grid.widths)
    widths = np.maximum(deviation, at_mean)[:, None]
    masses: FloatArray = grid.widths * np.exp(-0.5 * ((grid.centres - means[:, None]) / widths) ** 2)
    masses /= masses.sum(axis=1, keepdims=True)
    return masses
