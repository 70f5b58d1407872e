"""The search for roots of the ODE with nonzero overlaps, and the sign symmetries of these roots.

All features of the given model are active: `fixed_points.py` calls for one subset of features after the other. The
unknowns are (S, log r) = (q / sqrt r, log r), on the sphere S alone; a root is polished by Powell's hybrid method.

| symbol | name | shape |
|---|---|---|
| S, log r | ``variables`` | (feature + 1,), on the sphere (feature,) |
| q, r | ``state`` | (feature + 1,) |
"""

from itertools import product

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import integrate, optimize, qmc
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.threshold import resting_norms

# Grid of (S, log r) for pure states. The search covers squared norms from the first number to the second times the
# largest resting norm at zero overlap (or times 1 if that is larger).
_SIMILARITIES, _NORMS = 40, 40
_SMALLEST_NORM, _LARGEST_NORM = 1e-3, 30.0
_FARTHEST = 1e5  # to which it goes on, for a bounded unit with a decay, while the norm still grows there
# Roots and trajectories beyond so many times the largest norm of the search are left.
_BEYOND = 10
# Number of starts of the search for mixed states, by the number of active features: more features cost more.
_STARTS = {2: 32, 3: 32, 4: 24, 5: 16, 6: 12}
_ALMOST_ALL = 0.95  # |S| of starts from which the search reaches states in which the features share nearly all weights
_TRAJECTORIES, _TRAJECTORY_TIME = 3, 100.0  # the time in units of 1 / eta, on which overlaps change
# A root has a velocity below the first number (its rounding error is 1e-12). Roots closer to each other than the second
# are one root; a root that close to a subspace with fewer active features belongs to that subspace.
RESIDUAL, DISTINCT = 1e-10, 1e-6


def sign_symmetries(model: ContrastiveModel) -> FloatArray:
    """Return all sign changes of the overlaps that leave the ODE unchanged, shape (images, feature), identity first.

    The overlap of a symmetric latent may change its sign alone, and all overlaps together if h is odd or even.
    """
    choices = [(1.0, -1.0) if law.is_symmetric else (1.0,) for law in model.latents]
    signs = np.array(list(product(*choices)))
    if model.unit.parity == 0 or model.has_symmetric_latents:
        return signs
    return np.concatenate([signs, -signs])


def representative(model: ContrastiveModel, overlap: FloatArray) -> FloatArray:
    """Return the sign image with the lexicographically largest overlaps."""
    images = sign_symmetries(model) * overlap + 0.0
    return np.array(max(images.tolist()))


class _Search:
    """Velocities of the active features in (S, log r), on the sphere in S alone, and their roots."""

    def __init__(self, model: ContrastiveModel) -> None:
        self.model, self.flow, self.features = model, Flow(model), model.features
        norms = [r for r, _ in resting_norms(model)]
        self.norms = (_SMALLEST_NORM, _LARGEST_NORM * max([1.0, *norms]))
        self.may_be_negative = [not law.is_symmetric for law in model.latents]

    def state(self, variables: FloatArray) -> FloatArray:
        """Return (q, r) for (S, log r)."""
        r = 1.0 if self.model.is_sphere else float(np.exp(np.clip(variables[-1], -40.0, 40.0)))
        return np.append(np.sqrt(r) * variables[: self.features], r)

    def velocity(self, variables: FloatArray) -> FloatArray:
        """Return the time derivative of (S, log r)."""
        state = self.state(variables)
        velocity, r = self.flow.velocity(state), state[-1]
        similarity_velocity = velocity[:-1] / np.sqrt(r) - 0.5 * state[:-1] * velocity[-1] / r**1.5
        return similarity_velocity if self.model.is_sphere else np.append(similarity_velocity, velocity[-1] / r)

    def polish(self, variables: FloatArray) -> FloatArray | None:
        """Return the root (q, r) near `variables`; None if there is none, or it belongs to a smaller subset."""
        end, details, _, _ = optimize.fsolve(
            self._guarded_velocity, variables, xtol=1e-13, maxfev=100, full_output=True
        )
        if not np.all(np.isfinite(end)):
            return None
        state, similarity = self.state(end), end[: self.features]
        smallest = 1e-3 * self.norms[0]
        if np.abs(details["fvec"]).max() > RESIDUAL or np.abs(self.flow.velocity(state)).max() > RESIDUAL:
            return None
        if not (similarity @ similarity <= 1 + 1e-9 and smallest < state[-1] < _BEYOND * self.norms[1]):
            return None
        silent = np.abs(similarity) < 10 * DISTINCT
        if any(silent[j] and law.mean == 0 for j, law in enumerate(self.model.latents)):
            return None
        rounded = np.append(np.where(silent, 0.0, state[:-1]), state[-1])  # only latents with a mean get here silent
        if np.any(silent) and np.abs(self.flow.velocity(rounded)).max() <= RESIDUAL:
            return rounded if np.any(rounded[:-1]) else None
        return state

    def _guarded_velocity(self, variables: FloatArray) -> FloatArray:
        """Return the velocity, replaced by a pull inwards far outside existing states, where it is huge or costly."""
        inner = variables.copy()
        size = float(np.linalg.norm(variables[: self.features]))
        inner[: self.features] *= min(1.0, 1.5 / max(size, 1e-300))
        if not self.model.is_sphere:
            inner[-1] = np.clip(variables[-1], np.log(1e-3 * self.norms[0]), np.log(_BEYOND * self.norms[1]))
        return self.velocity(inner) - (variables - inner)


def search_single(model: ContrastiveModel) -> list[FloatArray]:
    """Return the states (q, r) of one active feature, from the cells of a grid in which all velocities change sign."""
    search = _Search(model)
    # Without noise the rim |S| = 1 is reached. S = 0 is not a node, because the velocity of S vanishes there.
    s = np.append(1e-4, np.linspace(0.0, 1.0 + 1e-6, _SIMILARITIES + 1)[1:])
    if search.may_be_negative[0]:
        s = np.append(-s[::-1], s)
    if model.is_sphere:
        signs = np.sign([search.velocity(np.array([x]))[0] for x in s])
        cells = [np.array([0.5 * (s[i] + s[i + 1])]) for i in np.flatnonzero(signs[:-1] * signs[1:] <= 0)]
    else:
        logs = np.linspace(np.log(search.norms[0]), np.log(search.norms[1]), _NORMS)
        signs = np.sign([[search.velocity(np.array([x, y])) for y in logs] for x in s])
        # Under a weak decay the norm may still grow at the end of the grid: its states of rest lie beyond. Those that
        # averages over sets of points (infonce) have there are of their own making.
        goes_on = model.unit.is_bounded and model.weight_decay > 0 and model.loss_terms.factorises
        while goes_on and (signs[:, -1, -1] > 0).any() and logs[-1] < np.log(_FARTHEST):
            logs = np.append(logs, logs[-1] + logs[1] - logs[0])
            more = np.sign([[search.velocity(np.array([x, logs[-1]]))] for x in s])
            signs = np.concatenate([signs, more], axis=1)
        search.norms = (search.norms[0], float(np.exp(logs[-1])))
        corners = np.stack([signs[:-1, :-1], signs[1:, :-1], signs[:-1, 1:], signs[1:, 1:]])
        changes = np.all((corners.min(axis=0) <= 0) & (corners.max(axis=0) >= 0), axis=-1)
        cells = [np.array([0.5 * (s[i] + s[i + 1]), 0.5 * (logs[k] + logs[k + 1])]) for i, k in np.argwhere(changes)]
    return _distinct_roots(search, cells)


def search_several(model: ContrastiveModel, known: list[list[FloatArray]]) -> list[FloatArray]:
    """Return the states (q, r) of several active features, from many starts; `known` has each feature's pure states."""
    search = _Search(model)
    size = model.features
    points = qmc.Halton(size + 1, rng=0).random(_STARTS[size])
    directions = points[:, :size] * np.where(search.may_be_negative, 2.0, 1.0) - search.may_be_negative
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = 0.15 + 0.85 * points[:, size] ** (1 / size)
    norms = [state[-1] for states in known for state in states] or [1.0]
    search.norms = (search.norms[0], max(search.norms[1], *norms))
    logs = np.log(min(norms) / 3) + np.modf(7.3 * points[:, 0])[0] * np.log(9 * max(norms) / min(norms))
    starts = [np.append(d * s, y) for d, s, y in zip(directions, radii, logs, strict=True)]
    signs = [(1.0, -1.0) if negative else (1.0,) for negative in search.may_be_negative]
    starts += [np.append(_ALMOST_ALL * np.array(corner) / np.sqrt(size), np.mean(logs)) for corner in product(*signs)]
    if all(known):
        for choice in product(*known):
            s = np.array([state[0] / np.sqrt(state[1]) for state in choice]) / np.sqrt(size)
            starts.append(np.append(s, np.log(np.mean([state[1] for state in choice]))))

    for start in starts[:_TRAJECTORIES]:
        solver = integrate.LSODA(
            lambda _, state: search.flow.velocity(state),
            0.0,
            search.state(start),
            _TRAJECTORY_TIME / model.learning_rate,
            rtol=1e-5,
        )
        # Some weights grow for ever, perhaps within less than a digit of time: no moment is sought at which they pass.
        while solver.status == "running" and solver.y[-1] < _BEYOND * search.norms[1]:
            solver.step()
        end = solver.y
        if np.all(np.isfinite(end)) and end[-1] > 0:
            starts.append(np.append(end[:-1] / np.sqrt(end[-1]), np.log(end[-1])))
    if model.is_sphere:
        starts = [start[:-1] for start in starts]
    return _distinct_roots(search, starts)


def _distinct_roots(search: _Search, starts: list[FloatArray]) -> list[FloatArray]:
    """Return the different roots found from the starts, one sign image of each."""
    found: list[FloatArray] = []
    for start in starts:
        state = search.polish(start)
        if state is not None:
            state[:-1] = representative(search.model, state[:-1])
            if not any(np.allclose(state, other, rtol=0, atol=DISTINCT) for other in found):
                found.append(state)
    return found
