"""`find_fixed_points`: every state of rest of the ODE, the eigenvalues of its Jacobian, and so its stability.

A latent of mean zero cannot move an overlap that is zero, so every subset of such features has an invariant subspace
of its own, in which only its overlaps differ from zero. The states are sought subset by subset:

| kind | overlaps | how |
|---|---|---|
| collapsed | r = 0 | known: at rest iff h(0) h'(0) = 0 |
| uninformative | all zero, r > 0 | roots of dr/dt on a logarithmic grid of r (`clhd.theory.threshold`) |
| pure | one | cells of a grid of (S, r) in which both velocities change sign, polished |
| mixed | several | roots from many starts: scrambled Halton points, combinations of pure states, ends of trajectories |

The search runs in (S, log r) = (q / sqrt r, log r), in which slow collapse is no root. In the basis of active
overlaps, norm, silent overlaps the Jacobian is block-triangular: its eigenvalues are those of the active block and,
for each silent feature, eta (m_j G + A - lam) with the gain G at the state.

Symmetries save work and are listed once. Sign: an overlap of a symmetric latent may change its sign; the state with
positive overlaps stands for all, and ``multiplicity`` counts them. Identical latents: their permutations are listed.
Rotation: a Gaussian latent (any, if h is linear) enters only by g_j = m_j q_j times a factor common to all of these, so
that two of them can rest together only if their second moments are equal. Then every mixture is a rotated state with
one of them active, and only those are listed (they are marginal).

The list is complete for collapsed, uninformative and pure states up to the resolution of the grids; for mixed states
it is as complete as a search from many starts.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp
from scipy.optimize import root
from scipy.stats import qmc

from clhd.model.activations import LINEAR, RELU
from clhd.model.contrastive import ContrastiveModel
from clhd.model.labels import labelled
from clhd.model.latents import Gaussian
from clhd.theory.averages import FloatArray
from clhd.theory.drift import Flow
from clhd.theory.threshold import feature_gain, probe_model, resting_norms

# Grid of (S, log r) for pure states, and the squared norms that the search covers, as multiples of the largest resting
# norm at zero overlap, or of 1 if that is larger.
_SIMILARITIES, _NORMS = 40, 40
_SMALLEST_NORM, _LARGEST_NORM = 1e-3, 30.0
# Starts of the search for mixed states, by the number of active features: more features make a start costlier.
_STARTS = {2: 48, 3: 32, 4: 24, 5: 16, 6: 12}
_TRAJECTORIES, _TRAJECTORY_TIME = 3, 100.0
# A root has a velocity below the first (it reaches the rounding error of the averages, 1e-12); closer than the second
# to another root or to a subspace with fewer active features it is the same one or belongs there.
_RESIDUAL, _DISTINCT = 1e-10, 1e-6
# Real parts below this share of the largest eigenvalue count as 0: eigenvalues are known to about 1e-9.
_MARGINAL = 1e-7
# At a multiple root (a pure state at the kurtosis where it loses stability) the search ends somewhere near: a state
# with an eigenvalue below this share, closer than this to another, is the other one.
_SINGULAR, _NEAR = 1e-5, 1e-3
_KINDS = ("collapsed", "uninformative", "pure", "mixed")


@dataclass(frozen=True)
class _State:
    """One state of rest: overlaps of all features, squared norm, eigenvalues, largest velocity."""

    overlap: tuple[float, ...]
    squared_norm: float
    eigenvalues: tuple[complex, ...]
    residual: float


def find_fixed_points(model: ContrastiveModel) -> xr.Dataset:
    """Find the states of rest of the ODE and their stability.

    Parameters
    ----------
    model : ContrastiveModel
        Without an L1 penalty.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | overlap | state, feature | q; of the images under sign changes one |
    | squared_norm | state | r |
    | eigenvalues | state, mode | of the Jacobian, complex, by falling real part; p + 1 modes, on the sphere p |
    | kind | state | "collapsed", "uninformative", "pure" or "mixed" |
    | stable | state | all real parts are negative |
    | marginal | state | the largest real part is 0 to numerical accuracy |
    | multiplicity | state | how many states this one stands for, by sign changes |
    | residual | state | largest velocity left |

    For relu the collapsed state has no Jacobian: its eigenvalues are the growth rates in the direction S = 0, and it
    is stable only if the norm shrinks in every direction at rest.

    Raises
    ------
    ClhdError
        If the model has an L1 penalty.
    """
    states = [*_states_without_overlap(model), *_states_with_overlap(model)]
    states.sort(key=lambda state: (_KINDS.index(_kind(state)), [q == 0 for q in state.overlap], state.squared_norm))
    return _as_dataset(model, states)


def sign_symmetries(model: ContrastiveModel) -> FloatArray:
    """All sign changes of the overlaps under which the ODE is unchanged, shape (images, feature), the identity first.

    The overlap of a symmetric latent may change its sign alone; all may together if h is odd or even.
    """
    choices = [(1.0, -1.0) if law.is_symmetric else (1.0,) for law in model.latents]
    signs = np.array(list(product(*choices)))
    if model.unit.parity == 0 or model.has_symmetric_latents:
        return signs
    return np.concatenate([signs, -signs])


def _kind(state: _State) -> str:
    active = np.count_nonzero(state.overlap)
    return "pure" if active == 1 else "mixed" if active else "uninformative" if state.squared_norm > 0 else "collapsed"


def _states_without_overlap(model: ContrastiveModel) -> Iterator[_State]:
    """The collapsed and uninformative states, if zero overlap is at rest there."""
    flow, zero = Flow(model), np.zeros(model.features)
    for r, _ in resting_norms(model):
        residual = float(np.abs(flow.velocity(np.append(zero, r))).max())
        if residual < _RESIDUAL:
            yield _State(tuple(zero), r, _eigenvalues(model, zero, r), residual)


def _eigenvalues(model: ContrastiveModel, overlap: FloatArray, r: float) -> tuple[complex, ...]:
    """Eigenvalues of the Jacobian by falling real part: of the active block, and one for each silent feature."""
    active = tuple(j for j, law in enumerate(model.latents) if overlap[j] != 0 or law.mean != 0)
    silent = [j for j in range(model.features) if j not in active]
    eta, q, values = model.learning_rate, overlap[list(active)], []
    if silent:
        probe = Flow(probe_model(model, active))
        g, alignment, gradient_variance = probe.terms(np.append(0.0, q), r)
        gain = feature_gain(probe, q, r)
        decay = g[1:] @ q + 0.5 * eta * gradient_variance if model.is_sphere else model.weight_decay - alignment
        values += [complex(eta * (model.latents[j].moment(2) * gain - decay)) for j in silent]
    if active:
        block = Flow(replace(model, latents=tuple(model.latents[j] for j in active)))
        values += [complex(value) for value in np.linalg.eigvals(block.jacobian(np.append(q, r)))]
    elif not model.is_sphere:
        values.append(complex(_norm_eigenvalue(probe, alignment, r)))
    return tuple(sorted(values, key=lambda value: (-value.real, -value.imag)))


def _norm_eigenvalue(probe: Flow, alignment: float, r: float) -> float:
    """d(dr/dt)/dr at zero overlap; for relu dr/dt is proportional to r, also at r = 0, where h' jumps."""
    model, eta = probe.model, probe.model.learning_rate
    if model.unit.code == RELU:
        return 2 * eta * (alignment - model.weight_decay) + eta**2 * probe.terms(np.zeros(1), 1.0)[2]
    return float(probe.jacobian(np.array([0.0, r]))[-1, -1])


def _states_with_overlap(model: ContrastiveModel) -> Iterator[_State]:
    """Pure and mixed states: each subset of active features that no permutation maps to another, and its images."""
    groups = _groups(model)
    found: dict[tuple[Hashable, ...], list[FloatArray]] = {}
    seen: list[tuple[float, ...]] = []
    for active in _active_sets(model, groups):
        sub = replace(model, latents=tuple(model.latents[j] for j in active))
        known = [found.get((groups[j][0],), []) for j in active]
        roots = _search_single(sub) if len(active) == 1 else _search_several(sub, known)
        found[tuple(groups[j][0] for j in active)] = roots
        velocity = Flow(sub).velocity
        for root_state in roots:
            full = np.zeros(model.features)
            full[list(active)] = root_state[:-1]
            r = float(root_state[-1])
            eigenvalues, residual = _eigenvalues(model, full, r), float(np.abs(velocity(root_state)).max())
            is_singular = np.abs(eigenvalues).min() < _SINGULAR * np.abs(eigenvalues).max()
            distance = _NEAR if is_singular else _DISTINCT
            for image in _permuted(full, groups):
                overlap = tuple(_representative(model, image).tolist())
                if not any(np.allclose((*overlap, r), other, rtol=0, atol=distance) for other in seen):
                    seen.append((*overlap, r))
                    yield _State(overlap, r, eigenvalues, residual)


def _groups(model: ContrastiveModel) -> list[tuple[Hashable, bool]]:
    """For each feature a name shared by the features that it may be exchanged with, and whether they may be rotated."""
    groups: list[tuple[Hashable, bool]] = []
    for law in model.latents:
        rotates = isinstance(law, Gaussian) or (model.unit.code == LINEAR and law.mean == 0)
        groups.append((("second moment", law.moment(2)) if rotates else law, rotates))
    return groups


def _active_sets(model: ContrastiveModel, groups: list[tuple[Hashable, bool]]) -> Iterator[tuple[int, ...]]:
    """Sets of active features, small ones first: one of each kind under permutations, with one rotating at most."""
    always = {j for j, law in enumerate(model.latents) if law.mean != 0}
    done = set()
    for size in range(1, model.features + 1):
        for active in combinations(range(model.features), size):
            counts = Counter(groups[j] for j in active)
            kind = frozenset(counts.items())
            is_single = sum(rotates for _, rotates in (groups[j] for j in active)) <= 1
            has_signal = all(model.latents[j].moment(2) > 0 for j in active)
            if kind not in done and is_single and has_signal and always <= set(active):
                done.add(kind)
                yield active


def _permuted(overlap: FloatArray, groups: list[tuple[Hashable, bool]]) -> Iterator[FloatArray]:
    """All distinct ways to hand the overlaps round among exchangeable features."""
    members: dict[Hashable, list[int]] = {}
    for j, (name, _) in enumerate(groups):
        members.setdefault(name, []).append(j)
    choices = [sorted(set(permutations(overlap[m].tolist())), reverse=True) for m in members.values()]
    for choice in product(*choices):
        image = np.zeros_like(overlap)
        for m, values in zip(members.values(), choice, strict=True):
            image[m] = values
        yield image


def _representative(model: ContrastiveModel, overlap: FloatArray) -> FloatArray:
    """The sign image with the lexicographically largest overlaps."""
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
        """(q, r) of (S, log r)."""
        r = 1.0 if self.model.is_sphere else float(np.exp(np.clip(variables[-1], -40.0, 40.0)))
        return np.append(np.sqrt(r) * variables[: self.features], r)

    def velocity(self, variables: FloatArray) -> FloatArray:
        """Time derivative of (S, log r)."""
        state = self.state(variables)
        velocity, r = self.flow.velocity(state), state[-1]
        similarity_velocity = velocity[:-1] / np.sqrt(r) - 0.5 * state[:-1] * velocity[-1] / r**1.5
        return similarity_velocity if self.model.is_sphere else np.append(similarity_velocity, velocity[-1] / r)

    def polish(self, variables: FloatArray) -> FloatArray | None:
        """The state (q, r) of the root near `variables`; None if there is none, or it belongs to a smaller subset."""
        result = root(self._guarded_velocity, variables, method="hybr", options={"xtol": 1e-13, "maxfev": 100})
        if not np.all(np.isfinite(result.x)):
            return None
        state, similarity = self.state(result.x), result.x[: self.features]
        smallest = 1e-3 * self.norms[0]
        if np.abs(result.fun).max() > _RESIDUAL or np.abs(self.flow.velocity(state)).max() > _RESIDUAL:
            return None
        if not (similarity @ similarity <= 1 + 1e-9 and smallest < state[-1] < 10 * self.norms[1]):
            return None
        silent = np.abs(similarity) < 10 * _DISTINCT
        if any(silent[j] and law.mean == 0 for j, law in enumerate(self.model.latents)):
            return None
        rounded = np.append(np.where(silent, 0.0, state[:-1]), state[-1])  # a latent with a mean may be silent too
        if np.any(silent) and np.abs(self.flow.velocity(rounded)).max() <= _RESIDUAL:
            return rounded if np.any(rounded[:-1]) else None
        return state

    def _guarded_velocity(self, variables: FloatArray) -> FloatArray:
        """The velocity, with a pull inwards far outside the states that exist: there its cost or its value explodes."""
        inner = variables.copy()
        size = float(np.linalg.norm(variables[: self.features]))
        inner[: self.features] *= min(1.0, 1.5 / max(size, 1e-300))
        if not self.model.is_sphere:
            inner[-1] = np.clip(variables[-1], np.log(1e-3 * self.norms[0]), np.log(10 * self.norms[1]))
        return self.velocity(inner) - (variables - inner)


def _search_single(model: ContrastiveModel) -> list[FloatArray]:
    """States (q, r) of one active feature: from the cells of a grid in which every velocity changes its sign."""
    search = _Search(model)
    # The rim |S| = 1 is reached without noise; zero is no node, because there the velocity of S vanishes.
    s = np.append(1e-4, np.linspace(0.0, 1.0 + 1e-6, _SIMILARITIES + 1)[1:])
    if search.may_be_negative[0]:
        s = np.append(-s[::-1], s)
    if model.is_sphere:
        signs = np.sign([search.velocity(np.array([x]))[0] for x in s])
        cells = [np.array([0.5 * (s[i] + s[i + 1])]) for i in np.flatnonzero(signs[:-1] * signs[1:] <= 0)]
    else:
        logs = np.linspace(np.log(search.norms[0]), np.log(search.norms[1]), _NORMS)
        signs = np.sign([[search.velocity(np.array([x, y])) for y in logs] for x in s])
        corners = np.stack([signs[:-1, :-1], signs[1:, :-1], signs[:-1, 1:], signs[1:, 1:]])
        changes = np.all((corners.min(axis=0) <= 0) & (corners.max(axis=0) >= 0), axis=-1)
        cells = [np.array([0.5 * (s[i] + s[i + 1]), 0.5 * (logs[k] + logs[k + 1])]) for i, k in np.argwhere(changes)]
    return _distinct_roots(search, cells)


def _search_several(model: ContrastiveModel, known: list[list[FloatArray]]) -> list[FloatArray]:
    """States (q, r) of several active features, from many starts; `known` are the pure states of each feature."""
    search = _Search(model)
    size = model.features
    points = qmc.Halton(size + 1, rng=0).random(_STARTS[size])
    directions = points[:, :size] * np.where(search.may_be_negative, 2.0, 1.0) - search.may_be_negative
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = 0.15 + 0.85 * points[:, size] ** (1 / size)
    norms = [state[-1] for states in known for state in states] or [1.0]
    logs = np.log(min(norms) / 3) + np.modf(7.3 * points[:, 0])[0] * np.log(9 * max(norms) / min(norms))
    starts = [np.append(d * s, y) for d, s, y in zip(directions, radii, logs, strict=True)]
    if all(known):
        for choice in product(*known):
            s = np.array([state[0] / np.sqrt(state[1]) for state in choice]) / np.sqrt(size)
            starts.append(np.append(s, np.log(np.mean([state[1] for state in choice]))))
    for start in starts[:_TRAJECTORIES]:
        end = solve_ivp(
            lambda _, state: search.flow.velocity(state),
            (0.0, _TRAJECTORY_TIME),
            search.state(start),
            method="LSODA",
            events=lambda _, state: state[-1] - search.norms[1],
            rtol=1e-5,
        ).y[:, -1]
        if np.all(np.isfinite(end)) and end[-1] > 0:
            starts.append(np.append(end[:-1] / np.sqrt(end[-1]), np.log(end[-1])))
    if model.is_sphere:
        starts = [start[:-1] for start in starts]
    return _distinct_roots(search, starts)


def _distinct_roots(search: _Search, starts: list[FloatArray]) -> list[FloatArray]:
    """The different roots that the starts lead to, one of their sign images each."""
    found: list[FloatArray] = []
    for start in starts:
        state = search.polish(start)
        if state is not None:
            state[:-1] = _representative(search.model, state[:-1])
            if not any(np.allclose(state, other, rtol=0, atol=_DISTINCT) for other in found):
                found.append(state)
    return found


def _collapse_is_stable(model: ContrastiveModel, eigenvalues: FloatArray) -> bool:
    """Whether the norm of a relu unit shrinks: in no direction at rest may it grow."""
    directions = find_fixed_points(replace(model, constraint="sphere", weight_decay=0.0))
    flow = Flow(model)
    rates = [flow.velocity(np.append(q, 1.0))[-1] for q in directions.overlap.values]
    return bool(eigenvalues.real.max() < 0) and max(rates) < 0


def _as_dataset(model: ContrastiveModel, states: list[_State]) -> xr.Dataset:
    modes = model.features + (not model.is_sphere)
    overlap = np.array([state.overlap for state in states]).reshape(-1, model.features)
    eigenvalues = np.array([state.eigenvalues for state in states], dtype=complex).reshape(-1, modes)
    kinds = np.array([_kind(state) for state in states], dtype=object)
    largest = eigenvalues.real.max(axis=1, initial=-np.inf)
    scale = np.abs(eigenvalues).max(axis=1, initial=0.0)
    stable = largest < -_MARGINAL * scale
    if model.unit.code == RELU:
        for k in np.flatnonzero(kinds == "collapsed"):
            stable[k] = _collapse_is_stable(model, eigenvalues[k])
    signs = sign_symmetries(model)
    multiplicity = np.array([len(np.unique(signs * q + 0.0, axis=0)) for q in overlap], dtype=int)
    return labelled(
        {
            "overlap": (("state", "feature"), overlap),
            "squared_norm": (("state",), np.array([state.squared_norm for state in states])),
            "eigenvalues": (("state", "mode"), eigenvalues),
            "kind": (("state",), kinds.astype(str)),
            "stable": (("state",), stable),
            "marginal": (("state",), np.abs(largest) <= _MARGINAL * scale),
            "multiplicity": (("state",), multiplicity),
            "residual": (("state",), np.array([state.residual for state in states])),
        },
        {"state": np.arange(len(states)), "feature": np.arange(1, model.features + 1), "mode": np.arange(modes)},
        {"model": model.canonical()},
    )
