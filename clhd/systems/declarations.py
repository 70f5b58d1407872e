"""What a system declares of itself and what its computations return.

| word | meaning |
|---|---|
| words | the attributes of a variable or coordinate: ``long_name``, ``symbol``, ``units``, ``description`` |
| component | one of several equal parts of a point, such as a feature; a parameter can have a value for each |
| family | points of one family can share a kernel call |
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_count, parse_number, parse_vector
from clhd.errors import InputError

Value = int | float | str | tuple[float, ...]
Words = Mapping[str, str]


class Status(IntEnum):
    """What is known of one run (one replica of a point)."""

    NOT_RUN = 0
    OK = 1
    DIVERGED = 2
    NOT_CONVERGED = 3
    FAILED = 4


class NotConvergedError(RuntimeError):
    """A computation found no answer at a point. The point gets the status not_converged and is not tried again."""


def describe(long_name: str, symbol: str = "", units: str = "1", description: str = "") -> dict[str, str]:
    """Return the words of a variable or coordinate."""
    return {"long_name": long_name, "symbol": symbol, "units": units, "description": description}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a system.

    Parameters
    ----------
    kind : str
        "number" (or one of `choices`), "count" (a whole number), "choice" (one of `choices`), "curve" (one of
        `choices` or a list of coefficients), or "any".
    default : number, str or None
        None: the experiment must give a value, or the system works one out.
    meaning, symbol, units : str
        For people; the coordinates of a store carry them.
    minimum, maximum, above : float
        Of a number, ``minimum <= value <= maximum`` and ``value > above``.
    choices : tuple of str
    per_component : bool
        ``name_j`` sets component j alone, ``name`` sets all components.
    in_theory, in_simulation : bool
        False if the theory, or the simulation, does not depend on the parameter.
    can_vary : bool
        False if the parameter fixes the shape of the results, so that it cannot be an axis.
    """

    kind: str
    default: Value | None
    meaning: str
    symbol: str = ""
    _: KW_ONLY
    units: str = "1"
    minimum: float = -np.inf
    maximum: float = np.inf
    above: float = -np.inf
    choices: tuple[str, ...] = ()
    per_component: bool = False
    in_theory: bool = True
    in_simulation: bool = True
    can_vary: bool = True

    def parse(self, name: str, value: Any) -> Value:
        """Return `value` in its one form; raise ClhdError, which says what is allowed."""
        if self.kind == "any":
            return tuple(value) if isinstance(value, list) else value
        if self.kind == "number" and not (isinstance(value, str) and value in self.choices):
            return parse_number(name, value, minimum=self.minimum, maximum=self.maximum, above=self.above)
        if self.kind == "count":
            count = parse_count(name, value, minimum=int(max(self.minimum, -(2.0**53))))
            if count > self.maximum:
                raise InputError(
                    f"{name} = {value!r}: must be a whole number from {self.minimum:g} to {self.maximum:g}"
                )
            return count
        if isinstance(value, str) and value in self.choices:
            return value
        if self.kind == "curve" and isinstance(value, list | tuple):
            return tuple(parse_vector(name, value).tolist())
        more = ", or a list of coefficients" if self.kind == "curve" else ""
        raise InputError(f"{name} = {value!r}: must be one of {', '.join(sorted(self.choices))}{more}")


def number(default: float | str | None, meaning: str, symbol: str = "", **more: Any) -> Parameter:
    """Return a parameter that is a number; `more` is what else a `Parameter` takes."""
    return Parameter("number", default, meaning, symbol, **more)


def count(default: int | None, meaning: str, symbol: str = "", **more: Any) -> Parameter:
    """Return a parameter that is a whole number; `more` is what else a `Parameter` takes."""
    return Parameter("count", default, meaning, symbol, **more)


def choice(default: str | None, meaning: str, choices: Sequence[str], **more: Any) -> Parameter:
    """Return a parameter that is one of some words; `more` is what else a `Parameter` takes."""
    return Parameter("choice", default, meaning, choices=tuple(choices), **more)


@dataclass(frozen=True)
class Output:
    """One quantity that a simulation or a theory returns.

    Parameters
    ----------
    dims : tuple of str
        Its dims after those of the grid and the replicas, such as ``("time", "feature")``.
    words : mapping
        See `describe`.
    distribution_along : str, optional
        The dim along which the quantity is a distribution function. The summary then holds the distance between the
        distribution function of each run and that of the theory.
    may_be_nan : bool
        True if NaN can be a result. Otherwise NaN means that the run diverged; halves of a system's own must say so.
    in_theory, in_simulation : bool
        False if the theory, or the simulation, does not return it. A system with halves of its own does not need them.
    """

    dims: tuple[str, ...]
    words: Words
    _: KW_ONLY
    distribution_along: str | None = None
    may_be_nan: bool = False
    in_theory: bool = True
    in_simulation: bool = True


def output(
    dims: tuple[str, ...], long_name: str, symbol: str = "", units: str = "1", description: str = "", **more: Any
) -> Output:
    """Return an output by its dims and words (see `describe`); `more` is what else an `Output` takes."""
    return Output(dims, describe(long_name, symbol, units, description), **more)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Everything that a simulation or a theory returns.

    Parameters
    ----------
    variables : mapping of name to Output
        Empty if there is nothing to compute.
    coordinates : mapping of name to (values, words)
        The coordinate of every dim of the outputs except ``time``.
    """

    variables: Mapping[str, Output]
    coordinates: Mapping[str, tuple[Sequence[Any], Words]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The predicted cost of one run.

    Parameters
    ----------
    seconds : float
        Of one run, in a kernel call that computes `runs_per_call` runs.
    runs_per_call : int
        Runs of one kernel call. A call with fewer runs takes the same time.
    family : hashable
        Points of one family can share a kernel call.
    """

    seconds: float
    runs_per_call: int = 1
    family: Hashable = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one call computed.

    Parameters
    ----------
    values : mapping of name to array
        Of shape (points, replicas, dims of the output), or (points, dims of the output) without replicas.
    status : array of Status
        Of shape (points, replicas), or (points,).
    errors : mapping of place to Exception
        The error of each run that failed or did not converge, by its place in `status`, which is a tuple.
    """

    values: Mapping[str, FloatArray]
    status: NDArray[np.int8]
    errors: Mapping[Any, Exception] = field(default_factory=dict)
