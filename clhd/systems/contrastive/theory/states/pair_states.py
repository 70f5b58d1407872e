"""States of rest of two units with the covariance loss, and the eigenvalues of the Jacobian there.

A state is (Q, R): overlaps (unit, feature) and Gram matrix (unit, unit). Its number of modes is 2 p + 3, on the sphere
2 p + 1. The states of one unit alone are where the search begins, because without a penalty each unit obeys the ODE of
one:

| states | R - Q Q' | how |
|---|---|---|
| inside | positive definite | roots from all pairs of states of one unit, for several products of the two units |
| equal | both units are one vector | roots of the ODE of one unit with the forces of two equal ones |
| collapsed | unit 2 (or both) is 0 | unit 1 has a state of one unit alone, because C_12 = 0 |

In the last two, one combination of the units is 0; `pair_jacobian.py` has the eigenvalues there.

Images under the exchange of the units, under the sign of a unit (if h is odd or even) and under the sign of a symmetric
latent are one state; images under permutations of equal latents are listed.

With a penalty, states in which two units share a feature unequally branch off the equal ones where those lose their
stability: they are sought from equal units of which one is made larger and the other smaller.

The list is that of a search from many starts: it may miss states that no start leads to, above all two states that are
about to meet and vanish (a fold), and with a penalty states in which a unit has several features.

| symbol | name | shape |
|---|---|---|
| Q, R | ``overlap``, ``gram`` | (unit, feature), (unit, unit) |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, permutations, product

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import optimize, xr
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import PAIR_KIND_WORDS, labelled
from clhd.systems.contrastive.theory.states.root_search import sign_symmetries
from clhd.systems.contrastive.theory.units.pair_flow import PairFlow
from clhd.systems.contrastive.theory.units.pair_jacobian import ComplexArray, eigenvalues_at_zero, eigenvalues_inside

PAIR_KINDS = ("none", "one", "same", "each", "mixed")
# Accuracy of the averages: to find a root, to polish it, and for its residual.
_ROUGH, _ACCURACY, _FINER = 8.0, 18.0, 22.0
_ROUGH_RESIDUAL, _RESIDUAL, _NEAR, _DISTINCT, _MARGINAL = 1e-7, 1e-9, 1e-3, 1e-4, 1e-5
# Share of the trace below which an eigenvalue of R - Q Q' counts as 0: the state is not inside.
_INSIDE = 1e-4
# Starts: factors of the overlaps of one unit alone, and the correlation of the rests of the two units.
_FACTORS, _CORRELATIONS = (1.0, 0.75), (0.0, 0.5)
# By which share the first of two equal units is made larger and the second smaller. A start finds its state if it is
# within about 0.1 of it (tanh, penalties of 0.55 to 0.604).
_UNEQUAL, _UNEQUAL_CORRELATION = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85), 0.9
_EQUAL = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)

_Place = tuple[FloatArray, FloatArray]
_Velocity = Callable[[FloatArray, PairFlow], FloatArray]
_Placing = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class _PairState:
    """A state of rest: overlaps, Gram matrix, eigenvalues, largest velocity by a finer rule."""

    overlap: FloatArray
    gram: FloatArray
    eigenvalues: ComplexArray
    residual: float

    @property
    def place(self) -> _Place:
        """Overlaps and Gram matrix."""
        return self.overlap, self.gram


def find_pair_states(model: ContrastiveModel, alone: xr.Dataset) -> xr.Dataset:
    """Find states of rest of two units and their stability; see `find_fixed_points`.

    Parameters
    ----------
    model : ContrastiveModel
        With two units.
    alone : Dataset(state)
        The states of one unit without a penalty, from `find_fixed_points`.
    """
    norms = [float(r) for r in alone.squared_norm.values]
    search = _Search(model, max([1.0, *norms]))
    found: list[_PairState] = []
    for state in search.states(alone):
        for image in _permute_features(model, state):
            if not any(_is_image(model, image.place, other.place) for other in found):
                found.append(image)
    found.sort(key=lambda state: (PAIR_KINDS.index(name_kind(state.overlap)), -float(np.abs(state.overlap).sum())))
    return _as_dataset(model, found)


class _Search:
    """Roots of the ODE of two units."""

    def __init__(self, model: ContrastiveModel, largest_norm: float) -> None:
        self.model = model
        self._rough, self.flow, self._finer = (
            PairFlow(model, largest_norm=largest_norm, accuracy=accuracy) for accuracy in (_ROUGH, _ACCURACY, _FINER)
        )
        self._tried: list[_Place] = []
        self._known: list[_Place] = []
        # On the sphere the squared norms, the first and the last of the Gram matrix, stay 1.
        size = 2 * model.features
        self._free = [*range(size), *((size + 1,) if model.is_sphere else range(size, size + 3))]

    def states(self, alone: xr.Dataset) -> Iterator[_PairState]:
        """Yield the states found from those of one unit, some of them repeatedly."""
        singles = [(q, float(r)) for q, r in zip(alone.overlap.values, alone.squared_norm.values, strict=True)]
        is_collapsing = any(r == 0 for _, r in singles)
        for q, r in singles:
            if r > 0:
                for state in self._equal(q, r):
                    yield state
                    yield from self._unequal(state)
            if is_collapsing:
                yield from self._collapsed(q, r)
        inside = [single for single in singles if single[1] > 0]
        has_penalty = self.model.decorrelation > 0
        for (one, r), (other, s) in combinations_with_replacement(inside, 2):
            for signs, factor, correlation in product(sign_symmetries(self.model), _FACTORS, _CORRELATIONS):
                if factor == 1 or (has_penalty and one.any() and other.any()):
                    yield from self._inside(factor * one, r, factor * signs * other, s, correlation)

    def _inside(
        self, one: FloatArray, one_norm: float, other: FloatArray, other_norm: float, correlation: float
    ) -> Iterator[_PairState]:
        rests = [max(r - float(q @ q), 0.0) for q, r in ((one, one_norm), (other, other_norm))]
        cross = float(one @ other) + correlation * float(np.sqrt(rests[0] * rests[1]))
        first = np.array([one, other]), np.array([[one_norm, cross], [cross, other_norm]])
        if not self._is_new(first):
            return
        start = self.flow.pack(*first)

        def velocity(free: FloatArray, flow: PairFlow) -> FloatArray:
            return self._guard(place(free), flow)[self._free]

        def place(free: FloatArray) -> FloatArray:
            state = start.copy()
            state[self._free] = free
            return state

        for end in self._solve(velocity, place, start[self._free]):
            overlap, gram = self.flow.unpack(place(end))
            if np.linalg.eigvalsh(gram - overlap @ overlap.T)[0] > _INSIDE * np.trace(gram):
                yield self._describe(overlap, gram, None)

    def _solve(self, velocity: _Velocity, place: _Placing, start: FloatArray) -> Iterator[FloatArray]:
        """Yield the root near `start` if there is one and it is new; small numbers in it are 0."""
        end, details, _, _ = optimize.fsolve(velocity, start, (self._rough,), xtol=1e-7, maxfev=150, full_output=True)
        if not np.all(np.isfinite(end)) or np.abs(details["fvec"]).max() > _ROUGH_RESIDUAL:
            return
        state = self.flow.unpack(place(end))
        if any(_is_image(self.model, state, other, _NEAR) for other in self._known):
            return
        self._known.append(state)
        end, details, _, _ = optimize.fsolve(velocity, end, (self.flow,), xtol=1e-11, maxfev=60, full_output=True)
        if np.all(np.isfinite(end)) and np.abs(details["fvec"]).max() < _RESIDUAL:
            yield np.where(np.abs(end) < 0.01 * _DISTINCT, 0.0, end)

    def _guard(self, state: FloatArray, flow: PairFlow) -> FloatArray:
        """Return the velocity, replaced by a pull back where no state is."""
        overlap, gram = flow.unpack(state)
        norms = np.maximum(np.diag(gram), 1e-6)
        bound = float(np.sqrt(norms.prod()))
        inner = gram.copy()
        inner[[0, 1], [0, 1]] = norms
        inner[0, 1] = inner[1, 0] = np.clip(gram[0, 1], -bound, bound)
        lengths = np.sqrt(np.sum(overlap**2, axis=1) / norms)
        inner_state = flow.pack(overlap / np.maximum(lengths, 1.0)[:, None], np.minimum(inner, 1e3))
        return flow.velocity(inner_state) - (state - inner_state)

    def _equal(self, overlap: FloatArray, norm: float) -> Iterator[_PairState]:
        """Yield a state of two equal units near that of one unit, if there is one."""
        size = len(overlap)

        def expand(single: FloatArray) -> FloatArray:
            r = 1.0 if self.model.is_sphere else max(float(single[size]), 1e-6)
            q = single[:size] / max(1.0, float(np.sqrt(single[:size] @ single[:size] / r)))
            return self.flow.pack(np.array([q, q]), np.full((2, 2), r))

        def velocity(single: FloatArray, flow: PairFlow) -> FloatArray:
            inner = expand(single)
            moved = flow.velocity(inner)
            moved, inner = (np.append(state[:size], state[-1])[: len(single)] for state in (moved, inner))
            return moved - (single - inner)

        for factor in (1.0, 0.75, 0.5) if self.model.decorrelation > 0 else (1.0,):
            first_norm = 1.0 if self.model.is_sphere else factor**2 * norm
            if not self._is_new((np.array([factor * overlap] * 2), np.full((2, 2), first_norm))):
                continue
            start = np.append(factor * overlap, [] if self.model.is_sphere else first_norm)
            for end in self._solve(velocity, expand, start):
                q, gram = self.flow.unpack(expand(end))
                if gram[0, 0] > _DISTINCT and np.array_equal(q[0] != 0, overlap != 0):
                    yield self._describe(q, gram, _EQUAL)

    def _unequal(self, equal: _PairState) -> Iterator[_PairState]:
        """Yield states inside near those of equal units, of which one is made larger and the other smaller."""
        q, r = equal.overlap[0], float(equal.gram[0, 0])
        if self.model.decorrelation > 0 and q.any() and not self.model.is_sphere:
            for share in _UNEQUAL:
                large, small = 1 + share, 1 - share
                yield from self._inside(large * q, large**2 * r, small * q, small**2 * r, _UNEQUAL_CORRELATION)

    def _is_new(self, start: _Place) -> bool:
        """Return True for the first start among its images, permutations of equal latents included."""
        images = [(start[0][:, order], start[1]) for order in _orders(self.model)]
        if any(_is_image(self.model, image, tried) for tried in self._tried for image in images):
            return False
        self._tried.append(start)
        return True

    def _collapsed(self, overlap: FloatArray, norm: float) -> Iterator[_PairState]:
        """Yield the state of one unit with a second unit at 0, if it is at rest."""
        state = np.array([overlap, np.zeros(len(overlap))]), np.array([[norm, 0.0], [0.0, 0.0]])
        if np.abs(self._finer.velocity(self.flow.pack(*state))).max() < _DISTINCT:
            yield self._describe(*state, np.eye(2))

    def _describe(self, overlap: FloatArray, gram: FloatArray, rotation: FloatArray | None) -> _PairState:
        residual = np.abs(self._finer.velocity(self.flow.pack(overlap, gram))).max()
        if rotation is None:
            values = eigenvalues_inside(self.flow, overlap, gram, self._free)
        else:
            values = eigenvalues_at_zero(self.flow, overlap, gram, rotation)
        order = np.lexsort((-values.imag, -values.real))
        return _PairState(overlap, gram, values[order], float(residual))


def name_kind(overlap: FloatArray) -> str:
    """Return which features two units have at a state: none, one (unit has one), same, each or mixed."""
    has = overlap != 0
    if np.any(has.sum(axis=1) > 1):
        return "mixed"
    count = int(has.any(axis=1).sum())
    return ("none", "one", "same" if np.array_equal(has[0], has[1]) else "each")[count]


def _images(model: ContrastiveModel, overlap: FloatArray, gram: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Yield all images of a state under the exchange of the units and under signs, some of them repeatedly."""
    unit_signs = list(product((1.0, -1.0), repeat=2)) if model.unit.parity != 0 else [(1.0, 1.0)]
    for order, units, features in product(((0, 1), (1, 0)), unit_signs, sign_symmetries(model)):
        signs = np.array(units)
        yield (
            signs[:, None] * overlap[list(order)] * features + 0.0,
            np.outer(signs, signs) * gram[np.ix_(order, order)] + 0.0,
        )


def _is_image(model: ContrastiveModel, state: _Place, other: _Place, distance: float = _DISTINCT) -> bool:
    return any(
        np.abs(overlap - other[0]).max() < distance and np.abs(gram - other[1]).max() < distance
        for overlap, gram in _images(model, *state)
    )


def _orders(model: ContrastiveModel) -> list[list[int]]:
    """Return the permutations of the features among those of equal law; the identity first."""
    return [
        list(order)
        for order in permutations(range(model.features))
        if all(model.latents[j] == model.latents[k] for j, k in enumerate(order))
    ]


def _permute_features(model: ContrastiveModel, state: _PairState) -> Iterator[_PairState]:
    """Yield the state with its features permuted among those of equal law; itself first."""
    for order in _orders(model):
        yield _PairState(state.overlap[:, order], state.gram, state.eigenvalues, state.residual)


def _as_dataset(model: ContrastiveModel, states: list[_PairState]) -> xr.Dataset:
    modes, p = 2 * model.features + (1 if model.is_sphere else 3), model.features
    eigenvalues = np.array([state.eigenvalues for state in states]).reshape(-1, modes)
    largest, scale = eigenvalues.real.max(axis=1, initial=-np.inf), np.abs(eigenvalues).max(axis=1, initial=0.0)
    counts = [
        len({(*np.round(q, 6).ravel(), *np.round(r, 6).ravel()) for q, r in _images(model, state.overlap, state.gram)})
        for state in states
    ]
    units = np.arange(1, 3)
    dataset = labelled(
        {
            "overlap": (("state", "unit", "feature"), np.array([s.overlap for s in states]).reshape(-1, 2, p)),
            "squared_norm": (("state", "unit", "unit_2"), np.array([s.gram for s in states]).reshape(-1, 2, 2)),
            "eigenvalues": (("state", "mode"), eigenvalues.astype(complex)),
            "kind": (("state",), np.array([name_kind(s.overlap) for s in states], dtype=str)),
            "stable": (("state",), largest < -_MARGINAL * scale),
            "marginal": (("state",), np.abs(largest) <= _MARGINAL * scale),
            "multiplicity": (("state",), np.array(counts, dtype=int)),
            "residual": (("state",), np.array([s.residual for s in states])),
        },
        {
            "state": np.arange(len(states)),
            "unit": units,
            "unit_2": units,
            "feature": np.arange(1, p + 1),
            "mode": np.arange(modes),
        },
        {"model": model.canonical()},
    )
    dataset["kind"].attrs = dict(PAIR_KIND_WORDS)
    return dataset
