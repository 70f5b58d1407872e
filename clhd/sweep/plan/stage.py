"""`Stage`: the simulation or the theory of an experiment, with one interface for both.

A stage has a grid, outputs, costs and perhaps replicas, and computes points. The store, the planner and the tasks know
stages only. The grid of a theory lacks the axes on which the theory does not depend.

`CostTable`: the predicted costs of the points of a grid, as arrays, and what whole chunks of points cost.

Most grids have few different costs: a million points are of some tens of kinds. A kernel call computes a fixed number
of runs, and takes the same time with fewer. Points of one kind share calls.

| symbol | name | unit |
|---|---|---|
| ``kind`` | one of the different costs, with its family | |
| ``runs_per_call`` | replicas of points of one kind that are computed together | 1 |
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.text import format_seconds
from clhd.errors import ClhdError
from clhd.sweep.plan.moments import describe_moments, expand_blocks, reduce_blocks
from clhd.sweep.spec.experiment import REPLICAS_PER_BLOCK, Experiment
from clhd.sweep.spec.grid import Grid
from clhd.sweep.spec.rounds import StageKind
from clhd.sweep.spec.yaml_file import ExperimentError
from clhd.systems.check import check_result
from clhd.systems.declarations import Cost, Outputs, Result, Value
from clhd.systems.protocol import Half, System
from clhd.systems.registry import Reference, load_system
from clhd.systems.stored import Declaration, declare

MIXED = -1


@dataclass(frozen=True)
class CostTable:
    """The costs of one entry of each point of a grid."""

    kinds: tuple[Cost, ...]  # all that differ, in the order in which they appear
    numbers: IntArray  # which of the kinds each point is, of the shape of the grid

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
    """Return predicted seconds of one core as text; in core-hours from one hour on."""
    if seconds >= 3600:
        return f"{seconds / 3600:.3g} core-hours"
    return f"{format_seconds(seconds) if seconds >= 0.05 else 'less than 0.1 s'} of one core"


@dataclass(frozen=True)
class Stage:
    """The simulation or the theory of an experiment."""

    experiment: Experiment
    kind: StageKind
    given: System | None = None  # where it is not to be found by its name: what a store remembers of the system

    @cached_property
    def system(self) -> System:
        """What is swept."""
        return self.given or load_system(self.reference)

    @cached_property
    def reference(self) -> Reference:
        """The reference by which workers find the system."""
        return self.experiment.reference

    @cached_property
    def half(self) -> Half:
        """The half of the system that this stage computes."""
        return self.system.half(self.kind)

    @cached_property
    def declaration(self) -> Declaration:
        """What the store will say of the system."""
        return declare(self.system, self.experiment.constants, self.reference.digest)

    @property
    def is_simulation(self) -> bool:
        """True for the simulation, False for the theory."""
        return self.kind == "simulation"

    @property
    def has_replicas(self) -> bool:
        """True for a simulation, and for a theory that predicts each replica."""
        return self.is_simulation or (self.half.per_replica and self.experiment.has_simulation)

    @property
    def has_moments(self) -> bool:
        """True if moments of blocks of replicas are kept, and not every replica."""
        return self.is_simulation and self.experiment.keep == "moments"

    @property
    def entry_size(self) -> int:
        """Replicas of one entry of the store: 1, or those of a block of which the moments are kept."""
        return REPLICAS_PER_BLOCK if self.has_moments else 1

    @property
    def entries(self) -> int | None:
        """Entries of each point in the store: replicas, or blocks of them; None without replicas."""
        return self.experiment.replicas // self.entry_size if self.has_replicas else None

    @property
    def entry_dim(self) -> tuple[str, ...]:
        """The dim of the entries of each point: ``replica``, ``replica_block``, or none."""
        return ("replica_block" if self.has_moments else "replica",) if self.has_replicas else ()

    @property
    def version(self) -> int:
        """Version of the half: it changes when the numbers do."""
        return self.half.version

    @property
    def seed(self) -> int | None:
        """Root of the random streams; None without replicas."""
        return self.experiment.seed if self.has_replicas else None

    @cached_property
    def time(self) -> FloatArray:
        """Output times."""
        return np.array(self.experiment.times)

    def _depends_on(self, name: str) -> bool:
        parameter = self.system.find_parameter(name, self.experiment.constants)
        return parameter.in_simulation if self.is_simulation else parameter.in_theory

    @cached_property
    def grid(self) -> Grid:
        """The points of this stage: along the axes on which it depends."""
        axes = tuple(axis for axis in self.experiment.axes if any(self._depends_on(name) for name in axis.parameters))
        for axis in axes if not self.is_simulation else ():
            if not all(self._depends_on(name) for name in axis.parameters):
                raise ExperimentError(
                    f"axes.{axis.name}: {', '.join(axis.parameters)} cannot vary together, "
                    "because the theory does not depend on all of them; give them axes of their own"
                )
        constants = {name: value for name, value in self.experiment.constants.items() if self._depends_on(name)}
        return Grid(axes, constants)

    @cached_property
    def outputs(self) -> Outputs:
        """What is computed; without variables there is nothing to do."""
        return self.half.outputs(self.experiment.constants)

    @cached_property
    def stored(self) -> Outputs:
        """What the store holds: the outputs, or their moments."""
        return describe_moments(self.outputs) if self.has_moments else self.outputs

    def point(self, values: dict[str, Value]) -> Any:
        """The point of some parameters."""
        return self.half.point(values, self.experiment.seed if self.has_replicas else 0)

    def cost(self, point: Any) -> Cost:
        """Predicted cost of one entry of a point: of one run, or of a block of runs."""
        size, cost = self.entry_size, self.half.cost(point, self.time)
        if size == 1:
            return cost
        runs = math.ceil(size / cost.runs_per_call) * cost.runs_per_call
        return Cost(seconds=cost.seconds * runs, runs_per_call=max(1, cost.runs_per_call // size), family=cost.family)

    @cached_property
    def costs(self) -> NDArray[np.object_]:
        """The cost of one entry of each point, in the shape of the grid.

        A store that has grown along several axes can hold impossible points: they get the cost of the point before.
        """
        costs = np.empty(self.grid.shape, dtype=object)
        known: dict[Cost, Cost] = {}  # few costs differ, and keeping each once saves memory
        cost = Cost(seconds=0.0)
        for index in self.grid.indices():
            with suppress(ClhdError):
                cost = self.cost(self.point(self.grid.values(index)))
            costs[index] = known.setdefault(cost, cost)
        return costs

    @cached_property
    def cost_table(self) -> CostTable:
        """The costs as arrays."""
        return CostTable.gather(self.costs)

    @cached_property
    def inner_dims(self) -> dict[str, int]:
        """Number of positions along each dim of the outputs."""
        return {"time": len(self.time)} | {name: len(places) for name, (places, _) in self.outputs.coordinates.items()}

    def count_numbers(self, outputs: Outputs) -> int:
        """Return how many numbers all variables of one run, or of one entry of the store, hold."""
        return sum(math.prod(self.inner_dims[dim] for dim in output.dims) for output in outputs.variables.values())

    @cached_property
    def entry_bytes(self) -> int:
        """Bytes of one entry of the store while it is computed."""
        return 8 * max(1, self.count_numbers(self.outputs)) * self.entry_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the store: the grid and, if there are replicas, the entries of each point."""
        return self.grid.shape + ((self.entries,) if self.entries is not None else ())

    def compute(self, points: Sequence[Any], entries: Sequence[int]) -> Result:
        """Compute some entries of some points; a theory without replicas ignores entries.

        Raises ResultError if the system does not return what it declares.
        """
        replicas = expand_blocks(entries, self.entry_size) if self.has_moments else list(entries)
        result = self.half.compute(points, self.time, replicas)
        shape = (len(points), len(replicas)) if self.has_replicas else (len(points),)
        where = f"system {self.experiment.system}, {self.kind}"
        result = check_result(result, self.outputs, self.inner_dims, shape, where)
        return reduce_blocks(result, self.entry_size) if self.has_moments else result
