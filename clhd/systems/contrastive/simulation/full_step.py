"""Kernels of one SGD step on the full weight vector; `full.py` describes the step.

A step has two passes over the coordinates. `_project` draws raw noise and multiplies it and the features by w, which
gives z, h and Delta; `update` adds features and noise to w. Both work on blocks that fit into the first-level cache,
and their inner loops run over plain arrays, lane by lane, so that they vectorise.

| symbol | name | shape |
|---|---|---|
| c | latent of each view | (V, p) |
| x | raw noise of each view; a = mixing @ x is the noise (`noise.py`) | (chunks, 2, V * LANES) |
| z, h, d, Delta | pre-activations, outputs, derivatives, forces | (V, 1) |
| sums | w . xi_j and w . x_v, lane by lane | (p + V, LANES) |

Vectors are padded with zeros to whole chunks. Noise drawn on the padding is multiplied by weights of 0, and the update
stops at coordinate n, so the padding stays 0.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import inlined, kernel
from clhd.core.streams import BitArray, bits_to_fraction, next_bits
from clhd.core.vector_math import minus_two_log
from clhd.systems.contrastive.model.activations import activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import DISCRETE, LAPLACE, SAMPLERS, UNIFORM
from clhd.systems.contrastive.model.losses import forces
from clhd.systems.contrastive.simulation.noise import CHUNK, LANES, NoiseSource, fill_raw_noise

Offset = int | np.uint64

# Chunks in one block, which stays in the first-level cache.
_BLOCK = 8
# Offsets are unsigned: numba tests signed ones for negative values, which costs as much as the products.
_LANES, _CHUNK = np.uint64(LANES), np.uint64(CHUNK)


class LatentTables(NamedTuple):
    """Latent laws in the form that the kernel samples: code and scale of each, and atoms of the discrete ones."""

    law: IntArray  # (p,)
    scale: FloatArray  # (p,)
    value: FloatArray  # (p, atoms)
    cumulative: FloatArray  # (p, atoms)


class StepRule(NamedTuple):
    """The model in the form that the kernel of a step takes."""

    activation: int
    coefficients: FloatArray
    loss: int
    temperature: FloatArray  # (1,)
    mixing: FloatArray  # (V, V)
    learning_rate: float
    weight_decay: float
    l1_penalty: float
    is_sphere: bool


class ReplicaState(NamedTuple):
    """Weights and streams, which a step changes, features, and work space."""

    weights: FloatArray  # (chunks * CHUNK,)
    features: FloatArray  # (p, chunks * CHUNK)
    stream: BitArray  # (4, 1), for the latents
    noise: FloatArray  # (chunks, 2, V * LANES), raw
    sums: FloatArray  # (p + V, LANES)


@lru_cache(maxsize=128)  # shared by the replicas of a point, which only read it
def latent_tables(model: ContrastiveModel) -> LatentTables:
    """Return the latent laws of a model as arrays; short lists of atoms repeat their last atom."""
    atoms = [law.atoms() if law.is_discrete else (np.zeros(1), np.ones(1)) for law in model.latents]
    most = max(len(values) for values, _ in atoms)
    value = np.array([np.pad(values, (0, most - len(values)), mode="edge") for values, _ in atoms])
    cumulative = np.array([np.pad(np.cumsum(weights), (0, most - len(weights)), mode="edge") for _, weights in atoms])
    return LatentTables(
        law=np.array([SAMPLERS[law.sampler] for law in model.latents], dtype=np.int64),
        scale=np.array([law.scale for law in model.latents]),
        value=value,
        cumulative=cumulative,
    )


@kernel
def _draw_uniform(stream: BitArray) -> float:
    bits, stream[0, 0], stream[1, 0], stream[2, 0], stream[3, 0] = next_bits(
        stream[0, 0], stream[1, 0], stream[2, 0], stream[3, 0]
    )
    return bits_to_fraction(bits)


@kernel
def draw_latent(latents: LatentTables, stream: BitArray, c: FloatArray) -> None:
    """Write one latent vector, shape (p,), to `c`."""
    for j in range(len(c)):
        law, scale = latents.law[j], latents.scale[j]
        u = _draw_uniform(stream)
        if law == DISCRETE:
            k = 0
            while k < latents.value.shape[1] - 1 and u > latents.cumulative[j, k]:
                k += 1
            c[j] = latents.value[j, k]
        elif law == UNIFORM:
            c[j] = scale * math.sqrt(3.0) * (2.0 * u - 1.0)
        elif law == LAPLACE:
            size = math.sqrt(0.125) * scale * minus_two_log(u)
            c[j] = size if _draw_uniform(stream) <= 0.5 else -size
        else:
            angle = 2.0 * math.pi * _draw_uniform(stream)
            c[j] = scale * math.sqrt(minus_two_log(u)) * math.cos(angle)


@kernel
def sum_lanes(sums: FloatArray) -> None:
    """Sum the lanes of each row into its first lane, in four chains: a single chain would wait for each addition."""
    for row in range(len(sums)):
        a, b, c, d = 0.0, 0.0, 0.0, 0.0
        for i in range(0, LANES, 4):
            a += sums[row, i]
            b += sums[row, i + 1]
            c += sums[row, i + 2]
            d += sums[row, i + 3]
        sums[row, 0] = (a + b) + (c + d)


@inlined
def _add_products(
    sums: FloatArray, row: Offset, w: FloatArray, at: Offset, x: FloatArray, low: Offset, high: Offset
) -> None:
    """Add the products of one chunk of `w` and the two halves of a chunk of `x` to the lanes of one row of `sums`."""
    for i in range(_LANES):
        sums[row + i] += w[at + i] * x[low + i] + w[at + _LANES + i] * x[high + i]


@kernel
def _project(
    p: np.uint64, source: NoiseSource, weights: FloatArray, features: FloatArray, noise: FloatArray, sums: FloatArray
) -> None:
    """Draw raw noise for all views and write w . xi_j and w . x_v to the first lane of the rows of `sums`.

    Each lane has its own sum, because the compiler must not reorder, and so cannot vectorise, one long sum.
    """
    sums[:] = 0.0
    flat_features, flat_noise, flat_sums = features.reshape(-1), noise.reshape(-1), sums.reshape(-1)
    padded, views = np.uint64(len(weights)), np.uint64(len(sums)) - p
    for block in range(0, len(noise), _BLOCK):
        stop = min(block + _BLOCK, len(noise))
        fill_raw_noise(source, noise[block:stop])
        for at in range(np.uint64(block) * _CHUNK, np.uint64(stop) * _CHUNK, _CHUNK):
            for j in range(p):
                low = j * padded + at
                _add_products(flat_sums, j * _LANES, weights, at, flat_features, low, low + _LANES)
            for v in range(views):
                low = at * views + v * _LANES
                _add_products(flat_sums, (p + v) * _LANES, weights, at, flat_noise, low, low + views * _LANES)
    sum_lanes(sums)


@kernel
def update(
    n: int,
    keep: float,
    pull: float,
    along_features: FloatArray,
    along_noise: FloatArray,
    weights: FloatArray,
    features: FloatArray,
    noise: FloatArray,
) -> None:
    """Set w <- keep w - pull sign w + sum_j along_features_j xi_j + sum_v along_noise_v x_v."""
    f0, f1 = along_noise[0], along_noise[1]
    for start in range(0, n, _BLOCK * CHUNK):
        stop = min(start + _BLOCK * CHUNK, n)
        w = weights[start:stop]
        if pull != 0.0:
            for i in range(len(w)):
                sign = (1.0 if w[i] > 0.0 else 0.0) - (1.0 if w[i] < 0.0 else 0.0)
                w[i] = keep * w[i] - pull * sign
        else:
            for i in range(len(w)):
                w[i] *= keep
        for j in range(len(along_features)):
            feature, factor = features[j, start:stop], along_features[j]
            for i in range(len(w)):
                w[i] += factor * feature[i]
        for at in range(start, stop, LANES):
            length = min(LANES, stop - at)
            w = weights[at : at + length]
            raw = noise[at // CHUNK, at // LANES % 2]
            first, second = raw[:length], raw[LANES : LANES + length]
            for i in range(length):
                w[i] += f0 * first[i] + f1 * second[i]
            for v in range(2, len(along_noise)):
                x, factor = raw[v * LANES : v * LANES + length], along_noise[v]
                for i in range(length):
                    w[i] += factor * x[i]


@kernel
def return_to_sphere(n: int, weights: FloatArray, sums: FloatArray) -> None:
    """Set w <- w sqrt(n) / |w|."""
    square = sums[0]
    square[:] = 0.0
    for start in range(0, len(weights), LANES):
        w = weights[start : start + LANES]
        for i in range(LANES):
            square[i] += w[i] * w[i]
    sum_lanes(sums[:1])
    factor = math.sqrt(n / square[0])
    for i in range(n):
        weights[i] *= factor


@kernel
def advance_weights(
    steps: int, n: int, rule: StepRule, latents: LatentTables, source: NoiseSource, state: ReplicaState
) -> None:
    """Make `steps` steps of SGD on `state.weights` at dimension n."""
    weights, features, noise, sums = state.weights, state.features, state.noise, state.sums
    mixing, coefficients = rule.mixing, rule.coefficients
    p, views = len(features), len(mixing)
    root, rate = math.sqrt(n), rule.learning_rate / n
    keep, pull = 1.0 - rate * rule.weight_decay, rate * rule.l1_penalty
    c = np.empty((views, p))
    z, h, d, delta = np.empty((views, 1)), np.empty((views, 1)), np.empty((views, 1)), np.empty((views, 1))
    flat_z, flat_h, flat_d = z.reshape(views), h.reshape(views), d.reshape(views)
    along_features, along_noise = np.empty(p), np.empty(views)
    for _ in range(steps):
        draw_latent(latents, state.stream, c[0])
        for j in range(p):
            c[1, j] = c[0, j]
        for v in range(2, views):
            draw_latent(latents, state.stream, c[v])
        _project(np.uint64(p), source, weights, features, noise, sums)
        for v in range(views):
            z[v, 0] = 0.0
            for u in range(views):
                z[v, 0] += mixing[v, u] * (sums[p + u, 0] / root)
            for j in range(p):
                z[v, 0] += c[v, j] * (sums[j, 0] / n)
        activate(rule.activation, coefficients, flat_z, flat_h, flat_d)
        forces(rule.loss, rule.temperature, h, d, delta)
        along_features[:] = 0.0
        along_noise[:] = 0.0
        for v in range(views):
            for u in range(views):
                along_noise[u] += rate * root * delta[v, 0] * mixing[v, u]
            for j in range(p):
                along_features[j] += rate * delta[v, 0] * c[v, j]
        update(n, keep, pull, along_features, along_noise, weights, features, noise)
        if rule.is_sphere:
            return_to_sphere(n, weights, sums)
