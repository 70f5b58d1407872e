"""Single points: what the ledger knows of a point, and whether its bits come out the same again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.text import format_seconds, format_value
from clhd.errors import InputError
from clhd.sweep.plan.moments import BLOCK_COUNTS, count_runs
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.grid import parse_place
from clhd.sweep.store.layout import LEDGER
from clhd.sweep.store.match import open_stage, positions_in
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status


def explain_point(experiment: Experiment, results: Path, place: Mapping[str, str]) -> dict[str, Any]:
    """Return everything that the ledger knows of one point of the simulation.

    Returns
    -------
    dict
        ``parameters``, ``key``, counts by status, ``errors``, ``attempts``, ``seconds`` (all replicas), ``code`` and
        ``computed``, when its runs began.

    Raises
    ------
    ClhdError
        If there is no simulation, no such point or no store.
    """
    wanted = _simulation(experiment)
    index = parse_place(wanted.grid, place)
    values = wanted.grid.values(index)
    point = wanted.point(values)
    answer: dict[str, Any] = {"parameters": values, "key": point.key}
    wanted, store, available = open_stage(experiment, "simulation", results, computes=True)
    region = _region_of(wanted, available, index)
    ledger = {name: store.read(name, region).ravel() for name in LEDGER}
    blocks = {name: store.read(name, region).ravel() for name in BLOCK_COUNTS} if wanted.has_moments else None
    counts = count_runs(ledger["status"], wanted.entry_size, blocks)
    answer |= {name: count for name, count in counts.items() if count}
    errors = zip(ledger["error_type"], ledger["error_message"], strict=True)
    answer["errors"] = sorted({f"{kind}: {message}" for kind, message in errors if kind})
    answer["attempts"] = int(ledger["attempts"].max())
    answer["seconds"] = float(ledger["seconds"].sum())
    runs = store.attributes["runs"]
    answer["code"] = sorted({runs[run]["code"] for run in np.unique(ledger["run"]).tolist() if run >= 0})
    answer["computed"] = sorted({runs[run]["started"] for run in np.unique(ledger["run"]).tolist() if run >= 0})
    return answer


def format_point(answer: Mapping[str, Any]) -> str:
    """Return the answer of `explain_point` as lines for people."""
    counts = {name.replace("_", " "): answer.get(name, 0) for name in (status.name.lower() for status in Status)}
    lines = {
        "parameters": ", ".join(f"{name}={format_value(value)}" for name, value in answer["parameters"].items()),
        "key": answer["key"],
        "runs": ", ".join(f"{count} {name}" for name, count in counts.items() if count),
        "errors": "; ".join(answer["errors"]),
        "attempts": answer["attempts"],
        "time": f"{format_seconds(answer['seconds'])} of one core, all runs together" if answer["attempts"] else "",
        "code": ", ".join(answer["code"]),
        "computed": ", ".join(answer["computed"]),
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items() if text)


def _simulation(experiment: Experiment) -> Stage:
    """The simulation of an experiment; raises ClhdError if there is none."""
    stage = Stage(experiment, "simulation")
    if not stage.outputs.variables:
        raise InputError(f"{experiment.name}: has no simulation; why, replay and verify look at simulated points")
    return stage


def _region_of(wanted: Stage, available: Stage, index: tuple[int, ...]) -> tuple[slice, ...]:
    """The region of a store that holds all entries of one point."""
    places = [positions[i] for positions, i in zip(positions_in(available, wanted), index, strict=False)]
    return (*(slice(place, place + 1) for place in places), slice(0, wanted.entries or 0))


@dataclass(frozen=True)
class Replay:
    """The outcome of computing a point again.

    Parameters
    ----------
    place : str
        Values of the point along the axes.
    replicas : int
        Number of compared replicas: those that the store knows.
    different : tuple of str
        Outputs whose bits differ; empty if all bits are the same.
    largest_difference : float
    """

    place: str
    replicas: int
    different: tuple[str, ...]
    largest_difference: float


def replay_point(experiment: Experiment, results: Path, place: Mapping[str, str]) -> Replay:
    """Simulate one point again in this process, and compare its bits with the store."""
    _simulation(experiment)
    wanted, store, available = open_stage(experiment, "simulation", results, computes=True)
    return _replay(wanted, store, available, parse_place(wanted.grid, place))


def verify_share(experiment: Experiment, results: Path, fraction: float) -> list[Replay]:
    """Simulate a random share of the points again, at least one point; every call chooses other points."""
    _simulation(experiment)
    wanted, store, available = open_stage(experiment, "simulation", results, computes=True)
    count = min(wanted.grid.size, max(1, math.ceil(fraction * wanted.grid.size)))
    chosen = np.random.default_rng().choice(wanted.grid.size, count, replace=False)
    indices = [np.unravel_index(number, wanted.grid.shape) for number in sorted(chosen.tolist())]
    return [_replay(wanted, store, available, tuple(int(i) for i in index)) for index in indices]


def _replay(wanted: Stage, store: Store, available: Stage, index: tuple[int, ...]) -> Replay:
    region = _region_of(wanted, available, index)
    status = store.read("status", region).ravel()
    known = np.flatnonzero((status == Status.OK) | (status == Status.DIVERGED))
    place = wanted.grid.describe(index)
    if len(known) == 0:
        return Replay(place, 0, (), 0.0)
    again = Stage(wanted.experiment.model_copy(update={"times": store.experiment.times}), wanted.kind, wanted.given)
    result = again.compute([wanted.point(wanted.grid.values(index))], known.tolist())
    different, largest = [], 0.0
    for name in store.outputs:
        values = store.read(name, region)
        stored = values.reshape(len(status), *values.shape[len(region) :])[known]
        new = np.ascontiguousarray(result.values[name][0])
        if stored.tobytes() != new.tobytes():
            different.append(name)
            with np.errstate(invalid="ignore"):
                largest = max(largest, float(np.nanmax(np.abs(stored - new), initial=0.0)))
    return Replay(place, len(known) * store.entry_size, tuple(different), largest)
