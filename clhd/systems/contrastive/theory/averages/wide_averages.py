"""Pair averages of tanh and erf under wide noise, by a quadrature whose cost does not grow with r.

The trapezoid rule needs a step of about 0.2 in the pre-activations, so its nodes grow as r. But h saturates: every
monomial of h, h', h'' differs from its limits f(-inf), f(+inf) near 0 only. Here z_1 is integrated first and z_2 given
z_1 inside,

    E[f(z_1) g(z_2)] = int f(z) G(mu(z)) N(z; m, s^2) dz,        mu(z) = m + rho (z - m),
    G(mu) = g(+inf) Phi(mu / t) + g(-inf) Phi(-mu / t) + int (g(y) - g(sign y inf)) N(y; mu, t^2) dy,

with s^2 = r s2, rho = kappa / s2, t^2 = s^2 (1 - rho^2). The last integral ends at |y| = 20, where h has saturated to
rounding. Along z the integrand varies near 0, where f does; near mu(z) = 0, over a length max(1, t) / |rho|, where G
does; and over s. Gauss-Legendre panels that double in length away from both places resolve all scales, so their number
grows as log r. For a small t, where N(y; mu, t^2) is narrow, G comes from the trapezoid rule.

The error is 1e-12, as that of the trapezoid rule (tests/.../theory/test_wide_averages.py compares them).

| symbol | name | shape | unit or scale |
|---|---|---|---|
| m | ``mean`` | | of a pre-activation |
| s, t | ``deviation``, ``spread`` | | of a pre-activation |
| rho | ``correlation`` | | -1 ... 1 |
| z, mu | ``outer``, ``centres`` | (lane,) | of a pre-activation |
| y | ``_LOCAL_NODES`` | (node,) | of a pre-activation |
| G | ``inner`` | (monomial, lane) | of the monomial |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.vector_math import exponential
from clhd.systems.contrastive.theory.averages.normal_nodes import LANES, RADIUS, trapezoid_step, write_monomials

_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(16)
# Ends of the first panels away from a place where the integrand varies, in units of its length; later ones double.
_FIRST_ENDS = np.array([1.0, 2.5, 5.0])
# Panels of the normal density itself, in standard deviations.
_NORMAL_PANEL = 1.6
# A spread below which the density of z_2 given z_1 is too narrow for the longest local panel, which is 10.
_NARROW = 4.0


def _local_nodes() -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights on -20 ... 20, split at 0, where g(sign y inf) jumps."""
    ends = np.array([0.0, 1.0, 2.5, 5.0, 10.0, 20.0])
    half = 0.5 * np.diff(ends)[:, None]
    nodes, weights = (ends[:-1, None] + half * (1 + _GAUSS_NODES)).ravel(), (half * _GAUSS_WEIGHTS).ravel()
    return np.concatenate([-nodes[::-1], nodes]), np.concatenate([weights[::-1], weights])


_LOCAL_NODES, _LOCAL_WEIGHTS = _local_nodes()


@kernel
def average_wide_atoms(
    activation: int,
    monomials: IntArray,
    factors: IntArray,
    pairs: IntArray,
    noise_variance: float,
    noise_covariance: float,
    means: FloatArray,
    squared_norm: float,
    averages: FloatArray,
) -> None:
    """Write E[f(z_1) g(z_2)] of every pair to `averages` of shape (atom, pair), for tanh or erf.

    Parameters
    ----------
    activation : int
        Code of the activation.
    monomials, factors, pairs : int arrays
        As in `PairRule`.
    noise_variance, noise_covariance, squared_norm : float
        s2 > 0, kappa, r > 0.
    means : array of shape (atom,)
        m of every atom.
    """
    deviation = math.sqrt(squared_norm * noise_variance)
    correlation = min(max(noise_covariance / noise_variance, -1.0), 1.0)
    spread = deviation * math.sqrt(max((1.0 - correlation) * (1.0 + correlation), 0.0))
    above, below = _limits(monomials)
    if spread >= _NARROW:
        offsets, inner_rows = _LOCAL_NODES, _local_rows(activation, factors, above, below)
    else:
        offsets, inner_rows = _narrow_rule(activation, spread)
    for atom in range(len(means)):
        averages[atom] = 0.0
        outer, weights = _outer_rule(means[atom], deviation, correlation, spread)
        views, inner = np.ones((len(monomials), LANES)), np.ones((len(monomials), LANES))
        centres, moved, rows = np.empty(LANES), np.empty(LANES), np.ones((len(monomials), LANES))
        for start in range(0, len(outer), LANES):
            z = outer[start : start + LANES]
            write_monomials(activation, np.empty(0), factors, z, views)
            for i in range(LANES):
                centres[i] = means[atom] + correlation * (z[i] - means[atom])
            if spread >= _NARROW:
                _average_local(centres, spread, offsets, inner_rows, above, below, inner)
            else:
                inner[:] = 0.0
                for k in range(len(offsets)):
                    for i in range(LANES):
                        moved[i] = centres[i] + offsets[k]
                    write_monomials(activation, np.empty(0), factors, moved, rows)
                    _add_scaled(inner_rows[0, k], rows, inner)
            for k in range(len(pairs)):
                f, g = views[pairs[k, 0]], inner[pairs[k, 1]]
                for i in range(LANES):
                    averages[atom, k] += weights[start + i] * f[i] * g[i]


@kernel
def _limits(monomials: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return the limits of every monomial at +infinity and -infinity: h becomes +-1, its derivatives vanish."""
    above, below = np.zeros(len(monomials)), np.zeros(len(monomials))
    for k in range(len(monomials)):
        if monomials[k, 1] + monomials[k, 2] == 0:
            above[k] = 1.0
            below[k] = 1.0 if monomials[k, 0] % 2 == 0 else -1.0
    return above, below


@kernel
def _local_rows(activation: int, factors: IntArray, above: FloatArray, below: FloatArray) -> FloatArray:
    """Return g(y) - g(sign y inf) times the weight of the local node y, shape (monomial, node)."""
    count = len(_LOCAL_NODES)
    rows, padded, block = np.zeros((len(above), count)), np.zeros(LANES), np.ones((len(above), LANES))
    for start in range(0, count, LANES):
        filled = min(LANES, count - start)
        for i in range(filled):  # numba compiles the copy of a slice, with its message about shapes, for a second
            padded[i] = _LOCAL_NODES[start + i]
        write_monomials(activation, np.empty(0), factors, padded, block)
        for k in range(len(above)):
            for i in range(filled):
                limit = above[k] if padded[i] > 0.0 else below[k]
                rows[k, start + i] = _LOCAL_WEIGHTS[start + i] * (block[k, i] - limit)
    return rows


@kernel
def _narrow_rule(activation: int, spread: float) -> tuple[FloatArray, FloatArray]:
    """Return offsets z_2 - mu of the trapezoid rule, and its weights as one row."""
    if spread == 0.0:
        return np.zeros(1), np.ones((1, 1))
    step = trapezoid_step(activation, spread)
    outer = int(RADIUS / step)
    nodes = step * np.arange(-outer, outer + 1).astype(np.float64)
    weights = step / math.sqrt(2.0 * math.pi) * np.exp(-0.5 * nodes * nodes)
    return spread * nodes, weights.reshape((1, len(weights)))


@kernel
def _average_local(
    centres: FloatArray,
    spread: float,
    nodes: FloatArray,
    rows: FloatArray,
    above: FloatArray,
    below: FloatArray,
    inner: FloatArray,
) -> None:
    """Write G at every centre to `inner`: limits times probabilities, and the local part."""
    density = np.empty(LANES)
    for i in range(LANES):
        upper = 0.5 * math.erfc(-centres[i] / (spread * math.sqrt(2.0)))
        lower = 0.5 * math.erfc(centres[i] / (spread * math.sqrt(2.0)))
        for g in range(len(rows)):
            inner[g, i] = above[g] * upper + below[g] * lower
    scale = 1.0 / (spread * math.sqrt(2.0 * math.pi))
    for k in range(len(nodes)):
        for i in range(LANES):
            x = (nodes[k] - centres[i]) / spread
            half_square = 0.5 * x * x
            density[i] = scale * exponential(-700.0 if half_square > 700.0 else -half_square)
        for g in range(len(rows)):
            row, factor = inner[g], rows[g, k]
            for i in range(LANES):
                row[i] += factor * density[i]


@kernel
def _add_scaled(factor: float, rows: FloatArray, sums: FloatArray) -> None:
    for g in range(len(rows)):
        row, total = rows[g], sums[g]
        for i in range(LANES):
            total[i] += factor * row[i]


@kernel
def _outer_rule(mean: float, deviation: float, correlation: float, spread: float) -> tuple[FloatArray, FloatArray]:
    """Return nodes z and weights, the normal density included, padded to whole blocks of lanes."""
    low, high = mean - RADIUS * deviation, mean + RADIUS * deviation
    count = int(2.0 * RADIUS / _NORMAL_PANEL)
    ends = [mean + deviation * (k * _NORMAL_PANEL - RADIUS) for k in range(1, count)]
    _add_ends(0.0, 1.0, low, high, ends)
    if correlation != 0.0:
        length = max(spread, 1.0) / abs(correlation)
        _add_ends(mean - mean / correlation, length, low, high, ends)
    ends.append(low)
    ends.append(high)
    _sort(ends)
    capacity = (len(ends) * len(_GAUSS_NODES) + LANES - 1) // LANES * LANES
    nodes, weights = np.zeros(capacity), np.zeros(capacity)
    scale = 1.0 / (deviation * math.sqrt(2.0 * math.pi))
    filled = 0
    for panel in range(len(ends) - 1):
        half = 0.5 * (ends[panel + 1] - ends[panel])
        for k in range(len(_GAUSS_NODES)):
            nodes[filled] = ends[panel] + half * (1.0 + _GAUSS_NODES[k])
            x = (nodes[filled] - mean) / deviation
            weights[filled] = half * _GAUSS_WEIGHTS[k] * scale * math.exp(-0.5 * x * x)
            filled += 1
    return nodes, weights


@kernel
def _sort(ends: list[float]) -> None:
    """Sort a few numbers by insertion, in place: numba compiles `list.sort` for three seconds."""
    for k in range(1, len(ends)):
        end, place = ends[k], k
        while place > 0 and ends[place - 1] > end:
            ends[place] = ends[place - 1]
            place -= 1
        ends[place] = end


@kernel
def _add_ends(place: float, length: float, low: float, high: float, ends: list[float]) -> None:
    """Append the ends of panels that double in length away from `place`, where they lie between `low` and `high`."""
    if low < place < high:
        ends.append(place)
    farthest = max(abs(low - place), abs(high - place))
    offset, k = length * _FIRST_ENDS[0], 0
    while offset < farthest:
        if low < place - offset < high:
            ends.append(place - offset)
        if low < place + offset < high:
            ends.append(place + offset)
        k += 1
        offset = length * _FIRST_ENDS[k] if k < len(_FIRST_ENDS) else 2.0 * offset
