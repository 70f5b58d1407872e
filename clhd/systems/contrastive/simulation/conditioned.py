"""Online SGD on the full weight vector, with one noise vector a step: noise given the pre-activations.

The step is that of `full.py`, for one unit and Gaussian noise. The forces depend on the noise through the numbers
zeta_v = w . a_v / sqrt n alone. Given them, the sum of all noise is Gaussian (docs/theory.md, "Conditioned noise"), so
one vector g of n standard normal numbers replaces the noise of all views:

    zeta = sqrt(rho) e,     e ~ N(0, K),     t = sum_v Delta_v e_v,     D = sum_uv K_uv Delta_u Delta_v,
    sum_v Delta_v a_v = u t + sqrt(D) (g - u (u . g)),     u = w / |w|,     rho = r.

With the orthogonal background the noise along the features is augmentation noise alone. It is drawn for each view and
added to the latents; w and g are replaced by their parts orthogonal to the features, and rho = r - |q|^2. A step draws
n + V normal numbers in place of V n, or n + V (p + 1), for every regulariser and every law of the features.

| symbol | name | shape |
|---|---|---|
| c | latent of each view, with its noise | (V, p) |
| e | along_weights | (V,) |
| g | noise, by chunks and their halves | (chunks, 2, LANES) |
| w . xi_j, w . w, w . g, xi_j . g | rows of sums, lane by lane | (2 p + 2, LANES) |
| z, h, d, Delta | pre-activations, outputs, derivatives, forces | (1, V, 1) |

Vectors are padded with zeros to whole chunks.
"""

import math
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import BoolArray, FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.streams import BitArray, aligned_zeros, fill_normal_pairs, seed_lanes, seed_states
from clhd.systems.contrastive.model.activations import activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import COVARIANCE, LOSSES, covariance, forces
from clhd.systems.contrastive.simulation.full_step import (
    LatentTables,
    draw_latent,
    latent_tables,
    return_to_sphere,
    sum_lanes,
)
from clhd.systems.contrastive.simulation.noise import CHUNK, LANES


class _Rule(NamedTuple):
    """The model in the form that the kernel of a step takes."""

    activation: int
    coefficients: FloatArray
    loss: int
    temperature: FloatArray  # (1,)
    centred: bool
    sample: IntArray  # (V,), the sample of each view
    is_second: BoolArray  # (V,), whether the view and the one before it are a pair
    variance: float
    covariance: float
    is_orthogonal: bool
    feature_variance: float  # of the noise along a feature, with the orthogonal background
    feature_covariance: float
    learning_rate: float
    weight_decay: float
    l1_penalty: float
    is_sphere: bool


class _State(NamedTuple):
    """Weights and streams, which a step changes, features, and work space."""

    weights: FloatArray  # (chunks * CHUNK,)
    features: FloatArray  # (p, chunks * CHUNK)
    latent_stream: BitArray  # (4, 1)
    along_stream: BitArray  # (4, V / 2), for e and the noise along the features
    noise_stream: BitArray  # (4, LANES), for g
    noise: FloatArray  # (chunks, 2, LANES)
    sums: FloatArray  # (2 p + 2, LANES)


@kernel
def _add_product(total: FloatArray, one: FloatArray, other: FloatArray) -> None:
    for i in range(LANES):
        total[i] += one[i] * other[i]


@kernel
def _draw_noise(n: int, is_orthogonal: bool, state: _State) -> None:
    """Draw g, and write all products to the first lane of the rows of the sums; xi_j . g is 0 if nothing needs it."""
    weights, features, noise, sums = state.weights, state.features, state.noise, state.sums
    p = len(features)
    sums[:] = 0.0
    for chunk in range(len(noise)):
        fill_normal_pairs(state.noise_stream, noise[chunk, 0], noise[chunk, 1])
        for half in range(2):
            at = (2 * chunk + half) * LANES
            w, g = weights[at : at + LANES], noise[chunk, half]
            for j in range(p):
                _add_product(sums[j], w, features[j, at : at + LANES])
            _add_product(sums[p], w, w)
            _add_product(sums[p + 1], w, g)
            if is_orthogonal:
                for j in range(p):
                    _add_product(sums[p + 2 + j], features[j, at : at + LANES], g)
    noise.reshape(-1)[n:] = 0.0
    sum_lanes(sums)


@kernel
def _move(keep: float, pull: float, along_features: FloatArray, factor: float, state: _State) -> None:
    """Set w <- keep w - pull sign w + factor g + sum_j along_features_j xi_j."""
    weights, features, noise = state.weights, state.features, state.noise
    for part in range(len(weights) // LANES):
        at = part * LANES
        w, g = weights[at : at + LANES], noise[part // 2, part % 2]
        if pull != 0.0:
            for i in range(LANES):
                sign = (1.0 if w[i] > 0.0 else 0.0) - (1.0 if w[i] < 0.0 else 0.0)
                w[i] = keep * w[i] - pull * sign + factor * g[i]
        else:
            for i in range(LANES):
                w[i] = keep * w[i] + factor * g[i]
        for j in range(len(features)):
            feature, along_feature = features[j, at : at + LANES], along_features[j]
            for i in range(LANES):
                w[i] += along_feature * feature[i]


@kernel
def _draw_views(
    variance: float, covariance: float, rule: _Rule, stream: BitArray, pairs: FloatArray, out: FloatArray
) -> None:
    """Write one number of noise for each view to `out`; a pair of views has the covariance."""
    fill_normal_pairs(stream, pairs[0], pairs[1])
    sigma = math.sqrt(variance)
    common = min(max(covariance / variance, -1.0), 1.0) if variance > 0.0 else 0.0
    own = math.sqrt((1.0 - common) * (1.0 + common))
    for v in range(len(out)):
        out[v] = sigma * pairs[v % 2, v // 2]
        if rule.is_second[v]:
            out[v] = common * out[v - 1] + own * out[v]


@kernel
def _draw_latents(rule: _Rule, latents: LatentTables, state: _State, pairs: FloatArray, c: FloatArray) -> None:
    """Draw the latents of each view, with the noise along the features that the orthogonal background leaves."""
    along = np.empty(len(c))
    for v in range(len(c)):
        if v > 0 and rule.sample[v] == rule.sample[v - 1]:
            c[v] = c[v - 1]
        else:
            draw_latent(latents, state.latent_stream, c[v])
    if rule.is_orthogonal:
        for j in range(c.shape[1]):
            _draw_views(rule.feature_variance, rule.feature_covariance, rule, state.along_stream, pairs, along)
            for v in range(len(c)):
                c[v, j] += along[v]


@kernel
def _gradient_variance(rule: _Rule, delta: FloatArray) -> float:
    """Return D; rounding does not make it negative."""
    total = 0.0
    for v in range(len(delta)):
        total += rule.variance * delta[v] * delta[v]
        if rule.is_second[v]:
            total += 2.0 * rule.covariance * delta[v - 1] * delta[v]
    return total if total > 0.0 else 0.0


@kernel
def _advance(steps: int, n: int, rule: _Rule, latents: LatentTables, state: _State) -> None:
    """Make `steps` steps of SGD on `state.weights` at dimension n."""
    p, views = len(state.features), len(rule.sample)
    root, rate = math.sqrt(n), rule.learning_rate / n
    keep, pull = 1.0 - rate * rule.weight_decay, rate * rule.l1_penalty
    c, q, along_features = np.empty((views, p)), np.empty(p), np.empty(p)
    pairs, along = np.empty((2, state.along_stream.shape[1])), np.empty(views)
    z, h, d, delta = np.empty((1, views, 1)), np.empty((1, views, 1)), np.empty((1, views, 1)), np.empty((1, views, 1))
    flat_z, flat_h, flat_d, force = z.reshape(views), h.reshape(views), d.reshape(views), delta.reshape(views)
    mean, slope = np.empty(1), np.empty((1, 1, 1))
    penalty, no_weight = 0, np.zeros(1)
    for _ in range(steps):
        _draw_latents(rule, latents, state, pairs, c)
        _draw_views(rule.variance, rule.covariance, rule, state.along_stream, pairs, along)
        _draw_noise(n, rule.is_orthogonal, state)
        rest, across = state.sums[p, 0] / n, state.sums[p + 1, 0]  # rho; and |w| u . g
        for j in range(p):
            q[j] = state.sums[j, 0] / n
            if rule.is_orthogonal:
                rest -= q[j] * q[j]
                across -= q[j] * state.sums[p + 2 + j, 0]
        amplitude = math.sqrt(rest if rest > 0.0 else 0.0)
        for v in range(views):
            flat_z[v] = amplitude * along[v]
            for j in range(p):
                flat_z[v] += q[j] * c[v, j]
        activate(rule.activation, rule.coefficients, flat_z, flat_h, flat_d)
        if rule.loss == COVARIANCE:
            covariance.forces(rule.centred, penalty, no_weight, h, d, mean, slope, delta)
        else:
            forces(rule.loss, rule.temperature, h[0], d[0], delta[0])

        factor, scale = rate * root * math.sqrt(_gradient_variance(rule, force)), 0.0
        if amplitude > 0.0:
            for v in range(views):
                scale += rate * force[v] * along[v] / amplitude
            scale -= factor * across / (n * rest)
        for j in range(p):
            along_features[j] = 0.0
            for v in range(views):
                along_features[j] += rate * force[v] * c[v, j]
            if rule.is_orthogonal:
                along_features[j] -= scale * q[j] + factor * state.sums[p + 2 + j, 0] / n
        _move(keep + scale, pull, along_features, factor, state)
        if rule.is_sphere:
            return_to_sphere(n, state.weights, state.sums[:1])


class ConditionedEngine:
    """Weights, features and streams of one replica, and the kernel that advances them."""

    def __init__(self, model: ContrastiveModel, dimension: int, stream: str) -> None:
        chunks, p, views = -(-dimension // CHUNK), model.features, np.arange(model.views)
        is_batch = model.loss == "covariance"
        self._dimension, self._latents = dimension, latent_tables(model)
        self._rule = _Rule(
            activation=model.unit.code,
            coefficients=model.unit.coefficient_array,
            loss=COVARIANCE if is_batch else LOSSES[model.loss].code,
            temperature=np.array([model.softmax_temperature]),
            centred=bool(model.centred),
            sample=views // 2 if is_batch else np.maximum(views - 1, 0),
            is_second=views % 2 == 1 if is_batch else views == 1,
            variance=model.noise_variance,
            covariance=model.noise_covariance,
            is_orthogonal=model.background == "orthogonal",
            feature_variance=model.augmentation_noise_variance,
            feature_covariance=model.noise_correlation * model.augmentation_noise_variance,
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            l1_penalty=model.l1_penalty,
            is_sphere=model.is_sphere,
        )
        self._state = _State(
            weights=aligned_zeros(chunks * CHUNK),
            features=aligned_zeros((p, chunks * CHUNK)),
            latent_stream=seed_states(f"{stream}|latents", [0]),
            along_stream=seed_lanes(f"{stream}|along weights", -(-model.views // 2)),
            noise_stream=seed_lanes(f"{stream}|noise", LANES),
            noise=aligned_zeros((chunks, 2, LANES)),
            sums=aligned_zeros((2 * p + 2, LANES)),
        )
        self.weights, self.features = self._state.weights, self._state.features

    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD."""
        _advance(steps, self._dimension, self._rule, self._latents, self._state)
