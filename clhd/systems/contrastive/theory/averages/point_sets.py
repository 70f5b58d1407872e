"""Drift terms of a loss whose averages do not factorise over the samples, as averages over one fixed set of points.

g, A (Stein's integrand) and D are averages over the latents and the noise of V views,

    z_v = c_v . q + sqrt(r) y_v,      y ~ N(0, K),      c_1 = c_2 the positive sample's latent, c_v a negative's.

y and the latents come from a scrambled Sobol sequence with a fixed seed. The set does not change along a trajectory,
so the right-hand side is a smooth function of the state. Its error is reduced in four ways:

- the latents of the positive sample and of the first negative are summed over their atoms, exactly, if these are few.
  If they are many, a symmetric law contributes a sampled latent and its negative. So g vanishes exactly where q does;
- the negatives are exchangeable, so g takes M times the contribution of the first;
- sampled latents are used with all sign changes that keep their law (with three or more features: all signs at once),
  and the noise with its negative unless h and the latents imply it: the symmetries of the ODE hold exactly, and the
  averages are even in sqrt r;
- Stein's form of A has no division by r, so it is as accurate at r = 0 as elsewhere.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| y | ``PointSet.noise`` | (block, view, LANES) | of one coordinate's noise |
| c_1, c_3 | ``PointSet.positive``, ``negative`` | (block, atom, feature, LANES) | of a latent |
| c_4, ... | ``PointSet.others`` | (block, M - 1, feature, LANES) | of a latent |
"""

from itertools import product
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.core.lazy import qmc, special
from clhd.systems.contrastive.model.activations import activate, activate_second
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import differentiate_forces, forces

# Points of the Sobol sequence, without their images; a power of 2 keeps the sequence balanced.
POINTS = 4096
# Points that are computed together; also a power of 2.
_LANES = 128
# Latents with more atoms than this are sampled.
_MAX_ATOMS = 9
_MAX_FEATURES = 6
_SEED = 20240610


class PointSet(NamedTuple):
    """The points of one model, in the form that the kernel takes.

    Attributes
    ----------
    noise : array of shape (block, view, LANES)
        y.
    positive, negative : array of shape (block, atom, feature, LANES)
        Latents of the positive sample and of the first negative; the averages sum over their atoms.
    weights : array of shape (atom,)
        Weights of these atoms.
    others : array of shape (block, negative - 1, feature, LANES)
        Latents of the other negatives.
    """

    noise: FloatArray
    positive: FloatArray
    negative: FloatArray
    weights: FloatArray
    others: FloatArray


def draw_points(model: ContrastiveModel, *, scrambling: int = 0, points: int = POINTS) -> PointSet:
    """Return the point set of a model.

    Parameters
    ----------
    model : ContrastiveModel
    scrambling : int
        Number of an independent scrambling of the sequence, from 0; the theory uses 0.
    points : int
        Points of the sequence, a power of 2, at least 128.
    """
    views, samples = model.views, model.views - 1
    # Always draw for 6 features, so that the points do not depend on how many there are: at q = 0 all models then have
    # the same averages, to the last digits.
    engine = qmc.Sobol(views + _MAX_FEATURES * samples, rng=np.random.default_rng([_SEED, scrambling]))
    uniform = engine.random(points)
    noise = special.ndtri(np.clip(uniform[:, :views], 1e-16, 1 - 1e-16)) @ _mixing(model).T
    latents = np.empty((points, samples, model.features))
    for k, (j, law) in product(range(samples), enumerate(model.latents)):
        values, weights = law.atoms()
        last = np.minimum(
            np.searchsorted(np.cumsum(weights), uniform[:, views + _MAX_FEATURES * k + j]), len(values) - 1
        )
        latents[:, k, j] = values[last]
    values, weights = model.latent_atoms()
    is_exact, images = len(weights) <= _MAX_ATOMS, _images(model)
    noise = np.concatenate([sign * noise for sign, _ in images])
    latents = np.concatenate([latents * pattern for _, pattern in images])
    if is_exact:
        first = second = np.broadcast_to(values, (len(noise), *values.shape))
    else:
        both = np.array([1.0, -1.0] if model.has_symmetric_latents else [1.0])
        first, second = (latents[:, k, None, :] * both[:, None] for k in (0, 1))
        weights = np.full(len(both), 1 / len(both))
    return PointSet(
        noise=_in_blocks(noise),
        positive=_in_blocks(first),
        negative=_in_blocks(second),
        weights=weights,
        others=_in_blocks(latents[:, 2:]),
    )


def _mixing(model: ContrastiveModel) -> FloatArray:
    """Return the matrix that gives independent normal numbers the covariance K; the pair is a sum and a difference."""
    s2, kappa = model.noise_variance, model.noise_covariance
    mixing = np.sqrt(s2) * np.eye(model.views)
    alpha, beta = np.sqrt(max(0.5 * (s2 + kappa), 0.0)), np.sqrt(max(0.5 * (s2 - kappa), 0.0))
    mixing[:2, :2] = [[alpha, beta], [alpha, -beta]]
    return np.asarray(mixing, dtype=np.float64)


def count_terms(model: ContrastiveModel) -> int:
    """Return the number of terms of an average, over points and atoms, which determines its cost."""
    atoms = len(model.latent_atoms()[1])
    summed = atoms if atoms <= _MAX_ATOMS else 2 if model.has_symmetric_latents else 1
    return POINTS * len(_images(model)) * summed**2


def _images(model: ContrastiveModel) -> list[tuple[float, FloatArray]]:
    """Return the signs of the noise and of the sampled latents in the images of a point, the identity first."""
    is_sampled = len(model.latent_atoms()[1]) > _MAX_ATOMS
    patterns = _sign_patterns(model) if is_sampled or model.views > 3 else [np.ones(model.features)]
    if is_sampled and model.views == 3 and model.has_symmetric_latents:
        # The average already sums both latents over their two signs: an image with all signs changed is the same term.
        patterns = [pattern for pattern in patterns if pattern[0] > 0]
    signs = [1.0] if model.unit.parity != 0 and model.has_symmetric_latents else [1.0, -1.0]
    return list(product(signs, patterns))


def _sign_patterns(model: ContrastiveModel) -> list[FloatArray]:
    """Return the sign changes of the sampled latents that keep their law, the identity first."""
    if model.features > 2:
        return [np.ones(model.features), -np.ones(model.features)][: 1 + model.has_symmetric_latents]
    choices = [(1.0, -1.0) if law.is_symmetric else (1.0,) for law in model.latents]
    return [np.array(pattern) for pattern in product(*choices)]


def _in_blocks(points: FloatArray) -> FloatArray:
    """Split the first axis, of points, into blocks (first axis) and lanes (last axis)."""
    blocks = points.reshape(len(points) // _LANES, _LANES, *points.shape[1:])
    return np.ascontiguousarray(np.moveaxis(blocks, 1, -1))


@kernel
def average_points(
    loss: int,
    activation: int,
    coefficients: FloatArray,
    temperature: float,
    noise_variance: float,
    noise_covariance: float,
    points: PointSet,
    overlap: FloatArray,
    squared_norm: float,
    g: FloatArray,
) -> tuple[float, float]:
    """Write g of shape (feature,) and return (A, D).

    Parameters
    ----------
    loss, activation, coefficients, temperature : int, int, array, float
        Codes of loss and activation, coefficients of a polynomial, T.
    noise_variance, noise_covariance : float
        s2 and kappa.
    points : PointSet
    overlap, squared_norm : array of shape (feature,), float
        q and r.
    g : array of shape (feature,)
        Receives the drift along the features.
    """
    blocks, views = points.noise.shape[0], points.noise.shape[1]
    atoms, features = points.positive.shape[1], points.positive.shape[2]
    root = np.sqrt(squared_norm)
    temperatures = np.full(_LANES, temperature)
    z = np.empty(_LANES)
    h, d, s = np.empty((views, _LANES)), np.empty((views, _LANES)), np.empty((views, _LANES))
    # h, h', h'' of the first negative for each of its atoms, reused for all atoms of the positive sample.
    own = np.empty((atoms, 3, _LANES))
    delta, curvature, sums = np.empty((views, _LANES)), np.empty(_LANES), np.zeros((2, _LANES))
    g_lanes = np.zeros((features, _LANES))
    for block in range(blocks):
        noise = points.noise[block]
        for v in range(3, views):
            _project(points.others[block, v - 3], overlap, root, noise[v], z)
            activate(activation, coefficients, z, h[v], d[v])
            activate_second(activation, coefficients, z, h[v], d[v], s[v])
        for b in range(atoms):
            _project(points.negative[block, b], overlap, root, noise[2], z)
            activate(activation, coefficients, z, own[b, 0], own[b, 1])
            activate_second(activation, coefficients, z, own[b, 0], own[b, 1], own[b, 2])
        for a in range(atoms):
            for v in range(2):
                _project(points.positive[block, a], overlap, root, noise[v], z)
                activate(activation, coefficients, z, h[v], d[v])
                activate_second(activation, coefficients, z, h[v], d[v], s[v])
            for b in range(atoms):
                for i in range(_LANES):  # a copy of slices compiles for seconds, with its message about shapes
                    h[2, i], d[2, i], s[2, i] = own[b, 0, i], own[b, 1, i], own[b, 2, i]
                forces(loss, temperatures, h, d, delta)
                differentiate_forces(loss, temperatures, noise_variance, noise_covariance, h, d, s, curvature)
                weight = points.weights[a] * points.weights[b]
                _add_drift(weight, views - 2, delta, points.positive[block, a], points.negative[block, b], g_lanes)
                _add_scalars(weight, noise_variance, noise_covariance, delta, curvature, sums)
    count = blocks * _LANES
    for j in range(features):
        g[j] = g_lanes[j].sum() / count
    return sums[0].sum() / count, sums[1].sum() / count


@kernel
def _project(latent: FloatArray, overlap: FloatArray, root: float, noise: FloatArray, z: FloatArray) -> None:
    """Write z = c . q + sqrt(r) y."""
    for i in range(_LANES):
        z[i] = root * noise[i]
    for j in range(len(overlap)):
        for i in range(_LANES):
            z[i] += overlap[j] * latent[j, i]


@kernel
def _add_drift(
    weight: float,
    negatives: int,
    delta: FloatArray,
    positive: FloatArray,
    negative: FloatArray,
    g: FloatArray,
) -> None:
    """Add the weighted sum_v Delta_v c_v to the lanes of g; every negative counts as the first one."""
    delta1, delta2, delta3 = delta[0], delta[1], delta[2]
    for j in range(len(g)):
        for i in range(_LANES):
            g[j, i] += weight * ((delta1[i] + delta2[i]) * positive[j, i] + negatives * delta3[i] * negative[j, i])


@kernel
def _add_scalars(
    weight: float,
    noise_variance: float,
    noise_covariance: float,
    delta: FloatArray,
    curvature: FloatArray,
    sums: FloatArray,
) -> None:
    """Add the integrand of A to the first row of `sums`, lane by lane, and the integrand of D to the second."""
    for v in range(len(delta)):
        for i in range(_LANES):
            sums[1, i] += weight * noise_variance * delta[v, i] * delta[v, i]
    for i in range(_LANES):
        sums[0, i] += weight * curvature[i]
        sums[1, i] += weight * 2.0 * noise_covariance * delta[0, i] * delta[1, i]
