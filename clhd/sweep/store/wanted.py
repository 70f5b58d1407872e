"""`select_wanted`: the entries of a store that an experiment wants, by what is known so far.

Without refinement these are entries of all points of the grid. With it, the results of one stage decide: those of the
summary's variable that ``refine`` names. The other stage, if there is one, wants the points that the first one has
chosen. How many replicas a point gets is fixed, or decided by targets of the error, or by the refinement, which adds
replicas where their noise hides the border; `find_wanted_counts` tells it for all three. Nothing about rounds is
stored: the choice is found anew, from the results, whenever it is asked for.

With targets (`find_counts`), a point goes through rounds: `start` replicas, twice as many, ..., `most`. A round is
complete when each of its replicas has a result; a failed one has none, and is tried again by the next run. After a
complete round, the standard errors of the point's means decide whether it goes on. They rest on the replicas of this
round alone, and every replica's bits are fixed. So what is wanted follows from the results of the point, whoever asks,
however often a run was killed, and whatever the store holds besides.

| after a complete round | the point |
|---|---|
| every error is at most its target | stops, and has reached the target |
| no replica is ok | stops: more of them would diverge too |
| it has `most` replicas | stops, and has not reached the target |
| otherwise | goes on |

A value that is NaN in every replica, such as the ratio of two zeros, has no error and stops nobody.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray, FloatArray, IntArray
from clhd.sweep.plan.blocks import chunk_counts, chunk_region, widen_chunks
from clhd.sweep.plan.moments import pool_blocks
from clhd.sweep.plan.refine import LABEL_MARGIN, Choice, Sides, choose_points, find_labels, find_sides
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment, stage_path
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.rounds import LABEL, Refinement
from clhd.sweep.store.chunk_files import StoreError
from clhd.sweep.store.match import find_stored, positions_in, share_positions
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status

_RESULTS = (Status.OK, Status.DIVERGED, Status.NOT_CONVERGED)
_TIME = "time"
# The most numbers of an output that are read at once.
_MOST_NUMBERS = 2**20


@dataclass(frozen=True)
class Counts:
    """How much of each point is wanted, as arrays of the shape of a store's grid."""

    entries: IntArray  # of the store that are wanted: the first replicas, or blocks of them
    is_decided: BoolArray  # True where no more will be wanted: the last wanted round is complete
    has_reached: BoolArray  # True where it is decided and every error is at most its target


def find_counts(store: Store, experiment: Experiment) -> Counts:
    """Return how many entries of each point of a simulation's store an experiment wants by its targets."""
    sampling, shape = experiment.sampling, store.shape[:-1]
    rounds = [count // store.entry_size for count in sampling.counts]
    status = store.status()
    is_decided = np.asarray(_count_results(status) >= rounds[-1])
    counts = Counts(np.full(shape, rounds[-1]), is_decided, np.zeros(shape, dtype=bool))
    if not sampling.until:
        return counts
    numbers = store.shape[-1] * max(
        math.prod(store.inner_shape(name if store.entry_size == 1 else f"{name}_mean")) for name in sampling.until
    )
    chunks = widen_chunks(shape, store.chunks[:-1], _MOST_NUMBERS // numbers)
    for index in np.ndindex(*chunk_counts(shape, chunks)):
        part = chunk_region(index, shape, chunks)
        _follow_rounds(store, experiment, rounds, part, status[part], counts)
    return counts


def select_first(entries: IntArray, length: int) -> BoolArray:
    """Return a mask of the first entries of each point, as many as are wanted, with a last dim of some length."""
    mask: BoolArray = np.arange(length) < entries[..., None]
    return mask


def _count_results(status: NDArray[np.int8]) -> IntArray:
    """How many entries of each point, from the first on, have a result."""
    lacks = ~np.isin(status, _RESULTS)
    return np.asarray(np.where(lacks.any(axis=-1), lacks.argmax(axis=-1), status.shape[-1]))


def _follow_rounds(
    store: Store,
    experiment: Experiment,
    rounds: Sequence[int],
    part: tuple[slice, ...],
    status: NDArray[np.int8],
    counts: Counts,
) -> None:
    """Note in `counts` what is wanted of the points of a part of a store."""
    view: Any = (*part, ...)  # a view also of a grid of one point
    wanted, decided, reached = counts.entries[view], counts.is_decided[view], counts.has_reached[view]
    decided[...] = False
    length = _count_results(status)
    goes_on = np.ones(length.shape, dtype=bool)
    known: dict[str, list[FloatArray]] = {}
    for count in rounds:
        wanted[goes_on] = count
        goes_on &= length >= count
        if not goes_on.any():
            return
        is_met = np.zeros(length.shape, dtype=bool)
        is_met[goes_on] = _is_small(store, experiment, part, count, status[..., :count], goes_on, known)
        has_none = ~(status[..., :count] == Status.OK).any(axis=-1)
        reached |= goes_on & is_met & ~has_none
        decided |= goes_on & (is_met | has_none | (count == rounds[-1]))
        goes_on &= ~decided


def _is_small(
    store: Store,
    experiment: Experiment,
    part: tuple[slice, ...],
    count: int,
    status: NDArray[np.int8],
    chosen: BoolArray,
    known: dict[str, list[FloatArray]],
) -> BoolArray:
    """True for those chosen points of a part whose errors over the first `count` entries are at most their targets.

    `known` keeps what has been read of the part.
    """
    is_ok = status[chosen] == Status.OK
    is_met = np.ones(len(is_ok), dtype=bool)
    for name, target in experiment.sampling.until.items():
        if name not in known or known[name][0].shape[chosen.ndim] < count:
            last = store.chunks[-1] * math.ceil(count / store.chunks[-1])  # whole chunks, which are read as a whole
            known[name] = read_moments(store, name, (*part, slice(0, last)))
        parts = [moment[chosen][:, :count] for moment in known[name]]
        errors = _find_own_errors(store, experiment, name, parts, is_ok)
        is_met &= (errors <= target).reshape(len(is_ok), -1).all(axis=1)
    return is_met


def _find_own_errors(
    store: Store, experiment: Experiment, name: str, parts: list[FloatArray], is_ok: BoolArray
) -> FloatArray:
    """The standard errors of an output at some points, first dim, by its moments; 0 where all replicas are NaN."""
    parts[0] = np.where(is_ok.reshape(is_ok.shape + (1,) * (parts[0].ndim - 2)), parts[0], 0.0)
    dims = store.list_inner_dims(name if store.entry_size == 1 else f"{name}_mean")
    if _TIME in dims:
        at = experiment.sampling.at
        times = experiment.times if at is None else [at]
        places = [store.experiment.times.index(time) for time in times]
        parts = [moment.take(places, axis=2 + dims.index(_TIME)) for moment in parts]
    return find_errors([np.moveaxis(moment, 1, 0) for moment in parts])


def read_moments(store: Store, name: str, region: tuple[slice, ...]) -> list[FloatArray]:
    """Return count, mean and sum of squared deviations of an output for each entry of a region, as `pool_blocks` takes.

    A single replica is a block of one; its count is 0 where the value is not finite.
    """
    if store.entry_size > 1:
        return [store.read(f"{name}_{moment}", region) for moment in ("count", "mean", "squares")]
    values: FloatArray = store.read(name, region)
    is_known = np.isfinite(values)
    return [is_known.astype(float), np.where(is_known, values, 0.0), np.zeros(values.shape)]


def find_errors(moments: Sequence[FloatArray]) -> FloatArray:
    """Return standard errors from counts, means and squares along the first dim: infinite for one value, 0 for none."""
    *_, errors = pool_blocks(*moments)
    count = np.nan_to_num(moments[0]).sum(axis=0)
    return np.where(count == 0, 0.0, np.where(count == 1, np.inf, errors))


class PointMeans(NamedTuple):
    """A quantity at each point of a store, as arrays of the shape of its grid."""

    mean: FloatArray  # over the replicas that are ok; NaN for none
    error: FloatArray  # standard error of the mean; NaN for fewer than two replicas; 0 of a theory
    known: BoolArray  # True where every replica has a status; it may be a failure
    runs: FloatArray  # how many replicas the mean is over; infinite of a theory


def _know_nothing(shape: tuple[int, ...]) -> PointMeans:
    nothing = np.full(shape, np.nan)
    return PointMeans(nothing, nothing.copy(), np.zeros(shape, dtype=bool), np.full(shape, np.inf))


def read_means(
    store: Store, output: str, place: Sequence[int] = (), entries: int | None = None, counts: Counts | None = None
) -> PointMeans:
    """Return the means of an output at one place of its own dims, from what is known so far.

    Each point is reduced alone, so that its bits do not depend on the chunk that holds it.

    Parameters
    ----------
    place : sequence of int
        Position along each dim of the output, such as the time.
    entries : int, optional
        Use the first entries of each point only: replicas, or blocks of them. By default all.
    counts : Counts, optional
        How many of these each point wants, where its error decides; a point is known once that is decided.
    """
    has_entries = store.layout.has_replicas
    dims = len(store.shape) - has_entries
    shape, chunks = store.shape[:dims], store.chunks[:dims]
    means = _know_nothing(shape)
    inner = tuple(slice(k, k + 1) for k in place)
    last = (slice(0, entries if entries is not None else store.shape[-1]),) if has_entries else ()
    tails = [(k,) for k in range(chunk_counts(store.shape, store.chunks)[-1])] if has_entries else [()]
    for index in np.ndindex(*chunk_counts(shape, chunks)):
        if not any(store.has_status((*index, *tail)) for tail in tails):
            continue
        part = chunk_region(index, shape, chunks)
        region = (*part, *last)
        status = store.read("status", region)
        if not has_entries:
            means.mean[part] = np.where(
                status == Status.OK, store.read(output, (*region, *inner)).reshape(status.shape), np.nan
            )
            means.error[part], means.known[part] = 0.0, status != Status.NOT_RUN
            continue
        enough = entries is None or status.shape[-1] >= entries
        means.known[part] = (status != Status.NOT_RUN).all(axis=-1) & enough
        if counts is not None:
            means.known[part] = counts.is_decided[part]
            status = np.where(select_first(counts.entries[part], status.shape[-1]), status, Status.NOT_RUN)
        parts = [moment.reshape(status.shape) for moment in read_moments(store, output, (*region, *inner))]
        parts[0] = np.where(status == Status.OK, parts[0], 0.0)
        pooled, _, of_mean = pool_blocks(*(np.moveaxis(moment, -1, 0) for moment in parts))
        means.mean[part], means.error[part], means.runs[part] = pooled, of_mean, np.nansum(parts[0], axis=-1)
    return means


@dataclass(frozen=True)
class Wanted:
    """What an experiment wants of a store."""

    mask: BoolArray  # of the shape of the store
    is_done: bool  # False if more may be wanted once all of this is known
    # Why the refinement cannot go on: the level is met nowhere on the coarse grid, or too many points are wanted.
    problem: str = ""


@dataclass(frozen=True)
class Found:
    """The points that the deciding stage of a refined experiment wants."""

    choice: Choice  # along the axes of that stage
    axes: tuple[str, ...]
    problem: str  # see `Wanted`
    entries: IntArray | None  # wanted of each point of the stage's store, if the refinement decides on the replicas


def select_wanted(store: Store, available: Stage, requested: Stage) -> Wanted:
    """Return the entries of a store that an experiment wants.

    The store has a place for the points of the stage `available`; `requested` is the stage that the file describes.
    """
    points, found = find_points(requested.experiment, requested.grid.axes, store.path.parent)
    mask = np.zeros(available.shape, dtype=bool)
    mask[np.ix_(*positions_in(available, requested))] = points if requested.entries is None else points[..., None]
    if requested.experiment.sampling.is_open and requested.is_simulation:
        mask &= select_first(find_wanted_counts(store, requested.experiment, found).entries, store.shape[-1])
    return Wanted(mask, is_done=True) if found is None else Wanted(mask, found.choice.is_done, found.problem)


def find_wanted_counts(store: Store, experiment: Experiment, found: Found | None = None) -> Counts:
    """Return how many entries of each point of a simulation's store an experiment wants, if it wants the point.

    `found` is what `find_points` has found, which saves finding it again.
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

    The axes are those of the stage whose points are asked for; the folder holds the stores of the experiment.
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
    """Return the points that the deciding stage wants; raise ClhdError if it has no store that can be read."""
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
    return find_sides(means.mean, means.error, float(refine.level), dims, means.runs)


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
    placed = _know_nothing(shape)
    for new, old in zip(placed, means, strict=True):
        new[here] = old[there]
    return placed
