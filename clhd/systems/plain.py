"""Halves of a system that is written as plain functions: `simulate` for one run, `predict` for one point.

A run draws its random numbers from `generator(key, replica)`: numpy's Philox, keyed by the text of the point. Its bits
depend on the point and the replica alone. An exception in one run fails that run; the other runs go on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray, FloatArray
from clhd.errors import ClhdError, InputError, SimulationStopped
from clhd.systems.check import ResultError
from clhd.systems.declarations import Cost, NotConvergedError, Output, Outputs, Parameter, Result, Status


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
    words: Any = _Key(np.frombuffer(digest, "<u8"))  # the types of numpy know no seeds but its own
    return np.random.Generator(np.random.Philox(words))


class _Key(ISeedSequence):
    """The key of a Philox as numpy asks for it: given as a number, it takes three times as long, for nothing."""

    def __init__(self, words: NDArray[np.uint64]) -> None:
        self._words = words

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[Any]:
        """Return the two words of the key, all that a Philox asks for."""
        return self._words[:n_words].astype(dtype)


def status_of(values: Mapping[str, Any], outputs: Mapping[str, Output]) -> Status:
    """Return ``DIVERGED`` if an output of a run is infinite, or NaN although it may not be NaN; else ``OK``."""
    is_diverged = any(_find_bad(np.asarray(values[name]), output).any() for name, output in outputs.items())
    return Status.DIVERGED if is_diverged else Status.OK


def _find_bad(values: NDArray[Any], output: Output) -> BoolArray:
    """Which values of an output are infinite, or NaN although they may not be NaN."""
    bad: BoolArray = np.isinf(values) if output.may_be_nan else ~np.isfinite(values)
    return bad


def _is_coordinate(entry: Any) -> bool:
    """True for a pair of values and words; the values are one or more different words or finite numbers."""
    if not (isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[1], Mapping)):
        return False
    try:
        values = np.asarray(entry[0])
        column = values.tolist()
        is_plain = values.dtype.kind in "iuf" and bool(np.isfinite(values).all())
        is_words = all(isinstance(value, str) for value in entry[0])
    except (TypeError, ValueError):  # no list, or lists of different lengths
        return False
    return values.ndim == 1 and (is_plain or is_words) and len(set(column)) == len(column) > 0


def write_exactly(value: Any) -> str:
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
        All parameters, also those at their defaults; of a parameter with a value for each component, a tuple.
    key : str
        The parameters of the simulation that differ from their defaults, and the seed, exact to the last bit.
    """

    items: tuple[tuple[str, Any], ...]
    key: str

    @property
    def values(self) -> SimpleNamespace:
        """The parameters as attributes."""
        return SimpleNamespace(**dict(self.items))


@dataclass(frozen=True, kw_only=True)
class PlainHalf:
    """The simulation or the theory of a system that is written as plain functions.

    Parameters
    ----------
    name : str
        Of the system; it begins the key of every point.
    version : int
    parameters : mapping of name to Parameter
        Those on which this half depends.
    others : collection of str
        The parameters on which only the other half depends.
    keyed : collection of str
        The parameters of the simulation, which make the key.
    components : str
        The parameter that counts the components; empty if there is none.
    variables : mapping of name to Output
    find_coordinates : callable of parameters
        Returns the coordinates of dims other than ``time``.
    check : callable of a namespace
        Raises ClhdError where parameters do not go together.
    estimate_seconds : callable of a namespace and the times
        Predicts the cost of one run, or of one prediction.
    function : callable
        Of (parameters, time) and, with replicas, a random generator; returns one array for each output.
    has_replicas : bool
        True for a simulation, and for a theory that predicts each run: each call gets the random generator of its run.
    per_replica : bool
        True for a theory that predicts each run.
    """

    name: str
    version: int
    parameters: Mapping[str, Parameter]
    others: frozenset[str]
    keyed: frozenset[str]
    components: str
    variables: Mapping[str, Output]
    find_coordinates: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    check: Callable[[Any], None]
    estimate_seconds: Callable[[Any, FloatArray], float]
    function: Callable[..., Mapping[str, Any]]
    has_replicas: bool
    per_replica: bool

    @property
    def _where(self) -> str:
        """Names the function in messages."""
        return f"system {self.name}, {self.function.__name__}"

    def outputs(self, constants: Mapping[str, Any]) -> Outputs:
        """The declared outputs, with the coordinates of their dims."""
        return Outputs(variables=self.variables, coordinates=self._find_own_coordinates(self._complete(constants)))

    def _find_own_coordinates(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The coordinates of the dims of this half's outputs; raises ClhdError if one is not given."""
        dims = {dim: name for name, output in self.variables.items() for dim in output.dims if dim != "time"}
        found = self._ask("coordinates", self.find_coordinates, values) if dims else {}
        for dim, name in dims.items():
            if not isinstance(found, Mapping) or dim not in found:
                raise InputError(f"system {self.name}, coordinates: lacks the dim {dim} of the output {name}")
            if not _is_coordinate(found[dim]):
                raise InputError(
                    f"system {self.name}, coordinates: {dim} = {found[dim]!r:.100}: must be a pair of values and "
                    "clhd.describe(...); the values are different words, or different finite numbers"
                )
        return {dim: found[dim] for dim in dims}

    def _ask(self, word: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a small function of the author; whatever it raises is one line."""
        try:
            return function(*arguments)
        except ClhdError:
            raise
        except Exception as error:  # an author's function raises what it likes
            raise InputError(f"system {self.name}, {word}: {type(error).__name__}: {error}") from None

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """The default of each parameter of this half, in the form that the same value has if an experiment gives it."""
        return {
            name: parameter.default if parameter.default is None else parameter.parse(name, parameter.default)
            for name, parameter in self.parameters.items()
        }

    def _complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A value for each parameter of this half; of a parameter with a value for each component, a tuple."""
        defaults = self._defaults
        count = values.get(self.components, defaults.get(self.components)) or 1
        found: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            value = found[name] = values.get(name, defaults[name])
            if parameter.per_component:
                found[name] = tuple(values.get(f"{name}_{j}", value) for j in range(1, int(count) + 1))
        return found

    @cached_property
    def _usual(self) -> dict[str, Any]:
        """All parameters at their defaults."""
        return self._complete({})

    def point(self, values: Mapping[str, Any], seed: int) -> PlainPoint:
        """The checked parameters and their key; raises ClhdError where one is not given or they do not go together."""
        found = self._complete(values)
        default = self._usual
        if self.components in found:
            default = self._complete({self.components: found[self.components]})
            default[self.components] = self.parameters[self.components].default
        for name, value in found.items():
            if value is None or (isinstance(value, tuple) and None in value):
                raise InputError(f"{name}: must be given, as a constant or an axis")
        changed = sorted(name for name in self.keyed & found.keys() if found[name] != default[name])
        text = "|".join([self.name, *(f"{name}={write_exactly(found[name])}" for name in changed), f"seed={seed}"])
        point = PlainPoint(tuple(found.items()), text)
        self._ask("check", self._check, point.values)
        return point

    def _check(self, values: SimpleNamespace) -> None:
        """Check parameters as far as this half knows them; the other half checks the rest."""
        try:
            self.check(values)
        except AttributeError as error:
            if not (error.obj is values and error.name in self.others):
                raise

    def cost(self, point: PlainPoint, time: FloatArray) -> Cost:
        """The seconds that the author predicts."""
        seconds = float(self._ask("estimate_seconds", self.estimate_seconds, point.values, time))
        if not 0 < seconds < np.inf:
            raise InputError(f"system {self.name}, estimate_seconds: returned {seconds:g}; it must be greater than 0")
        return Cost(seconds=seconds)

    def compute(self, points: Sequence[PlainPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        """One call of the function for each run, or for each point of a theory without replicas."""
        calls = list(replicas) if self.has_replicas else [None]
        shape = (len(points), len(calls))
        shapes = self._find_shapes(points[0], time)
        values: dict[str, FloatArray] = {name: np.full((*shape, *inner), np.nan) for name, inner in shapes.items()}
        status: NDArray[np.int8] = np.full(shape, Status.OK, np.int8)
        errors: dict[tuple[int, ...], Exception] = {}
        for place in np.ndindex(*shape):
            try:
                run = self._call(points[place[0]], time, calls[place[1]], shapes)
            except SimulationStopped:
                raise
            except Exception as error:  # whatever a run does must not stop the others
                is_known = isinstance(error, NotConvergedError)
                status[place] = Status.NOT_CONVERGED if is_known else Status.FAILED
                errors[place if self.has_replicas else place[:1]] = error
                continue
            for name, array in run.items():
                values[name][place] = array
        diverged = np.zeros(shape, bool)
        for name, output in self.variables.items():
            diverged |= _find_bad(values[name], output).any(axis=tuple(range(2, values[name].ndim)))
        status[diverged & (status == Status.OK)] = Status.DIVERGED  # as `status_of` says, for all runs at once
        if not self.has_replicas:
            values, status = {name: array[:, 0] for name, array in values.items()}, status[:, 0]
        return Result(values=values, status=status, errors=errors)

    def _find_shapes(self, point: PlainPoint, time: FloatArray) -> dict[str, tuple[int, ...]]:
        """The shape of each output of one run."""
        sizes = {dim: len(values) for dim, (values, _) in self._find_own_coordinates(dict(point.items)).items()}
        sizes["time"] = len(time)
        return {name: tuple(sizes[dim] for dim in output.dims) for name, output in self.variables.items()}

    def _call(
        self, point: PlainPoint, time: FloatArray, replica: int | None, shapes: Mapping[str, tuple[int, ...]]
    ) -> dict[str, NDArray[Any]]:
        """The outputs of one run; raises ResultError if they are not those that are declared."""
        random = () if replica is None else (generator(point.key, replica),)
        with np.errstate(all="ignore"):  # the status of the run says that it diverged
            found = self.function(point.values, time.copy(), *random)
        if not isinstance(found, Mapping) or found.keys() != self.variables.keys():
            kind = ", ".join(sorted(map(str, found))) if isinstance(found, Mapping) else type(found).__name__
            raise ResultError(f"{self._where}: returned {kind}; it must return {', '.join(sorted(self.variables))}")
        return {name: self._check_array(name, found[name], shape) for name, shape in shapes.items()}

    def _check_array(self, name: str, value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """The value of an output as an array; nothing is broadcast, and text or complex numbers are no values."""
        try:
            array = np.asarray(value)
        except ValueError as error:  # lists of different lengths
            raise ResultError(f"{self._where}: output {name} is no array: {error}") from None
        if array.shape != shape or array.dtype.kind not in "biuf":
            dims = ", ".join(self.variables[name].dims)
            raise ResultError(
                f"{self._where}: output {name} is {array.dtype} of shape {array.shape}; "
                f"it must be real numbers of shape {shape}, for ({dims})"
            )
        return array
