"""`prepare_store`: open, create or grow the store in which a stage is computed; results are never deleted.

A store that has results of another experiment is refused, see `clhd.sweep.store.match`; ``--fresh`` moves it aside.

| symbol | meaning |
|---|---|
| ``requested`` | the stage as the experiment's file describes it |
| ``stored`` | the stage whose points and replicas the store has a place for |
| ``available`` | both together: the stage whose points and replicas the grown store has a place for |
"""

import time
from pathlib import Path

from clhd.sweep.plan.blocks import choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.errors import ExperimentError
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.limits import describe_size
from clhd.sweep.store.bound import StoreError
from clhd.sweep.store.create import create_store
from clhd.sweep.store.generations import remove_leftovers
from clhd.sweep.store.grow import grow_store, predict_growth
from clhd.sweep.store.match import check_changes, positions_in
from clhd.sweep.store.metadata import FRESH, restore_array_files
from clhd.sweep.store.repair import delete_incomplete_chunks
from clhd.sweep.store.store import Store


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
    if not path.exists():
        return create_store(path, requested, choose_chunks(requested)), requested
    remove_leftovers(path)
    restore_array_files(path)
    store = Store(path, "r+")
    stored = check_changes(store, requested)
    delete_incomplete_chunks(store)
    available = _unite(stored, requested, path)
    if not _is_larger(available, stored) and store.files.metadata.identity:
        return store, available
    # Stores of earlier versions, whose chunks have no trailers, are copied too.
    return grow_store(store, available, positions_in(available, stored)), available


def predict_growth_seconds(store: Store, stored: Stage, requested: Stage) -> float:
    """Return the predicted seconds in which `prepare_store` grows a store; 0 if it need not grow."""
    available = _unite(stored, requested, store.path)
    return predict_growth(store, available, positions_in(available, stored)) if _is_larger(available, stored) else 0.0


def _is_larger(available: Stage, stored: Stage) -> bool:
    return available.grid.axes != stored.grid.axes or available.entries != stored.entries


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
    united = {"axes": tuple(axes.values()), "replicas": replicas, "times": stored.experiment.times}
    experiment = requested.experiment.model_copy(update=united)
    if all(value == getattr(requested.experiment, name) for name, value in united.items()):
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
