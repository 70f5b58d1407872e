"""What checks the table of an experiment, beside the fields of `Experiment`: its size, its system, its constants.

| function | what it does |
|---|---|
| check_table, describe_size | refuse an experiment that asks for more points or runs than a sweep can hold |
| Context, get_system, parameter_finder, ... | what the validators know of the system |
| parse_constant, write_out | constants of which each component may have its own value |

| limit | what it bounds | when an excess is found |
|---|---|---|
| `MOST_POINTS` | points, by the values of the axes | before any value of a range is made |
| `MOST_ENTRIES` | entries of a store: replicas of points, or blocks of them | before any value of a range is made |
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core.core_schema import ValidationInfo

from clhd.core.checks import parse_count
from clhd.errors import ClhdError, InputError
from clhd.sweep.spec.grid import Axis, count_values
from clhd.sweep.spec.rounds import MOST_ROUNDS, Refinement, parse_sampling, refine_axis
from clhd.sweep.spec.yaml_file import UNKNOWN_SYSTEM
from clhd.systems.declarations import Outputs, Parameter, Value
from clhd.systems.protocol import System
from clhd.systems.registry import Reference, load_system, refer_to

# Each point is made and checked before anything runs: 4 million take some minutes and 2 GB. The status of each run
# stands in memory, with masks of what is wanted and what is needed: of 400 million entries 2 GB.
MOST_POINTS, MOST_ENTRIES = 4_000_000, 400_000_000


def check_table(table: Mapping[str, Any], block: int) -> None:
    """Raise ClhdError if an experiment asks for too many points or runs, before any value of a range is made.

    The table is the content of the file, of which other mistakes are reported later, all together; with ``keep:
    moments``, a block has so many replicas.
    """
    axes, counts, replicas = table.get("axes"), {}, 0
    for name, entry in axes.items() if isinstance(axes, Mapping) else ():
        with suppress(ClhdError):
            counts[str(name)] = count_values(str(name), entry)
    refine = table.get("refine")
    if isinstance(refine, Mapping) and not refine.get("coarse"):
        with suppress(ClhdError, KeyError, TypeError):  # the mistake in these is reported later
            rounds = parse_count("rounds", refine["rounds"], minimum=0)
            for name in set(refine["along"]) & counts.keys() if rounds <= MOST_ROUNDS else ():
                counts[name] = (counts[name] - 1) * 2**rounds + 1
    with suppress(ClhdError):
        replicas = parse_sampling(table.get("replicas"), minimum=0).most
    has_moments = table.get("keep") == "moments"
    mistake = describe_size(counts, replicas, block if has_moments else 1)
    if mistake:
        instead = "" if has_moments or mistake.startswith("axes") else ", or keep: moments"
        raise InputError(f"{mistake}; give fewer, or split the experiment{instead}")


def describe_size(counts: Mapping[str, int], replicas: int, entry_size: int) -> str:
    """Return a message about too many points or runs of an experiment or store; empty if there are not too many.

    The counts are the numbers of values of the axes; one entry of the store has `entry_size` replicas.
    """
    points = math.prod(counts.values())
    if points > MOST_POINTS:
        product = " x ".join(f"{_format(count)} of {name}" for name, count in counts.items())
        return f"axes: {_format(points)} points ({product}) are more than {MOST_POINTS}"
    entries = points * replicas // entry_size
    if entries > MOST_ENTRIES:
        what = f"{_format(entries)} {'runs' if entry_size == 1 else f'blocks of {entry_size} runs'}"
        return f"replicas = {_format(replicas)}: of {points} points, {what} are more than {MOST_ENTRIES}"
    return ""


def _format(count: int) -> str:
    return str(count) if count < 10**15 else f"about 10^{int(math.log10(count))}"


@dataclass(frozen=True)
class Context:
    """How an experiment is validated."""

    # False takes parameters as they stand and loads no system: code that only reads results does not wait for one.
    check: bool = True
    folder: Path | None = None  # of the experiment's file, from which the file of a system is found
    recalled: System | None = None  # without a check: as results remember the system, with the form of parameters
    references: dict[str, Reference] = field(default_factory=dict)

    def refer_to(self, name: str) -> Reference:
        """The reference to a system; its file is read once, so that all of an experiment is of one text."""
        if name not in self.references:
            self.references[name] = refer_to(name, self.folder)
        return self.references[name]


def get_context(info: ValidationInfo) -> Context:
    """Return the context of a validation; by default everything is checked, and no file is searched."""
    return info.context or Context()


def get_system(info: ValidationInfo, name: str | None = None) -> System | None:
    """The system of an experiment; None if its name is wrong, or the experiment is taken as it stands."""
    context, name = get_context(info), name or (info.data or {}).get("system")
    return load_system(context.refer_to(name)) if context.check and name is not None else None


def list_outputs(system: System, constants: Mapping[str, Value]) -> list[Outputs]:
    """What simulation and theory return; an error is reported later, when the points are checked."""
    found = []
    for half in (system.simulation, system.theory):
        with suppress(ClhdError):
            found.append(half.outputs(constants))
    return found


def list_simulated(info: ValidationInfo) -> list[str] | None:
    """The outputs of the simulation; None if other mistakes hide them."""
    system, constants = get_system(info), info.data.get("constants")
    if system is None or constants is None:
        return None
    with suppress(ClhdError):
        return [*system.simulation.outputs(constants).variables]
    return None  # reported when the points are checked


def parameter_finder(info: ValidationInfo, constants: Mapping[str, Any] | None) -> Callable[[str], Parameter]:
    """A function that finds a parameter of the system by name; without constants, a component may have any number."""
    if "system" not in info.data:
        raise ValueError(UNKNOWN_SYSTEM)
    system = get_system(info) or get_context(info).recalled
    if system is None:
        return lambda name: Parameter(kind="any", default=None, meaning="")
    known = {system.components: math.inf} if constants is None else constants
    return lambda name: system.find_parameter(name, known)


def number_components(name: str, values: Any) -> dict[str, Any]:
    """The values of a parameter for each component, by the name of each: ``name_1``, ``name_2``, ..."""
    return {f"{name}_{index}": value for index, value in enumerate(values, start=1)}


def parse_constant(name: str, entry: Any, parameter: Parameter, components: tuple[str, Any]) -> Any:
    """The value of a constant; a list of values that are one for each component becomes a table by component."""
    if not (parameter.per_component and parameter.kind != "curve" and isinstance(entry, list)):
        return parameter.parse(name, entry)
    counter, count = components
    if len(entry) != count:
        raise InputError(f"{name} = {entry!r:.60}: must hold one value for each component, but {counter} = {count}")
    return {key: parameter.parse(key, value) for key, value in number_components(name, entry).items()}


def count_components(system: System | None, constants: Mapping[Any, Any]) -> tuple[str, Any]:
    """The parameter that counts the components, and its value."""
    if system is None or system.components not in system.parameters:
        return "", 1
    return system.components, constants.get(system.components, system.parameters[system.components].default)


def write_out(constants: Mapping[str, Any]) -> dict[str, Any]:
    """Put the values of each component in the place of their table; raise ValueError if one is set twice."""
    written: dict[str, Any] = {}
    for name, value in constants.items():
        values = value if isinstance(value, Mapping) else {name: value}
        if twice := sorted((values.keys() & constants.keys()) - {name}):
            raise ValueError("\n".join(f"{key}: is set twice, by {name} as well" for key in twice))
        written |= values
    return written


def collect(table: Mapping[Any, Any], parse: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Parse every entry of a table; report all mistakes at once, one line each."""
    parsed, mistakes = {}, []
    for name, entry in table.items():
        try:
            parsed[str(name)] = parse(str(name), entry)
        except ClhdError as error:
            mistakes.append(str(error))
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return parsed


def refine_axes(axes: tuple[Axis, ...], refine: Refinement, find: Callable[[str], Parameter]) -> tuple[Axis, ...]:
    """The axes with the values of all rounds."""

    def refine_one(name: str, axis: Axis) -> Axis:
        if name not in refine.along:
            return axis
        if axis.is_single and find(name).kind == "count":
            raise InputError(f"{name}: cannot be refined, because it has whole numbers")
        return refine_axis(axis, refine.rounds)

    return tuple(collect({axis.name: axis for axis in axes}, refine_one).values())
