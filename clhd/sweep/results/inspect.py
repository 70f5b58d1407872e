"""Single points: what the ledger knows of a point, and whether its bits come out the same again."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.text import escape_controls, format_count, format_seconds, format_value
from clhd.errors import InputError
from clhd.sweep.plan.moments import BLOCK_COUNTS, count_runs
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.grid import parse_place, parse_places
from clhd.sweep.store.chunk_files import LEDGER
from clhd.sweep.store.match import open_stage, positions_in
from clhd.sweep.store.store import Store
from clhd.sweep.store.wanted import find_wanted_counts
from clhd.systems.declarations import Status

_MOST_LINES = 100  # of points that `clhd why` names


@dataclass(frozen=True)
class Answers:
    """What the ledger knows of some points. Each answer is made when it is asked for: all of a million take 1 GB."""

    wanted: Stage
    store: Store
    indices: Sequence[tuple[int, ...]]
    places: Sequence[tuple[int, ...]]  # of the points, in the columns
    columns: Mapping[str, NDArray[Any]]  # of the ledger
    entries: NDArray[Any]  # how many of each point are wanted

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index, place in zip(self.indices, self.places, strict=True):
            ledger = {name: column[place].ravel()[: self.entries[place]] for name, column in self.columns.items()}
            yield _explain_point(self.wanted, self.store, index, ledger)

    def __contains__(self, answer: object) -> bool:
        return any(answer == own for own in self)


def explain_points(
    experiment: Experiment, results: Path, place: Mapping[str, str], *, computes: bool = True
) -> Answers:
    """Return everything that the ledger knows of the points of the simulation at a place.

    An axis that the place leaves out stands for all of its values. `computes` loads the system: only the system makes
    the key of a point. Without it no code of a system runs.

    Returns
    -------
    Answers
        For each point a table: ``place``, ``parameters``, ``key`` (if the system is loaded), counts by status,
        ``errors``, ``attempts``, ``seconds`` (all replicas), ``code`` and ``computed``, when its runs began.

    Raises
    ------
    ClhdError
        If there is no simulation, no such point or no store.
    """
    if computes:
        parse_places(_simulation(experiment).grid, place)  # a wrong name is told even if there is no store
    wanted, store, available = open_stage(experiment, "simulation", results, computes=computes)
    indices = parse_places(wanted.grid, place)
    held = [
        [own[i] for i in column]
        for own, column in zip(positions_in(available, wanted), zip(*indices, strict=True), strict=False)
    ]
    spans = [slice(min(own), max(own) + 1) for own in held]  # this region is read once
    names = (*LEDGER, *(BLOCK_COUNTS if wanted.has_moments else ()))
    columns = {name: store.read(name, (*spans, slice(0, wanted.entries or 0))) for name in names}
    entries = find_wanted_counts(store, wanted.experiment).entries[tuple(spans)]
    starts = [[i - span.start for i in own] for own, span in zip(held, spans, strict=True)]
    places = list(zip(*starts, strict=True)) if starts else [()]
    return Answers(wanted, store, indices, places, columns, entries)


def _explain_point(
    wanted: Stage, store: Store, index: tuple[int, ...], ledger: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    """What the ledger knows of one point; see `explain_points`."""
    values = wanted.grid.values(index)
    answer: dict[str, Any] = {"place": wanted.grid.describe(index), "parameters": values}
    if wanted.given is None:
        answer["key"] = wanted.point(values).key
    counts = count_runs(ledger["status"], wanted.entry_size, ledger if wanted.has_moments else None)
    answer |= {name: count for name, count in counts.items() if count}
    errors = {pair for pair in zip(ledger["error_type"], ledger["error_message"], strict=True) if pair[0]}
    answer["errors"] = sorted(escape_controls(f"{kind}: {message}") for kind, message in errors)
    answer["attempts"] = int(ledger["attempts"].max())
    answer["seconds"] = float(ledger["seconds"].sum())
    runs = [store.attributes["runs"][run] for run in sorted(set(ledger["run"].tolist())) if run >= 0]
    answer["code"] = sorted({run["code"] for run in runs})
    answer["computed"] = sorted({run["started"] for run in runs})
    return answer


def format_points(answers: Collection[Mapping[str, Any]]) -> str:
    """Return the answers of `explain_points` for people: all of one point, or one line for each of several."""
    first = list(islice(answers, _MOST_LINES))
    if len(answers) == 1:
        return "\n".join(f"{name}: {text}" for name, text in describe_point(first[0]).items())
    lines = []
    for answer in first:
        found = [_format_counts(answer), *(error.splitlines()[0] for error in answer["errors"][:1])]
        lines.append(f"{answer['place']}: {'; '.join(found)}")
    more = len(answers) - _MOST_LINES
    return "\n".join([*lines, f"... and {format_count(more, 'more point')}; name more axes"] if more > 0 else lines)


def _format_counts(answer: Mapping[str, Any]) -> str:
    counts = {status: answer.get(status, 0) for status in (status.name.lower() for status in Status)}
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count)


def describe_point(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return an answer of `explain_points` as text by heading; what is not known is left out."""
    lines = {
        "parameters": ", ".join(f"{name}={format_value(value)}" for name, value in answer["parameters"].items()),
        "key": answer.get("key", ""),
        "runs": _format_counts(answer),
        "errors": "; ".join(answer["errors"]),
        "attempts": str(answer["attempts"] or ""),
        "time": f"{format_seconds(answer['seconds'])} of one core, all runs together" if answer["attempts"] else "",
        "code": ", ".join(answer["code"]),
        "computed": ", ".join(answer["computed"]),
    }
    return {name: text for name, text in lines.items() if text}


def _simulation(experiment: Experiment) -> Stage:
    """The simulation of an experiment; raises ClhdError if there is none."""
    stage = Stage(experiment, "simulation")
    if not stage.outputs.variables:
        raise InputError(f"{experiment.name}: has no simulation; why, replay and verify look at simulated points")
    return stage


@dataclass(frozen=True)
class Replay:
    """The outcome of computing a point again."""

    place: str  # values of the point along the axes
    replicas: int  # number of compared replicas: those that the store knows
    different: tuple[str, ...]  # outputs whose bits differ; empty if all bits are the same
    largest_difference: float


def replay_point(experiment: Experiment, results: Path, place: Mapping[str, str]) -> Replay:
    """Simulate one point again in this process, and compare its bits with the store."""
    wanted = _simulation(experiment)
    index = parse_place(wanted.grid, place)  # a wrong name is told even if there is no store
    wanted, store, available = open_stage(experiment, "simulation", results, computes=True)
    return _replay(wanted, store, available, index)


def verify_share(experiment: Experiment, results: Path, fraction: float) -> list[Replay]:
    """Simulate a random share of the computed points again, at least one point; every call chooses other points."""
    _simulation(experiment)
    wanted, store, available = open_stage(experiment, "simulation", results, computes=True)
    status = store.read("status")[np.ix_(*positions_in(available, wanted))]
    known = np.flatnonzero(np.isin(status, (Status.OK, Status.DIVERGED)).any(axis=-1))  # a refined grid has others
    chosen = np.random.default_rng().choice(known, math.ceil(fraction * len(known)), replace=False)
    indices = [np.unravel_index(number, wanted.grid.shape) for number in sorted(chosen.tolist())]
    return [_replay(wanted, store, available, tuple(int(i) for i in index)) for index in indices]


def _replay(wanted: Stage, store: Store, available: Stage, index: tuple[int, ...]) -> Replay:
    places = [positions[i] for positions, i in zip(positions_in(available, wanted), index, strict=False)]
    region = (*(slice(place, place + 1) for place in places), slice(0, wanted.entries or 0))
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
