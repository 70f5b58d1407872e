"""Nodes and weights of the product quadrature in `diffusion_matrix.py`: latents, noise of a pair, negative.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| a = c . q | ``means`` | (point,) | of a pre-activation |
| 1, b, b b' | ``moments`` | (point, 1 + p + p^2), times the weight | of the latents |
| sqrt(r s2) | ``deviation`` | | of a pre-activation |
"""

import math
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.activations import ERF, LINEAR, POLYNOMIAL, RELU, TANH
from clhd.systems.contrastive.model.contrastive import ContrastiveModel

# Standard deviations beyond which the noise is cut: exp(-6.5^2 / 2) = 7e-10.
_RADIUS = 6.5
# -log of the error of the trapezoid rule before the factor of its poles; `diffusion_matrix.py` lists measured errors.
_DIGITS = 36.0
# Latent atoms with less weight are dropped.
_MIN_WEIGHT = 1e-13
# About the most points of the latents after their projection.
_MOST_POINTS = 50
_PANEL_NODES, _PANEL_WEIGHTS = np.polynomial.legendre.leggauss(16)


class LatentPoints(NamedTuple):
    """Points on the line of c . q, with the weight and the first and second moments of the latent at each."""

    means: FloatArray
    moments: FloatArray


class PairNodes(NamedTuple):
    """Noise of the two views of a pair: values and weights of shape (node,), which for relu depend on the mean."""

    first: FloatArray
    second: FloatArray
    weights: FloatArray


def project_latents(
    model: ContrastiveModel, overlap: FloatArray, direction: FloatArray, deviation: float
) -> LatentPoints:
    """Return the latents as points on the line of a = c . q, fewer than the atoms where these are many.

    All averages given c are smooth functions of a, times 1, b or b b'; Lagrange weights transfer the moments.
    """
    values, weights = model.latent_atoms()
    means = values @ overlap
    offsets = values - np.outer(means, direction)
    products = offsets[:, :, None] * offsets[:, None, :]
    moments = weights[:, None] * np.hstack([np.ones((len(means), 1)), offsets, products.reshape(len(means), -1)])
    reach = 0.5 * np.ptp(means)
    if reach <= 1e-14 * (1.0 + np.abs(means).max()):
        return LatentPoints(means[:1], moments.sum(axis=0, keepdims=True))
    if model.unit.code in (LINEAR, POLYNOMIAL):
        return _project_on_gauss_nodes(means, weights, moments, 4 * _degree(model) - 3)
    kept = weights > _MIN_WEIGHT
    width = deviation if model.unit.code == RELU else max(deviation, 0.6)  # the pole of tanh is at i pi / 2
    return _project_on_chebyshev_nodes(means[kept], moments[kept], 14 + 7 * reach / width if width > 0 else math.inf)


def _project_on_chebyshev_nodes(means: FloatArray, moments: FloatArray, count: float) -> LatentPoints:
    """Project for bounded functions on Chebyshev nodes; `count` grows with the range of a over their scale."""
    if len(means) <= count:
        return LatentPoints(means, moments)
    angles = math.pi * (np.arange(int(count)) + 0.5) / int(count)
    middle, reach = 0.5 * (means.max() + means.min()), 0.5 * np.ptp(means)
    # Discrete orthogonality: L_k(x) = (2 / K) sum_l' T_l(x_k) T_l(x), the term l = 0 halved.
    orders = np.arange(len(angles))
    at_nodes = np.cos(np.outer(angles, orders))
    at_nodes[:, 0] *= 0.5
    at_atoms = np.cos(np.outer(orders, np.arccos(np.clip((means - middle) / reach, -1.0, 1.0))))
    return LatentPoints(middle + reach * np.cos(angles), (2.0 / len(angles)) * at_nodes @ (at_atoms @ moments))


def _project_on_gauss_nodes(means: FloatArray, weights: FloatArray, moments: FloatArray, count: int) -> LatentPoints:
    """Project for polynomials of degree below `count`, exactly, on Gauss nodes of the law of a (Lanczos method).

    A polynomial is huge where the law has almost no weight, so nodes on the whole interval would lose all digits.
    """
    if len(means) <= count:
        return LatentPoints(means, moments)
    roots = np.sqrt(weights)
    basis = np.zeros((count, len(means)))
    basis[0] = roots / np.linalg.norm(roots)
    for order in range(1, count):
        vector = means * basis[order - 1]
        for _ in range(2):  # two passes keep the basis orthogonal
            vector -= basis[:order].T @ (basis[:order] @ vector)
        size = np.linalg.norm(vector)
        if size <= 1e-12 * np.abs(means).max():  # all distinct means have a node
            basis = basis[:order]
            break
        basis[order] = vector / size
    nodes, vectors = np.linalg.eigh((basis * means) @ basis.T)
    return LatentPoints(nodes, vectors[0][:, None] * (vectors.T @ (basis / roots @ moments)))


def _degree(model: ContrastiveModel) -> int:
    """Return the degree of the loss in the pre-activations, for a linear or polynomial activation."""
    return model.loss_terms.degree * max(1, len(model.unit.coefficients) - 1)


def _normal_rule(model: ContrastiveModel, width: float) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights of a standard normal coordinate u that moves the pre-activations by width * u."""
    if width == 0.0:
        return np.zeros(1), np.ones(1)
    if model.unit.code in (LINEAR, POLYNOMIAL):
        # psi^2 contains four forces of degree - 1; N nodes integrate them exactly if 4 degree - 4 < 2 N.
        nodes, weights = np.polynomial.hermite_e.hermegauss(2 * _degree(model))
        return nodes, weights / weights.sum()
    step = _trapezoid_step(model, width)
    grid = np.arange(-int(_RADIUS / step), int(_RADIUS / step) + 1, dtype=np.float64) * step
    return grid, step / math.sqrt(2 * math.pi) * np.exp(-0.5 * grid**2)


def _trapezoid_step(model: ContrastiveModel, width: float) -> float:
    """Return the step of the trapezoid rule, from Poisson summation as in `normal_nodes.trapezoid_step`.

    The product of four forces has eight factors h or h' with the bilinear loss (degree 2), and more with others. B
    needs only the accuracy of a covariance.
    """
    if model.unit.code == ERF:
        return math.pi * math.sqrt(2.0 / (_DIGITS * (1.0 + 4.0 * model.loss_terms.degree * width * width)))
    pole = 0.5 * math.pi / width
    if 0.5 * pole * pole > _DIGITS:
        return math.pi * math.sqrt(2.0 / _DIGITS)
    return 2.0 * math.pi * pole / (_DIGITS + 0.5 * pole * pole)


def count_products(model: ContrastiveModel, squared_norm: float) -> float:
    """Return about how many products of nodes `diffusion_matrix` takes; under wide noise it grows as r^(3/2)."""
    if model.unit.code not in (TANH, ERF):  # the other rules have a fixed number of nodes
        return 1e6
    r = 1.0 if model.is_sphere else max(float(squared_norm), 0.0)
    variances = model.noise_variance, model.noise_covariance
    widths = [0.5 * (variances[0] + variances[1]), 0.5 * (variances[0] - variances[1]), variances[0]]
    count = 0.25 * math.pi * min(len(model.latent_atoms()[1]), _MOST_POINTS)
    for width in widths:
        count *= 2 * _RADIUS / _trapezoid_step(model, math.sqrt(r * width)) if r * width > 0 else 1.0
    return count


def smooth_pair_nodes(model: ContrastiveModel, squared_norm: float) -> PairNodes:
    """Return nodes alpha u +- beta v of the noise of a pair, whose sum and difference are independent."""
    alpha = math.sqrt(max(0.5 * squared_norm * (model.noise_variance + model.noise_covariance), 0.0))
    beta = math.sqrt(max(0.5 * squared_norm * (model.noise_variance - model.noise_covariance), 0.0))
    (u, u_weights), (v, v_weights) = _normal_rule(model, alpha), _normal_rule(model, beta)
    u_grid, v_grid = np.meshgrid(u, v, indexing="ij")
    weights = np.outer(u_weights, v_weights)
    if model.unit.code in (LINEAR, POLYNOMIAL):
        kept = np.full(weights.shape, fill_value=True)
    else:
        kept = u_grid**2 + v_grid**2 <= _RADIUS**2
    sums, differences = alpha * u_grid[kept], beta * v_grid[kept]
    return PairNodes(sums + differences, sums - differences, weights[kept])


def relu_pair_nodes(mean: float, deviation: float, correlation: float) -> PairNodes:
    """Return nodes of the noise of a pair for relu: both coordinates are split where a pre-activation is 0.

    e_1 = deviation x, e_2 = deviation (correlation x + spread t). The average over t, split where z_2 = 0, is a smooth
    function of x, which varies on the scale spread / correlation around the x at which z_2 is 0 on average.
    """
    if deviation == 0.0:
        return PairNodes(np.zeros(1), np.zeros(1), np.ones(1))
    spread = math.sqrt(max(1.0 - correlation**2, 0.0))
    kink = -mean / deviation
    cuts = [kink]
    if correlation != 0.0:
        crossing, width = kink / correlation, spread / abs(correlation)
        cuts += [crossing + width * k for k in (-4.0, 0.0, 4.0)]
    x, x_weights = _split_normal_rule(cuts)
    if spread == 0.0:
        return PairNodes(deviation * x, deviation * correlation * x, x_weights)
    first, second, weights = [], [], []
    for node, weight in zip(x, x_weights, strict=True):
        t, t_weights = _split_normal_rule([(kink - correlation * node) / spread])
        first.append(np.full(len(t), deviation * node))
        second.append(deviation * (correlation * node + spread * t))
        weights.append(weight * t_weights)
    return PairNodes(np.concatenate(first), np.concatenate(second), np.concatenate(weights))


def _split_normal_rule(cuts: list[float]) -> tuple[FloatArray, FloatArray]:
    """Return Gauss-Legendre nodes and weights of the standard normal law on panels between the `cuts`."""
    inner = [cut for cut in cuts if abs(cut) < _RADIUS]
    nodes, weights = _panels(np.unique([-_RADIUS, -2.2, 2.2, _RADIUS, *inner]))
    return nodes, weights * np.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)


def _panels(edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return Gauss-Legendre nodes and weights on the panels between the `edges`."""
    half = 0.5 * np.diff(edges)
    nodes = edges[:-1, None] + half[:, None] * (1.0 + _PANEL_NODES)
    return nodes.ravel(), (half[:, None] * _PANEL_WEIGHTS).ravel()


def negative_nodes(model: ContrastiveModel, latents: LatentPoints, deviation: float) -> tuple[FloatArray, FloatArray]:
    """Return pre-activations z_3 of the negative, shape (node,), and latent moments there, (node, 1 + p + p^2).

    The law of z_3 is a mixture of normal densities, one per atom. It is taken on one common set of nodes, or with a
    rule for each atom, whichever has fewer nodes.
    """
    means, moments = latents
    smallest, largest = means.min() - _RADIUS * deviation, means.max() + _RADIUS * deviation
    common: tuple[FloatArray, FloatArray] | None = None
    if model.unit.code == RELU:
        own = _split_normal_rule([0.0])[0] if deviation > 0 else np.zeros(1)
        if deviation > 0:
            sides = [(smallest, min(largest, 0.0)), (max(smallest, 0.0), largest)]
            edges = [np.linspace(a, b, 1 + math.ceil((b - a) / (3.0 * deviation))) for a, b in sides if b > a]
            common = _panels(np.unique(np.concatenate(edges)))
    else:
        own, own_weights = _normal_rule(model, deviation)
        if deviation > 0 and model.unit.code not in (LINEAR, POLYNOMIAL):
            step = deviation * _trapezoid_step(model, deviation)
            nodes = np.arange(smallest, largest + step, step)
            common = nodes, np.full(len(nodes), step)
    if common is not None and len(common[0]) < len(own) * len(means):
        z, z_weights = common
        density = np.exp(-0.5 * ((z[:, None] - means) / deviation) ** 2) / (math.sqrt(2 * math.pi) * deviation)
        return z, (z_weights[:, None] * density) @ moments
    rules = []
    for mean in means:
        if model.unit.code == RELU and deviation > 0:
            own, own_weights = _split_normal_rule([-mean / deviation])
        elif model.unit.code == RELU:
            own, own_weights = np.zeros(1), np.ones(1)
        rules.append((own, own_weights))
    z = np.concatenate([mean + deviation * nodes for mean, (nodes, _) in zip(means, rules, strict=True)])
    return z, np.concatenate([np.outer(w, m) for m, (_, w) in zip(moments, rules, strict=True)])
