"""Attraction regions: a map of initial states to the fixed points into which they flow.

The starts lie on a grid of cosine similarities (S_1, S_2) at one squared norm r, q = sqrt(r) (S_1, S_2, 0, ...). The
ODE is integrated from each, and the start is assigned to the fixed point that it reaches (`destinations.py`). The
borders between regions are found to many digits by `separatrix.py`.

| symbol | name | shape |
|---|---|---|
| S_1, S_2 | ``cosine_similarity_1``, ``cosine_similarity_2`` | (starts,) each |
| q, r | ``overlap``, ``squared_norm`` | (state, feature), (state,) |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_number, parse_threads, parse_vector
from clhd.core.lazy import xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.model.state import parse_norm
from clhd.systems.contrastive.theory.states.destinations import NOT_SETTLED, Destinations

__all__ = ["NOT_SETTLED", "NO_SUCH_START", "attraction_region"]

NO_SUCH_START = -2


def attraction_region(
    model: ContrastiveModel,
    *,
    cosine_similarity_1: Sequence[float] | FloatArray,
    cosine_similarity_2: Sequence[float] | FloatArray,
    squared_norm: float = 1.0,
    time: float | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Map initial cosine similarities of two features to the fixed points that they flow into.

    Parameters
    ----------
    model : ContrastiveModel
        With at least two features; overlaps of the third and later ones start at 0.
    cosine_similarity_1, cosine_similarity_2 : sequences of float
        Grid of initial S_1 and S_2, from -1 to 1, each strictly increasing.
    squared_norm : float
        Initial squared norm, > 0; 1 on the sphere.
    time : float, optional
        Longest integration of a start, in steps per dimension; it ends when the start has arrived. By default 2000, or
        600 / learning_rate if that is more.
    threads : int, optional
        Number of threads that share the starts, by default one per core; results do not depend on it.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | attractor | cosine_similarity_1, cosine_similarity_2 | index of a state; -1 not settled, -2 no such start |
    | overlap | state, feature | of the fixed point, one row for each of its sign images |
    | squared_norm | state | of the fixed point |
    | kind | state | collapsed, uninformative, pure or mixed |
    | stable | state | of the fixed point; a start on a separatrix may end at an unstable one |

    Raises
    ------
    ClhdError
        If a value is not allowed, the model has one feature only or an L1 penalty, or its loss does not factorise over
        the samples (infonce).
    """
    check_model(model)
    if model.features < 2:
        raise InputError("latents: 1 law given, must be 2 or more for an attraction region")
    first = _parse_similarities("cosine_similarity_1", cosine_similarity_1)
    second = _parse_similarities("cosine_similarity_2", cosine_similarity_2)
    norm = parse_norm(model, squared_norm, may_be_zero=False)
    end = None if time is None else parse_number("time", time, above=0)
    destinations = Destinations(model, end, parse_threads(threads))

    grid = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)
    exists = np.sum(grid**2, axis=-1) <= 1
    starts = np.zeros((int(exists.sum()), model.features))
    starts[:, :2] = np.sqrt(norm) * grid[exists]
    # Rounding must not move a start on the rim outside |q|^2 <= r.
    starts *= np.minimum(1, np.sqrt(norm / np.maximum(np.sum(starts**2, axis=1), norm)))[:, None]
    attractor = np.full(exists.shape, NO_SUCH_START)
    attractor[exists] = destinations.assign(np.column_stack([starts, np.full(len(starts), norm)]))
    coordinates = {"cosine_similarity_1": first, "cosine_similarity_2": second}
    region = xr.DataArray(
        attractor,
        dims=tuple(coordinates),
        coords={name: (name, values, WORDS[name]) for name, values in coordinates.items()},
        attrs=WORDS["attractor"],
    )
    return destinations.states.assign(attractor=region)


def _parse_similarities(name: str, value: Sequence[float] | FloatArray) -> FloatArray:
    values = parse_vector(name, value)
    if len(values) == 0 or np.any(np.abs(values) > 1) or np.any(np.diff(values) <= 0):
        raise InputError(f"{name} = {value!r}: must be one or more numbers from -1 to 1, in strictly increasing order")
    return values
