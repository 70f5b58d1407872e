"""`describe_mistakes`: one line for each mistake of a file: file, key, value found, what is allowed."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

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

    A line holds source, key, value found, and what is allowed.

    Parameters
    ----------
    error : ValidationError
    source : str
        Begins each line; mostly a file.
    known : iterable of str
        The keys that there are.
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
                is_whole = line.startswith(f"{key} ") or not key
                found = "" if line == MUST_BE_GIVEN else f" = {_shorten(mistake['input'])}"
                prefix = f"{key}." if is_inner else "" if is_whole else f"{key}{found}: "
                lines.append(f"{prefix}{line}")
        else:
            allowed = mistake["msg"].replace("Input should be", "must be")
            lines.append(f"{key} = {_shorten(mistake['input'])}: {allowed}")
    return cut_lines([f"{source}: {cut_line(line)}" for line in lines])


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
