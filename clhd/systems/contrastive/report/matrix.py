"""The matrix on the page: which statement survives for which loss, activation and constraint; and universality.

All of it comes from results/claims_matrix.json, which `claims.matrix` explains, and from the figure beside it.
"""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from clhd.core.text import format_name
from clhd.errors import ClhdError
from clhd.report.evidence import render_evidence, render_value
from clhd.report.markup import VERDICTS, render_details, render_table, render_text, render_verdict
from clhd.report.pictures import render_figure


def render_matrix(path: Path, results: Path) -> str:
    """The matrix as figure and table, reasons below, then universality if it was judged.

    Parameters
    ----------
    path : Path
        Of claims_matrix.json.
    results : Path
        Folder of all results.

    Raises
    ------
    ClhdError
        If the file holds something else.
    """
    try:
        matrix = json.loads(path.read_text(encoding="utf-8"))
        body = _render_table(matrix["columns"], matrix["rows"])
        universality = _render_universality(matrix["universality"], results) if "universality" in matrix else ""
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ClhdError(f"{path}: is no matrix of claims") from None
    figure = render_figure(results / "figures" / "matrix.svg", "figure-matrix", "verdicts by case and statement")
    return f"{figure}{body}{universality}"


def _render_table(columns: list[Mapping[str, Any]], rows: list[Mapping[str, Any]]) -> str:
    """A row for each case, a column for each statement; what they stand for and reasons below."""
    names = [column["id"] for column in columns]
    parameters = [key for key in rows[0] if key != "cells"] if rows else []
    head = [*(format_name(key) for key in parameters), *names]
    table, reasons = [], []
    for row in rows:
        case = [render_value(row[key]) for key in parameters]
        table.append([*case, *(_render_verdict(row["cells"][name]["verdict"]) for name in names)])
        reasons += [
            [", ".join(case), escape(name), escape(row["cells"][name]["reason"])]
            for name in names
            if row["cells"][name].get("reason")
        ]
    meaning = "".join(f"<li><strong>{escape(c['id'])}</strong>: {render_text(c['statement'])}</li>" for c in columns)
    below = render_table("Reasons", ["case", "statement", "reason"], reasons, title=False)
    return (
        f"<p>The statements in a coarse form, one case in each row:</p><ul>{meaning}</ul>"
        f'<div class="dense">{render_table("Verdicts by case and statement", head, table, title=False)}</div>'
        f"{render_details('Reasons', below) if reasons else ''}"
    )


def _render_verdict(verdict: str) -> str:
    return render_verdict(verdict) if verdict in VERDICTS else f'<span class="none">{escape(verdict)}</span>'


def _render_universality(entry: Mapping[str, Any], results: Path) -> str:
    path = results / "figures" / "universality.svg"
    figure = render_figure(path, "figure-universality", "other laws against the projected chain")
    return (
        f"<h3>{render_text(entry['statement'])}</h3><p>{render_verdict(entry['verdict'])}</p>{figure}"
        f'<div class="tables">{render_evidence(entry["evidence"], "universality, numbers")}</div>'
    )
