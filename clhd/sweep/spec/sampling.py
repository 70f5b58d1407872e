"""`Sampling`: how many replicas each point gets: a fixed number, or as many as its error needs.

| key of ``replicas`` | type | meaning |
|---|---|---|
| start | count | replicas of the first round, two or more; each round doubles them |
| most | count | replicas of the last round; a point that does not reach its target stops there |
| until | quantity: number | standard error of the mean that each of these outputs must reach, each component of it |
| at | number | output time at which it must; by default at every output time |

Without ``until``, a refinement by a simulated quantity decides: points whose noise hides the border get more.

The replicas are those of a plain experiment: a point that stops at 64 has the bits of the first 64 of ``most``.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clhd.core.checks import parse_count, parse_number
from clhd.core.text import format_number, join_words
from clhd.errors import InputError
from clhd.sweep.spec.yaml_file import MUST_BE_GIVEN, describe_unknown

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
