"""Patterns of equal overlap and their probabilities: what simulation and theory share.

| symbol | name | shape, unit |
|---|---|---|
| M | count | patterns, and dimensions of the space |
| x_m | patterns | (M, M), a row for each; unit vectors with x_i . x_j = c |
| c | overlap | -1/(M - 1) < c < 1 |
| p_m | probabilities | (M,), from ratio : 1, linear in m |
| w | weights | unit vector |
| z_m | responses | w . x_m; |w|^2 = z' G^-1 z with the Gram matrix G = (1 - c) I + c 11' |
| h_m | | z_m (linear) or max(z_m, 0) (relu) |
| E | energy | half the variance of h over the patterns |
"""

import numpy as np

from clhd.core.arrays import FloatArray


def make_patterns(count: int, overlap: float) -> FloatArray:
    """Return patterns as rows: the symmetric square root of their Gram matrix."""
    mean = np.full((count, count), 1 / count)
    other, along = np.sqrt(1 - overlap), np.sqrt(1 + (count - 1) * overlap)
    return np.asarray(other * (np.eye(count) - mean) + along * mean)


def make_probabilities(count: int, ratio: float) -> FloatArray:
    """Return the probabilities of the patterns, the most frequent first."""
    odds = np.linspace(ratio, 1.0, count)
    return np.asarray(odds / odds.sum())


def find_energy(responses: FloatArray, probabilities: FloatArray, *, is_linear: bool) -> FloatArray:
    """Return E for each unit; responses have the shape (units, M)."""
    h = responses if is_linear else np.maximum(responses, 0.0)
    return np.asarray((h**2 @ probabilities - (h @ probabilities) ** 2) / 2)


def find_covariance(patterns: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Return the covariance of the patterns, which are rows."""
    mean = probabilities @ patterns
    return np.asarray(patterns.T @ (probabilities[:, None] * patterns) - np.outer(mean, mean))
