"""The claims on the page: an overview of all verdicts, and of each claim all that it rests on.

What is shown comes from results/claims.json and the figures beside it.
"""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from clhd.core.text import format_name
from clhd.errors import ClhdError
from clhd.report.evidence import render_evidence, render_value
from clhd.report.markup import (
    VERDICTS,
    make_anchor,
    render_code,
    render_details,
    render_note,
    render_table,
    render_text,
    render_verdict,
)
from clhd.report.pictures import render_figure

Entry = Mapping[str, Any]
_NEEDED = {"id", "statement", "verdict", "evidence", "thresholds", "experiments", "rests_on"}


def read_judged_claims(path: Path) -> list[Entry]:
    """The claims of claims.json.

    Raises
    ------
    ClhdError
        If the file holds something else.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["claims"]
        is_right = all(set(entry) >= _NEEDED for entry in entries)
    except (ValueError, KeyError, TypeError):
        is_right = False
    if not is_right:
        raise ClhdError(f"{path}: is no file of claims; clhd claims makes it")
    return list(entries)


def count_verdicts(claims: list[Entry]) -> str:
    """How many claims hold, as a sentence."""
    counts = {verdict: sum(entry["verdict"] == verdict for entry in claims) for verdict in VERDICTS}
    verbs = {
        "holds": ("holds", "hold"),
        "does not hold": ("does not hold", "do not hold"),
        "undecided": ("is undecided", "are undecided"),
    }
    parts = [f"{count} {verbs[verdict][count != 1]}" for verdict, count in counts.items() if count]
    return f"Of {len(claims)} statements {', '.join(parts)}."


def render_overview(claims: list[Entry]) -> str:
    """One row for each claim and part: name, statement, verdict."""
    rows = []
    for entry in claims:
        rows.append(_render_overview_row(entry, entry["id"], ""))
        rows += [_render_overview_row(part, entry["id"], ' class="part"') for part in entry.get("parts", [])]
    return (
        '<table class="overview"><caption class="hidden">The statements and their verdicts</caption>'
        '<thead class="hidden"><tr><th scope="col">claim</th><th scope="col">statement</th><th scope="col">verdict</th>'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _render_overview_row(entry: Entry, claim: str, kind: str) -> str:
    link = f'<a href="#{make_anchor("claim", claim)}">{escape(entry["id"])}</a>'
    return (
        f'<tr{kind}><th scope="row">{link}</th><td>{render_text(entry["statement"])}</td>'
        f"<td>{render_verdict(entry['verdict'])}</td></tr>"
    )


def render_claim(entry: Entry, files: Mapping[str, Path], results: Path) -> str:
    """All of one claim: statement, verdict, figure, numbers, thresholds, experiments, where it comes from.

    Parameters
    ----------
    entry : mapping
        Of claims.json.
    files : mapping of experiment to Path
    results : Path
        Folder of all results.
    """
    name = entry["id"]
    anchor = make_anchor("claim", name)
    picture = results / "figures" / f"{name}.svg"
    figure = render_figure(picture, make_anchor("figure", name), f"{name}: {entry['statement']}")
    return (
        f'<section class="claim" id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h3 id="{anchor}-title"><span class="name">{escape(name)}</span> {render_text(entry["statement"])}</h3>'
        f"<p>{render_verdict(entry['verdict'])}</p>"
        f"{figure}{''.join(_render_part(part, name) for part in entry.get('parts', []))}"
        f'<h4>Numbers</h4><div class="tables">{render_evidence(entry["evidence"], f"{name}, numbers")}</div>'
        f"<h4>Thresholds</h4>{_render_thresholds(name, entry)}"
        f"<h4>What made it</h4>{_render_experiments(entry, files)}{_render_basis(name, entry['rests_on'])}"
        "</section>"
    )


def _render_part(part: Entry, claim: str) -> str:
    name = part["id"]
    return (
        f'<div class="part" id="{make_anchor("part", name)}"><h4><span class="name">{escape(name)}</span> '
        f"{render_text(part['statement'])}</h4><p>{render_verdict(part['verdict'])}</p>"
        f'<div class="tables">{render_evidence(part["evidence"], f"{name}, numbers")}</div></div>'
    )


def _render_thresholds(name: str, entry: Entry) -> str:
    thresholds, meanings = entry["thresholds"], entry.get("meanings", {}).get("thresholds", {})
    if not thresholds:
        return render_note("It needs none.")
    rows = [
        [escape(format_name(key)), _render_threshold(value), escape(meanings.get(key, ""))]
        for key, value in thresholds.items()
    ]
    return render_table(f"{name}, thresholds", ["threshold", "value", "meaning"], rows, title=False)


def _render_threshold(value: Any) -> str:
    return " to ".join(render_value(end) for end in value) if isinstance(value, list) else render_value(value)


def _render_experiments(entry: Entry, files: Mapping[str, Path]) -> str:
    """Which experiment plays which role, and the file of each."""
    meanings = entry.get("meanings", {}).get("experiments", {})
    rows, codes = [], []
    for role, experiment in entry["experiments"].items():
        known = experiment in files
        link = f'<a href="#{make_anchor("experiment", experiment)}">{escape(experiment)}</a>'
        rows.append([escape(format_name(role)), link if known else escape(experiment), escape(meanings.get(role, ""))])
    for experiment in dict.fromkeys(entry["experiments"].values()):
        if experiment in files:
            codes.append(render_details(str(files[experiment]), render_file(files[experiment])))
        else:
            codes.append(render_note(f"The experiment {experiment} is not in this list of experiments."))
    table = render_table(f"{entry['id']}, experiments", ["role", "experiment", "what it shows"], rows, title=False)
    return table + "".join(codes)


def render_file(path: Path) -> str:
    """A file, verbatim, or that it is not there."""
    if not path.is_file():
        return render_note(f"The file {path} is not there.")
    return render_code(str(path), path.read_text(encoding="utf-8"))


def _render_basis(name: str, basis: Mapping[str, Any]) -> str:
    rows = [[escape(format_name(key)), render_value(value)] for key, value in basis.items()]
    return render_details("Provenance", render_table(f"{name} rests on", ["what", "value"], rows, title=False))
