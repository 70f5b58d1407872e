"""`prepare_store`: the store in which a stage can be computed: new, as it is, or grown; never emptied in silence.

| what has changed | what happens |
|---|---|
| nothing, or fewer values | the store is used as it is |
| values added to an axis, more replicas | copied into a larger store; all that was known is kept |
| times, or what is computed or kept | the old store is moved aside, all is computed again |
| constants, seed, axes, version of the code | refused, naming old and new; ``--fresh`` moves the old store aside |
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.text import format_count, format_value
from clhd.sweep.plan.blocks import BoolArray, choose_chunks
from clhd.sweep.plan.stage import Stage, StageKind
from clhd.sweep.spec.errors import ExperimentError
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.limits import describe_size
from clhd.sweep.store.create import create_store
from clhd.sweep.store.grow import finish_growth, grow_store, predict_growth
from clhd.sweep.store.layout import check_stage
from clhd.sweep.store.repair import forget_missing
from clhd.sweep.store.store import Store, StoreError
from clhd.systems.declarations import Value

_FRESH = "--fresh moves it aside and computes all again"


def prepare_store(stage: Stage, path: Path) -> tuple[Store, Stage]:
    """Open, create or grow the store of a stage. The caller holds its lock.

    Parameters
    ----------
    stage : Stage
        What is wanted.
    path : Path

    Returns
    -------
    (store, stage) : Store, Stage
        The stage that the store has room for: what is wanted, and what the store held before.

    Raises
    ------
    ClhdError
        If the store cannot be used, cannot be written, or belongs to other constants.
    """
    if path.is_symlink():
        raise StoreError(
            f"{path}: is a link, and a store takes another folder when it grows; link {path.parent} instead"
        )
    finish_growth(path)
    if not path.exists():
        return create_store(path, stage, choose_chunks(stage)), stage
    store = Store(path, "r+")
    held = hold_stage(store, stage)
    check_changes(store, held, stage)
    check_stage(path, store.layout, held, store.group)
    if not is_of_same_form(held, stage):
        move_aside(path)
        return create_store(path, stage, choose_chunks(stage)), stage
    forget_missing(store)
    available = _unite(held, stage, path)
    if not _is_larger(available, held):
        return store, available
    return grow_store(store, available, positions_in(available, held)), available


def predict_growth_seconds(store: Store, held: Stage, wanted: Stage) -> float:
    """How long `prepare_store` takes to make room for what is wanted in a store that can grow; 0 if it has that."""
    available = _unite(held, wanted, store.path)
    return predict_growth(store, available, positions_in(available, held)) if _is_larger(available, held) else 0.0


def _is_larger(available: Stage, held: Stage) -> bool:
    return available.grid.axes != held.grid.axes or available.entries != held.entries


def hold_stage(store: Store, wanted: Stage) -> Stage:
    """Return the stage that a store holds, of the same system as the one that is wanted.

    Raises
    ------
    StoreError
        If the store holds results of another system, or of another text of the file of the same system.
    """
    name, declaration = store.experiment.system, store.layout.declaration
    if name != wanted.experiment.system:
        raise StoreError(f"{store.path}: holds results of system = {name}, not {wanted.experiment.system}; {_FRESH}")
    if declaration is not None and declaration.source != wanted.reference.digest:
        raise StoreError(f"{store.path}: was computed before {wanted.reference.file} changed; {_FRESH}")
    return Stage(store.experiment, wanted.kind, wanted.system)


def check_changes(store: Store, held: Stage, wanted: Stage) -> None:
    """Raise StoreError if a store holds results of another version of the code, or of other constants."""
    version, changes = store.attributes["version"], list_changes(held, wanted)
    if version != wanted.version:
        changes = [f"{wanted.kind} version {version}, and this code is version {wanted.version}"]
    if changes:
        what = "of" if version != wanted.version else "for"
        raise StoreError(f"{store.path}: holds results {what} {'; '.join(changes)}; {_FRESH}")


def list_changes(held: Stage, wanted: Stage) -> list[str]:
    """What a store holds that is not what is wanted, and cannot be had by growth; as text, old and new."""
    changes = []
    old, new = held.grid.constants, wanted.grid.constants
    axes = {name for stage in (held, wanted) for axis in stage.grid.axes for name in axis.parameters}
    for name in sorted({*old, *new} - axes):
        before, after = (_resolve(wanted, constants, name) for constants in (old, new))
        if before != after:
            changes.append(f"{name} = {_format(before)}, not {_format(after)}")
    if held.seed != wanted.seed:
        changes.append(f"seed = {held.seed}, not {wanted.seed}")
    for text, of in (("the axes", [(a.name, a.parameters) for a in held.grid.axes]),):
        wanted_axes = [(a.name, a.parameters) for a in wanted.grid.axes]
        if of != wanted_axes:
            names = [", ".join(name for name, _ in axes) or "none" for axes in (of, wanted_axes)]
            changes.append(f"{text} {names[0]}, not {names[1]}")
    return changes


def _resolve(stage: Stage, constants: Any, name: str) -> Value | None:
    """A constant, or its default: a parameter that is declared later changes nothing."""
    if name in constants:
        return constants[name]  # type: ignore[no-any-return]
    base = name.rpartition("_")[0]
    if name not in stage.system.parameters and base in constants:
        return constants[base]  # type: ignore[no-any-return]
    return stage.system.find_parameter(name, {}).default


def _format(value: Value | None) -> str:
    return "none" if value is None else format_value(value)


def is_of_same_form(held: Stage, wanted: Stage) -> bool:
    """True if a store of the one can hold the values of the other."""
    return held.experiment.times == wanted.experiment.times and held.stored == wanted.stored


def move_aside(path: Path) -> Path:
    """Rename a store, so that nothing of it is lost, and return its new path."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    target = path.with_name(f"{path.stem}-until-{stamp}{path.suffix}")
    number = 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.stem}-until-{stamp}-{number}{path.suffix}")
    path.rename(target)
    return target


def _unite(held: Stage, wanted: Stage, path: Path) -> Stage:
    """The stage with room for both; raises StoreError if that is more than a store can hold."""
    axes: dict[str, Axis] = {axis.name: axis for axis in wanted.experiment.axes}
    for axis in held.experiment.axes:
        if axis.name in axes and axis.parameters == axes[axis.name].parameters:
            axes[axis.name] = axes[axis.name].merged(axis)
    replicas = max(held.experiment.replicas, wanted.experiment.replicas)
    experiment: Experiment = wanted.experiment.model_copy(update={"axes": tuple(axes.values()), "replicas": replicas})
    if experiment.axes == wanted.experiment.axes and replicas == wanted.experiment.replicas:
        return wanted  # the costs of its points are known
    available = Stage(experiment, wanted.kind, wanted.system)
    try:
        mistake = describe_size({axis.name: len(axis) for axis in experiment.axes}, replicas, available.entry_size)
        if mistake:
            raise ExperimentError(mistake)
        choose_chunks(available)
    except ExperimentError as error:
        raise StoreError(
            f"{path}: would have to hold what it holds and what is wanted: {error}; add fewer values at a time, "
            "give the experiment another name, or start again with --fresh"
        ) from None
    return available


def select_wanted(available: Stage, wanted: Stage) -> BoolArray:
    """Which replicas of which points of a store an experiment wants; of the shape of the store's dims."""
    shape = available.grid.shape + ((available.entries,) if available.entries is not None else ())
    mask = np.zeros(shape, dtype=bool)
    mask[np.ix_(*positions_in(available, wanted))] = True
    return mask


def positions_in(available: Stage, wanted: Stage) -> list[list[int]]:
    """Where the points and replicas of an experiment stand in a store, along each dim."""
    positions = [have.positions(want) for have, want in zip(available.grid.axes, wanted.grid.axes, strict=True)]
    return positions if wanted.entries is None else [*positions, list(range(wanted.entries))]


def open_stage(
    experiment: Experiment, kind: StageKind, results: Path, *, computes: bool = False
) -> tuple[Stage, Store, Stage]:
    """Return what is wanted of a stage, its store, and the stage that the store holds.

    Parameters
    ----------
    experiment : Experiment
    kind : str
        "simulation" or "theory".
    results : Path
        Folder of all results.
    computes : bool
        True if points are to be computed again, for which the system must be installed. Otherwise what the store says
        of its system is enough.

    Raises
    ------
    StoreError
        If there is no store, or it holds something else.
    """
    path = results / experiment.name / f"{kind}.zarr"
    if not path.exists():
        raise StoreError(f"{path}: does not exist; create it with clhd run EXPERIMENT.yaml")
    store = Store(path)
    if not computes:
        stored = {axis.name: axis for axis in store.experiment.axes}
        axes = tuple(axis.typed_like(stored.get(axis.name, axis)) for axis in experiment.axes)
        experiment = experiment.model_copy(update={"axes": axes})
    wanted = Stage(experiment, kind, None if computes else store.recall_system())
    available = hold_stage(store, wanted) if wanted.given is None else Stage(store.experiment, kind, wanted.given)
    changes = list_changes(available, wanted)
    if store.attributes["version"] != wanted.version:
        changes.append(f"version {store.attributes['version']} of the code, not {wanted.version}")
    if not is_of_same_form(available, wanted):
        changes.append("other times or outputs")
    if changes:
        raise StoreError(f"{path}: holds results for {'; '.join(changes)}; run the experiment again")
    check_stage(path, store.layout, available, store.group)
    for axis, held in zip(wanted.grid.axes, available.grid.axes, strict=True):
        missing = set(axis.values) - set(held.values)
        if missing:
            raise StoreError(
                f"{path}: lacks {format_count(len(missing), 'value')} of {axis.name}; run the experiment again"
            )
    if wanted.entries is not None and wanted.entries > store.shape[-1]:
        has, wants = (count * store.entry_size for count in (store.shape[-1], wanted.entries))
        raise StoreError(f"{path}: has {format_count(has, 'replica')}, not {wants}; run the experiment again")
    return wanted, store, available
