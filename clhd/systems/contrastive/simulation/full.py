"""Online SGD on the full weight vector in n dimensions: the reference for the projected chain.

One step draws fresh views y_v = (1 / sqrt n) sum_j c_vj xi_j + a_v, computes z_v = w . y_v / sqrt n, and sets

    w <- w + (eta / sqrt n) sum_v Delta_v y_v - (eta / n) (lam w + lam1 sign w),

followed, on the sphere, by w <- w sqrt(n) / |w|. Several units have weights and forces each, and see the same views. A
step costs O(V n d). The full simulation also gives what the order parameters do not determine: the elastic net, other
laws of noise and features, the weights themselves.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| n, p, d, V | dimension, features, units, views | | |
| w | weights | (n,), or (d, n) for d > 1 | O(1) entries |
| xi | features | (p, n) | rows of squared length n |
| c_v, a_v | latent and noise of a view | (p,), (n,) | |
| z_v, Delta_v | pre-activation of a view, force -dL / dz_v | | |
| q | overlap, xi_j . w / n | (p,), or (d, p) for d > 1 | |
| r | squared norm, w . w / n | (), or (d, d) for d > 1: w_i . w_k / n | |
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clhd.core.streams import aligned_zeros, seed_states
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import LOSSES
from clhd.systems.contrastive.model.state import factorise_rest
from clhd.systems.contrastive.simulation.features import check_features, draw_features
from clhd.systems.contrastive.simulation.frame_chain import needs_frame
from clhd.systems.contrastive.simulation.full_batch import BatchEngine
from clhd.systems.contrastive.simulation.full_step import ReplicaState, StepRule, advance_weights, latent_tables
from clhd.systems.contrastive.simulation.noise import CHUNK, LANES, noise_mixing, open_noise_source

FloatArray = NDArray[np.float64]


class _Engine(Protocol):
    """Weights, features and streams of one replica, and the kernel that advances them."""

    weights: FloatArray  # (chunks * CHUNK,) or (units, chunks * CHUNK)
    features: FloatArray  # (p, chunks * CHUNK)

    def advance(self, steps: int) -> None: ...


class _PairEngine:
    """The engine of a positive pair with its negatives: one unit, isotropic background."""

    def __init__(self, model: ContrastiveModel, dimension: int, stream: str) -> None:
        chunks = -(-dimension // CHUNK)
        views, p = model.views, model.features
        self._dimension = dimension
        self._latents = latent_tables(model)
        self._source = open_noise_source(model, f"{stream}|noise")
        self._rule = StepRule(
            activation=model.unit.code,
            coefficients=model.unit.coefficient_array,
            loss=LOSSES[model.loss].code,
            temperature=np.array([model.softmax_temperature]),
            mixing=noise_mixing(model),
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            l1_penalty=model.l1_penalty,
            is_sphere=model.is_sphere,
        )
        self._state = ReplicaState(
            weights=aligned_zeros(chunks * CHUNK),
            features=aligned_zeros((p, chunks * CHUNK)),
            stream=seed_states(f"{stream}|latents", [0]),
            noise=aligned_zeros((chunks, 2, views * LANES)),
            sums=aligned_zeros((p + views, LANES)),
        )
        self.weights, self.features = self._state.weights, self._state.features

    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD."""
        advance_weights(steps, self._dimension, self._rule, self._latents, self._source, self._state)


class FullReplica:
    """One replica of SGD at dimension n: its features, its weights and its random streams.

    Its results depend on `key` and `replica` alone, not on how its steps are divided into calls of `advance`, nor on
    other replicas or threads. Memory is O(n).

    Parameters
    ----------
    model : ContrastiveModel
    dimension : int
        n.
    key : str
        Text that identifies the random streams; the replica's number is appended here.
    replica : int
        0 or more.
    overlap : array of shape (p,) or (d, p), or None
        Exact initial overlap q; the rest of w has a random direction orthogonal to the features. None draws
        w ~ N(0, squared_norm I), which is rescaled on the sphere.
    squared_norm : float or array of shape (d, d)
        Initial r; see `clhd.systems.contrastive.model.state.factorise_rest`.

    Attributes
    ----------
    weights : array of shape (n,), or (d, n) for several units
        View of the current weights, which `advance` changes.
    features : array of shape (p, n)

    Raises
    ------
    ClhdError
        If the feature law has no exactly orthogonal features in this dimension (see `check_features`).
    """

    def __init__(
        self,
        model: ContrastiveModel,
        dimension: int,
        key: str,
        replica: int,
        *,
        overlap: FloatArray | None,
        squared_norm: float | FloatArray,
    ) -> None:
        check_features(model, dimension)
        stream = f"{key}|replica={replica}"
        engine = BatchEngine if needs_frame(model) else _PairEngine
        self._engine: _Engine = engine(model, dimension, stream)
        self.features: FloatArray = self._engine.features[:, :dimension]
        weights: FloatArray = self._engine.weights.reshape(model.units, -1)[:, :dimension]
        # Two streams, so that the initial weights have the same random direction under every feature law.
        words = seed_states(f"{stream}|start", range(2))
        feature_generator, weight_generator = (np.random.default_rng([int(word) for word in s]) for s in words.T)
        self.features[:] = draw_features(model, dimension, feature_generator)
        if model.units > 1 and overlap is not None:
            weights[:] = _draw_units(self.features, overlap, squared_norm, weight_generator)
        else:
            for row in weights:
                row[:] = _draw_weights(self.features, overlap, float(squared_norm), model.is_sphere, weight_generator)
        self.weights: FloatArray = weights if model.units > 1 else weights[0]

    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD, without the GIL; weights that overflow become inf or NaN without an error."""
        self._engine.advance(steps)

    def order_parameters(self) -> tuple[FloatArray, FloatArray]:
        """Return overlap q and squared norm r, computed from the vectors; not finite if they diverged."""
        with np.errstate(all="ignore"):
            return _multiply(self.weights, self.features), _multiply(self.weights, self.weights)


def _multiply(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the products of all vectors (the last dim) of two arrays, over n."""
    rows, columns = one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1])
    products: FloatArray = np.array([[_dot(column, row) for column in columns] for row in rows])
    products /= one.shape[-1]
    return products.reshape(one.shape[:-1] + other.shape[:-1])


def _dot(x: FloatArray, y: FloatArray) -> float:
    """Return x . y without BLAS, whose bits may depend on its number of threads."""
    return float(np.sum(x * y))


def _draw_weights(
    features: FloatArray,
    overlap: FloatArray | None,
    squared_norm: float,
    is_sphere: bool,
    generator: np.random.Generator,
) -> FloatArray:
    """Return initial weights of one unit, shape (n,), with exact overlap and squared norm, or random."""
    p, n = features.shape
    weights: FloatArray = generator.standard_normal(size=(n,))
    if overlap is None:
        norm = n / _dot(weights, weights) if is_sphere else squared_norm
        return np.multiply(math.sqrt(norm), weights)
    rest = squared_norm - _dot(overlap, overlap)
    for _ in range(2):  # the second pass removes the rounding error of the first
        for row in features:
            weights -= (_dot(row, weights) / n) * row
    weights = weights * (math.sqrt(max(rest, 0.0) * n / _dot(weights, weights)) if n > p else 0.0)
    for value, row in zip(overlap, features, strict=True):
        weights += value * row
    return weights


def _draw_units(
    features: FloatArray, overlap: FloatArray, squared_norm: float | FloatArray, generator: np.random.Generator
) -> FloatArray:
    """Return initial weights of several units, shape (d, n), with exact overlap and squared norm."""
    rest, n = factorise_rest(overlap, squared_norm), features.shape[1]
    directions = generator.standard_normal(size=(len(overlap), n))
    for k in range(len(directions)):  # orthogonal to the features and to each other
        for _ in range(2):  # the second pass removes the rounding error of the first
            for other in (*features, *directions[:k]):
                directions[k] -= (_dot(other, directions[k]) / n) * other
        directions[k] *= math.sqrt(n / _dot(directions[k], directions[k]))
    weights = np.zeros(directions.shape)
    for k, values in enumerate(np.concatenate([overlap, rest], axis=1)):
        for value, direction in zip(values, (*features, *directions), strict=True):
            weights[k] += value * direction
    return weights
