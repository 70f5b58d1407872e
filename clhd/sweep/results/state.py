"""`find_states`: the one answer to "is it done?", for status, workflow, report and whoever else asks.

| state of a stage | meaning | what helps |
|---|---|---|
| complete | every run that the experiment asks for has a result | |
| pending | runs are not computed yet | ``clhd run FILE`` |
| failed | runs failed | ``clhd run FILE`` tries them again |
| stale | the summary rests on other results, or on another experiment | ``clhd summarise FILE`` |
| changed | the store has results of other constants, times, seed or version | see its problem |
| missing | a file that was written is gone | ``clhd run FILE`` |
| damaged | a file is not what was written | ``clhd run FILE --repair`` |
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from clhd.errors import ClhdError
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.products import digest_stores
from clhd.sweep.spec.experiment import KINDS, Experiment, StageName, stage_path
from clhd.sweep.spec.rounds import StageKind
from clhd.sweep.store.chunk_files import ChunkFiles, DamagedChunkError, read_array
from clhd.sweep.store.layout import check_summary, parse_stored
from clhd.sweep.store.match import ChangedError, check_source, find_stored, share_positions
from clhd.sweep.store.metadata import MetadataError, check_array_files
from clhd.sweep.store.store import Store, find_missing
from clhd.sweep.store.wanted import find_points, find_wanted_counts, select_first
from clhd.systems.declarations import Status
from clhd.systems.stored import Declaration


class State(StrEnum):
    """The state of a stage; the worst last."""

    COMPLETE = "complete"
    PENDING = "pending"
    FAILED = "failed"
    STALE = "stale"
    CHANGED = "changed"
    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class StageState:
    """The state of one stage of an experiment."""

    state: State
    problem: str = ""  # what is wrong and what helps, in one line; empty for complete, pending and failed
    # Runs that the experiment asks for (``wanted``) and their number by status; empty where a store cannot be read, and
    # for a summary.
    counts: Mapping[str, int] = field(default_factory=dict)


def find_states(
    experiment: Experiment,
    results: Path,
    *,
    computes: bool = False,
    deep: bool = False,
    opened: dict[StageName, ChunkFiles] | None = None,
) -> dict[StageName, StageState]:
    """Return the state of each stage of an experiment; a stage in which nothing is computed has none.

    Parameters
    ----------
    computes : bool
        Load the system: then a change of its version is noticed too. Without it no code of a system runs.
    deep : bool
        Read and check every file.
    opened : dict, optional
        Takes the files of each stage that could be opened, so that a caller need not open them again.

    Raises
    ------
    ClhdError
        If the file system cannot be asked.
    """
    folder = results / experiment.name
    opened = {} if opened is None else opened
    states: dict[StageName, StageState] = {
        kind: _find_state(experiment, kind, folder, computes, deep, opened)
        for kind in KINDS
        if _is_expected(experiment, kind, folder, computes)
    }
    deciding = None if experiment.refine is None else states.get(experiment.refine.kind)
    if experiment.refine is not None and (deciding is None or deciding.state != State.COMPLETE):
        for kind, found in states.items():  # more points may be wanted of the other stage
            if found.state == State.COMPLETE:
                states[kind] = replace(found, state=State.PENDING)
    return states | {"summary": _find_summary_state(experiment, folder, deep, opened)}


def _is_expected(experiment: Experiment, kind: StageKind, folder: Path, computes: bool) -> bool:
    """Return True if a stage computes something. Without its system, the stores tell that."""
    if computes:
        return bool(Stage(experiment, kind).outputs.variables)
    if stage_path(folder, kind).is_dir() or kind == ("simulation" if experiment.has_simulation else "theory"):
        return True
    return kind == "theory" and (stage_path(folder, "summary") / "theory_status").is_dir()


def _find_state(
    experiment: Experiment,
    kind: StageKind,
    folder: Path,
    computes: bool,
    deep: bool,
    opened: dict[StageName, ChunkFiles],
) -> StageState:
    path = stage_path(folder, kind)
    try:
        refine = experiment.refine
        if not path.is_dir() or (refine is not None and not stage_path(folder, refine.kind).is_dir()):
            wanted = math.prod(refine.count_coarse(axis) if refine else len(axis) for axis in experiment.axes)
            wanted *= max(experiment.sampling.start, 1) if kind == "simulation" else 1
            return StageState(State.PENDING, counts={"wanted": wanted, "not_run": wanted})
        store = Store(path)
        opened[kind] = store.files
        check_array_files(path, store.files.metadata)
        find_stored(store, experiment, kind, computes=computes)
        check_source(store, experiment)
        store.files.trailers, sizes = {}, list[int]()
        missing = find_missing(store, sizes)
        store.files.sizes = sizes
        for file in missing.values():
            state = State.DAMAGED if file.exists() else State.MISSING
            return StageState(state, str(store.files.describe_damage(file)))
        if deep:
            for file, _ in store.find_damage():
                raise store.files.describe_damage(file)
            check_finite(store)
        counts = count_wanted(experiment, store)
    except ChangedError as error:
        return StageState(State.CHANGED, str(error))
    except ClhdError as error:
        if computes and not isinstance(error, DamagedChunkError | MetadataError):
            raise  # the file system cannot be asked
        return StageState(State.DAMAGED, str(error))
    if counts["failed"]:
        return StageState(State.FAILED, counts=counts)
    return StageState(State.PENDING if counts["not_run"] else State.COMPLETE, counts=counts)


def check_finite(store: Store) -> None:
    """Raise DamagedChunkError if a run whose status is ok has a value that is not finite, where this is no result."""
    declaration = store.layout.declaration
    if declaration is None or store.entry_size > 1:  # moments may be those of no run
        return
    for index in store.chunk_indices():
        chunk = store.read_chunk(index)
        is_ok = chunk["status"] == Status.OK
        for name in set(store.outputs) - set(declaration.may_be_nan):
            if not np.isfinite(chunk[name][is_ok]).all():
                where = f"{store.path}: chunk {index} of {name}"
                raise DamagedChunkError(f"{where} is not finite although its runs are ok; `clhd run FILE --fresh`")


def count_wanted(experiment: Experiment, store: Store) -> dict[str, int]:
    """Return the number of runs that an experiment wants, and of these by status; runs without a place are not_run.

    Of a refined experiment, or one with targets, also how many it does not want so far; more may be wanted later.
    """
    held = {axis.name: axis for axis in store.experiment.axes}
    axes = [axis.typed_like(held[axis.name]) for axis in experiment.axes if axis.name in store.dims]
    points, found = find_points(experiment, axes, store.path.parent)
    here, there = (np.ix_(*places) for places in share_positions(axes, [held[axis.name] for axis in axes]))
    most, size = experiment.replicas if store.layout.has_replicas else 1, store.entry_size
    is_open = experiment.sampling.is_open and store.kind == "simulation"
    entries = np.asarray(points * ((experiment.sampling.start if is_open else most) // size))
    if is_open:
        entries[here] = points[here] * find_wanted_counts(store, experiment, found).entries[there]
    held_entries = np.zeros(store.shape[: points.ndim], dtype=np.int64)
    held_entries[there] = entries[here]
    mask = select_first(held_entries, store.shape[-1]) if store.layout.has_replicas else held_entries > 0
    counts = store.count_runs(mask)
    wanted = int(entries.sum()) * size
    counts["not_run"] += wanted - int(mask.sum()) * size
    left_out = {"not_wanted": points.size * most - wanted} if is_open or experiment.refine is not None else {}
    return {"wanted": wanted, **counts, **left_out}


def find_unfinished(experiment: Experiment, results: Path) -> list[StageName]:
    """Return the stages of an experiment that are not complete, in their order; loads the system."""
    states = find_states(experiment, results, computes=True)
    return [stage for stage, found in states.items() if found.state != State.COMPLETE]


def _find_summary_state(
    experiment: Experiment, folder: Path, deep: bool, opened: dict[StageName, ChunkFiles]
) -> StageState:
    path = stage_path(folder, "summary")
    if not path.is_dir():
        return StageState(State.PENDING)
    try:
        files = opened["summary"] = ChunkFiles(path, check_summary(path))
        check_array_files(path, files.metadata)
        if deep:
            for name in files.metadata.arrays:
                read_array(files, name)
    except ClhdError as error:
        return StageState(State.DAMAGED, str(error))
    reason = find_stale(files.metadata.attributes, experiment, folder, opened)
    return StageState(State.STALE if reason else State.COMPLETE, reason)


def find_stale(
    attributes: Mapping[str, Any],
    experiment: Experiment,
    folder: Path,
    opened: Mapping[StageName, ChunkFiles] | None = None,
) -> str:
    """Return why a summary is out of date, by its attributes; empty if it is not. `opened`: see `digest_stores`."""
    path = stage_path(folder, "summary")
    stored = attributes["experiment"]
    held, declared = parse_stored(json.dumps(stored)), attributes.get("declaration")
    declaration = None if declared is None else Declaration.model_validate(declared)
    wanted = json.loads(json.dumps(experiment.typed_like(held, declaration).resolved()))
    # A key that clhd learned later is no change of the experiment; these two stand there only if the file gives them.
    known = stored.keys() | ({"quantity", "refine"} & wanted.keys())
    changed = sorted(key for key in known if wanted.get(key) != stored.get(key))
    if changed:
        return f"{path}: was written before {', '.join(changed)} of the experiment changed; `clhd summarise FILE`"
    basis = attributes.get("rests_on") or {}
    try:
        present = digest_stores(folder, opened)
    except ClhdError:
        return ""  # the state of the store says what is wrong, as it does if there is none
    if any(basis.get(kind) != digest for kind, digest in present.items()):
        return f"{path}: does not rest on the results that are there now; `clhd summarise FILE` writes it again"
    return ""
