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

from typing import Protocol

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.streams import aligned_zeros, seed_states
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import LOSSES
from clhd.systems.contrastive.simulation.chains import is_isotropic_pair
from clhd.systems.contrastive.simulation.conditioned import ConditionedEngine
from clhd.systems.contrastive.simulation.features import check_features
from clhd.systems.contrastive.simulation.full_batch import BatchEngine
from clhd.systems.contrastive.simulation.full_step import ReplicaState, StepRule, advance_weights, latent_tables
from clhd.systems.contrastive.simulation.noise import CHUNK, LANES, noise_mixing, open_noise_source
from clhd.systems.contrastive.simulation.start import draw_start, multiply


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
    engine : str
        "full" draws the noise of every view, "conditioned" one noise vector a step (`conditioned.py`).

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
        engine: str = "full",
    ) -> None:
        check_features(model, dimension)
        stream = f"{key}|replica={replica}"
        full = _PairEngine if is_isotropic_pair(model) else BatchEngine
        self._engine: _Engine = (ConditionedEngine if engine == "conditioned" else full)(model, dimension, stream)
        self.features: FloatArray = self._engine.features[:, :dimension]
        weights: FloatArray = self._engine.weights.reshape(model.units, -1)[:, :dimension]
        draw_start(model, stream, overlap, squared_norm, self.features, weights)
        self.weights: FloatArray = weights if model.units > 1 else weights[0]

    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD, without the GIL; weights that overflow become inf or NaN without an error."""
        self._engine.advance(steps)

    def order_parameters(self) -> tuple[FloatArray, FloatArray]:
        """Return overlap q and squared norm r, computed from the vectors; not finite if they diverged."""
        with np.errstate(all="ignore"):
            return multiply(self.weights, self.features), multiply(self.weights, self.weights)
