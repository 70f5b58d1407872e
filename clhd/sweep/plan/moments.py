"""Moments of blocks of replicas: a store keeps them where 10 000 single replicas would take too much space.

A replica block is a fixed number of consecutive replicas. For each output X the store holds, along the dim
``replica_block`` and the dims of X:

| variable | symbol | meaning |
|---|---|---|
| X_count | n_b | replicas whose status is ok and whose X is a number |
| X_mean | m_b | their mean |
| X_squares | M_b | sum of the squares of their deviations from m_b |
| ok_count, diverged_count | | replicas of the block by status |

The pooled mean is sum n_b m_b / N, and M = sum M_b + n_b (m_b - mean)^2, exactly (Chan, Golub and LeVeque 1983).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.systems.declarations import NotConvergedError, Output, Outputs, Result, Status

_MOMENTS = {
    "count": "number of replicas that are ok, of the {}",
    "mean": "mean over a block of replicas, of the {}",
    "squares": "sum of squared deviations from the mean of a block of replicas, of the {}",
}
MEAN_OF_BLOCK = _MOMENTS["mean"].format("")
BLOCK_COUNTS = {"ok_count": "number of replicas that are ok", "diverged_count": "number of replicas that diverged"}


def describe_moments(outputs: Outputs) -> Outputs:
    """Return the variables that a store holds for the outputs of a simulation."""
    variables = {
        name: Output(dims=(), words={"long_name": long_name, "units": "1", "description": "in a block of replicas"})
        for name, long_name in BLOCK_COUNTS.items()
    }
    for name, output in outputs.variables.items():
        for moment, text in _MOMENTS.items():
            words = {**output.words, "long_name": text.format(output.words["long_name"])}
            variables[f"{name}_{moment}"] = Output(dims=output.dims, words=words)
    return Outputs(variables=variables, coordinates=outputs.coordinates)


def reduce_blocks(result: Result, size: int) -> Result:
    """Return the moments of each block of `size` replicas; a block is ok if one replica is, failed if one failed.

    Each block is reduced alone, as an array of one shape, so that its bits do not depend on its neighbours.
    """
    points, replicas = result.status.shape
    shape = (points, replicas // size)
    statuses = result.status.reshape(*shape, size)
    is_ok = statuses == Status.OK
    values: dict[str, FloatArray] = {
        "ok_count": is_ok.sum(axis=-1).astype(float),
        "diverged_count": (statuses == Status.DIVERGED).sum(axis=-1).astype(float),
    }
    for name, array in result.values.items():
        tail = array.shape[2:]
        parts = array.reshape(*shape, size, *tail)
        moments = [np.empty(shape + tail) for _ in _MOMENTS]
        for place in np.ndindex(*shape):
            for moment, value in zip(moments, _reduce(parts[place][is_ok[place]]), strict=True):
                moment[place] = value
        values |= {f"{name}_{moment}": array for moment, array in zip(_MOMENTS, moments, strict=True)}
    status = np.where(is_ok.any(axis=-1), Status.OK, statuses[..., 0]).astype(np.int8)
    errors = {
        (point, replica // size): error
        for (point, replica), error in result.errors.items()
        if not isinstance(error, NotConvergedError)  # as a divergence, it is a result
    }
    for place in errors:
        status[place] = Status.FAILED
    return Result(values=values, status=status, errors=errors)


def _reduce(values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Count, mean and sum of squared deviations along the first dim, without the NaN."""
    known = np.isfinite(values)
    count = known.sum(axis=0).astype(float)
    # The mean of no values gets the NaN with which a store is filled; the NaN of 0 / 0 has other bits.
    mean = np.full(count.shape, np.nan)
    np.divide(np.where(known, values, 0.0).sum(axis=0), count, out=mean, where=count > 0)
    deviation = np.where(known, values - np.where(count > 0, mean, 0.0), 0.0)
    return count, mean, (deviation**2).sum(axis=0)


def pool_blocks(count: FloatArray, mean: FloatArray, squares: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, standard deviation and standard error over the replicas of all blocks; blocks are the first dim.

    The mean of no values is NaN, as are deviation and error of fewer than two. Single replicas are blocks of one.
    """
    count, squares = np.nan_to_num(count), np.nan_to_num(squares)
    total = _add(count)
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = _add(count * np.nan_to_num(mean)) / total
        between = count * (np.nan_to_num(mean) - np.nan_to_num(pooled)) ** 2
        deviation = np.where(total < 2, np.nan, np.sqrt(_add(squares + between) / (total - 1)))
        error = deviation / np.sqrt(total)
    return pooled, deviation, error


def _add(values: FloatArray) -> FloatArray:
    """The sums along the first dim, in its order: their bits do not depend on how many sums there are."""
    sums: FloatArray = np.add.accumulate(values, axis=0)[-1]
    return sums


def expand_blocks(blocks: Sequence[int], size: int) -> list[int]:
    """Return the replicas of some blocks."""
    return [block * size + replica for block in blocks for replica in range(size)]


def count_runs(status: NDArray[np.int8], size: int, counts: Mapping[str, FloatArray] | None = None) -> dict[str, int]:
    """Return the number of runs (replicas of points) by status, from the status of single runs, or of blocks of `size`.

    Of blocks, the counts are ``ok_count`` and ``diverged_count``, of the same shape.
    """
    entries = np.bincount(status.ravel(), minlength=len(Status))
    runs = {name.name.lower(): int(count) * size for name, count in zip(Status, entries, strict=True)}
    if counts is not None:
        was_run = (status == Status.OK) | (status == Status.DIVERGED) | (status == Status.NOT_CONVERGED)
        ok, diverged = (int(counts[f"{name}_count"][was_run].sum()) for name in ("ok", "diverged"))
        rest = int(was_run.sum()) * size - ok - diverged
        runs |= {"ok": ok, "diverged": diverged, "not_converged": rest}
    return runs
