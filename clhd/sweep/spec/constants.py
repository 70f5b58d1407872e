"""`parse_constant`, `write_out`: constants of which each component may have its own value."""

from collections.abc import Callable, Mapping
from typing import Any

from clhd.errors import ClhdError, InputError
from clhd.systems.declarations import Parameter
from clhd.systems.protocol import System


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
