"""`read_yaml`: read a table from a YAML file with a safe loader, without the traps of YAML 1.1.

| YAML 1.1 | here |
|---|---|
| ``1e-3`` is text | ``1e-3`` is a number |
| ``0100`` is 64, ``1:30`` is 90, ``2001-01-01`` a date | 100, text, text: numbers are decimal |
| of two equal keys the last one counts | refused |
| a few lines of aliases stand for a billion values; tags | refused: every value must be written out |
| text may hold control characters and halves of characters | refused: no file name and no terminal takes them |

A user may have an experiment from somebody else: a file can be wrong, but it cannot take all memory.

`describe_mistakes`: one line for each mistake of a file: file, key, value found, what is allowed.
"""

import re
import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from clhd.core.text import MAX_LINES, cut_line, cut_lines
from clhd.errors import InputError

MUST_BE_GIVEN = "must be given"
# Marks keys that cannot be checked without the system; only the mistake in `system` is reported.
UNKNOWN_SYSTEM = "cannot be checked without the system"


class ExperimentError(InputError):
    """An experiment that cannot be run; one line for each mistake."""


def describe_unknown(key: str, known: Iterable[str]) -> str:
    """Return the line about an unknown key, with the known key that is most like it, or all keys if none is."""
    keys = list(known)
    near = get_close_matches(key, keys, n=1)
    return f"unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(keys)}")


def describe_mistakes(error: ValidationError, source: str, known: Iterable[str]) -> str:
    """Return one line for each mistake that pydantic found, or for the first of very many.

    A line holds source, which is mostly a file, key, value found, and what is allowed: such as the known keys.
    """
    lines = []
    for mistake in error.errors():
        key = ".".join(str(part) for part in mistake["loc"])
        if UNKNOWN_SYSTEM in mistake["msg"]:
            continue
        if mistake["type"] == "missing":
            lines.append(f"{key}: {MUST_BE_GIVEN}")
        elif mistake["type"] == "extra_forbidden":
            lines.append(describe_unknown(key, known) if len(lines) < MAX_LINES else key)  # others are only counted
        elif mistake["type"] == "value_error":
            for line in str(mistake["ctx"]["error"]).splitlines():
                is_inner = key in {"constants", "axes"} and not line.startswith("must")
                is_whole = line.startswith((f"{key} ", f"{key}.")) or not key
                found = "" if line == MUST_BE_GIVEN else f" = {_shorten(mistake['input'])}"
                prefix = f"{key}." if is_inner else "" if is_whole else f"{key}{found}: "
                lines.append(f"{prefix}{line}")
        else:
            allowed = mistake["msg"].replace("Input should be", "must be").replace("a valid tuple", "a list")
            lines.append(f"{key} = {_shorten(mistake['input'])}: {allowed}")
    # A key that is missing because it is misspelt has one line.
    meant = {line.rpartition("did you mean ")[2] for line in lines}
    lines = [line for line in lines if f"{line.removesuffix(f': {MUST_BE_GIVEN}')!r}?" not in meant]
    return cut_lines([f"{source}: {cut_line(line)}" for line in lines])


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Reading a file of this size takes about 5 s; the largest file of clhd is 100 times smaller.
_MOST_BYTES = 2**20
# A whole number with more digits has no float, and Python refuses to print one with 4300 digits.
_MOST_DIGITS = 300
# Unicode's control characters, halves of characters, and separators of lines and paragraphs.
_FORBIDDEN = {"Cc", "Cs", "Zl", "Zp"}


class _Loader(yaml.SafeLoader):
    """Text, decimal numbers, true and false, null, lists and tables; nothing else."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases and tags."""
        _check_event(self.peek_event())  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


def _check_event(event: Any) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise _refuse(f"the alias *{event.anchor} is not allowed; write the value out", event.start_mark)
    if getattr(event, "tag", None) is not None:
        raise _refuse(f"the tag {event.tag} is not allowed", event.start_mark)


def _refuse(problem: str, mark: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] in {"bool", "null"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9][0-9_]*$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*\.[0-9_]*"
        r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def _construct_number(loader: _Loader, node: yaml.ScalarNode) -> int:
    digits = node.value.replace("_", "")
    if len(digits) > _MOST_DIGITS:
        raise _refuse(f"a number of {len(digits)} digits is not allowed", node.start_mark)
    return int(digits)


def _construct_text(loader: _Loader, node: yaml.ScalarNode) -> str:
    for character in node.value:
        if character not in "\n\t" and unicodedata.category(character) in _FORBIDDEN:
            raise _refuse(f"the character {character!a} is not allowed", node.start_mark)
    return str(node.value)


def _construct_table(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise _refuse(f"the key {key!r:.60} is no text", key_node.start_mark)
        if not key.isprintable() or len(key) > 100:
            raise _refuse(f"the key {key!r:.60} is no short line of text", key_node.start_mark)
        if key in seen:
            raise _refuse(f"the key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_number)
_Loader.add_constructor("tag:yaml.org,2002:str", _construct_text)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_table)


def _load(text: str) -> Any:
    """Return what a text holds. The parser in C takes a fifth of the time; the other one has the better messages."""
    if yaml.__with_libyaml__:
        fast_loader = _make_fast_loader()
        with suppress(yaml.YAMLError, ValueError):
            return yaml.load(text, Loader=fast_loader)  # with the constructors of the other, which are safe
    return yaml.load(text, Loader=_Loader)  # a subclass of SafeLoader


@cache
def _make_fast_loader() -> Any:
    """Return `_Loader` with the parser in C, which is not installed everywhere."""
    from yaml.composer import Composer  # noqa: PLC0415
    from yaml.cyaml import CParser  # type: ignore[attr-defined]  # noqa: PLC0415

    class FastLoader(Composer, CParser, yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
        yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers
        yaml_constructors = _Loader.yaml_constructors

        def __init__(self, stream: str) -> None:
            CParser.__init__(self, stream)
            Composer.__init__(self)
            yaml.constructor.SafeConstructor.__init__(self)
            yaml.resolver.Resolver.__init__(self)

        def compose_node(self, parent: Any, index: Any) -> Any:
            _check_event(self.peek_event())
            return super().compose_node(parent, index)

    return FastLoader


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the table that a YAML file holds; raise ClhdError, which names file, line and column, if it holds none."""
    text = _read_text(path)
    try:
        table = _load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or ""
        problem = f"{error.context}, {problem}" if problem.startswith("but ") else problem
        raise InputError(f"{path}{where}: {problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # a bad character, an impossible number
        raise InputError(f"{path}: is no YAML: {str(error).splitlines()[0]}") from None
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None
    if not isinstance(table, dict):
        raise InputError(f"{path}: must hold a table of key: value")
    return table


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or error
        raise InputError(cut_line(f"{path}: cannot be read: {reason}")) from None
    if len(data) > _MOST_BYTES:
        raise InputError(f"{path}: is larger than {_MOST_BYTES} bytes; write long axes as ranges")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text") from None
