"""A system that computes nothing: its sweep takes only the time of the machinery; see `benchmarks.scaling`.

A point is said to cost so much that ten fill a block, as the points of a real system do.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Cost, Output, Outputs, Parameter, Result, Status, Value
from clhd.systems.protocol import NoHalf, System
from clhd.systems.registry import list_systems

POINTS_PER_BLOCK = 10
# A chunk takes two seconds at most.
_SECONDS_PER_POINT = 2.0 / POINTS_PER_BLOCK
_WORDS = {"long_name": "nothing", "symbol": "x", "units": "1", "description": "zero"}


class EmptySimulation:
    """Returns zeros."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> tuple[Any, ...]:
        """The values themselves."""
        return (*values.values(), seed)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """One number."""
        return Outputs(variables={"nothing": Output(dims=("time",), words=_WORDS)})

    def cost(self, point: Any, time: FloatArray) -> Cost:
        """So much that ten points fill a block."""
        return Cost(seconds=_SECONDS_PER_POINT)

    def compute(self, points: Sequence[Any], time: FloatArray, replicas: Sequence[int]) -> Result:
        """Zeros."""
        shape = (len(points), len(replicas))
        return Result(values={"nothing": np.zeros((*shape, len(time)))}, status=np.full(shape, Status.OK, np.int8))


class EmptySystem(System):
    """A simulation that returns zeros, and no theory."""

    title = "nothing"
    parameters = {name: Parameter(kind="number", default=0.0, meaning="nothing") for name in ("x", "y", "z")}
    size = "x"
    simulation = EmptySimulation()
    theory = NoHalf()


def register() -> None:
    """Make the system known to this process."""
    list_systems()["empty"] = "benchmarks.empty_system:EmptySystem"


_writing = 0.0


def register_on_worker() -> None:
    """The same on a worker, which also notes how long it writes."""
    register()
    write = Store.write_chunk

    def timed(self: Store, *arguments: Any) -> None:
        global _writing  # noqa: PLW0603
        begin = time.perf_counter()
        write(self, *arguments)
        _writing += time.perf_counter() - begin

    Store.write_chunk = timed  # type: ignore[method-assign]


def read_writing() -> float:
    """Seconds that this worker has been writing."""
    return _writing
