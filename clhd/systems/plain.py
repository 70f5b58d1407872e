"""Halves of a system that is written as plain functions: `simulate` for one run, `predict` for one point.

A run draws its random numbers from `generator(key, replica)`: numpy's Philox, keyed by the text of the point. Its bits
depend on the point and the replica alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.systems.declarations import Cost, FloatArray, Output, Outputs, Parameter, Result, Status, Value


def generator(key: str, replica: int) -> np.random.Generator:
    """Return the random numbers of one run.

    Parameters
    ----------
    key : str
        What the numbers are for, exact to the last bit, such as the key of a point.
    replica : int
        From 0.
    """
    digest = blake2b(f"{key}|{replica}".encode(), digest_size=16, person=b"clhd generator").digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def status_of(values: Mapping[str, Any], outputs: Mapping[str, Output]) -> Status:
    """Return ``DIVERGED`` if an output of a run is infinite, or NaN although it may not be NaN; else ``OK``."""
    for name, output in outputs.items():
        array = np.asarray(values[name])
        if np.isinf(array).any() or (np.isnan(array).any() and not output.may_be_nan):
            return Status.DIVERGED
    return Status.OK


def write_exactly(value: Value) -> str:
    """Return a value as text from which no bit is lost."""
    if isinstance(value, float):
        return value.hex()
    return "(" + ",".join(map(write_exactly, value)) + ")" if isinstance(value, tuple) else str(value)


@dataclass(frozen=True)
class PlainPoint:
    """The parameters of one point.

    Parameters
    ----------
    items : tuple of (name, value)
        All parameters, those at their defaults included.
    key : str
        The parameters that differ from their defaults, and the seed, exact to the last bit.
    """

    items: tuple[tuple[str, Value | None], ...]
    key: str

    @property
    def values(self) -> SimpleNamespace:
        """The parameters as attributes."""
        return SimpleNamespace(**dict(self.items))


@dataclass(frozen=True)
class PlainHalf:
    """The simulation or the theory of a system that is written as plain functions.

    Parameters
    ----------
    name : str
        Of the system; it begins the key of every point.
    version : int
    parameters : mapping of name to Parameter
        Those on which this half depends.
    variables : mapping of name to Output
    find_coordinates : callable of constants
        Returns the coordinates of dims other than ``time``.
    check : callable of a namespace
        Raises ClhdError where parameters do not go together.
    seconds : float
        Predicted cost of one run, or of one prediction.
    function : callable, optional
        Of (parameters, time, random generator or None), returns one array for each output. None if there is nothing.
    has_replicas : bool
        True for a simulation, whose runs each get a random generator.
    """

    name: str
    version: int
    parameters: Mapping[str, Parameter]
    variables: Mapping[str, Output]
    find_coordinates: Callable[[Mapping[str, Value]], Mapping[str, Any]]
    check: Callable[[Any], None]
    seconds: float
    function: Callable[..., Mapping[str, Any]] | None
    has_replicas: bool
    per_replica: bool = False

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """The declared outputs with their coordinates."""
        if self.function is None:
            return Outputs(variables={})
        return Outputs(variables=self.variables, coordinates=self.find_coordinates(constants))

    def point(self, values: Mapping[str, Value], seed: int) -> PlainPoint:
        """The checked parameters and their key; raises ClhdError where they do not go together."""
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        items = tuple((defaults | {name: values[name] for name in values}).items())
        own = sorted(name for name, value in values.items() if value != defaults.get(name))
        text = "|".join([self.name, *(f"{name}={write_exactly(values[name])}" for name in own), f"seed={seed}"])
        point = PlainPoint(items, text)
        self.check(point.values)
        return point

    def cost(self, point: PlainPoint, time: FloatArray) -> Cost:
        """The declared seconds."""
        return Cost(seconds=self.seconds)

    def compute(self, points: Sequence[PlainPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        """One call of the function for each run, or for each point of a theory."""
        runs: list[Any] = [
            [self._call(point, time, replica) for replica in replicas] if self.has_replicas else self._call(point, time)
            for point in points
        ]
        flat: list[Mapping[str, Any]] = [run for row in runs for run in row] if self.has_replicas else runs
        shape = (len(points), len(replicas)) if self.has_replicas else (len(points),)
        values: dict[str, FloatArray] = {}
        for name in flat[0]:
            stacked = np.array([run[name] for run in flat], dtype=np.float64)
            values[name] = stacked.reshape(*shape, *stacked.shape[1:])
        status: NDArray[np.int8] = np.array([status_of(run, self.variables) for run in flat], np.int8).reshape(shape)
        return Result(values=values, status=status)

    def _call(self, point: PlainPoint, time: FloatArray, replica: int | None = None) -> Mapping[str, Any]:
        assert self.function is not None  # a half without outputs has no points
        if replica is None:
            found = self.function(point.values, time)
        else:
            found = self.function(point.values, time, generator(point.key, replica))
        missing = sorted(self.variables.keys() - found.keys())
        if missing:
            raise KeyError(f"system {self.name}: {', '.join(missing)} is declared, but was not returned")
        return {name: np.asarray(found[name], dtype=np.float64) for name in self.variables}
