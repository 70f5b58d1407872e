"""Features and initial weights of one replica in n dimensions.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| n, p, d | dimension, features, units | | |
| xi | features | (p, n) | rows of squared length n |
| w | weights | (d, n) | O(1) entries |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.streams import seed_states
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.state import factorise_rest
from clhd.systems.contrastive.simulation.features import draw_features


def draw_start(
    model: ContrastiveModel,
    stream: str,
    overlap: FloatArray | None,
    squared_norm: float | FloatArray,
    features: FloatArray,
    weights: FloatArray,
) -> None:
    """Write the features, shape (p, n), and the initial weights, shape (d, n), of the replica with this stream.

    With an overlap, shape (p,) or (d, p), the order parameters are exact, and the rest of w has a random direction
    orthogonal to the features. Without one, w ~ N(0, squared_norm I), which is rescaled on the sphere.
    """
    # Two streams, so that the initial weights have the same random direction under every feature law.
    words = seed_states(f"{stream}|start", range(2))
    feature_generator, weight_generator = (np.random.default_rng([int(word) for word in s]) for s in words.T)
    features[:] = draw_features(model, features.shape[1], feature_generator)
    if model.units > 1 and overlap is not None:
        weights[:] = _draw_units(features, overlap, squared_norm, weight_generator)
    else:
        for row in weights:
            row[:] = _draw_weights(features, overlap, float(squared_norm), model.is_sphere, weight_generator)


def multiply(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return the products of all vectors (the last dim) of two arrays, over n."""
    rows, columns = one.reshape(-1, one.shape[-1]), other.reshape(-1, other.shape[-1])
    products: FloatArray = np.array([[dot(column, row) for column in columns] for row in rows])
    products /= one.shape[-1]
    return products.reshape(one.shape[:-1] + other.shape[:-1])


def dot(x: FloatArray, y: FloatArray) -> float:
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
        norm = n / dot(weights, weights) if is_sphere else squared_norm
        return np.multiply(math.sqrt(norm), weights)
    rest = squared_norm - dot(overlap, overlap)
    for _ in range(2):  # the second pass removes the rounding error of the first
        for row in features:
            weights -= (dot(row, weights) / n) * row
    weights = weights * (math.sqrt(max(rest, 0.0) * n / dot(weights, weights)) if n > p else 0.0)
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
                directions[k] -= (dot(other, directions[k]) / n) * other
        directions[k] *= math.sqrt(n / dot(directions[k], directions[k]))
    weights = np.zeros(directions.shape)
    for k, values in enumerate(np.concatenate([overlap, rest], axis=1)):
        for value, direction in zip(values, (*features, *directions), strict=True):
            weights[k] += value * direction
    return weights
