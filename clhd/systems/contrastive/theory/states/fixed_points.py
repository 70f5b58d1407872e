"""`find_fixed_points` finds the states of rest of the ODE and the eigenvalues of its Jacobian there.

If a latent has mean zero, its overlap stays zero once it is zero. So every subset of such features has an invariant
subspace, in which only its overlaps differ from zero, and the states are sought subset by subset:

| kind | overlaps | how |
|---|---|---|
| collapsed | r = 0 | known: at rest iff h(0) h'(0) = 0 |
| uninformative | all zero, r > 0 | roots of dr/dt on a logarithmic grid of r (`threshold.py`) |
| pure | one | cells of a grid of (S, r) in which both velocities change sign, polished |
| mixed | several | roots from many starts: scrambled Halton points, combinations of pure states, ends of trajectories |

The search runs in (S, log r) = (q / sqrt r, log r), in which a slow collapse is not a root. In the basis of active
overlaps, norm, silent overlaps the Jacobian is block-triangular. Its eigenvalues are the active block's and, for each
silent feature, eta (m_j G + A - lam) with the gain G at the state.

Symmetries reduce the work and the list:

- Sign: an overlap of a symmetric latent may change its sign; only the state with positive overlaps is listed, and
  ``multiplicity`` counts its images.
- Identical latents: one permutation is solved, all are listed.
- Rotation: a Gaussian latent (any latent, if h is linear and the loss factorises) enters only by g_j = m_j q_j times a
  common factor, so two of them can rest together only if their second moments are equal. Every mixture is then a
  rotation of a state with one of them active; only states with one active are listed (they are marginal).

The list is complete for collapsed, uninformative and pure states up to the resolution of the grids, and up to squared
norms of 1e5 (of infonce, of unbounded units and without decay, of 30, or 30 times the largest one at zero overlap).
Mixed states are found by a search from many starts, which may miss some.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations, product

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import LINEAR, RELU
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import KINDS, labelled
from clhd.systems.contrastive.model.latents import Gaussian
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.pair_states import find_pair_states
from clhd.systems.contrastive.theory.states.root_search import (
    DISTINCT,
    RESIDUAL,
    representative,
    search_several,
    search_single,
    sign_symmetries,
)
from clhd.systems.contrastive.theory.states.threshold import (
    feature_gain,
    is_scale_free,
    overlap_decay,
    probe_model,
    resting_norms,
)
from clhd.systems.contrastive.theory.units.pair_flow import check_pair

# Real parts below this share of the largest eigenvalue count as 0: eigenvalues are known to about 1e-9.
_MARGINAL = 1e-7
# Near a multiple root (a pure state at the kurtosis where it loses stability) the search is inaccurate: a state with an
# eigenvalue below the first share, closer to another state than the second number, is the same state.
_SINGULAR, _NEAR = 1e-5, 1e-3


@dataclass(frozen=True)
class _State:
    """A state of rest: overlaps of all features, squared norm, eigenvalues, largest velocity."""

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
    | overlap | state, feature | q; one of the images under sign changes |
    | squared_norm | state | r |
    | eigenvalues | state, mode | of the Jacobian, complex, by falling real part; p + 1 modes, on the sphere p |
    | kind | state | "collapsed", "uninformative", "pure" or "mixed" |
    | stable | state | all real parts are negative |
    | marginal | state | the largest real part is 0 to numerical accuracy |
    | multiplicity | state | number of images under sign changes |
    | residual | state | largest velocity left |

    Of two units, overlap has the dim ``unit`` before ``feature``, squared_norm the dims ``unit, unit_2`` (the Gram
    matrix), and there are 2 p + 3 modes, on the sphere 2 p + 1. Their kind is "none", "one" (only one unit has a
    feature), "same", "each" (a feature of its own) or "mixed" (a unit has several); ``multiplicity`` also counts the
    exchange of the units and their signs; the list is that of a search, which may miss states.

    For relu the collapsed state has no Jacobian: its eigenvalues are the growth rates in the direction S = 0 (NaN if
    a latent has a mean), and it is stable only if the norm shrinks in every direction at rest. Without noise, a relu
    unit has no Jacobian at any state: the eigenvalues are NaN, and neither stable nor marginal is true.

    Raises
    ------
    ClhdError
        If the model has an L1 penalty, or has relu, the spectral or infonce loss and no sphere constraint: the
        directions in which its norm collapses are then not fixed points of a smaller system. Also if it has relu, no
        noise and several features, whose velocity jumps; three or more units; or two with relu or more than 128 latent
        atoms together.
    """
    check_model(model)
    if model.units > 1:
        check_pair(model)
        return find_pair_states(model, find_fixed_points(replace(model, units=1, decorrelation=0.0)))
    if model.unit.code == RELU and not is_scale_free(model) and not model.is_sphere:
        raise InputError(
            f"activation = 'relu': fixed points with loss = {model.loss!r} are known with constraint = 'sphere' only"
        )
    if model.unit.code == RELU and model.noise_variance == 0 and sum(law.moment(2) > 0 for law in model.latents) > 1:
        raise InputError(
            "activation = 'relu': fixed points with several features need noise, because without it the velocity jumps "
            "where a sample crosses the kink, and trajectories end at such jumps, where the velocity is not 0"
        )
    states = [*_states_without_overlap(model), *_states_with_overlap(model)]
    states.sort(key=lambda state: (KINDS.index(_kind(state)), [q == 0 for q in state.overlap], state.squared_norm))
    return _as_dataset(model, states)


def _kind(state: _State) -> str:
    active = np.count_nonzero(state.overlap)
    return "pure" if active == 1 else "mixed" if active else "uninformative" if state.squared_norm > 0 else "collapsed"


def _states_without_overlap(model: ContrastiveModel) -> Iterator[_State]:
    """Yield the collapsed and uninformative states, if zero overlap is at rest there."""
    flow, zero = Flow(model), np.zeros(model.features)
    for r, _ in resting_norms(model):
        residual = float(np.abs(flow.velocity(np.append(zero, r))).max())
        if residual < RESIDUAL:
            yield _State(tuple(zero), r, state_eigenvalues(model, zero, r), residual)


def state_eigenvalues(model: ContrastiveModel, overlap: FloatArray, r: float) -> tuple[complex, ...]:
    """Return the eigenvalues of the Jacobian at a state of rest, by falling real part.

    They are the eigenvalues of the block of active features and norm (NaN if it has no Jacobian), and one for each
    silent feature.

    Parameters
    ----------
    model : ContrastiveModel
    overlap : array of shape (feature,)
        q; exactly 0 where a feature is silent.
    r : float
        Squared norm.
    """
    active = _active_features(model, overlap)
    values = [complex(rate) for rate in silent_rates(model, overlap, r)]
    if active:
        block = Flow(replace(model, latents=tuple(model.latents[j] for j in active)))
        jacobian = block.jacobian(np.append(overlap[list(active)], r))
        if np.isfinite(jacobian).all():
            values += [complex(value) for value in np.linalg.eigvals(jacobian)]
        else:
            values += [complex(math.nan)] * len(jacobian)
    elif not model.is_sphere:
        values.append(complex(_norm_eigenvalue(Flow(probe_model(model)), r)))
    return tuple(sorted(values, key=lambda value: (-value.real, -value.imag)))


def silent_rates(model: ContrastiveModel, overlap: FloatArray, r: float) -> FloatArray:
    """Return the growth rates, per unit of time, of the silent features (overlap and mean zero) at a state of rest."""
    active = _active_features(model, overlap)
    silent = [j for j in range(model.features) if j not in active]
    if not silent:
        return np.empty(0)
    eta, q, probe = model.learning_rate, overlap[list(active)], Flow(probe_model(model, active))
    g, alignment, gradient_variance = probe.terms(np.append(0.0, q), r)
    decay = overlap_decay(model, alignment, gradient_variance) + (g[1:] @ q if model.is_sphere else 0.0)
    decay += probe.base_alignment(np.append(0.0, q), r)
    second_moments = np.array([model.latents[j].moment(2) for j in silent])
    return np.asarray(eta * (second_moments * feature_gain(probe, q, r) - decay))


def _active_features(model: ContrastiveModel, overlap: FloatArray) -> tuple[int, ...]:
    return tuple(j for j, law in enumerate(model.latents) if overlap[j] != 0 or law.mean != 0)


def _norm_eigenvalue(probe: Flow, r: float) -> float:
    """Return d(dr/dt)/dr at zero overlap; for relu dr/dt is proportional to r, also at r = 0, where h' jumps."""
    model, eta = probe.model, probe.model.learning_rate
    if model.unit.code == RELU:
        alignment = probe.terms(np.zeros(1), r)[1]
        return 2 * eta * (alignment - model.weight_decay) + eta**2 * probe.terms(np.zeros(1), 1.0)[2]
    return float(probe.jacobian(np.array([0.0, r]))[-1, -1])


def _states_with_overlap(model: ContrastiveModel) -> Iterator[_State]:
    """Yield pure and mixed states: solve one subset of active features per kind, and permute its states."""
    groups = _groups(model)
    found: dict[tuple[Hashable, ...], list[FloatArray]] = {}
    seen: list[tuple[float, ...]] = []
    for active in _active_sets(model, groups):
        sub = replace(model, latents=tuple(model.latents[j] for j in active))
        known = [found.get((groups[j][0],), []) for j in active]
        roots = search_single(sub) if len(active) == 1 else search_several(sub, known)
        found[tuple(groups[j][0] for j in active)] = roots
        velocity = Flow(sub).velocity
        for root_state in roots:
            full = np.zeros(model.features)
            full[list(active)] = root_state[:-1]
            r = float(root_state[-1])
            eigenvalues, residual = state_eigenvalues(model, full, r), float(np.abs(velocity(root_state)).max())
            is_singular = np.abs(eigenvalues).min() < _SINGULAR * np.abs(eigenvalues).max()
            distance = _NEAR if is_singular else DISTINCT
            for image in _permuted(full, groups):
                overlap = tuple(representative(model, image).tolist())
                if not any(np.allclose((*overlap, r), other, rtol=0, atol=distance) for other in seen):
                    seen.append((*overlap, r))
                    yield _State(overlap, r, eigenvalues, residual)


def _groups(model: ContrastiveModel) -> list[tuple[Hashable, bool]]:
    """Return for each feature a name shared by all exchangeable features, and whether these may be rotated."""
    groups: list[tuple[Hashable, bool]] = []
    for law in model.latents:
        # With a linear h and a loss that factorises, only second moments enter g.
        by_moment = model.unit.code == LINEAR and model.loss_terms.factorises and law.mean == 0
        rotates = isinstance(law, Gaussian) or by_moment
        groups.append((("second moment", law.moment(2)) if rotates else law, rotates))
    return groups


def _active_sets(model: ContrastiveModel, groups: list[tuple[Hashable, bool]]) -> Iterator[tuple[int, ...]]:
    """Yield sets of active features, small sets first: one per kind under permutations, with one rotating at most."""
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
    """Yield all distinct permutations of the overlaps among exchangeable features."""
    members: dict[Hashable, list[int]] = {}
    for j, (name, _) in enumerate(groups):
        members.setdefault(name, []).append(j)
    choices = [sorted(set(permutations(overlap[m].tolist())), reverse=True) for m in members.values()]
    for choice in product(*choices):
        image = np.zeros_like(overlap)
        for m, values in zip(members.values(), choice, strict=True):
            image[m] = values
        yield image


def _collapse_is_stable(model: ContrastiveModel, eigenvalues: FloatArray) -> bool:
    """Return whether the norm of a relu unit shrinks in every direction at rest."""
    directions = find_fixed_points(replace(model, constraint="sphere", weight_decay=0.0))
    flow = Flow(model)
    rates = [flow.velocity(np.append(q, 1.0))[-1] for q in directions.overlap.values]
    return not np.any(eigenvalues.real >= 0) and max(rates) < 0


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
