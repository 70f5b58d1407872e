"""`Stage`: one of the two ways from an experiment to numbers, simulation or theory, seen through one interface.

The store, the planner and the tasks know stages only. A stage has a grid, maybe replicas, outputs, costs, and computes
points. The theory's grid lacks the axes that it does not depend on.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clhd.errors import ClhdError
from clhd.sweep.plan.costs import CostTable
from clhd.sweep.plan.moments import describe_moments, expand_blocks, reduce_blocks
from clhd.sweep.spec.axis import Axis
from clhd.sweep.spec.errors import ExperimentError
from clhd.sweep.spec.experiment import REPLICAS_PER_BLOCK, Experiment, find_parameter
from clhd.sweep.spec.grid import Grid
from clhd.systems.protocol import Cost, FloatArray, Outputs, Result, Status, System, Value
from clhd.systems.registry import find_system

StageKind = Literal["simulation", "theory"]


@dataclass(frozen=True)
class Stage:
    """An experiment's simulation or theory.

    Parameters
    ----------
    experiment : Experiment
    kind : str
        "simulation" or "theory".
    """

    experiment: Experiment
    kind: StageKind

    @cached_property
    def system(self) -> System:
        """What is swept."""
        return find_system(self.experiment.system)

    @property
    def is_simulation(self) -> bool:
        """True if there are replicas."""
        return self.kind == "simulation"

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
        """Entries of each point in the store: replicas, or blocks of them; None for a theory."""
        return self.experiment.replicas // self.entry_size if self.is_simulation else None

    @property
    def version(self) -> int:
        """Of the code that computes: it changes when the numbers do."""
        return self.system.kernel_version if self.is_simulation else self.system.theory_version

    @property
    def seed(self) -> int | None:
        """Root of the random streams; None for a theory."""
        return self.experiment.seed if self.is_simulation else None

    @cached_property
    def time(self) -> FloatArray:
        """Output times."""
        return np.array(self.experiment.times)

    def _depends_on(self, name: str) -> bool:
        features = self.experiment.constants.get("features")
        parameter = find_parameter(self.system, name, features)
        return parameter.in_simulation if self.is_simulation else parameter.in_theory

    @cached_property
    def grid(self) -> Grid:
        """The points of this stage."""
        axes = tuple(axis for axis in self.experiment.axes if any(self._depends_on(name) for name in axis.parameters))
        if not self.is_simulation:
            axes = tuple(self._reduce(axis) for axis in axes)
        constants = {name: value for name, value in self.experiment.constants.items() if self._depends_on(name)}
        return Grid(axes, constants)

    def _reduce(self, axis: Axis) -> Axis:
        """Leave out what the stage does not depend on, of an axis along which several parameters vary."""
        kept = [k for k, name in enumerate(axis.parameters) if self._depends_on(name)]
        if len(kept) == len(axis.parameters):
            return axis
        raise ExperimentError(
            f"axes.{axis.name}: {', '.join(axis.parameters)} cannot vary together, "
            "because the theory does not depend on all of them; give them axes of their own"
        )

    @cached_property
    def outputs(self) -> Outputs:
        """What is computed; without variables there is nothing to do."""
        constants = self.experiment.constants
        system = self.system
        return system.simulation_outputs(constants) if self.is_simulation else system.theory_outputs(constants)

    @cached_property
    def stored(self) -> Outputs:
        """What the store holds: the outputs, or their moments."""
        return describe_moments(self.outputs) if self.has_moments else self.outputs

    def point(self, values: dict[str, Value]) -> Any:
        """The system's point of some parameters."""
        if self.is_simulation:
            return self.system.point(values, self.experiment.seed)
        return self.system.theory_point(values)

    def cost(self, point: Any) -> Cost:
        """Predicted cost of one entry of a point: of one run, or of a block of runs."""
        system, size = self.system, self.entry_size
        if not self.is_simulation:
            return system.theory_cost(point, self.time)
        cost = system.simulation_cost(point, self.time)
        if size == 1:
            return cost
        runs = math.ceil(size / cost.runs_per_call) * cost.runs_per_call
        return Cost(seconds=cost.seconds * runs, runs_per_call=max(1, cost.runs_per_call // size), family=cost.family)

    @cached_property
    def costs(self) -> NDArray[np.object_]:
        """The cost of one entry of each point, of the shape of the grid.

        Points that are impossible, which only a store that has grown along several axes has room for, cost what the
        point before them does.
        """
        costs = np.empty(self.grid.shape, dtype=object)
        known: dict[Cost, Cost] = {}  # few costs differ, and sharing them keeps a large grid small
        cost = Cost(seconds=0.0)
        for index in self.grid.indices():
            with suppress(ClhdError):
                cost = self.cost(self.point(self.grid.values(index)))
            costs[index] = known.setdefault(cost, cost)
        return costs

    @cached_property
    def cost_table(self) -> CostTable:
        """The same as arrays."""
        return CostTable.gather(self.costs)

    @cached_property
    def inner_dims(self) -> dict[str, int]:
        """Number of positions along each dim of the outputs that is not of the grid."""
        return {"time": len(self.time)} | {name: len(places) for name, (places, _) in self.outputs.coordinates.items()}

    def count_numbers(self, outputs: Outputs) -> int:
        """Numbers of one run, or of one entry of the store, in all variables."""
        return sum(math.prod(self.inner_dims[dim] for dim in output.dims) for output in outputs.variables.values())

    @cached_property
    def entry_bytes(self) -> int:
        """Of one entry of the store, while it is computed."""
        return 8 * max(1, self.count_numbers(self.outputs)) * self.entry_size

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the dims of the store: the grid and, of a simulation, the entries of each point."""
        return self.grid.shape + ((self.entries,) if self.entries is not None else ())

    def compute(self, points: Sequence[Any], entries: Sequence[int]) -> Result:
        """Simulate or predict some points; a theory takes no notice of the entries, which are replicas or blocks."""
        if not self.is_simulation:
            return self.system.predict(points, self.time)
        if not self.has_moments:
            return _find_infinities(self.system.simulate(points, self.time, entries))
        replicas = expand_blocks(entries, self.entry_size)
        return reduce_blocks(_find_infinities(self.system.simulate(points, self.time, replicas)), self.entry_size)


def _find_infinities(result: Result) -> Result:
    """Whatever a system calls a replica that has reached infinity, it has diverged: no mean may rest on it."""
    infinite = np.zeros(result.status.shape, dtype=bool)
    for values in result.values.values():
        infinite |= np.isinf(values).any(axis=tuple(range(2, values.ndim)))
    status = np.where(infinite & (result.status == Status.OK), np.int8(Status.DIVERGED), result.status)
    return Result(values=result.values, status=status)
