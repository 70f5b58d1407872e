"""`reduce_runs`: statistics over the replicas of each point of a store, and their number by status.

| statistic | over the replicas whose status is ok |
|---|---|
| mean, standard_deviation, standard_error | NaN for no replica; the last two also for one |
| quantile | at the levels `QUANTILES`; not with ``keep: moments`` |

A store of replicas may be larger than memory, so it is read part by part. A store of moments is small.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clhd.sweep.plan.blocks import chunk_counts, chunk_region, widen_chunks
from clhd.sweep.plan.moments import pool_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
STATISTICS = ("mean", "standard_deviation", "standard_error")
# The most numbers of an output that are read at once; sorting them takes a few times their memory.
_MOST_NUMBERS = 2**22
FloatArray = NDArray[np.float64]
Statistics = dict[tuple[str, str], FloatArray]  # by output and name of the statistic


def reduce_runs(store: Store, wanted: Stage) -> tuple[Statistics, NDArray[np.int32]]:
    """Return statistics over the first replicas of each point, as many as the experiment wants.

    Parameters
    ----------
    store : Store
    wanted : Stage
        The stage that the experiment wants; the store may hold more points and replicas.

    Returns
    -------
    (statistics, counts) : mapping, array
        Statistics by output and name, whose first dims are the grid of the store; number of runs, last dim status.

    Raises
    ------
    DamagedChunkError
        If a chunk is damaged or missing.
    """
    return (_pool if wanted.has_moments else _reduce_replicas)(store, wanted)


def _pool(store: Store, wanted: Stage) -> tuple[Statistics, NDArray[np.int32]]:
    """The same as `reduce_runs`, from moments of blocks of replicas."""
    region = (*(slice(None) for _ in store.shape[:-1]), slice(0, wanted.entries))
    status, size = store.read("status", region), store.entry_size
    was_run = (status == Status.OK) | (status == Status.DIVERGED) | (status == Status.NOT_CONVERGED)
    counts = np.zeros((*status.shape[:-1], len(Status)), np.int32)
    for code in (Status.NOT_RUN, Status.FAILED):
        counts[..., int(code)] = size * (status == code).sum(axis=-1)
    for code, name in ((Status.OK, "ok_count"), (Status.DIVERGED, "diverged_count")):
        counts[..., int(code)] = np.where(was_run, store.read(name, region), 0).sum(axis=-1)
    counts[..., int(Status.NOT_CONVERGED)] = size * status.shape[-1] - counts.sum(axis=-1)
    out = {}
    for name in wanted.outputs.variables:
        moments = [
            np.moveaxis(store.read(f"{name}_{moment}", region), status.ndim - 1, 0)
            for moment in ("count", "mean", "squares")
        ]
        for statistic, values in zip(STATISTICS, pool_blocks(*moments), strict=True):
            out[name, statistic] = values
    return out, counts


def _reduce_replicas(store: Store, wanted: Stage) -> tuple[Statistics, NDArray[np.int32]]:
    """The same as `reduce_runs`, from single replicas, part by part."""
    shape = store.shape[:-1]
    chunks = widen_chunks(shape, store.chunks[:-1], _MOST_NUMBERS // (store.shape[-1] * _count_largest(store)))
    out: Statistics = {}
    counts = np.zeros((*shape, len(Status)), np.int32)
    for name in store.outputs:
        tail = store.group[name].shape[len(store.shape) :]  # type: ignore[union-attr]
        for statistic in STATISTICS:
            out[name, statistic] = np.full(shape + tail, np.nan)
        out[name, "quantile"] = np.full((*shape, *tail, len(QUANTILES)), np.nan)
    for index in np.ndindex(*chunk_counts(shape, chunks)):
        part = chunk_region(index, shape, chunks)
        region = (*part, slice(0, wanted.entries))
        status = store.read("status", region)
        for code in Status:
            counts[..., int(code)][part] = (status == code).sum(axis=-1)
        is_ok = status == Status.OK
        for name in store.outputs:
            values = store.read(name, region)
            values[~is_ok] = np.nan
            values = np.moveaxis(values, status.ndim - 1, 0)  # replicas first
            mean, deviation, error, quantiles = compute_statistics(values)
            out[name, "mean"][part], out[name, "standard_deviation"][part] = mean, deviation
            out[name, "standard_error"][part], out[name, "quantile"][part] = error, quantiles
    return out, counts


def _count_largest(store: Store) -> int:
    """The number of values of one replica in the largest output."""
    return max(math.prod(store.group[name].shape[len(store.shape) :]) for name in store.outputs)  # type: ignore[union-attr]


def compute_statistics(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return mean, standard deviation, standard error and quantiles along the first dim; NaN are left out.

    Parameters
    ----------
    values : array of shape (replica, ...)

    Returns
    -------
    arrays of shape (...), and (..., quantile)
        NaN for no value; deviation and error also for one value.
    """
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / count
        deviation = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / (count - 1))
        deviation[count < 2] = np.nan
        error = deviation / np.sqrt(count)
    ordered = np.sort(values, axis=0)  # NaN last
    quantiles = []
    for level in QUANTILES:
        place = level * np.maximum(count - 1, 0)
        below = np.floor(place).astype(np.intp)
        above = np.minimum(below + 1, np.maximum(count - 1, 0))
        low = np.take_along_axis(ordered, below[None], axis=0)[0]
        high = np.take_along_axis(ordered, above[None], axis=0)[0]
        quantiles.append(low + (place - below) * (high - low))
    return mean, deviation, error, np.stack(quantiles, axis=-1)
