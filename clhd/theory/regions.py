"""Attraction regions: into which fixed point each initial state flows.

The starts lie on a grid of cosine similarities (S_1, S_2) at one squared norm r, q = sqrt(r) (S_1, S_2, 0, ...). Each
is integrated by the ODE and assigned to the fixed point at which it has arrived.

| symbol | name | shape |
|---|---|---|
| S_1, S_2 | ``cosine_similarity_1``, ``cosine_similarity_2`` | (starts,) each |
| q, r | ``overlap``, ``squared_norm`` | (state, feature), (state,) |
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.errors import ClhdError
from clhd.model.checks import parse_number, parse_vector
from clhd.model.contrastive import ContrastiveModel
from clhd.model.labels import WORDS
from clhd.theory.fixed_points import find_fixed_points
from clhd.theory.ode import integrate_ode
from clhd.theory.root_search import sign_symmetries

FloatArray = NDArray[np.float64]

NOT_SETTLED, NO_SUCH_START = -1, -2
# A trajectory this close to a fixed point has arrived: fixed points are much farther apart, and the approach is
# exponential.
_ARRIVED = 1e-3


def attraction_region(
    model: ContrastiveModel,
    *,
    cosine_similarity_1: Sequence[float] | FloatArray,
    cosine_similarity_2: Sequence[float] | FloatArray,
    squared_norm: float = 1.0,
    time: float = 200.0,
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
    time : float
        How long each start may take, in steps per dimension.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | attractor | cosine_similarity_1, cosine_similarity_2 | index of a state; -1 not settled, -2 no such start |
    | overlap | state, feature | of the fixed point, one row for each of its sign images |
    | squared_norm | state | of the fixed point |
    | kind | state | collapsed, uninformative, pure or mixed |
    | stable | state | a start on a separatrix may end at a state that is not stable |

    Raises
    ------
    ClhdError
        If a value is not allowed, or the model has one feature only.
    """
    if model.features < 2:
        raise ClhdError("latents: 1 law given, must be 2 or more for an attraction region")
    first = _parse_similarities("cosine_similarity_1", cosine_similarity_1)
    second = _parse_similarities("cosine_similarity_2", cosine_similarity_2)
    norm = parse_number("squared_norm", squared_norm, above=0)
    end = parse_number("time", time, above=0)
    states = expand_images(model, find_fixed_points(model))

    grid = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1)
    exists = np.sum(grid**2, axis=-1) <= 1
    starts = np.zeros((int(exists.sum()), model.features))
    starts[:, :2] = np.sqrt(norm) * grid[exists]
    # Rounding must not push a start on the rim out of the ball.
    starts *= np.minimum(1, np.sqrt(norm / np.maximum(np.sum(starts**2, axis=1), norm)))[:, None]
    attractor = np.full(exists.shape, NO_SUCH_START)
    if len(starts) > 0:
        last = integrate_ode(model, overlap=starts, squared_norm=norm, time=[end]).isel(time=-1)
        attractor[exists] = assign_states(states, last.overlap.values, last.squared_norm.values)
    coordinates = {"cosine_similarity_1": first, "cosine_similarity_2": second}
    region = xr.DataArray(
        attractor,
        dims=tuple(coordinates),
        coords={name: (name, values, WORDS[name]) for name, values in coordinates.items()},
        attrs=WORDS["attractor"],
    )
    return states.assign(attractor=region)


def _parse_similarities(name: str, value: Sequence[float] | FloatArray) -> FloatArray:
    values = parse_vector(name, value)
    if len(values) == 0 or np.any(np.abs(values) > 1) or np.any(np.diff(values) <= 0):
        raise ClhdError(f"{name} = {value!r}: must be one or more numbers from -1 to 1, in strictly increasing order")
    return values


def expand_images(model: ContrastiveModel, states: xr.Dataset) -> xr.Dataset:
    """All sign images of fixed points, one row each.

    The overlap of a symmetric latent may change its sign alone; all may together if the activation is odd or even.

    Parameters
    ----------
    model : ContrastiveModel
    states : Dataset(state)
        From `find_fixed_points`.

    Returns
    -------
    xarray.Dataset
        Variables overlap(state, feature), squared_norm(state), kind(state), stable(state).
    """
    signs = sign_symmetries(model)
    rows, images = [], []
    for k, overlap in enumerate(states.overlap.values):
        distinct = np.unique(signs * overlap + 0.0, axis=0)[::-1]
        rows += [k] * len(distinct)
        images.append(distinct)
    kept = states[["squared_norm", "kind", "stable"]].isel(state=rows)
    overlap = np.concatenate(images) if images else np.empty((0, model.features))
    return kept.assign(overlap=(("state", "feature"), overlap, WORDS["overlap"])).assign_coords(
        state=("state", np.arange(len(rows)), WORDS["state"])
    )


def assign_states(states: xr.Dataset, overlap: FloatArray, squared_norm: FloatArray) -> NDArray[np.int64]:
    """Index of the fixed point at which each end point, shapes (runs, feature) and (runs,), has arrived, or -1."""
    index = np.full(len(overlap), NOT_SETTLED)
    if states.sizes["state"] == 0:
        return index
    ends = np.column_stack([overlap, squared_norm])
    targets = np.column_stack([states.overlap.values, states.squared_norm.values])
    distance = np.linalg.norm(ends[:, None] - targets[None], axis=-1)
    nearest = np.argmin(np.nan_to_num(distance, nan=np.inf), axis=1)
    arrived = distance[np.arange(len(ends)), nearest] < _ARRIVED
    index[arrived] = nearest[arrived]
    return index
