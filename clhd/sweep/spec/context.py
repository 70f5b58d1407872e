"""`Context`: how an experiment is validated, and what its validators know of its system."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core.core_schema import ValidationInfo

from clhd.errors import ClhdError
from clhd.sweep.spec.yaml_file import UNKNOWN_SYSTEM
from clhd.systems.declarations import Outputs, Parameter, Value
from clhd.systems.protocol import System
from clhd.systems.registry import Reference, load_system, refer_to


@dataclass(frozen=True)
class Context:
    """How an experiment is validated.

    Parameters
    ----------
    check : bool
        False takes parameters as they stand and loads no system: code that only reads results does not wait for one.
    folder : Path or None
        Folder of the experiment's file, from which the file of a system is found.
    recalled : System or None
        With `check` false: the system as results remember it, which says what form the parameters have.
    """

    check: bool = True
    folder: Path | None = None
    recalled: System | None = None
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


def has_simulation(info: ValidationInfo) -> bool:
    """Return False if the system simulates nothing with the constants that were found right."""
    return list_simulated(info) != []


def parameter_finder(info: ValidationInfo, constants: Mapping[str, Any]) -> Callable[[str], Parameter]:
    """A function that finds a parameter of the system by name."""
    if "system" not in info.data:
        raise ValueError(UNKNOWN_SYSTEM)
    system = get_system(info) or get_context(info).recalled
    if system is None:
        return lambda name: Parameter(kind="any", default=None, meaning="")
    return lambda name: system.find_parameter(name, constants)
