"""`prepare_store`: open, create or grow the store in which a stage is computed; results are never deleted.

| difference between store and experiment | what happens |
|---|---|
| none, or the experiment has fewer values | the store is used |
| more values of an axis, more replicas | the store is copied into a larger one, with all results |
| times, outputs, ``keep`` | the store gets another name, everything is computed again |
| constants, seed, names of axes, version of the system | refused, with old and new value, unless ``--fresh`` is given |

| symbol | meaning |
|---|---|
| ``requested`` | the stage as the experiment's file describes it |
| ``stored`` | the stage whose points and replicas the store has a place for |
| ``available`` | both together: the stage whose points and replicas the grown store has a place for |
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from clhd.core.text import format_count, format_value
from clhd.sweep.plan.blocks import BoolArray, choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.errors import ExperimentError
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.limits import describe_size
from clhd.sweep.spec.stages import StageKind, stage_path
from clhd.sweep.store.create import create_store
from clhd.sweep.store.grow import finish_growth, grow_store, predict_growth
from clhd.sweep.store.layout import check_stage
from clhd.sweep.store.metadata import FRESH
from clhd.sweep.store.repair import delete_incomplete_chunks
from clhd.sweep.store.store import Store, StoreError
from clhd.systems.declarations import Value


def prepare_store(requested: Stage, path: Path) -> tuple[Store, Stage]:
    """Open, create or grow the store of a stage. The caller holds its lock.

    Parameters
    ----------
    requested : Stage
    path : Path

    Returns
    -------
    (store, available) : Store, Stage

    Raises
    ------
    ClhdError
        If the store is damaged, cannot be written, or has results of other constants.
    """
    if path.is_symlink():
        raise StoreError(f"{path}: is a link, which a growing store would replace; link {path.parent} instead")
    finish_growth(path)
    if not path.exists():
        return create_store(path, requested, choose_chunks(requested)), requested
    store = Store(path, "r+")
    stored = stored_stage(store, requested)
    check_changes(store, stored, requested)
    check_stage(path, store.layout, stored, store.group)
    if not has_same_form(stored, requested):
        move_aside(path)
        return create_store(path, requested, choose_chunks(requested)), requested
    delete_incomplete_chunks(store)
    available = _unite(stored, requested, path)
    if not _is_larger(available, stored):
        return store, available
    return grow_store(store, available, positions_in(available, stored)), available


def predict_growth_seconds(store: Store, stored: Stage, requested: Stage) -> float:
    """Return the predicted seconds in which `prepare_store` grows a store; 0 if it need not grow."""
    available = _unite(stored, requested, store.path)
    return predict_growth(store, available, positions_in(available, stored)) if _is_larger(available, stored) else 0.0


def _is_larger(available: Stage, stored: Stage) -> bool:
    return available.grid.axes != stored.grid.axes or available.entries != stored.entries


def stored_stage(store: Store, requested: Stage) -> Stage:
    """Return the stage that a store holds, with the system of the requested stage.

    Raises
    ------
    StoreError
        If the store has results of another system, or the file of the system has changed since.
    """
    old, new = store.experiment.system, requested.experiment.system
    if old != new:
        raise _refuse_changes(store.path, {"system": (old, new)})
    declaration = store.layout.declaration
    if declaration is not None and declaration.source != requested.reference.digest:
        raise StoreError(f"{store.path}: was computed before {requested.reference.file} changed; {FRESH}")
    return Stage(store.experiment, requested.kind, requested.system)


def check_changes(store: Store, stored: Stage, requested: Stage) -> None:
    """Raise StoreError if a store has results of another version of the system, or of other constants."""
    version = store.attributes["version"]
    if version != requested.version:
        raise StoreError(
            f"{store.path}: was computed with version {version} of the {requested.kind}, this clhd has version "
            f"{requested.version}; {FRESH}"
        )
    changes = _find_changes(stored, requested)
    if changes:
        raise _refuse_changes(store.path, changes)


def _refuse_changes(path: Path, changes: Mapping[str, tuple[str, str]]) -> StoreError:
    old, new = (", ".join(f"{name} = {values[k]}" for name, values in changes.items()) for k in (0, 1))
    return StoreError(f"{path}: was computed with {old}; the file now says {new}. Restore the file, or {FRESH}")


def _find_changes(stored: Stage, requested: Stage) -> dict[str, tuple[str, str]]:
    """Return the old and the new value, as texts, of what must not change in a store, by name."""
    changes = {}
    old, new = stored.grid.constants, requested.grid.constants
    swept = {name for stage in (stored, requested) for axis in stage.grid.axes for name in axis.parameters}
    for name in sorted({*old, *new} - swept):
        values = [_resolve(requested, constants, name) for constants in (old, new)]
        if values[0] != values[1]:
            before, after = ("none" if value is None else format_value(value) for value in values)
            changes[name] = before, after
    if stored.seed != requested.seed:
        changes["seed"] = str(stored.seed), str(requested.seed)
    axes = [[(axis.name, axis.parameters) for axis in stage.grid.axes] for stage in (stored, requested)]
    if axes[0] != axes[1]:
        before, after = (", ".join(name for name, _ in names) or "none" for names in axes)
        changes["axes"] = before, after
    return changes


def _resolve(stage: Stage, constants: Mapping[str, Value], name: str) -> Value | None:
    """Return a constant, or its default: then a parameter that is declared later changes nothing."""
    if name in constants:
        return constants[name]
    base = name.rpartition("_")[0]
    if name not in stage.system.parameters and base in constants:
        return constants[base]
    return stage.system.find_parameter(name, {}).default


def has_same_form(stored: Stage, requested: Stage) -> bool:
    """Return True if a store of one stage has the variables and times of the other."""
    return stored.experiment.times == requested.experiment.times and stored.stored == requested.stored


def move_aside(path: Path) -> Path:
    """Give a store another name, ``STAGE-until-TIME.zarr``, and return its new path."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = path.with_name(f"{path.stem}-until-{stamp}{path.suffix}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.stem}-until-{stamp}-{number}{path.suffix}")
    path.rename(target)
    return target


def _unite(stored: Stage, requested: Stage, path: Path) -> Stage:
    """Return the stage with the points and replicas of both; raise StoreError if a store cannot hold so much."""
    axes: dict[str, Axis] = {axis.name: axis for axis in requested.experiment.axes}
    for axis in stored.experiment.axes:
        if axis.name in axes and axis.parameters == axes[axis.name].parameters:
            axes[axis.name] = axes[axis.name].merged(axis)
    replicas = max(stored.experiment.replicas, requested.experiment.replicas)
    experiment = requested.experiment.model_copy(update={"axes": tuple(axes.values()), "replicas": replicas})
    if experiment.axes == requested.experiment.axes and replicas == requested.experiment.replicas:
        return requested  # the costs of its points are known
    available = Stage(experiment, requested.kind, requested.system)
    try:
        mistake = describe_size({axis.name: len(axis) for axis in experiment.axes}, replicas, available.entry_size)
        if mistake:
            raise ExperimentError(mistake)
        choose_chunks(available)
    except ExperimentError as error:
        raise StoreError(
            f"{path}: stored and requested results together are too many: {error}; add fewer values at a time, give "
            f"the experiment another name, or {FRESH}"
        ) from None
    return available


def select_requested(available: Stage, requested: Stage) -> BoolArray:
    """Return a mask of the requested entries, of the shape of the store."""
    mask = np.zeros(available.shape, dtype=bool)
    mask[np.ix_(*positions_in(available, requested))] = True
    return mask


def positions_in(available: Stage, part: Stage) -> list[list[int]]:
    """Return the positions of the points and replicas of a part, along each dim of the available stage."""
    positions = [axis.positions(own) for axis, own in zip(available.grid.axes, part.grid.axes, strict=True)]
    return positions if part.entries is None else [*positions, list(range(part.entries))]


def open_stage(
    experiment: Experiment, kind: StageKind, results: Path, *, computes: bool = False
) -> tuple[Stage, Store, Stage]:
    """Open the store of a stage to read all that an experiment requests.

    Parameters
    ----------
    experiment : Experiment
    kind : str
        "simulation" or "theory".
    results : Path
        Folder of all results.
    computes : bool
        True if points will be computed again, which needs the system; else the store's description of it is enough.

    Returns
    -------
    (requested, store, stored) : Stage, Store, Stage

    Raises
    ------
    StoreError
        If there is no store, or it lacks something that the experiment requests.
    """
    path = stage_path(results / experiment.name, kind)
    if not path.exists():
        raise StoreError(f"{path}: does not exist; create it with `clhd run FILE`")
    store = Store(path)
    if not computes:
        known = {axis.name: axis for axis in store.experiment.axes}
        axes = tuple(axis.typed_like(known.get(axis.name, axis)) for axis in experiment.axes)
        experiment = experiment.model_copy(update={"axes": axes})
    requested = Stage(experiment, kind, None if computes else store.stored_system())
    stored = (
        stored_stage(store, requested) if requested.given is None else Stage(store.experiment, kind, requested.given)
    )
    check_changes(store, stored, requested)
    check_stage(path, store.layout, stored, store.group)
    lacks = "" if has_same_form(stored, requested) else "the times or outputs of the experiment"
    for axis, own in zip(requested.grid.axes, stored.grid.axes, strict=True):
        if count := len(set(axis.values) - set(own.values)):
            lacks = lacks or f"{format_count(count, 'value')} of {axis.name}"
    if requested.entries is not None and requested.entries > store.shape[-1]:
        old, new = (count * store.entry_size for count in (store.shape[-1], requested.entries))
        lacks = lacks or f"{format_count(new - old, 'replica')}"
    if lacks:
        raise StoreError(f"{path}: lacks {lacks}; compute what is missing with `clhd run FILE`")
    return requested, store, stored
