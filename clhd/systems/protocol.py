"""`System`: all that a sweep knows of the science. What can be swept has parameters, a simulation and a theory.

| word | meaning |
|---|---|
| values | one value for each parameter that is not left at its default, by name |
| point | a checked, hashable value that a system makes of them; its ``key`` names it to the last bit |
| cost | predicted seconds of one lane (one replica of a point), and which lanes can share a kernel call |

With the constants ``simulation: none`` and ``theory: none`` a system computes nothing on that stage: it has no outputs.

A new system is one module with these names and one entry in `clhd.systems.registry.SYSTEMS`.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clhd.core.checks import parse_count, parse_number, parse_vector
from clhd.errors import ClhdError

FloatArray = NDArray[np.float64]
Value = int | float | str | tuple[float, ...]


class Status(IntEnum):
    """What is known of one replica of a point."""

    NOT_RUN = 0
    OK = 1
    DIVERGED = 2
    NOT_CONVERGED = 3
    FAILED = 4


class NotConvergedError(RuntimeError):
    """A theory found no answer at a point: a fact about the point, not a fault, so it is not tried again."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a system.

    Parameters
    ----------
    kind : str
        "number" (or one of `choices`), "count" (a whole number), "choice" (one of `choices`), "curve" (one of
        `choices` or a list of coefficients), or "any".
    default : number, str or None
        None: must be given, or means that the system works it out.
    meaning, symbol, units : str
        For people: coordinates of a store carry them.
    minimum, maximum, above : float
        Of a number, ``minimum <= value <= maximum`` and ``value > above``.
    per_feature : bool
        ``name_j`` sets feature j alone, ``name`` all features.
    in_theory, in_simulation : bool
        False if the theory, or the simulation, does not depend on it.
    can_vary : bool
        False if it fixes the shape of the results, and so cannot be an axis.
    """

    kind: str
    default: Value | None
    meaning: str
    symbol: str = ""
    units: str = "1"
    minimum: float = -np.inf
    maximum: float = np.inf
    above: float = -np.inf
    choices: tuple[str, ...] = ()
    per_feature: bool = False
    in_theory: bool = True
    in_simulation: bool = True
    can_vary: bool = True

    def parse(self, name: str, value: Any) -> Value:
        """Return `value` in its one form, or raise ClhdError saying what is allowed."""
        if self.kind == "any":
            return tuple(value) if isinstance(value, list) else value
        if self.kind == "number" and not (isinstance(value, str) and value in self.choices):
            return parse_number(name, value, minimum=self.minimum, maximum=self.maximum, above=self.above)
        if self.kind == "count":
            count = parse_count(name, value, minimum=int(self.minimum))
            if count > self.maximum:
                raise ClhdError(f"{name} = {value!r}: must be a whole number from {self.minimum:g} to {self.maximum:g}")
            return count
        if isinstance(value, str) and value in self.choices:
            return value
        if self.kind == "curve" and isinstance(value, list | tuple):
            return tuple(parse_vector(name, value).tolist())
        more = ", or a list of coefficients" if self.kind == "curve" else ""
        raise ClhdError(f"{name} = {value!r}: must be one of {', '.join(sorted(self.choices))}{more}")


@dataclass(frozen=True, kw_only=True)
class Output:
    """One quantity that a simulation or a theory returns.

    Parameters
    ----------
    dims : tuple of str
        After those of the grid.
    words : mapping
    distribution_along : str, optional
        One of its dims along which it is a distribution function: the summary then holds how far that of each replica
        is from the theory's.
    """

    dims: tuple[str, ...]
    words: Mapping[str, str]
    distribution_along: str | None = None


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one lane (one replica of a point) is predicted to take.

    Parameters
    ----------
    seconds : float
        Of one lane, in a kernel call whose lanes are all in use.
    runs_per_call : int
        Lanes of one kernel call: fewer cost as much.
    family : hashable
        Points of one family can share a kernel call.
    """

    seconds: float
    runs_per_call: int = 1
    family: Hashable = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a block computed.

    Parameters
    ----------
    values : mapping of name to array
        Of shape (points, replicas, dims of the output), without replicas from a theory.
    status : array of Status
        Of shape (points, replicas), or (points,).
    """

    values: Mapping[str, FloatArray]
    status: NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Everything that a stage (simulation or theory) returns, with the coordinates of the dims that are not its own.

    Parameters
    ----------
    variables : mapping of name to Output
    coordinates : mapping of name to (values, words)
        Of every dim but ``time``.
    """

    variables: Mapping[str, Output]
    coordinates: Mapping[str, tuple[Sequence[Any], Mapping[str, str]]] = field(default_factory=dict)


class System(Protocol):
    """What can be swept. Implementations hold no state; they are named by their entry in `SYSTEMS`.

    Attributes
    ----------
    kernel_version : int
        Raised only when the bits of a simulation change; stores of another version are refused.
    theory_version : int
        Likewise for the theory.
    parameters : mapping of name to Parameter
    size : str
        The parameter n that the spread of the theory refers to.
    """

    kernel_version: int
    theory_version: int
    parameters: Mapping[str, Parameter]
    size: str

    def point(self, values: Mapping[str, Value], seed: int) -> Any:
        """A checked, hashable point of the simulation; raises ClhdError where the values do not go together."""

    def theory_point(self, values: Mapping[str, Value]) -> Any:
        """Likewise for the theory."""

    def simulation_outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """What `simulate` returns."""

    def theory_outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """What `predict` returns; the spread of X in the limit, times sqrt(size), is called ``X_fluctuation``."""

    def simulation_cost(self, point: Any, time: FloatArray) -> Cost:
        """Predicted cost of one replica."""

    def theory_cost(self, point: Any, time: FloatArray) -> Cost:
        """Predicted cost of one prediction."""

    def simulate(self, points: Sequence[Any], time: FloatArray, replicas: Sequence[int]) -> Result:
        """Simulate the same replicas of many points, on one thread."""

    def predict(self, points: Sequence[Any], time: FloatArray) -> Result:
        """Predict many points."""
