"""`read_means`: mean and standard error of one quantity at each point of a store, from what is known so far.

Each point is reduced alone, so that its bits do not depend on the chunk that holds it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import BoolArray, FloatArray
from clhd.sweep.plan.blocks import chunk_counts, chunk_region
from clhd.sweep.plan.moments import pool_blocks
from clhd.sweep.store.stopping import Counts, read_moments, select_first
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status


class PointMeans(NamedTuple):
    """A quantity at each point of a store, as arrays of the shape of its grid.

    Parameters
    ----------
    mean : array
        Over the replicas that are ok; NaN for none.
    error : array
        Standard error of the mean; NaN for fewer than two replicas; 0 of a theory.
    known : array of bool
        True where every replica has a status; it may be a failure.
    """

    mean: FloatArray
    error: FloatArray
    known: BoolArray


def read_means(
    store: Store, output: str, place: Sequence[int] = (), entries: int | None = None, counts: Counts | None = None
) -> PointMeans:
    """Return the means of an output at one place of its own dims.

    Parameters
    ----------
    store : Store
    output : str
    place : sequence of int
        Position along each dim of the output, such as the time.
    entries : int, optional
        Use the first entries of each point only: replicas, or blocks of them. By default all.
    counts : Counts, optional
        How many of these each point wants, where its error decides; a point is known once that is decided.

    Raises
    ------
    DamagedChunkError
        If a chunk is damaged or missing.
    """
    has_entries = store.layout.has_replicas
    dims = len(store.shape) - has_entries
    shape, chunks = store.shape[:dims], store.chunks[:dims]
    means = PointMeans(np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=bool))
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
        means.mean[part], means.error[part] = pooled, of_mean
    return means
