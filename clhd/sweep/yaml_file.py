"""`read_yaml`: a table from a YAML file, by a loader that is safe, refuses repeated keys and reads 1e-3 as a number."""

import re
from pathlib import Path
from typing import Any

import yaml

from clhd.errors import ClhdError


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads 1e-3 as text and the last of two equal keys; both are traps in a file of numbers."""


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9]+)[eE][-+]?[0-9]+|\.[0-9]+)$"),
    list("-+.0123456789"),
)


def _construct_table(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is no text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _construct_table)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the table that a YAML file holds.

    Raises
    ------
    ClhdError
        If the file cannot be read, is no YAML, or holds no table; names file, line and column.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ClhdError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ClhdError(f"{path}: is not UTF-8 text") from None
    try:
        table = yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ClhdError(f"{path}{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:  # a bad character, an impossible date
        raise ClhdError(f"{path}: is no YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(table, dict):
        raise ClhdError(f"{path}: must hold a table of key: value")
    return table
