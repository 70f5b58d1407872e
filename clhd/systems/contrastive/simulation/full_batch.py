"""One SGD step on full weight vectors: the covariance loss, several units, and the orthogonal background.

The step is that of `full.py`. Noise is drawn for each sample, in rows of raw noise x of unit variance (`noise.py`):
rows 0 and 1 are a pair. With the isotropic background the pair is the noise of both views. With the orthogonal one the
pair is the augmentation noise, and row 2 is the base noise, from which the components along the features are removed:

    a_bv = sum_(r < 2) mixing_vr x_br + mixing_v2 (x_b2 - sum_j xi_j (xi_j . x_b2) / n).

Only products with w and xi are needed, so no projected vector is stored. A negative sample has one view: its second row
is drawn and not used.

| symbol | name | shape |
|---|---|---|
| c | latent of each sample | (samples, p) |
| x | raw noise of each sample | (samples, chunks, 2, rows * LANES) |
| w . x / sqrt n | along_noise before the forces are known | (units, samples, rows) |
| xi . x_b2 / n | base | (samples, p) |
| z, h, d, Delta | pre-activations, outputs, derivatives, forces | (units, V, 1) |
"""

import math
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.core.streams import BitArray, aligned_zeros, seed_states
from clhd.systems.contrastive.model.activations import activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import COVARIANCE, LOSSES, covariance, forces
from clhd.systems.contrastive.simulation.full_step import (
    LatentTables,
    draw_latent,
    latent_tables,
    return_to_sphere,
    sum_lanes,
    update,
)
from clhd.systems.contrastive.simulation.noise import (
    CHUNK,
    LANES,
    NoiseSource,
    fill_raw_noise,
    open_rows,
    pair_mixing,
)


class BatchRule(NamedTuple):
    """The model in the form that the kernel of a step takes."""

    activation: int
    coefficients: FloatArray
    loss: int
    temperature: FloatArray  # (1,)
    centred: bool
    penalty: int
    weight: FloatArray  # (1,), of the penalty
    mixing: FloatArray  # (2, rows)
    learning_rate: float
    weight_decay: float
    l1_penalty: float
    is_sphere: bool


class BatchState(NamedTuple):
    """Weights and streams, which a step changes, features, and work space."""

    weights: FloatArray  # (units, chunks * CHUNK)
    features: FloatArray  # (p, chunks * CHUNK)
    stream: BitArray  # (4, 1), for the latents
    noise_streams: BitArray  # (samples, 4, rows * LANES)
    chi_streams: BitArray  # (samples, 4, (rows - 1) * LANES), or no lanes
    noise: FloatArray  # (samples, chunks, 2, rows * LANES), raw
    sums: FloatArray  # (1, LANES)


@kernel
def _multiply_noise(noise: FloatArray, row: int, vector: FloatArray, sums: FloatArray) -> float:
    """Return the product of one row of raw noise with a padded vector."""
    total = sums[0]
    total[:] = 0.0
    for chunk in range(len(noise)):
        for half in range(2):
            x = noise[chunk, half, row * LANES : (row + 1) * LANES]
            at = (2 * chunk + half) * LANES
            w = vector[at : at + LANES]
            for i in range(LANES):
                total[i] += w[i] * x[i]
    sum_lanes(sums)
    return float(total[0])


@kernel
def _multiply(one: FloatArray, other: FloatArray, sums: FloatArray) -> float:
    """Return the product of two padded vectors."""
    total = sums[0]
    total[:] = 0.0
    for at in range(0, len(one), LANES):
        x, y = one[at : at + LANES], other[at : at + LANES]
        for i in range(LANES):
            total[i] += x[i] * y[i]
    sum_lanes(sums)
    return float(total[0])


@kernel
def _draw(
    n: int,
    latents: LatentTables,
    source: NoiseSource,
    state: BatchState,
    c: FloatArray,
    overlap: FloatArray,
    along_noise: FloatArray,
    base: FloatArray,
) -> None:
    """Draw latents and raw noise of all samples, and write the products with weights and features."""
    weights, features, rows = state.weights, state.features, along_noise.shape[2]
    for b in range(len(c)):
        draw_latent(latents, state.stream, c[b])
        own = NoiseSource(
            source.law,
            state.noise_streams[b],
            source.positive,
            source.freedom,
            state.chi_streams[b],
            source.chi_work,
        )
        fill_raw_noise(own, state.noise[b])
        for row in range(rows):
            for k in range(len(weights)):
                along_noise[k, b, row] = _multiply_noise(state.noise[b], row, weights[k], state.sums) / math.sqrt(n)
        for j in range(len(features)):
            base[b, j] = _multiply_noise(state.noise[b], 2, features[j], state.sums) / n if rows == 3 else 0.0
    for k in range(len(weights)):
        for j in range(len(features)):
            overlap[k, j] = _multiply(weights[k], features[j], state.sums) / n


@kernel
def _add_noise(n: int, factors: FloatArray, weights: FloatArray, noise: FloatArray) -> None:
    """Add factors_r x_r, summed over the rows of one sample's raw noise, to the first n weights."""
    for at in range(0, n, LANES):
        length = min(LANES, n - at)
        w, raw = weights[at : at + length], noise[at // CHUNK, at // LANES % 2]
        for row in range(len(factors)):
            x, factor = raw[row * LANES : row * LANES + length], factors[row]
            for i in range(length):
                w[i] += factor * x[i]


@kernel
def advance_batch(
    steps: int, n: int, rule: BatchRule, latents: LatentTables, source: NoiseSource, state: BatchState, views: int
) -> None:
    """Make `steps` steps of SGD on `state.weights` at dimension n."""
    weights, features, noise, mixing = state.weights, state.features, state.noise, rule.mixing
    units, p, samples, rows = len(weights), len(features), len(noise), mixing.shape[1]
    root, rate = math.sqrt(n), rule.learning_rate / n
    keep, pull = 1.0 - rate * rule.weight_decay, rate * rule.l1_penalty
    c, base, overlap = np.empty((samples, p)), np.empty((samples, p)), np.empty((units, p))
    along_features, along_noise = np.empty(p), np.empty((units, samples, rows))
    z, h, d = np.empty((units, views, 1)), np.empty((units, views, 1)), np.empty((units, views, 1))
    flat_z, flat_h, flat_d = z.reshape(units, views), h.reshape(units, views), d.reshape(units, views)
    delta, mean, slope = np.empty((units, views, 1)), np.empty(1), np.empty((units, units, 1))
    is_batch = rule.loss == COVARIANCE
    for _ in range(steps):
        _draw(n, latents, source, state, c, overlap, along_noise, base)
        for k in range(units):
            for v in range(views):
                b, side = (v // 2, v % 2) if is_batch else (max(v - 1, 0), 1 if v == 1 else 0)
                z[k, v, 0] = 0.0
                for j in range(p):
                    along = c[b, j] - mixing[side, 2] * root * base[b, j] if rows == 3 else c[b, j]
                    z[k, v, 0] += overlap[k, j] * along
                for row in range(rows):
                    z[k, v, 0] += mixing[side, row] * along_noise[k, b, row]
            activate(rule.activation, rule.coefficients, flat_z[k], flat_h[k], flat_d[k])
        if is_batch:
            covariance.forces(rule.centred, rule.penalty, rule.weight, h, d, mean, slope, delta)
        else:
            forces(rule.loss, rule.temperature, h[0], d[0], delta[0])
        along_noise[:] = 0.0
        for k in range(units):
            along_features[:] = 0.0
            for v in range(views):
                b, side = (v // 2, v % 2) if is_batch else (max(v - 1, 0), 1 if v == 1 else 0)
                for row in range(rows):
                    along_noise[k, b, row] += rate * root * delta[k, v, 0] * mixing[side, row]
                for j in range(p):
                    along = c[b, j] - mixing[side, 2] * root * base[b, j] if rows == 3 else c[b, j]
                    along_features[j] += rate * delta[k, v, 0] * along
            update(n, keep, pull, along_features, along_noise[k, 0], weights[k], features, noise[0])
            for b in range(1, samples):
                _add_noise(n, along_noise[k, b], weights[k], noise[b])
            if rule.is_sphere:
                return_to_sphere(n, weights[k], state.sums)


class BatchEngine:
    """Weights, features and streams of one replica, and the kernel that advances them."""

    def __init__(self, model: ContrastiveModel, dimension: int, stream: str) -> None:
        chunks, samples = -(-dimension // CHUNK), model.samples
        variance, shared, rows = model.noise_variance, model.noise_covariance, 2
        if model.background == "orthogonal":
            variance, rows = model.augmentation_noise_variance, 3
            shared = model.noise_correlation * variance
        mixing = np.zeros((2, rows))
        mixing[:, :2] = pair_mixing(variance, shared, model.noise_law)
        mixing[:, 2:] = math.sqrt(model.base_noise_variance)
        correlation = shared / variance if variance > 0 else 1.0
        sources = [open_rows(model, f"{stream}|noise|sample={b}", rows, correlation) for b in range(samples)]
        self._dimension, self._views = dimension, model.views
        self._latents, self._source = latent_tables(model), sources[0]
        self._rule = BatchRule(
            activation=model.unit.code,
            coefficients=model.unit.coefficient_array,
            loss=LOSSES[model.loss].code if model.loss in LOSSES else COVARIANCE,
            temperature=np.array([model.softmax_temperature]),
            centred=bool(model.centred),
            penalty=covariance.DECORRELATIONS[model.decorrelation_function],
            weight=np.array([model.decorrelation]),
            mixing=mixing,
            learning_rate=model.learning_rate,
            weight_decay=model.weight_decay,
            l1_penalty=model.l1_penalty,
            is_sphere=model.is_sphere,
        )
        self._state = BatchState(
            weights=aligned_zeros((model.units, chunks * CHUNK)),
            features=aligned_zeros((model.features, chunks * CHUNK)),
            stream=seed_states(f"{stream}|latents", [0]),
            noise_streams=np.array([source.state for source in sources]),
            chi_streams=np.array([source.chi_state for source in sources]),
            noise=aligned_zeros((samples, chunks, 2, rows * LANES)),
            sums=aligned_zeros((1, LANES)),
        )
        self.weights, self.features = self._state.weights, self._state.features

    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD."""
        advance_batch(steps, self._dimension, self._rule, self._latents, self._source, self._state, self._views)
