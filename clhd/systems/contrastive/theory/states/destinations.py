"""`Destinations` finds the fixed point into which each of many initial states flows.

Starts that are images of each other under the sign symmetries of the model are integrated once, and a trajectory ends
as soon as it is close to a stable state. One object serves many calls: the fixed points are found and the pair averages
tabulated once.

| symbol | name | shape |
|---|---|---|
| (q, r) | ``starts`` | (start, feature + 1) |
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.lazy import xr
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.theory.flow.drift import Flow, check_pair_averages
from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points
from clhd.systems.contrastive.theory.states.root_search import sign_symmetries
from clhd.systems.declarations import NotConvergedError

NOT_SETTLED = -1
# A trajectory this close to a fixed point has arrived: fixed points are much farther apart than this.
_ARRIVED = 1e-3
# Starts that agree to this many decimals are one start: grids are symmetric only up to rounding.
_DECIMALS = 13
# Length of the trajectories at learning rates of 0.3 and more, in steps per dimension.
_TIME, _RATE = 2000.0, 0.3


class Destinations:
    """The fixed points of one model, and a map from starts to them.

    Parameters
    ----------
    model : ContrastiveModel
        Without an L1 penalty.
    time : float, optional
        Length of the trajectories, in steps per dimension; by default 2000 or more, see `slowness`. A start that has
        not settled by then lies on a separatrix or very close to one, if no rate is far below the learning rate.
    threads : int
        Number of threads that share the starts.

    Attributes
    ----------
    states : Dataset(state)
        The fixed points with all their sign images, from `expand_images`.
    targets : array of shape (state, feature + 1)
        Overlaps and squared norms of the states.

    Raises
    ------
    ClhdError
        If the model has an L1 penalty, or its loss does not factorise over the samples (infonce).
    """

    def __init__(self, model: ContrastiveModel, time: float | None = None, threads: int = 1) -> None:
        from clhd.systems.contrastive.theory.flow.batch import BatchIntegrator  # noqa: PLC0415 (it imports scipy)

        check_pair_averages(model)
        self.model = model
        self.states = expand_images(model, find_fixed_points(model))
        self.targets = np.column_stack([self.states.overlap.values, self.states.squared_norm.values])
        self._signs = np.column_stack([signs := sign_symmetries(model), np.ones(len(signs))])
        self._integrator = BatchIntegrator(Flow(model), threads=threads)
        self._times = np.array([_TIME * slowness(model) if time is None else time])

    def assign(self, starts: FloatArray) -> IntArray:
        """Return the index of the fixed point that each start, shape (start, feature + 1), reaches; -1 if none.

        Raises
        ------
        NotConvergedError
            If a trajectory needs too many steps: where it ends is not known.
        """
        if len(starts) == 0:
            return np.empty(0, dtype=np.int64)
        images = np.round(starts, _DECIMALS)[:, None] * self._signs + 0.0
        rows, chosen = np.arange(len(starts)), np.zeros(len(starts), dtype=np.int64)
        for k in range(1, len(self._signs)):  # choose the lexicographically largest image
            difference = images[:, k] - images[rows, chosen]
            first = np.argmax(difference != 0, axis=1)
            chosen[difference[rows, first] > 0] = k
        # Of starts that agree up to rounding one is integrated, unrounded.
        _, first, inverse = np.unique(images[rows, chosen], axis=0, return_index=True, return_inverse=True)
        reached = self._flow((starts * self._signs[chosen])[first])[inverse.ravel()]
        destination = np.full(len(starts), NOT_SETTLED)
        is_known = reached >= 0
        # Map back from the image: signs are their own inverses.
        ends = self.targets[reached[is_known]] * self._signs[chosen[is_known]]
        destination[is_known] = nearest_state(self.targets, ends)
        return destination

    def follow(self, starts: FloatArray, times: FloatArray) -> FloatArray:
        """Return overlap and squared norm of the trajectories from `starts`, shape (start, time, feature + 1).

        Raises
        ------
        NotConvergedError
            If a trajectory needs too many steps.
        """
        return self._integrate(starts, times)

    def _flow(self, starts: FloatArray) -> IntArray:
        stable = self.targets[self.states.stable.values]
        return nearest_state(self.targets, self._integrate(starts, self._times, targets=stable, reach=_ARRIVED)[:, -1])

    def _integrate(self, starts: FloatArray, times: FloatArray, **ends: Any) -> FloatArray:
        """Return states, shape (start, time, feature + 1); raise NotConvergedError if one needs too many steps."""
        reached = self._integrator.integrate(starts, times, **ends)[..., :-1]
        if count := len(self._integrator.given_up):
            raise NotConvergedError(
                f"{count} of {len(starts)} trajectories were given up before time {times[-1]:g}: the rates of the ODE "
                "are too high for so long a time"
            )
        return reached


def slowness(model: ContrastiveModel) -> float:
    """Return by which factor trajectories take longer at small learning rates: overlaps change on times of 1 / eta."""
    return max(1.0, _RATE / model.learning_rate)


def nearest_state(states: FloatArray, ends: FloatArray) -> IntArray:
    """Return the index of the state (state, variable) at which each end (run, variable) has arrived, or -1."""
    index = np.full(len(ends), NOT_SETTLED)
    if len(states) == 0:
        return index
    distance = np.linalg.norm(ends[:, None] - states[None], axis=-1)
    nearest = np.argmin(np.nan_to_num(distance, nan=np.inf), axis=1)
    # A trajectory may stop exactly at this distance; rounding must not make it "not arrived".
    arrived = distance[np.arange(len(ends)), nearest] < (1 + 1e-9) * _ARRIVED
    index[arrived] = nearest[arrived]
    return index


def expand_images(model: ContrastiveModel, states: xr.Dataset) -> xr.Dataset:
    """Return all sign images of fixed points, one row each.

    The overlap of a symmetric latent may change its sign alone, and all overlaps together if h is odd or even.

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
        state=("state", np.arange(len(rows)), WORDS["state"]), feature=states.feature
    )
