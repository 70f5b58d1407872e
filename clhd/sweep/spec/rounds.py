"""What results decide, round after round: where the grid is refined, and how many replicas each point gets.

`Refinement`: where a grid is refined, as an experiment says it under ``refine``.

| key of ``refine`` | type | meaning |
|---|---|---|
| quantity | text | variable of the summary that decides: X_mean of the simulation, or X_theory |
| select | dim: value | position along each dim of X that has several, such as time |
| level | number, or ``label`` | refine where the quantity crosses it, or where neighbours have different labels |
| along | names | axes that are refined; the border is given as a value of the first |
| rounds | count | each halves the spacing along these axes |
| most_points | count | bound on the points that are computed; by default there is none |
| coarse | axis: values | values of the coarse grid; by default those under ``axes``, between which others are put |

A spacing is halved by the middle of two values, or by their geometric mean along an axis of equal ratios.

`Sampling`: how many replicas each point gets: a fixed number, or as many as its error needs.

| key of ``replicas`` | type | meaning |
|---|---|---|
| start | count | replicas of the first round, two or more; each round doubles them |
| most | count | replicas of the last round; a point that does not reach its target stops there |
| until | quantity: number | standard error of the mean that each of these outputs must reach, each component of it |
| at | number | output time at which it must; by default at every output time |

Without ``until``, a refinement by a simulated quantity decides: points whose noise hides the border get more.

The replicas are those of a plain experiment: a point that stops at 64 has the bits of the first 64 of ``most``.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from clhd.core.checks import parse_count, parse_number
from clhd.core.text import format_number, format_value, join_words
from clhd.errors import ClhdError, InputError
from clhd.sweep.spec.grid import Axis, round_value
from clhd.sweep.spec.yaml_file import MUST_BE_GIVEN, describe_unknown
from clhd.systems.declarations import Outputs, Value
from clhd.systems.protocol import System

StageKind = Literal["simulation", "theory"]  # a stage that computes points
LABEL = "label"
# With more rounds, the spacing would be a ten thousandth of the coarse one.
MOST_ROUNDS = 12
_SUFFIXES: dict[str, StageKind] = {"_mean": "simulation", "_theory": "theory"}
# Relative difference of ratios that are taken for equal; values have 12 digits.
_EQUAL = 1e-9


class Refinement(BaseModel):
    """Where a grid is refined; the fields are the keys of the table above."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quantity: str = Field(description="variable of the summary that decides: X_mean of the simulation, or X_theory")
    select: dict[str, int | float | str] = Field(
        default_factory=dict, description="position along each dim of the quantity that has several, such as time"
    )
    level: float | str = Field(description=f"the level that it crosses, or {LABEL}: where neighbours differ")
    along: tuple[str, ...] = Field(description="axes that are refined; the border is given as a value of the first")
    rounds: int = Field(description="each halves the spacing", json_schema_extra={"minimum": 1, "maximum": MOST_ROUNDS})
    most_points: int | None = Field(
        default=None, description="bound on the points that are computed", json_schema_extra={"minimum": 1}
    )
    coarse: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="values of the coarse grid; by default those under axes"
    )

    @field_validator("quantity")
    @classmethod
    def _check_quantity(cls, value: str) -> str:
        if not value.endswith(tuple(_SUFFIXES)):
            raise ValueError("must be a variable of the summary: X_mean of the simulation, or X_theory")
        return value

    @field_validator("level", mode="before")
    @classmethod
    def _parse_level(cls, value: Any) -> float | str:
        if value == LABEL:
            return LABEL
        try:
            return parse_number("level", value)
        except InputError:
            raise ValueError(f"must be a number, or {LABEL}") from None

    @field_validator("along")
    @classmethod
    def _check_along(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError("must be one or more different axes")
        return value

    @field_validator("rounds", mode="before")
    @classmethod
    def _parse_rounds(cls, value: Any) -> int:
        return _parse(value, MOST_ROUNDS)

    @field_validator("most_points", mode="before")
    @classmethod
    def _parse_most_points(cls, value: Any) -> int | None:
        return None if value is None else _parse(value, 10**15)

    @property
    def kind(self) -> StageKind:
        """The stage whose results decide: "simulation" or "theory"."""
        return next(kind for suffix, kind in _SUFFIXES.items() if self.quantity.endswith(suffix))

    @property
    def output(self) -> str:
        """The output of that stage which decides."""
        return self.quantity.rpartition("_")[0]

    def keep_coarse(self, axes: Sequence[Axis]) -> "Refinement":
        """Return the refinement with the values of the coarse grid, of which `axes` are the refined axes."""
        refined = [axis for axis in axes if axis.name in self.along and axis.is_single]
        coarse = {axis.name: tuple(value for (value,) in axis.values[:: 2**self.rounds]) for axis in refined}
        return self.model_copy(update={"coarse": coarse})

    def count_coarse(self, axis: Axis) -> int:
        """Return the number of positions of the coarse grid along an axis."""
        return len(self.coarse.get(axis.name, axis.values))

    def predict_count(self, axes: Sequence[Axis]) -> int:
        """Return the predicted number of points of a grid that are wanted; see `predict_points`."""
        coarse = [self.count_coarse(axis) for axis in axes if axis.name in self.along]
        others = math.prod([len(axis) for axis in axes if axis.name not in self.along])
        return predict_points(coarse, self.rounds) * others

    def resolved(self) -> dict[str, Any]:
        """Return the refinement as plain values, which JSON can hold."""
        plain = self.model_dump(exclude_none=True)
        coarse = {name: list(values) for name, values in self.coarse.items()}
        return plain | {"along": list(self.along), "coarse": coarse}


def describe_schema() -> dict[str, Any]:
    """Return the JSON schema of the keys under ``refine`` that a file gives."""
    schema = Refinement.model_json_schema()
    del schema["title"], schema["description"], schema["properties"]["coarse"]
    for entry in schema["properties"].values():
        del entry["title"]
    schema["properties"]["level"] |= {"anyOf": [{"type": "number"}, {"enum": [LABEL]}]}
    most = schema["properties"]["most_points"]
    del most["anyOf"], most["default"]
    most["type"] = "integer"
    return schema


def _parse(value: Any, most: int) -> int:
    """A whole number from 1 to `most`."""
    with suppress(InputError):
        if (count := parse_count("", value, minimum=1)) <= most:
            return count
    raise ValueError(f"must be a whole number from 1 to {most}")


def refine_axis(axis: Axis, rounds: int) -> Axis:
    """Return an axis with the values that some rounds put between its own.

    Raises ClhdError if it has words or one value, several parameters vary along it, or it cannot be that fine.
    """
    if not axis.is_single:
        raise InputError(f"{axis.name}: cannot be refined, because several parameters vary along it")
    values = [value for (value,) in axis.values]
    if any(isinstance(value, str) for value in values):
        raise InputError(f"{axis.name}: cannot be refined, because it has words")
    if len(values) < 2:
        raise InputError(f"{axis.name}: cannot be refined, because it has one value; give two or more")
    fine = halve(np.array(values, dtype=float), rounds)
    if len(set(fine)) < len(fine):
        raise InputError(f"{axis.name}: its values are too close for {rounds} rounds; give fewer rounds")
    return Axis(axis.name, axis.parameters, tuple((value,) for value in fine))


def halve(values: NDArray[np.float64], rounds: int) -> list[float]:
    """Return ascending values with 2^rounds - 1 more between neighbours; fewer rounds give a part of the same bits."""
    parts = 2**rounds
    share = np.arange(1, parts) / parts  # exact, so that the values of fewer rounds are among those of more
    low, high = values[:-1, None], values[1:, None]
    ratios = values[1:] / values[:-1] if np.all(values > 0) else values[:0]
    is_geometric = len(ratios) > 1 and np.allclose(ratios, ratios[0], rtol=_EQUAL, atol=0)
    between = low * (high / low) ** share if is_geometric else low + (high - low) * share
    pieces = [
        (start, *map(round_value, inner)) for start, inner in zip(values.tolist(), between.tolist(), strict=False)
    ]
    return [*chain.from_iterable(pieces), float(values[-1])]


def check_refinement(
    refine: Refinement,
    axes: Sequence[Axis],
    times: Sequence[float],
    constants: Mapping[str, Value],
    system: System,
    replicas: int,
) -> Iterator[str]:
    """Yield one line for each mistake in a refinement that a single key does not show: key, value, what is allowed.

    The axes are all axes of the experiment, refined; the replicas are those of each point at first.
    """
    try:
        outputs = system.half(refine.kind).outputs(constants)
    except ClhdError:
        return  # reported when the points are checked
    if refine.output not in outputs.variables:
        suffix = refine.quantity.rpartition("_")[2]
        allowed = join_words([f"{name}_{suffix}" for name in outputs.variables])
        yield f"quantity = {refine.quantity!r}: must be one of {allowed or f'those of a {refine.kind}; there is none'}"
        return
    yield from _check_select(refine, outputs, times)
    if refine.kind == "simulation" and refine.level == LABEL and replicas != 1:
        yield f"level = {LABEL!r}: the mean over {replicas} replicas is no label; give replicas: 1"
    if refine.kind == "simulation" and refine.level != LABEL and replicas < 2:
        yield f"quantity = {refine.quantity!r}: needs two or more replicas, for its standard error"
    names = [axis.name for axis in axes]
    for name in refine.along:
        depends = name in names and getattr(system.find_parameter(name, constants), f"in_{refine.kind}")
        if name not in names:
            yield f"along = {name!r}: must be axes; they are {join_words(names)}"
        elif not depends:
            yield f"along = {name!r}: must be axes on which {refine.quantity} depends"
    yield from _check_most(refine, axes)


def _check_select(refine: Refinement, outputs: Outputs, times: Sequence[float]) -> Iterator[str]:
    """Yield the mistakes in the position along the dims of the quantity."""
    dims = outputs.variables[refine.output].dims
    for name in refine.select.keys() - set(dims):
        yield f"select.{name}: is no dim of {refine.quantity}; its dims are {join_words([*dims]) or 'none'}"
    for dim in dims:
        places = list(times) if dim == "time" else list(outputs.coordinates[dim][0])
        if dim in refine.select and refine.select[dim] not in places:
            allowed = join_words([format_value(place) for place in places[:12]])
            yield f"select.{dim} = {refine.select[dim]!r}: must be one of {allowed}"
        elif dim not in refine.select and len(places) > 1:
            yield f"select.{dim}: must be given, for {refine.quantity} has {len(places)} values of it"


def _check_most(refine: Refinement, axes: Sequence[Axis]) -> Iterator[str]:
    """Yield a line if a refinement is predicted to need more points than it allows."""
    most = refine.most_points
    refine = refine if refine.coarse else refine.keep_coarse(axes)
    predicted, coarse = refine.predict_count(axes), math.prod([refine.count_coarse(axis) for axis in axes])
    if most is not None and predicted > most:
        yield (
            f"most_points = {most}: {refine.rounds} rounds are predicted to need about {predicted} points, {coarse} of "
            "them for the coarse grid; allow more, or give fewer rounds"
        )


def predict_points(coarse: Sequence[int], rounds: int) -> int:
    """Return the predicted number of points of a refinement: that of a border which crosses the grid once, obliquely.

    The coarse grid has so many positions along each refined axis. A plane that crosses it obliquely meets, for each
    axis, about as many cells as the grid has in the projection along this axis. To split a cell of d axes adds
    3^d - 2^d points. Neighbours share some, but borders also turn.
    """
    intervals = [length - 1 for length in coarse]
    total, dims = math.prod(coarse), len(coarse)
    for number in range(rounds):
        cells = [length * 2**number for length in intervals]
        crossed = sum(math.prod(cells) // max(1, length) for length in cells)
        total += min(crossed, math.prod(cells)) * (3**dims - 2**dims)
    whole: int = math.prod([length * 2**rounds + 1 for length in intervals])
    return min(total, whole)


_KEYS = ("start", "most", "until", "at")
_MOST_TIMES = 6  # that a message names
SAMPLING_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"type": "integer", "minimum": 1},
        {
            "type": "object",
            "description": "replicas in rounds that double them, as until or refine needs",
            "properties": {
                "start": {"type": "integer", "minimum": 2, "description": "replicas of the first round"},
                "most": {"type": "integer", "minimum": 2, "description": "replicas of the last round"},
                "until": {
                    "type": "object",
                    "description": "standard error of the mean that an output must reach, by its name",
                    "additionalProperties": {"type": "number", "exclusiveMinimum": 0},
                    "minProperties": 1,
                },
                "at": {"type": "number", "description": "output time that counts; by default every one"},
            },
            "required": ["start", "most"],
            "dependentRequired": {"at": ["until"]},
            "additionalProperties": False,
        },
    ]
}


@dataclass(frozen=True)
class Sampling:
    """How many replicas each point gets."""

    start: int  # replicas of the first round
    most: int  # of the last round; the same if the number is fixed
    # Standard error to reach, by output; empty if the number is fixed, or a refinement decides.
    until: Mapping[str, float] = field(default_factory=dict)
    at: float | None = None  # the output time that counts; None for every one

    @property
    def is_open(self) -> bool:
        """True if results decide how many replicas a point gets."""
        return bool(self.until) or self.start < self.most

    @property
    def counts(self) -> tuple[int, ...]:
        """Replicas of a point after each round: start, twice as many, ..., most."""
        counts = []
        count = self.start
        while count < self.most:
            counts.append(count)
            count *= 2
        return (*counts, self.most)

    def resolved(self) -> Any:
        """Return the plain value from which `parse_sampling` makes it."""
        if not self.is_open:
            return self.most
        until = {"until": dict(self.until)} if self.until else {}
        return {"start": self.start, "most": self.most} | until | ({} if self.at is None else {"at": self.at})


def parse_sampling(value: Any, *, minimum: int = 1) -> Sampling:
    """Return what the key ``replicas`` says; raise ClhdError with one line for each mistake."""
    if not isinstance(value, Mapping):
        count = parse_count("replicas", value, minimum=minimum)
        return Sampling(count, count)
    mistakes = [describe_unknown(str(key), _KEYS) for key in value if key not in _KEYS]
    mistakes += [f"replicas.{key}: {MUST_BE_GIVEN}" for key in _KEYS[:2] if key not in value]
    if "at" in value and "until" not in value:
        mistakes.append("replicas.at: is the time of a target; give until as well")
    parsed: dict[str, Any] = {"at": None}

    def parse(key: str, make: Any) -> None:
        try:
            parsed[key] = make()
        except InputError as error:
            mistakes.extend(str(error).splitlines())

    for key in ("start", "most") if not mistakes else ():
        parse(key, lambda key=key: parse_count(f"replicas.{key}", value[key], minimum=2))
    if "until" in value:
        parse("until", lambda: _parse_targets(value["until"]))
    if value.get("at") is not None:
        parse("at", lambda: parse_number("replicas.at", value["at"], minimum=0))
    if not mistakes and parsed["most"] < parsed["start"]:
        mistakes.append(f"replicas.most = {value['most']!r}: must be at least start = {value['start']!r}")
    if mistakes:
        raise InputError("\n".join(mistakes))
    return Sampling(**parsed)


def _parse_targets(value: Any) -> dict[str, float]:
    """The standard error to reach, by output."""
    if not isinstance(value, Mapping) or not value:
        raise InputError(f"replicas.until = {value!r:.60}: must be a table of output: standard error")
    targets, mistakes = {}, []
    for name, target in value.items():
        try:
            targets[str(name)] = parse_number(f"replicas.until.{name}", target, above=0)
        except InputError as error:
            mistakes.append(str(error))
    if mistakes:
        raise InputError("\n".join(mistakes))
    return targets


def check_sampling(sampling: Sampling, names: Collection[str] | None, times: Sequence[float] | None) -> None:
    """Raise ClhdError, with one line for each mistake, if outputs or the time of a target do not exist.

    The names are the outputs of the simulation. Names or times that are not known are None.
    """
    mistakes = []
    if names is not None:
        allowed = join_words([*names])
        unknown = [name for name in sampling.until if name not in names]
        mistakes += [f"replicas.until.{name}: must be an output of the simulation: {allowed}" for name in unknown]
    if sampling.at is not None and times is not None and sampling.at not in times:
        known = join_words([format_number(time) for time in times[:_MOST_TIMES]])
        more = " and later ones" if len(times) > _MOST_TIMES else ""
        mistakes.append(f"replicas.at = {sampling.at!r}: must be one of times: {known}{more}")
    if mistakes:
        raise InputError("\n".join(mistakes))
