"""The experiments as templates show them: what is known of each, what it cost, its figure, its runs.

| word | meaning |
|---|---|
| core time | sum over the ledger's seconds: the time that one core would have needed |
| run | one call that computed points of a store, as the store's attribute ``runs`` tells |
| declaration | what the results say of the system that made them |
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from clhd.errors import ClhdError
from clhd.report.pictures import Picture, read_picture
from clhd.report.text import make_anchor
from clhd.sweep.results.products import find_figure_faults
from clhd.sweep.results.status import describe_status
from clhd.sweep.spec.experiment import KINDS, STAGES, Experiment, StageName
from clhd.sweep.store.chunk_files import ChunkFiles, read_array
from clhd.systems.stored import Declaration

_DECLARING: tuple[StageName, ...] = ("summary", "simulation", "theory")


@dataclass(frozen=True)
class Record:
    """What is known of one experiment."""

    status: Mapping[str, Any]  # result of `clhd.sweep.results.status.describe_status`
    seconds: Mapping[str, float]  # core time of each stage, s
    runs: Mapping[str, list[Mapping[str, Any]]]  # the attribute ``runs`` of the store of each stage
    declaration: Declaration | None  # None if no result has one
    identity: str = ""  # of the summary; empty if there is none

    @property
    def state(self) -> str:
        """The state in one word; see `clhd.sweep.results.state`."""
        return str(self.status["state"])


def read_record(experiment: Experiment, results: Path) -> Record:
    """Read what the results of an experiment say of themselves, without their data."""
    opened: dict[StageName, ChunkFiles] = {}
    status = describe_status(experiment, results, opened=opened)
    seconds: dict[str, float] = {}
    runs: dict[str, list[Mapping[str, Any]]] = {}
    for kind in KINDS:
        if kind in opened:  # else the status says what is wrong with it
            with suppress(ClhdError):
                seconds[kind] = float(np.sum(read_array(opened[kind], "seconds"), dtype=np.float64))
                runs[kind] = list(opened[kind].metadata.attributes["runs"])
    declarations = [opened[stage].metadata.attributes.get("declaration") for stage in _DECLARING if stage in opened]
    declaration = None
    with suppress(ValidationError):
        declaration = next((Declaration.model_validate(found) for found in declarations if found), None)
    identity = opened["summary"].metadata.identity if "summary" in opened else ""
    return Record(status, seconds, runs, declaration, identity)


def sum_costs(records: Mapping[str, Record]) -> dict[str, float]:
    """Return core time and wall time in seconds, and bytes on disk, of all experiments together."""
    stages = [record.status.get(kind, {}) for record in records.values() for kind in KINDS]
    runs = [run for record in records.values() for runs in record.runs.values() for run in runs]
    return {
        "core": sum(sum(record.seconds.values()) for record in records.values()),
        "wall": sum(run.get("seconds", 0.0) for run in runs),
        "bytes": sum(stage.get("bytes", 0) for stage in stages),
    }


def prepare_experiment(experiment: Experiment, record: Record, results: Path) -> dict[str, Any]:
    """Return one experiment as templates show it: description, state, stages, problems, figure, runs."""
    return {
        "name": experiment.name,
        "anchor": make_anchor(experiment.name, "experiment"),
        "description": experiment.description,
        "state": record.state,
        "problems": [
            *(record.status[part]["problem"] for part in STAGES if "problem" in record.status.get(part, {})),
            *find_figure_faults(results, experiment.name, {experiment.name: record.identity}).values(),
        ],
        "stages": [_prepare_stage(kind, record) for kind in KINDS if kind in record.status],
        "figure": _find_picture(experiment, results),
        "runs": [_prepare_run(kind, run) for kind, runs in record.runs.items() for run in runs],
    }


def _prepare_stage(kind: str, record: Record) -> dict[str, Any]:
    """The counts of one stage."""
    counts = record.status[kind]
    return {
        "name": kind,
        "problem": "problem" in counts,
        "wanted": counts.get("wanted", 0),
        "ok": counts.get("ok", 0),
        "failed": counts.get("failed", 0),
        "diverged": counts.get("diverged", 0) + counts.get("not_converged", 0),
        "pending": counts.get("not_run", 0),
        "seconds": record.seconds.get(kind),
    }


def _prepare_run(kind: str, run: Mapping[str, Any]) -> dict[str, Any]:
    """When, with which code, on which machine, and how long."""
    return {
        "started": str(run.get("started", "")),
        "stage": kind,
        "code": str(run.get("code", "")),
        "machine": f"{run.get('machine', '')}, cores: {run.get('cores', '?')}",
        "computed": run.get("computed", 0),
        "seconds": run.get("seconds", 0.0),
        "dependencies": ", ".join(f"{key} {value}" for key, value in run.get("dependencies", {}).items()),
    }


def _find_picture(experiment: Experiment, results: Path) -> Picture | None:
    """The figure; None for an experiment that has none. By default, an experiment without a simulation has none."""
    name = experiment.name
    path = results / name / "figures" / f"{name}.png"
    may_have = experiment.figure != "none" and (path.is_file() or experiment.figure or experiment.has_simulation)
    return read_picture(path, experiment.description or name) if may_have else None
