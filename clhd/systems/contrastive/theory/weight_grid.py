"""`WeightGrid`: cells on the axis of one weight, fine around 0 and ever wider outwards, and Gaussian laws on them.

Edges are w = b sinh(h k) for whole k: one edge stands at 0, where an L1 penalty makes a kink and, where the noise is
weak, a thin layer; outwards cells grow in proportion to w, so that more room costs few cells. Centres are b sinh of the
middle, and in k the sum over cells is the trapezoid rule: moments of smooth densities are exact to rounding as soon as
a density is wider than its cells.

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
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Half the root of the initial squared norm: cells are nearly uniform over the bulk, four times finer than in its tail.
_SCALE = 0.5


@dataclass(frozen=True)
class WeightGrid:
    """Cells between the edges b sinh(h k), k = -half .. half."""

    scale: float
    step: float
    half: int

    @cached_property
    def edges(self) -> FloatArray:
        """Edges of the cells."""
        edges: FloatArray = self.scale * np.sinh(self.step * np.arange(-self.half, self.half + 1))
        return edges

    @cached_property
    def centres(self) -> FloatArray:
        """A point of each cell, the middle in k."""
        centres: FloatArray = self.scale * np.sinh(self.step * (np.arange(-self.half, self.half) + 0.5))
        return centres

    @cached_property
    def widths(self) -> FloatArray:
        """Widths of the cells."""
        return np.diff(self.edges)

    def extended(self) -> "WeightGrid":
        """The same cells, and an eighth more of them on each side."""
        return WeightGrid(self.scale, self.step, self.half + self.half // 8 + 1)


def make_grid(norm: float, reach: float, cells: int) -> WeightGrid:
    """A grid of `cells` cells over |w| <= `reach`, fine on the scale of sqrt(`norm`)."""
    scale = _SCALE * math.sqrt(norm)
    return WeightGrid(scale, math.asinh(reach / scale) / (cells // 2), cells // 2)


def pad_cells(masses: FloatArray, half: int) -> FloatArray:
    """Masses of shape (..., cell) on a grid that was extended to `half` cells on each side: zero there."""
    more = half - masses.shape[-1] // 2
    return np.pad(masses, [(0, 0)] * (masses.ndim - 1) + [(more, more)])


def gaussian_masses(grid: WeightGrid, means: FloatArray, deviation: float) -> FloatArray:
    """Masses of the cells under N(mean, deviation^2), shape (atom, cell), each row of sum 1.

    A law narrower than a cell is widened to it, which moves second moments by a cell's width squared.
    """
    at_mean = np.interp(means, grid.centres, grid.widths)
    widths = np.maximum(deviation, at_mean)[:, None]
    masses: FloatArray = grid.widths * np.exp(-0.5 * ((grid.centres - means[:, None]) / widths) ** 2)
    masses /= masses.sum(axis=1, keepdims=True)
    return masses
