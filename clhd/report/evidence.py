"""`render_evidence`: the numbers of a claim as tables that people read.

Evidence is a mapping of names to plain values, as claims.json holds it:

| value | becomes |
|---|---|
| number, text, yes or no, verdict | a row |
| ``[value, low, high]`` with low <= value <= high | a row with a 95 % interval, rounded to what the interval says |
| lists of the same length under one mapping | the columns of one table |
| mappings that share their keys | the rows of one table |
| any other mapping | tables of its own |
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from clhd.figures.words import format_number
from clhd.report.markup import VERDICTS, render_table, render_verdict


def render_evidence(evidence: Mapping[str, Any], title: str) -> str:
    """Evidence as tables.

    Parameters
    ----------
    evidence : mapping
        Plain values, as claims.json holds them.
    title : str
        Of the first table; those of inner mappings say their names.
    """
    return "".join(_render(evidence, title))


def _render(evidence: Mapping[str, Any], title: str) -> list[str]:
    columns = _find_columns(evidence)
    in_columns = {name for names in columns for name in names}
    inner = {name: value for name, value in evidence.items() if isinstance(value, Mapping)}
    rows = [
        [escape(format_name(name)), *_render_leaf(value)]
        for name, value in evidence.items()
        if name not in in_columns and name not in inner
    ]
    tables = []
    if rows:
        tables.append(_render_rows(title, rows))
    for names in columns:
        lines = zip(*(evidence[name] for name in names), strict=True)
        tables.append(
            render_table(title, [format_name(n) for n in names], [[render_value(v) for v in line] for line in lines])
        )
    for name, value in inner.items():
        below = format_name(name) if title.endswith("numbers") else f"{title}: {format_name(name)}"
        tables += [_render_records(value, below)] if _are_records(value) else _render(value, below)
    return tables


def _render_rows(title: str, rows: list[list[str]]) -> str:
    """Names and values; the column of intervals only where there are some."""
    has_interval = any(row[2] for row in rows)
    head = ["quantity", "value", "95 % interval"] if has_interval else ["quantity", "value"]
    return render_table(title, head, [row[: len(head)] for row in rows])


def _find_columns(evidence: Mapping[str, Any]) -> list[list[str]]:
    """Groups of names whose lists have the same length; a list that has no companion is a row."""
    groups: dict[int, list[str]] = {}
    for name, value in evidence.items():
        if isinstance(value, list) and len(value) > 1 and not is_estimate(value):
            groups.setdefault(len(value), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _are_records(value: Mapping[str, Any]) -> bool:
    """True for two or more mappings with the same keys and nothing below them."""
    entries = list(value.values())
    return (
        len(entries) > 1
        and all(isinstance(entry, Mapping) and entry for entry in entries)
        and all(list(entry) == list(entries[0]) for entry in entries)
        and not any(isinstance(leaf, Mapping) for entry in entries for leaf in entry.values())
    )


def _render_records(value: Mapping[str, Any], title: str) -> str:
    names = list(next(iter(value.values())))
    rows = [
        [escape(format_name(name)), *(render_value(entry[column]) for column in names)] for name, entry in value.items()
    ]
    return render_table(title, ["", *(format_name(name) for name in names)], rows)


def _render_leaf(value: Any) -> tuple[str, str]:
    """Value and interval, the latter empty where there is none."""
    if is_estimate(value):
        number, low, high = value
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
        return number if interval == "exact" else f'{number} <span class="interval">({interval})</span>'
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not known"
    if isinstance(value, str):
        return render_verdict(value) if value in VERDICTS else escape(value)
    if isinstance(value, int | float):
        return _render_number(value)
    if isinstance(value, Mapping):
        return "; ".join(f"{escape(format_name(name))}: {render_value(entry)}" for name, entry in value.items())
    return ", ".join(render_value(entry) for entry in value)


def is_estimate(value: Any) -> bool:
    """True for ``[value, low, high]``; rising values of an axis, with which it could be confused, are not so ordered."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 3
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in value)
        and value[1] <= value[0] <= value[2]
    )


def format_name(name: str) -> str:
    """A name as words."""
    return name.replace("_", " ")


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
