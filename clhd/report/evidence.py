"""`render_evidence`: the numbers of a claim as tables that people read.

Evidence is a mapping of names to plain values, as claims.json holds it:

| value | becomes |
|---|---|
| number, text, yes or no, verdict | a row |
| ``{"value", "low", "high"}``, an estimate | a row with a 95 % interval, rounded to what the interval says |
| lists of the same length under one mapping, not all of them axes | the columns of one table |
| mappings that share their keys, in a mapping or a list | the rows of one table |
| any other mapping, in a list too | tables of its own |
"""

import math
from collections.abc import Mapping
from html import escape
from itertools import pairwise
from typing import Any

from clhd.core.text import format_name, format_number
from clhd.report.markup import VERDICTS, render_table, render_verdict

_ESTIMATE = ("value", "low", "high")
_LONGEST_CELL = 40  # characters; what is longer stands below the tables


def render_evidence(evidence: Mapping[str, Any], title: str) -> str:
    """Evidence as tables.

    Parameters
    ----------
    evidence : mapping
        Plain values, as claims.json holds them.
    title : str
        Of the tables of the outermost mapping, which show none; those of inner ones show their names.
    """
    return "".join(_render(evidence, title, ()))


def _render(evidence: Mapping[str, Any], title: str, path: tuple[str, ...]) -> list[str]:
    """Rows, columns, sentences, then what is inside, whose path of names is the title."""
    name = ": ".join(path) or title
    columns = _find_columns(evidence)
    inner = {key: value for key, value in evidence.items() if isinstance(value, Mapping) and not is_estimate(value)}
    sentences = {key: value for key, value in evidence.items() if _is_sentence(value)}
    lists = {key: value for key, value in evidence.items() if _is_list_of_mappings(value)}
    others = {*inner, *sentences, *lists, *(key for keys in columns for key in keys)}
    rows = [[escape(format_name(key)), *_render_leaf(value)] for key, value in evidence.items() if key not in others]
    parts = [_render_rows(name, rows, title=bool(path))] if rows else []
    for keys in columns:
        lines = zip(*(evidence[key] for key in keys), strict=True)
        cells = [[render_value(value) for value in line] for line in lines]
        parts.append(render_table(name, [format_name(key) for key in keys], cells, title=bool(path)))
    parts += [
        f'<p class="remark"><strong>{escape(format_name(key))}</strong>: {escape(text)}</p>'
        for key, text in sentences.items()
    ]
    for key, value in inner.items():
        below = (*path, format_name(key))
        named = {format_name(inner_key): entry for inner_key, entry in value.items()}
        are_records = _are_records(list(value.values()))
        parts += [_render_records(named, ": ".join(below))] if are_records else _render(value, title, below)
    for key, entries in lists.items():
        below = (*path, format_name(key))
        numbered = {str(k): entry for k, entry in enumerate(entries, 1)}
        if _are_records(entries):
            parts.append(_render_records(numbered, ": ".join(below)))
        else:
            for number, entry in numbered.items():
                own = next((value for value in entry.values() if isinstance(value, str)), number)
                parts += _render(entry, title, (*below, own))
    return parts


def _render_rows(name: str, rows: list[list[str]], *, title: bool) -> str:
    """Names and values; the column of intervals only where there are some."""
    has_interval = any(row[2] for row in rows)
    head = ["quantity", "value", "95 % interval"] if has_interval else ["quantity", "value"]
    return render_table(name, head, [row[: len(head)] for row in rows], title=title)


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONGEST_CELL


def _find_columns(evidence: Mapping[str, Any]) -> list[list[str]]:
    """Groups of names whose lists have the same length; a list without companion is a row, and so are axes alone."""
    groups: dict[int, list[str]] = {}
    for name, value in evidence.items():
        if isinstance(value, list) and len(value) > 1 and not _is_list_of_mappings(value):
            groups.setdefault(len(value), []).append(name)
    return [names for names in groups.values() if len(names) > 1 and not all(_is_axis(evidence[n]) for n in names)]


def _is_axis(values: list[Any]) -> bool:
    """True for whole numbers that rise, such as dimensions."""
    are_whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return are_whole and all(low < high for low, high in pairwise(values))


def _are_records(entries: list[Any]) -> bool:
    """True for two or more mappings with the same keys and but single values below them."""
    return (
        len(entries) > 1
        and all(isinstance(entry, Mapping) and entry and not is_estimate(entry) for entry in entries)
        and all(list(entry) == list(entries[0]) for entry in entries)
        and all(_is_single(leaf) for entry in entries for leaf in entry.values())
    )


def _is_list_of_mappings(value: Any) -> bool:
    """True for a list that is too much for one cell: records, or mappings with lists or mappings below them."""
    if not (isinstance(value, list) and value and all(isinstance(e, Mapping) and not is_estimate(e) for e in value)):
        return False
    return _are_records(value) or not all(_is_single(leaf) for entry in value for leaf in entry.values())


def _is_single(value: Any) -> bool:
    return is_estimate(value) or not isinstance(value, Mapping | list)


def _render_records(value: Mapping[str, Any], title: str) -> str:
    """A row for each mapping, by its name."""
    names = list(next(iter(value.values())))
    rows = [[escape(name), *(render_value(entry[column]) for column in names)] for name, entry in value.items()]
    return render_table(title, ["", *(format_name(name) for name in names)], rows)


def _render_leaf(value: Any) -> tuple[str, str]:
    """Value and interval, the latter empty where there is none."""
    if is_estimate(value):
        number, low, high = (value[name] for name in _ESTIMATE)
        if number is None or low is None or high is None:
            return render_value(number), ""
        digits = _digits(low, high)
        if digits is not None:
            interval = f"{_format_rounded(low, digits)} to {_format_rounded(high, digits)}"
            return _format_rounded(number, digits), interval
        return _render_number(number), "exact"
    return render_value(value), ""


def render_value(value: Any) -> str:
    """A plain value in one cell."""
    if is_estimate(value):
        number, interval = _render_leaf(value)
        return number if interval in {"", "exact"} else f'{number} <span class="interval">({interval})</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    if isinstance(value, str):
        return render_verdict(value) if value in VERDICTS else escape(value)
    if isinstance(value, int | float):
        return _render_number(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{escape(format_name(name))}: {render_value(v)}" for name, v in value.items()) or "none"
    return ", ".join(render_value(entry) for entry in value) or "none"


def is_estimate(value: Any) -> bool:
    """True for what `clhd.claims.verdict.Estimate` becomes: a mapping of exactly its names, of numbers or None."""
    return isinstance(value, Mapping) and set(value) == set(_ESTIMATE)


def _digits(low: float, high: float) -> int | None:
    """Decimals at which the half-width of an interval shows two digits; None for an interval of no width."""
    half = (high - low) / 2
    if half <= 1e-12 * max(abs(low), abs(high), 1e-300):
        return None
    return 1 - math.floor(math.log10(half))


def _format_rounded(number: float, digits: int) -> str:
    if digits > 6:
        return _render_number(number)
    return f"{round(number, digits):,.{max(digits, 0)}f}".replace("-", "\N{MINUS SIGN}")


def _render_number(number: float) -> str:
    """A number; powers of ten as people write them."""
    mantissa, e, exponent = format_number(number).replace("\N{MINUS SIGN}", "-").partition("e")
    text = mantissa.replace("-", "\N{MINUS SIGN}")
    return f"{text}\N{MULTIPLICATION SIGN}10<sup>{str(int(exponent)).replace('-', chr(0x2212))}</sup>" if e else text
