"""`select_wanted`: the entries of a store that an experiment wants, by what is known so far.

Without refinement these are all points of the grid. With it, the results of one stage decide: those of the summary's
variable that ``refine`` names. The other stage, if there is one, wants the points that the first one has chosen.
How many replicas a point gets is fixed, or decided by targets (`clhd.sweep.store.stopping`), or by the refinement,
which adds replicas where their noise hides the border; `find_wanted_counts` tells it for all three.
Nothing about rounds is stored: the choice is found anew, from the results, whenever it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.arrays import BoolArray, FloatArray, IntArray
from clhd.sweep.plan.refine import LABEL_MARGIN, Choice, Sides, choose_points, find_labels, find_sides
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.refinement import LABEL, Refinement
from clhd.sweep.spec.stages import stage_path
from clhd.sweep.store.chunk_files import StoreError
from clhd.sweep.store.match import find_stored, positions_in, select_requested, share_positions
from clhd.sweep.store.points import PointMeans, read_means
from clhd.sweep.store.stopping import Counts, find_counts, select_first
from clhd.sweep.store.store import Store


@dataclass(frozen=True)
class Wanted:
    """What an experiment wants of a store.

    Parameters
    ----------
    mask : array of bool, of the shape of the store
    is_done : bool
        False if more may be wanted once all of this is known.
    problem : str
        Why the refinement cannot go on: the level is met nowhere on the coarse grid, or too many points are wanted.
    """

    mask: BoolArray
    is_done: bool
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """The points that the deciding stage of a refined experiment wants.

    Parameters
    ----------
    choice : Choice
        Along the axes of that stage.
    axes : tuple of str
        Their names.
    problem : str
        See `Wanted`.
    entries : array of int, optional
        How many entries of each point of the stage's store are wanted, if the refinement decides on the replicas.
    """

    choice: Choice
    axes: tuple[str, ...]
    problem: str
    entries: IntArray | None


def select_wanted(store: Store, available: Stage, requested: Stage) -> Wanted:
    """Return the entries of a store that an experiment wants.

    Parameters
    ----------
    store : Store
    available : Stage
        The stage whose points the store has a place for.
    requested : Stage
        The stage as the experiment's file describes it.
    """
    mask = select_requested(available, requested)
    points, found = find_points(requested.experiment, requested.grid.axes, store.path.parent)
    if requested.experiment.sampling.is_open and requested.is_simulation:
        mask &= select_first(find_wanted_counts(store, requested.experiment, found).entries, store.shape[-1])
    if found is None:
        return Wanted(mask, is_done=True)
    if requested.entries is not None:
        points = np.broadcast_to(points[..., None], requested.shape)
    mask[np.ix_(*positions_in(available, requested))] &= points
    return Wanted(mask, found.choice.is_done, found.problem)


def find_wanted_counts(store: Store, experiment: Experiment, found: Found | None = None) -> Counts:
    """Return how many entries of each point of a simulation's store an experiment wants, if it wants the point.

    Parameters
    ----------
    store : Store
        Of the simulation.
    experiment : Experiment
    found : Found, optional
        What `find_points` has found, which saves finding it again.
    """
    counts = find_counts(store, experiment)
    if experiment.refine is None or not experiment.sampling.is_open or experiment.sampling.until:
        return counts
    found = found or find_choice(experiment, experiment.refine, store.path.parent)
    if found.entries is None:
        return counts
    return replace(counts, entries=found.entries, is_decided=np.full(found.entries.shape, found.choice.is_done))


def find_points(experiment: Experiment, axes: Sequence[Axis], folder: Path) -> tuple[BoolArray, Found | None]:
    """Return a mask of the points that an experiment wants, and what the deciding stage says if there is one.

    Parameters
    ----------
    experiment : Experiment
    axes : sequence of Axis
        Those of the stage whose points are asked for.
    folder : Path
        Folder of the stores of the experiment.
    """
    shape = tuple(len(axis) for axis in axes)
    if experiment.refine is None:
        return np.ones(shape, dtype=bool), None
    found = find_choice(experiment, experiment.refine, folder)
    own = [axis.name for axis in axes]
    points = np.asarray(found.choice.wanted.any(axis=tuple(k for k, name in enumerate(found.axes) if name not in own)))
    points = points[tuple(slice(None) if name in found.axes else None for name in own)]
    return np.broadcast_to(points, shape), found


def find_choice(experiment: Experiment, refine: Refinement, folder: Path) -> Found:
    """Return the points that the deciding stage of a refined experiment wants.

    Parameters
    ----------
    experiment : Experiment
    refine : Refinement
        That of the experiment.
    folder : Path
        Folder of the stores of the experiment.

    Raises
    ------
    ClhdError
        If the stage has no store that can be read.
    """
    path = stage_path(folder, refine.kind)
    if not path.is_dir():
        command = "simulate" if refine.kind == "simulation" else "predict"
        raise StoreError(f"{path}: does not exist, and its results decide what else is wanted; `clhd {command} FILE`")
    store = Store(path)
    requested, stored = find_stored(store, experiment, refine.kind, computes=False)
    sampling, place = experiment.sampling, _find_place(refine, stored)
    here, there = (np.ix_(*places) for places in share_positions(requested.grid.axes, stored.grid.axes))
    counts = find_counts(store, experiment) if sampling.until and refine.kind == "simulation" else None
    is_free = refine.kind == "simulation" and sampling.is_open and not sampling.until
    numbers = [count // store.entry_size for count in sampling.counts] if is_free else [requested.entries]
    means = [
        _place(read_means(store, refine.output, place, number, counts), requested.grid.shape, here, there)
        for number in numbers
    ]
    axes = tuple(axis.name for axis in requested.grid.axes)
    along = [axes.index(name) for name in refine.along]
    (sides, known), *doubled = [(_find_sides(refine, found, len(along)), found.known) for found in means]
    margin = LABEL_MARGIN if refine.level == LABEL else 0
    choice = choose_points(sides, known, along, refine.rounds, margin=margin, doubled=doubled)
    entries: IntArray | None = None
    if is_free:
        entries = np.full(store.shape[:-1], numbers[0], dtype=np.int64)
        entries[there] = np.array(numbers)[choice.doublings[here]]
    last = doubled[-1][0] if doubled else sides
    return Found(choice, axes, _find_problem(refine, choice, means[0].mean, last), entries)


def _find_sides(refine: Refinement, means: PointMeans, dims: int) -> Sides:
    """The side on which each point lies, by its mean."""
    if refine.level == LABEL:
        return find_labels(means.mean)
    return find_sides(means.mean, means.error, float(refine.level), dims)


def _find_problem(refine: Refinement, choice: Choice, values: FloatArray, last: Sides) -> str:
    """Say why a refinement cannot go on, by the values at first and the sides in the end; empty if it can."""
    count, rounds = int(choice.wanted.sum()), int(choice.round.max())
    if refine.most_points is not None and count > refine.most_points:
        return f"refine.most_points = {refine.most_points}: {count} points are wanted in round {rounds}; allow more"
    if rounds or not choice.is_done or refine.level == LABEL:
        return ""
    known = values[np.isfinite(values)]
    if (last.low < last.high).any():
        return (
            f"refine.level = {refine.level}: on the coarse grid, the noise of {refine.quantity} hides where it crosses "
            "the level, so nothing is refined; give more replicas"
        )
    lies = f"lies between {known.min():.6g} and {known.max():.6g}" if known.size else "is not known anywhere"
    where = f"{refine.quantity} {lies} on the coarse grid"
    return f"refine.level = {refine.level}: {where}, so nothing is refined; change level or axes"


def _find_place(refine: Refinement, stage: Stage) -> list[int]:
    """The position that a refinement selects along each dim of the quantity."""
    places = []
    for dim in stage.outputs.variables[refine.output].dims:
        values = list(stage.experiment.times) if dim == "time" else list(stage.outputs.coordinates[dim][0])
        places.append(values.index(refine.select[dim]) if dim in refine.select else 0)
    return places


def _place(means: PointMeans, shape: tuple[int, ...], here: Any, there: Any) -> PointMeans:
    """The means at the requested points; nothing is known of those for which a store has no place."""
    placed = PointMeans(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool))
    for new, old in zip(placed, means, strict=True):
        new[here] = old[there]
    return placed
