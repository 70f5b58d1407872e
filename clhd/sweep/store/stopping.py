"""`find_counts`: how many replicas of each point are wanted, where a target for the error decides.

A point goes through rounds: `start` replicas, twice as many, ..., `most`. A round is complete when each of its replicas
has a result; a failed one has none, and is tried again by the next run. After a complete round, the standard errors of
the point's means decide whether it goes on. They rest on the replicas of this round alone, and every replica's bits are
fixed. So what is wanted follows from the results of the point, whoever asks, however often a run was killed, and
whatever the store holds besides. Nothing about rounds is stored.

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
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray, FloatArray, IntArray
from clhd.sweep.plan.blocks import chunk_counts, chunk_region, widen_chunks
from clhd.sweep.plan.moments import pool_blocks
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status

_RESULTS = (Status.OK, Status.DIVERGED, Status.NOT_CONVERGED)
_TIME = "time"
# The most numbers of an output that are read at once.
_MOST_NUMBERS = 2**20


@dataclass(frozen=True)
class Counts:
    """How much of each point is wanted, as arrays of the shape of a store's grid.

    Parameters
    ----------
    entries : array of int
        Entries of the store that are wanted: the first replicas, or blocks of them.
    is_decided : array of bool
        True where no more will be wanted: the last wanted round is complete.
    has_reached : array of bool
        True where it is decided and every error is at most its target.
    """

    entries: IntArray
    is_decided: BoolArray
    has_reached: BoolArray


def find_counts(store: Store, experiment: Experiment) -> Counts:
    """Return how many entries of each point of a simulation's store an experiment wants.

    Raises
    ------
    DamagedChunkError
        If a chunk of results is damaged or missing.
    """
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
