"""`arrange_evidence`: the numbers of a claim as tables that people read.

Evidence is a table of names and plain values, as claims.json holds it:

| value | becomes |
|---|---|
| number, text, yes or no, verdict | a row |
| ``{"value", "low", "high"}``, an estimate | a row with a 95 % interval, rounded as the interval allows |
| several lists of one length in one table, unless all are axes | the columns of one table |
| tables that share their keys, in a table or a list | the rows of one table |
| any other table, in a list too | tables of its own |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from clhd.core.text import format_name
from clhd.report.text import is_estimate, split_estimate

_LONGEST_CELL = 40  # characters; a longer text stands below the tables


@dataclass(frozen=True)
class Table:
    """A table as templates show it."""

    caption: str
    head: list[str]
    rows: list[list[Any]]  # of plain values, the first of which is the head of its row
    is_titled: bool = False  # False hides the caption from all but screen readers, because a heading says the same


@dataclass(frozen=True)
class Remark:
    """A text that is too long for a cell."""

    name: str
    text: str


def arrange_evidence(evidence: Mapping[str, Any], title: str, path: tuple[str, ...] = ()) -> list[Table | Remark]:
    """Return the tables and remarks of evidence, as claims.json holds it: rows, columns, remarks, then inner tables.

    The title is the caption of the outermost tables, which show none. Inner tables show the path: the names on the way
    to them.
    """
    name, titled = ": ".join(path) or title, bool(path)
    columns = _find_columns(evidence)
    inner = {key: value for key, value in evidence.items() if isinstance(value, Mapping) and not is_estimate(value)}
    remarks = {key: value for key, value in evidence.items() if isinstance(value, str) and len(value) > _LONGEST_CELL}
    lists = {key: value for key, value in evidence.items() if _is_list_of_mappings(value)}
    others = {*inner, *remarks, *lists, *(key for keys in columns for key in keys)}
    rows = [(format_name(key), value) for key, value in evidence.items() if key not in others]
    blocks: list[Table | Remark] = [_arrange_rows(name, rows, titled=titled)] if rows else []
    for keys in columns:
        lines = [list(line) for line in zip(*(evidence[key] for key in keys), strict=True)]
        blocks.append(Table(name, [format_name(key) for key in keys], lines, titled))
    blocks += [Remark(format_name(key), text) for key, text in remarks.items()]
    for key, value in inner.items():
        below = (*path, format_name(key))
        if _are_records(list(value.values())):
            blocks.append(_arrange_records({format_name(own): entry for own, entry in value.items()}, below))
        else:
            blocks += arrange_evidence(value, title, below)
    for key, entries in lists.items():
        below = (*path, format_name(key))
        numbered = {str(number): entry for number, entry in enumerate(entries, 1)}
        if _are_records(entries):
            blocks.append(_arrange_records(numbered, below))
            continue
        for number, entry in numbered.items():
            own = next((value for value in entry.values() if isinstance(value, str)), number)
            blocks += arrange_evidence(entry, title, (*below, own))
    return blocks


def _arrange_rows(caption: str, rows: list[tuple[str, Any]], *, titled: bool) -> Table:
    """Names and values; a column of intervals only if there are some."""
    split = [(name, *(split_estimate(value) if is_estimate(value) else (value, ""))) for name, value in rows]
    head = ["quantity", "value", "95 % interval"]
    width = 3 if any(interval for *_, interval in split) else 2
    return Table(caption, head[:width], [list(row[:width]) for row in split], titled)


def _find_columns(evidence: Mapping[str, Any]) -> list[list[str]]:
    """Groups of names whose lists have the same length. A single list is a row; so are lists that are all axes."""
    groups: dict[int, list[str]] = {}
    for name, value in evidence.items():
        if isinstance(value, list) and len(value) > 1 and not _is_list_of_mappings(value):
            groups.setdefault(len(value), []).append(name)
    return [names for names in groups.values() if len(names) > 1 and not all(_is_axis(evidence[n]) for n in names)]


def _is_axis(values: list[Any]) -> bool:
    """True for increasing whole numbers."""
    are_whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    return are_whole and all(low < high for low, high in pairwise(values))


def _are_records(entries: list[Any]) -> bool:
    """True for two or more tables with the same keys and only single values."""
    return (
        len(entries) > 1
        and all(isinstance(entry, Mapping) and entry and not is_estimate(entry) for entry in entries)
        and all(list(entry) == list(entries[0]) for entry in entries)
        and all(_is_single(leaf) for entry in entries for leaf in entry.values())
    )


def _is_list_of_mappings(value: Any) -> bool:
    """True for a list that is too much for one cell: records, or tables that hold lists or tables."""
    if not (isinstance(value, list) and value and all(isinstance(e, Mapping) and not is_estimate(e) for e in value)):
        return False
    return _are_records(value) or not all(_is_single(leaf) for entry in value for leaf in entry.values())


def _is_single(value: Any) -> bool:
    return is_estimate(value) or not isinstance(value, Mapping | list)


def _arrange_records(records: Mapping[str, Any], path: tuple[str, ...]) -> Table:
    """A row for each of several tables, by its name."""
    names = list(next(iter(records.values())))
    rows = [[name, *(entry[column] for column in names)] for name, entry in records.items()]
    return Table(": ".join(path), ["", *(format_name(name) for name in names)], rows, is_titled=True)
