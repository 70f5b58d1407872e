"""The experiments on the page: what is known of each, what it cost, its figure, its file, its runs.

| word | meaning |
|---|---|
| core time | sum over the ledger's seconds: what one core would have needed |
| run | one call that computed points of a store, as the store's attribute ``runs`` tells |
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.text import format_bytes, format_seconds
from clhd.errors import ClhdError
from clhd.figures.plot import has_figure
from clhd.report.claims import render_file
from clhd.report.markup import (
    make_anchor,
    render_details,
    render_note,
    render_table,
)
from clhd.report.pictures import render_figure
from clhd.sweep.results.open_results import PARTS
from clhd.sweep.results.status import describe_status
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.store import Store

_KINDS = ("simulation", "theory")


@dataclass(frozen=True)
class Record:
    """What is known of one experiment.

    Parameters
    ----------
    status : mapping
        As `clhd.sweep.results.status.describe_status` tells it.
    seconds : mapping of kind to float
        Core time, s.
    runs : mapping of kind to list
        The attribute ``runs`` of each store.
    has_changed : bool
        True if the file asks for something else than what was summarised.
    """

    status: Mapping[str, Any]
    seconds: Mapping[str, float]
    runs: Mapping[str, list[Mapping[str, Any]]]
    has_changed: bool

    @property
    def state(self) -> str:
        """In a few words."""
        stages = [self.status[kind] for kind in _KINDS if kind in self.status]
        if any("problem" in stage for stage in stages):
            return "unreadable"
        if any(stage.get("failed", 0) for stage in stages):
            return "points failed"
        if self.has_changed or self.status.get("summary", {}).get("stale"):
            return "out of date"
        return "complete" if self.status["complete"] else "incomplete" if self.runs else "not run"


def read_record(experiment: Experiment, results: Path) -> Record:
    """Read what the stores of an experiment tell of themselves, without their data."""
    folder = results / experiment.name
    seconds, runs = {}, {}
    for kind in _KINDS:
        path = folder / f"{kind}.zarr"
        with suppress(ClhdError):  # the status says what is wrong with it
            if path.is_dir():
                store = Store(path)
                seconds[kind] = float(np.sum(store.read("seconds"), dtype=np.float64))
                runs[kind] = list(store.attributes["runs"])
    return Record(describe_status(experiment, results), seconds, runs, _has_changed(experiment, folder))


def _has_changed(experiment: Experiment, folder: Path) -> bool:
    path = folder / "summary.zarr"
    if not path.is_dir():
        return False
    try:
        summarised: Any = check_summary(path)["experiment"]
    except ClhdError:
        return False  # the status says what is wrong with it
    wanted = json.loads(json.dumps(experiment.resolved()))
    # A key that clhd learned later is no change of the file.
    return any(wanted.get(key) != value for key, value in summarised.items())


def render_costs(records: Mapping[str, Record]) -> str:
    """All experiments in one table, with the sum of what they cost."""
    rows = []
    for name, record in records.items():
        link = f'<a href="#{make_anchor("experiment", name)}">{escape(name)}</a>'
        for kind in (kind for kind in _KINDS if kind in record.status):
            stage = record.status[kind]
            if "problem" in stage:
                rows.append([link, kind, "<strong>unreadable</strong>", "", "", "", "", ""])
                continue
            diverged = stage.get("diverged", 0) + stage.get("not_converged", 0)
            counts = [f"{count:,}" for count in (stage["wanted"], stage.get("ok", 0))]
            counts += [_render_loss(count) for count in (stage.get("failed", 0), diverged, stage.get("not_run", 0))]
            cost = format_seconds(record.seconds[kind]) if kind in record.seconds else ""
            rows.append([link, kind, *counts, cost])
    core = sum(sum(record.seconds.values()) for record in records.values())
    wall = sum(run.get("seconds", 0.0) for record in records.values() for runs in record.runs.values() for run in runs)
    size = sum(
        record.status[kind].get("bytes", 0) for record in records.values() for kind in _KINDS if kind in record.status
    )
    head = ["experiment", "part", "runs", "ok", "failed", "diverged", "missing", "core time"]
    return (
        f"<p>In all {format_seconds(core)} of core time, {format_seconds(wall)} on the clock, and {format_bytes(size)} "
        "on disk.</p>" + render_table("What is known, and what it cost", head, rows, numbers=True)
    )


def _render_loss(count: int) -> str:
    """A count that had better be 0, and is seen at once if it is not."""
    return f"<strong>{count:,}</strong>" if count else '<span class="none">0</span>'


def render_experiment(experiment: Experiment, file: Path, record: Record, results: Path) -> str:
    """One experiment: description, state, figure, file, runs."""
    name = experiment.name
    anchor = make_anchor("experiment", name)
    text = f"<p>{escape(experiment.description)}</p>" if experiment.description else ""
    stages = (record.status.get(part, {}) for part in PARTS)
    problems = "".join(render_note(stage["problem"]) for stage in stages if "problem" in stage)
    note = (
        render_note("The file has been changed since its results were summarised; what follows is of the earlier one.")
        if record.has_changed
        else ""
    )
    return (
        f'<section class="experiment" id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h3 id="{anchor}-title">{escape(name)} <span class="state">{record.state}</span></h3>{text}{problems}{note}'
        f"{_render_figure(experiment, results)}"
        f"{render_details(str(file), render_file(file))}{_render_runs(name, record)}</section>"
    )


def _render_figure(experiment: Experiment, results: Path) -> str:
    """The figure with its caption; nothing for an experiment that has none of its own."""
    if not has_figure(experiment.resolved()):
        return ""
    name = experiment.name
    picture = results / name / "figures" / f"{name}.png"
    return render_figure(picture, make_anchor("figure", name), experiment.description or name)


def _render_runs(name: str, record: Record) -> str:
    """When, with which code, on what, how long."""
    rows = [
        [
            escape(str(run.get("started", ""))),
            kind,
            escape(str(run.get("code", ""))),
            escape(f"{run.get('machine', '')}, cores: {run.get('cores', '?')}"),
            f"{run.get('computed', 0):,}",
            format_seconds(run.get("seconds", 0.0)),
            escape(", ".join(f"{key} {value}" for key, value in run.get("dependencies", {}).items())),
        ]
        for kind, runs in record.runs.items()
        for run in runs
    ]
    if not rows:
        return ""
    head = ["started", "part", "code", "machine", "computed", "time", "with"]
    return render_details("Provenance", render_table(f"{name}, runs", head, rows, title=False))
