"""`CostTable`: the predicted costs of the points of a grid, as arrays, and what whole chunks of points cost.

Most grids have few different costs: a million points are of some tens of kinds. A kernel call computes a fixed number
of runs, and takes the same time with fewer. Points of one kind share calls.

| symbol | name | unit |
|---|---|---|
| ``kind`` | one of the different costs, with its family | |
| ``runs_per_call`` | replicas of points of one kind that are computed together | 1 |
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clhd.systems.declarations import Cost, FloatArray

IntArray = NDArray[np.int64]
MIXED = -1


@dataclass(frozen=True)
class CostTable:
    """The costs of one entry of each point of a grid.

    Parameters
    ----------
    kinds : tuple of Cost
        All that differ, in the order in which they appear.
    numbers : array of int, of the shape of the grid
        Of each point, which of the kinds it is.
    """

    kinds: tuple[Cost, ...]
    numbers: IntArray

    @classmethod
    def gather(cls, costs: NDArray[np.object_]) -> "CostTable":
        """The table of the costs of the points of a grid."""
        every: list[Cost] = costs.ravel().tolist()
        # Most are one and the same object, and telling objects apart is much faster than comparing costs.
        ids = np.fromiter(map(id, every), np.uint64, len(every))
        _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        known: dict[Cost, int] = {}
        numbers = np.empty(len(first), np.int64)
        for k in np.argsort(first).tolist():
            numbers[k] = known.setdefault(every[first[k]], len(known))
        return cls(tuple(known), numbers[inverse].reshape(costs.shape))

    @property
    def longest_run(self) -> Cost:
        """The cost of the kind whose runs take longest."""
        return max(self.kinds, key=lambda cost: cost.seconds)

    def seconds(self, entries: int) -> float:
        """Of so many entries of every point, if all points of one kind share their kernel calls."""
        counts = np.bincount(self.numbers.ravel()).tolist()
        return math.fsum(self.padded_seconds(kind, count * entries) for kind, count in enumerate(counts))

    def is_uniform(self, axis: int) -> bool:
        """True if the kind of the points does not change along an axis."""
        return bool(np.all(self.numbers == self.numbers.take([0], axis=axis)))

    def chunk_kinds(self, sizes: Sequence[int]) -> IntArray:
        """The kind of all points of each chunk, of the shape of the grid of chunks; `MIXED` where they differ."""
        least = most = self.numbers
        for axis, (length, size) in enumerate(zip(self.numbers.shape, sizes, strict=True)):
            starts = np.arange(0, length, size)
            least, most = np.minimum.reduceat(least, starts, axis), np.maximum.reduceat(most, starts, axis)
        return np.where(least == most, least, MIXED)

    def chunk_seconds(self, sizes: Sequence[int], entries: int) -> FloatArray:
        """Seconds of each chunk of so many positions along each axis, with so many entries of each point."""
        chunk = np.zeros((1,) * len(sizes), np.int64)  # of each point, the number of its chunk
        for axis, (length, size) in enumerate(zip(self.numbers.shape, sizes, strict=True)):
            place = (np.arange(length) // size).reshape([-1 if k == axis else 1 for k in range(len(sizes))])
            chunk = chunk * math.ceil(length / size) + place
        pairs, counts = np.unique(chunk * len(self.kinds) + self.numbers, return_counts=True)
        chunks, kinds = np.divmod(pairs, len(self.kinds))
        runs = np.array([cost.runs_per_call for cost in self.kinds])[kinds]
        full_calls = np.ceil(counts * entries / runs) * runs
        seconds = np.array([cost.seconds for cost in self.kinds])[kinds]
        return np.bincount(chunks, weights=full_calls * seconds).astype(np.float64)

    def padded_seconds(self, kind: int, runs: int) -> float:
        """Seconds of so many runs of one kind, in kernel calls of their own."""
        cost = self.kinds[kind]
        return cost.seconds * math.ceil(runs / cost.runs_per_call) * cost.runs_per_call


def format_work(seconds: float) -> str:
    """Return predicted seconds of one core as text, in core-hours."""
    hours = seconds / 3600
    return f"{hours:.3g} core-hours" if hours >= 0.01 else "less than 0.01 core-hours"
