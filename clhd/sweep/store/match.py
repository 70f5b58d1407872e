"""What a store holds of what an experiment asks for: `open_stage` for readers, `check_changes` for whoever computes.

| difference between store and experiment | what happens |
|---|---|
| none, or the experiment has fewer values, replicas or times | the store is used; what was not asked for is left out |
| more values of an axis, more replicas | a run computes them, a reader refuses |
| fewer times, and runs that diverged or did not converge | refused: they may have a result at the times that are left |
| constants, seed, names of axes, ``keep``, other times, version of the system | refused, with old and new value |
| another default of a parameter that the store's experiment leaves out; other outputs | refused, likewise |

| symbol | meaning |
|---|---|
| ``requested`` | the stage as the experiment's file describes it |
| ``stored`` | the stage whose points and replicas the store has a place for |
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from clhd.core.text import format_count, format_number, format_value
from clhd.errors import ClhdError
from clhd.sweep.plan.stage import Stage, format_work
from clhd.sweep.spec.experiment import Experiment, stage_path
from clhd.sweep.spec.grid import Axis, Grid
from clhd.sweep.spec.rounds import StageKind
from clhd.sweep.store.chunk_files import StoreError
from clhd.sweep.store.layout import check_stage
from clhd.sweep.store.metadata import FRESH
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Value
from clhd.systems.plain import write_exactly

_MOST_TIMES = 6  # of which each is named in a message


class ChangedError(StoreError):
    """A store that has results of another experiment than the file describes."""


def find_stored(store: Store, experiment: Experiment, kind: StageKind, *, computes: bool) -> tuple[Stage, Stage]:
    """Return the requested and the stored stage, after a check that the store has results of the experiment.

    `computes` says that points will be computed, which needs the system; else the store's description of it is enough.

    Raises
    ------
    ChangedError
        If the store has results of another experiment; see the table of this module.
    MetadataError
        If the store contradicts itself.
    """
    if not computes:
        experiment = experiment.typed_like(store.experiment, store.layout.declaration)
    requested = Stage(experiment, kind, None if computes else store.stored_system())
    return requested, check_changes(store, requested)


def check_changes(store: Store, requested: Stage) -> Stage:
    """Return the stage that a store holds, after a check that its results are of the requested experiment.

    Raises as `find_stored` does.
    """
    old, new = store.experiment.system, requested.experiment.system
    if old != new:
        raise _refuse_changes(store.path, {"system": (old, new)}, requested)
    if requested.given is None:
        check_source(store, requested.experiment)
    stored = Stage(store.experiment, requested.kind, requested.system)
    version = store.attributes["version"]
    if version != requested.version:
        raise ChangedError(
            f"{store.path}: was computed with version {version} of the {requested.kind}, this clhd has version "
            f"{requested.version}; {FRESH}"
        )
    if changes := _find_changes(stored, requested):
        raise _refuse_changes(store.path, changes, requested)
    if stored.experiment.times != requested.experiment.times and (count := _count_lost(store, stored, requested)):
        times = {"times": (_format_times(stored), _format_times(requested))}
        lost = f"{format_count(count, 'run')} that diverged or did not converge"
        raise _refuse_changes(store.path, times, requested, f", by which {lost} may have a result")
    if requested.given is None:
        _check_declared(store, stored, requested)
    check_stage(store.files, store.layout, stored)
    return stored


def check_source(store: Store, experiment: Experiment) -> None:
    """Raise ChangedError if the file of a system has changed since a store was computed; the file is not run.

    A file that is not there has not changed: results can be read without it.
    """
    declaration = store.layout.declaration
    try:
        digest = experiment.reference.digest
    except ClhdError:
        return
    if declaration is not None and declaration.source != digest:
        raise ChangedError(f"{store.path}: was computed before {experiment.reference.file} changed; {FRESH}")


def _check_declared(store: Store, stage: Stage, requested: Stage) -> None:
    """Raise ChangedError if the system, of the same version, now declares other outputs or other defaults.

    A point leaves out what is at its default, so after a change of the default it would be another point. A default may
    change if all points give the parameter other values than the old default and the new one.
    """
    old, new = (", ".join(names) for names in (store.layout.outputs, stage.stored.variables))
    if old != new:
        raise ChangedError(f"{store.path}: was computed with the outputs {old}; the system now has {new}; {FRESH}")
    known = {} if store.layout.declaration is None else store.layout.declaration.parameters
    for name, parameter in stage.system.parameters.items():
        depends = parameter.in_simulation if stage.is_simulation else parameter.in_theory
        if not depends or name not in known:
            continue
        held, after = known[name].default, parameter.default
        before = tuple(held) if isinstance(held, list) else held
        if before == after:
            continue
        given = [value for one in (stage, requested) for value in _list_given(one, name, before)]
        if before in given or after in given:
            raise ChangedError(
                f"{store.path}: was computed when the default of {name} was {before!r}, and now it is {after!r}; "
                f"set it back, or {FRESH}"
            )


def _count_lost(store: Store, stored: Stage, requested: Stage) -> int:
    """Return how many of the requested runs diverged or did not converge by the times of the store.

    At fewer times a mean would leave them out, although they may have a result there.
    """
    _, places = share_positions(requested.grid.axes, stored.grid.axes)
    if requested.entries is not None:
        places = [*places, [*range(min(requested.entries, store.shape[-1]))]]
    selected = np.zeros(store.shape, dtype=bool)
    selected[np.ix_(*places)] = True
    counts = store.count_runs(selected, store.status())
    return counts["diverged"] + counts["not_converged"]


def _refuse_changes(
    path: Path, changes: Mapping[str, tuple[str, str]], requested: Stage, reason: str = ""
) -> ChangedError:
    """Return the refusal: the old and the new values, and what the new computation costs if the system is here."""
    old, new = (", ".join(f"{name} = {values[k]}" for name, values in changes.items()) for k in (0, 1))
    remedy = f"Restore the file, or {FRESH}"
    if requested.given is None:
        work = format_work(requested.cost_table.seconds(requested.entries or 1))
        remedy += f"; the {requested.kind} takes {work} then"
    return ChangedError(f"{path}: was computed with {old}; the file now says {new}{reason}. {remedy}")


def _find_changes(stored: Stage, requested: Stage) -> dict[str, tuple[str, str]]:
    """Return the old and the new value, as texts, of what must not change in a store, by name."""
    changes = {}
    old, new = stored.grid.constants, requested.grid.constants
    swept = {name for stage in (stored, requested) for axis in stage.grid.axes for name in axis.parameters}
    for name in sorted({*old, *new} - swept):
        values = [_resolve(requested, stage.grid, name) for stage in (stored, requested)]
        if values[0] != values[1]:
            before, after = ("none" if value is None else format_value(value) for value in values)
            changes[name] = before, after
    if requested.given is None:
        changes |= _find_retyped(stored, requested)
    if stored.seed != requested.seed:
        changes["seed"] = str(stored.seed), str(requested.seed)
    axes = [[(axis.name, axis.parameters) for axis in stage.grid.axes] for stage in (stored, requested)]
    if axes[0] != axes[1]:
        before, after = (", ".join(name for name, _ in names) or "none" for names in axes)
        changes["axes"] = before, after
    if not set(requested.experiment.times) <= set(stored.experiment.times):
        changes["times"] = _format_times(stored), _format_times(requested)
    if stored.has_moments != requested.has_moments:
        changes["keep"] = stored.experiment.keep, requested.experiment.keep
    elif _list_dims(stored) != _list_dims(requested):
        before, after = (", ".join(_list_dims(stage)) for stage in (stored, requested))
        changes["outputs"] = before, after
    return changes


def _find_retyped(stored: Stage, requested: Stage) -> dict[str, tuple[str, str]]:
    """Return the parameters of kind "any" with equal values of other types, such as 1 and 1.0: their points differ.

    All other parameters have one form.
    """
    changes = {}
    old, new = _list_values(stored), _list_values(requested)
    for name in sorted(old.keys() & new.keys()):
        if requested.system.find_parameter(name, {requested.system.components: math.inf}).kind != "any":
            continue
        held = {value: value for value in old[name]}
        for before, after in ((held[value], value) for value in new[name] if value in held):
            if write_exactly(before) != write_exactly(after):
                changes[name] = repr(before), repr(after)
    return changes


def _list_values(stage: Stage) -> dict[str, list[Value]]:
    """Return the values of the parameters that an experiment gives, as constants or along an axis."""
    values = {name: [value] for name, value in stage.grid.constants.items()}
    for axis in stage.grid.axes:
        values |= {name: [value[k] for value in axis.values] for k, name in enumerate(axis.parameters)}
    return values


def _list_given(stage: Stage, name: str, default: Value | None) -> list[Value | None]:
    """Return the values of a parameter and its components; the default too if the parameter itself is left out."""
    found = _list_values(stage)
    left_out = [] if name in found else [default]
    return left_out + [
        value for key, values in found.items() if name in (key, key.rpartition("_")[0]) for value in values
    ]


def _list_dims(stage: Stage) -> dict[str, tuple[str, ...]]:
    """Return the variables that a stage stores, with their dims."""
    return {name: output.dims for name, output in stage.stored.variables.items()}


def _format_times(stage: Stage) -> str:
    times = stage.experiment.times
    if len(times) <= _MOST_TIMES:
        return "[" + ", ".join(map(format_number, times)) + "]"
    return f"[{format_count(len(times), 'time')} up to {format_number(times[-1])}]"


def _resolve(stage: Stage, grid: Grid, name: str) -> Value | None:
    """Return a constant of a grid, or its default: then a parameter that is declared later changes nothing.

    A component without a value of its own has that of all components, which may vary along an axis.
    """
    constants = grid.constants
    if name in constants:
        return constants[name]
    base = name.rpartition("_")[0]
    if name not in stage.system.parameters:
        if base in constants:
            return constants[base]
        if any(base in axis.parameters for axis in grid.axes):
            return f"that of {base}"
    every = {stage.system.components: math.inf}  # the file may have fewer components than the store
    return stage.system.find_parameter(name, every).default


def positions_in(available: Stage, part: Stage) -> list[list[int]]:
    """Return the positions of the points and replicas of a part, along each dim of the available stage."""
    positions = [axis.positions(own) for axis, own in zip(available.grid.axes, part.grid.axes, strict=True)]
    return positions if part.entries is None else [*positions, list(range(part.entries))]


def share_positions(axes: Sequence[Axis], held: Sequence[Axis]) -> tuple[list[list[int]], list[list[int]]]:
    """Return the positions, along each axis, of the values that the held axis has too; and their positions there."""
    here, there = [], []
    for axis, own in zip(axes, held, strict=True):
        known = {value: position for position, value in enumerate(own.values)}
        here.append([position for position, value in enumerate(axis.values) if value in known])
        there.append([known[axis.values[position]] for position in here[-1]])
    return here, there


def find_places(stored: Stage, part: Stage) -> dict[str, list[int]]:
    """Return the positions of a part along each dim of a store, also those of its times."""
    dims = (*(axis.name for axis in stored.grid.axes), *stored.entry_dim)
    places = dict(zip(dims, positions_in(stored, part), strict=True))
    if stored.system.time is None:
        return places
    index = {time: position for position, time in enumerate(stored.experiment.times)}
    return places | {"time": [index[time] for time in part.experiment.times]}


def open_stage(
    experiment: Experiment, kind: StageKind, results: Path, *, computes: bool = False
) -> tuple[Stage, Store, Stage]:
    """Return the requested stage, its open store with all that is requested, and the stage that the store holds.

    `computes` says that points will be computed again, which needs the system.

    Raises
    ------
    StoreError
        If there is no store, or it lacks something that the experiment requests.
    """
    path = stage_path(results / experiment.name, kind)
    if not path.exists():
        raise StoreError(f"{path}: does not exist; create it with `clhd run FILE`")
    store = Store(path)
    requested, stored = find_stored(store, experiment, kind, computes=computes)
    lacks = ""
    for axis, own in zip(requested.grid.axes, stored.grid.axes, strict=True):
        if count := len(set(axis.values) - set(own.values)):
            lacks = lacks or f"{format_count(count, 'value')} of {axis.name}"
    if requested.entries is not None and requested.entries > store.shape[-1]:
        old, new = (count * store.entry_size for count in (store.shape[-1], requested.entries))
        lacks = lacks or f"{format_count(new - old, 'replica')}"
    if lacks:
        raise StoreError(f"{path}: lacks {lacks}; compute what is missing with `clhd run FILE`")
    return requested, store, stored
