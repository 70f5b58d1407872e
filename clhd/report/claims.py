"""Claims and tables of cases, as templates show them; all of it comes from files of results, and no judge is imported.

| file | content |
|---|---|
| claims.json | ``claims``: id, statement, verdict, numbers, what they rest on; perhaps parts, figures, meanings |
| claims_ID.json | ``columns``, ``rows`` with ``cells``; perhaps title, figures, further statements with verdicts |
| figures/NAME.svg | the figure NAME, with its caption in NAME.rst |
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clhd.core.text import format_name
from clhd.errors import ClhdError, ResultsError
from clhd.report.evidence import Table, arrange_evidence
from clhd.report.pictures import Picture, read_picture
from clhd.report.text import VERDICTS, make_anchor

Entry = Mapping[str, Any]
_TEXTS, _TABLES = ("id", "statement", "verdict"), ("evidence", "thresholds", "experiments", "rests_on")


def read_judged_claims(results: Path, faults: Mapping[str, str]) -> list[Entry]:
    """Return the claims of claims.json; none if it does not exist.

    Each claim gets those of the faults that `find_claims_faults` found in the summaries which it rests on.

    Raises
    ------
    ClhdError
        If the file holds something else.
    """
    path = results / "claims.json"
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["claims"]
        return [_prepare_claim(entry, results / "figures", faults) for entry in entries]
    except ClhdError:
        raise  # of a figure
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _refuse(path, "is not a file of claims") from None


def _refuse(path: Path, what: str) -> ClhdError:
    return ResultsError(f"{path}: {what}; write it again with `clhd claims`")


def _prepare_claim(entry: Entry, figures: Path, faults: Mapping[str, str]) -> Entry:
    are_right = all(isinstance(entry[key], str) for key in _TEXTS) and all(
        isinstance(entry[key], dict) for key in _TABLES
    )
    if not are_right:
        raise TypeError
    name, basis = entry["id"], entry["rests_on"]
    meanings = entry.get("meanings", {})
    rows = [[format_name(key), value] for key, value in basis.items()]
    return {
        **{key: entry[key] for key in (*_TEXTS, "thresholds", "experiments")},
        "anchor": make_anchor(name, "claim"),
        "faults": [faults[key] for key in dict.fromkeys(entry["experiments"].values()) if key in faults],
        "evidence": arrange_evidence(entry["evidence"], f"{name}, numbers"),
        "parts": [_prepare_part(part) for part in entry.get("parts", [])],
        "figures": _read_figures(entry.get("figures", [name]), figures, f"{name}: {entry['statement']}"),
        "meanings": {key: meanings.get(key, {}) for key in ("thresholds", "experiments")},
        "basis": Table(f"{name} rests on", ["what", "value"], rows),
    }


def _prepare_part(part: Entry) -> Entry:
    name = part["id"]
    evidence = arrange_evidence(part["evidence"], f"{name}, numbers")
    return {**part, "anchor": make_anchor(name, "part"), "evidence": evidence}


def _read_figures(names: Iterable[str], folder: Path, text: str) -> list[Picture]:
    return [read_picture(folder / f"{make_anchor(name, '')[1:]}.svg", text) for name in names]


def count_verdicts(claims: list[Entry]) -> str:
    """Return how many claims hold, as a sentence."""
    verbs = {"holds": ("holds", "hold"), "undecided": ("is undecided", "are undecided")}
    verbs |= {"does not hold": ("does not hold", "do not hold")}
    counts = {verdict: sum(entry["verdict"] == verdict for entry in claims) for verdict in VERDICTS}
    parts = [f"{count} {verbs[verdict][count != 1]}" for verdict, count in counts.items() if count]
    return f"Of {len(claims)} statements {', '.join(parts)}."


def read_tables(results: Path) -> list[Entry]:
    """Return every table of cases, in the order of the files' names.

    Raises
    ------
    ClhdError
        If a file claims_ID.json holds something else.
    """
    tables = []
    for path in sorted(results.glob("claims_*.json")):
        try:
            tables.append(_prepare_table(json.loads(path.read_text(encoding="utf-8")), path))
        except ClhdError:
            raise  # of a figure
        except (ValueError, KeyError, TypeError, AttributeError):
            raise _refuse(path, "is not a table of cases") from None
    return tables


def _prepare_table(table: Entry, path: Path) -> Entry:
    """A row for each case and a column for each statement; reasons, figures and further statements."""
    name = path.stem.removeprefix("claims_")
    title, folder = str(table.get("title") or format_name(name).capitalize()), path.parent / "figures"
    columns = [{"id": column["id"], "statement": column["statement"]} for column in table["columns"]]
    ids = [column["id"] for column in columns]
    parameters = [key for key in table["rows"][0] if key != "cells"] if table["rows"] else []
    rows, reasons = [], []
    for row in table["rows"]:
        case = [row[key] for key in parameters]
        rows.append({"case": case, "verdicts": [row["cells"][column]["verdict"] for column in ids]})
        found = {column: row["cells"][column].get("reason") for column in ids}
        reasons += [{"case": case, "column": column, "text": text} for column, text in found.items() if text]
    others = {key: value for key, value in table.items() if isinstance(value, Mapping) and "verdict" in value}
    figures = table.get("figures", [name, *others])
    return {
        "title": title,
        "columns": columns,
        "head": [*map(format_name, parameters), *ids],
        "rows": rows,
        "reasons": reasons,
        "figures": _read_figures([f for f in figures if f not in others], folder, f"{title}: verdicts by case"),
        "others": [
            {
                "statement": value["statement"],
                "verdict": value["verdict"],
                "figures": _read_figures([key] if key in figures else [], folder, value["statement"]),
                "evidence": arrange_evidence(value["evidence"], f"{key}, numbers"),
            }
            for key, value in others.items()
        ],
    }
