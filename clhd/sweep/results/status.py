"""`describe_status`: counts by status of each experiment, from the ledgers alone; no system or compiler is loaded."""

import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.text import format_age, format_bytes
from clhd.errors import ClhdError
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.stages import KINDS, STAGES, stage_path
from clhd.sweep.store.documents import FILE
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.missing import check_files
from clhd.sweep.store.store import Store

# Columns of the table, and the key of a report that each shows.
_COLUMNS = {
    "runs": "wanted",
    "ok": "ok",
    "failed": "failed",
    "diverged": "diverged",
    "not converged": "not_converged",
    "pending": "not_run",
}


def describe_status(experiment: Experiment, results: Path) -> dict[str, Any]:
    """Return counts by status, age and size of the stores of one experiment.

    Returns
    -------
    dict
        ``experiment``, ``complete``, and an entry for simulation, theory and summary: ``wanted`` (runs that the
        experiment asks for), their counts by status (pending ones are ``not_run``), ``age_seconds`` since the last
        change, ``bytes``, or ``problem``. A summary is ``stale`` if it is older than the other stores.
    """
    folder = results / experiment.name
    report: dict[str, Any] = {"experiment": experiment.name, "path": str(folder)}
    for kind in KINDS:
        path = stage_path(folder, kind)
        if path.is_dir():
            try:
                store = Store(path)
                check_files(store)
                report[kind] = _count(experiment, store) | _measure(path)
            except (ClhdError, FileNotFoundError) as error:  # replaced by another run in this moment
                report[kind] = {"problem": str(error)}
    needed = "simulation" if experiment.has_simulation else "theory"
    if needed not in report:
        wanted = math.prod(len(axis) for axis in experiment.axes) * max(experiment.replicas, 1)
        report[needed] = {"wanted": wanted, "not_run": wanted}
    path = stage_path(folder, "summary")
    if path.is_dir():
        stores = [stage_path(folder, kind) for kind in KINDS if (stage_path(folder, kind) / FILE).is_file()]
        newest = max(map(_last_written, stores), default=0.0)
        try:
            check_summary(path)
            report["summary"] = _measure(path) | {"stale": _last_written(path) < newest}
        except (ClhdError, FileNotFoundError) as error:
            report["summary"] = {"problem": str(error)}
    if "theory" not in report and (path / "theory_status").is_dir():  # else there may be none to predict
        report["theory"] = {
            "problem": f"{stage_path(folder, 'theory')}: does not exist; create it with `clhd run FILE`"
        }
    stages = [report[kind] for kind in STAGES if kind in report]
    report["complete"] = "summary" in report and all(
        "problem" not in stage and not any(stage.get(word) for word in ("not_run", "failed", "stale"))
        for stage in stages
    )
    return report


def _count(experiment: Experiment, store: Store) -> dict[str, Any]:
    """Counts by status of the runs that an experiment wants; runs that the store does not hold are ``not_run``."""
    held = {axis.name: axis for axis in store.experiment.axes}
    positions, wanted = [], 1
    for axis in (axis for axis in experiment.axes if axis.name in store.dims):
        known = {value: position for position, value in enumerate(held[axis.name].values)}
        positions.append([known[value] for value in axis.typed_like(held[axis.name]).values if value in known])
        wanted *= len(axis)
    if store.layout.has_replicas:
        if store.experiment.keep != experiment.keep:
            return {"problem": f"does not keep {experiment.keep}, as the experiment asks for"}
        wanted *= experiment.replicas
        positions.append(list(range(min(experiment.replicas // store.entry_size, store.shape[-1]))))
    if len(positions) != len(store.dims):
        return {"problem": f"has the axes {', '.join(store.dims)}, which are not those of the experiment"}
    mask = np.zeros(store.shape, dtype=bool)
    mask[np.ix_(*positions)] = True
    counts = store.count_runs(mask)
    counts["not_run"] += wanted - int(mask.sum()) * store.entry_size
    return {"wanted": wanted, **counts}


def _last_written(path: Path) -> float:
    return (path / FILE).stat().st_mtime


def _measure(path: Path) -> dict[str, Any]:
    sizes = []
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):  # a run replaces files meanwhile
                sizes.append(Path(folder, name).stat().st_size)
    return {"age_seconds": round(time.time() - _last_written(path), 1), "bytes": sum(sizes), "files": len(sizes)}


def format_status(reports: list[dict[str, Any]]) -> str:
    """Return the reports as a table for people; the text of a problem takes the place of the numbers."""
    stages = [(report["experiment"], kind, report.get(kind)) for report in reports for kind in STAGES]
    columns = dict(_COLUMNS)
    if not any(stage and stage.get("not_converged") for *_, stage in stages):
        del columns["not converged"]  # rare
    rows = [["experiment", "stage", *columns, "age", "size"]]
    for name, kind, stage in stages:
        if stage is not None:
            cells = [stage["problem"]] if "problem" in stage else _list_cells(stage, columns.values())
            rows.append([name, kind, *cells])
        elif kind != "simulation":
            rows.append([name, kind, "none"])
    table = [row for row in rows if len(row) == len(rows[0])]
    widths = [max(len(row[column]) for row in (rows if column < 2 else table)) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )


def _list_cells(stage: Mapping[str, Any], keys: Iterable[str]) -> list[str]:
    """The cells of one row of the table."""
    age = format_age(stage["age_seconds"]) if "age_seconds" in stage else ""
    size = format_bytes(stage["bytes"]) if "bytes" in stage else ""
    return [*(str(stage.get(key, "")) for key in keys), age + (" stale" if stage.get("stale") else ""), size]
