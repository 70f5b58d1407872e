"""`describe_status`: counts by status of each experiment, from the ledgers alone; no system or compiler is loaded."""

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clhd.core.text import format_age, format_bytes
from clhd.sweep.results.state import State, find_states, find_worst
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.stages import STAGES, stage_path
from clhd.sweep.store.documents import FILE

# Columns of the table, and the key of a report that each shows.
_COLUMNS = {
    "runs": "wanted",
    "ok": "ok",
    "failed": "failed",
    "diverged": "diverged",
    "not converged": "not_converged",
    "pending": "not_run",
}


def describe_status(experiment: Experiment, results: Path, *, deep: bool = False) -> dict[str, Any]:
    """Return state, counts by status, age and size of the stages of one experiment.

    Parameters
    ----------
    experiment : Experiment
    results : Path
        Folder of all results.
    deep : bool
        Read and check every file.

    Returns
    -------
    dict
        ``experiment``, ``path``, ``state`` (the worst of its stages), ``complete``, and an entry for each stage:
        ``state``, ``problem`` if something is wrong, ``wanted`` (runs that the experiment asks for), their counts by
        status (pending ones are ``not_run``), ``age_seconds`` since the last change, ``bytes``, ``files``. See
        `clhd.sweep.results.state` for the states.
    """
    states = find_states(experiment, results, deep=deep)
    worst = find_worst(states)
    report: dict[str, Any] = {"experiment": experiment.name, "path": str(results / experiment.name)}
    for stage, found in states.items():
        path = stage_path(results / experiment.name, stage)
        report[stage] = {"state": str(found.state), **found.counts} | (_measure(path) if path.is_dir() else {})
        if found.problem:
            report[stage]["problem"] = found.problem
    return report | {"state": str(worst), "complete": worst == State.COMPLETE}


def _measure(path: Path) -> dict[str, Any]:
    """Return the age and the size of a store; nothing if it is being replaced in this moment."""
    sizes = []
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):  # a run replaces files meanwhile
                sizes.append(Path(folder, name).stat().st_size)
    with suppress(OSError):
        age = time.time() - (path / FILE).stat().st_mtime
        return {"age_seconds": round(age, 1), "bytes": sum(sizes), "files": len(sizes)}
    return {}


def format_status(reports: list[dict[str, Any]]) -> str:
    """Return the reports as a table for people; the text of a problem takes the place of the numbers."""
    stages = [(report["experiment"], kind, report.get(kind)) for report in reports for kind in STAGES]
    columns = dict(_COLUMNS)
    if not any(stage and stage.get("not_converged") for *_, stage in stages):
        del columns["not converged"]  # rare
    rows = [["experiment", "stage", "state", *columns, "age", "size"]]
    for name, kind, stage in stages:
        if stage is not None:
            cells = [stage["problem"]] if "problem" in stage else _list_cells(stage, columns.values())
            rows.append([name, kind, stage["state"], *cells])
        elif kind != "simulation":
            rows.append([name, kind, "none"])
    table = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in (rows if column < 3 else table)) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )


def _list_cells(stage: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """The cells of one row of the table."""
    age = format_age(stage["age_seconds"]) if "age_seconds" in stage else ""
    size = format_bytes(stage["bytes"]) if "bytes" in stage else ""
    return [*(str(stage.get(key, "")) for key in keys), age, size]
