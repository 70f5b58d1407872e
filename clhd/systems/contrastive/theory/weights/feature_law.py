"""The law of one coordinate's feature values as atoms and weights: exact, or a quadrature rule for Gaussian features.

| law | atoms of one feature |
|---|---|
| gaussian | Gauss-Hermite nodes, fewer per feature if there are more features |
| rademacher | -1, 1 |
| sparse | -1 / sqrt f, 0, 1 / sqrt f with probability f / 2, 1 - f, f / 2 |

Features are independent in the limit, so the law of several is the product of their laws.
"""

import math
from itertools import product

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import ContrastiveModel

# Nodes per Gaussian feature, by the number of features. With L2 the density given xi is a Gaussian with mean q . xi and
# only its second moments are needed: two nodes would do. The elastic net needs the others.
_NODES = {1: 24, 2: 12, 3: 7, 4: 5, 5: 4, 6: 3}
# Atoms of a product of quadrature rules with less probability are dropped.
_MIN_WEIGHT = 1e-13


def feature_atoms(model: ContrastiveModel) -> tuple[FloatArray, FloatArray]:
    """Return values xi, shape (atom, feature), and probabilities, shape (atom,), of the features of one coordinate."""
    values, weights = _one_feature(model)
    p = model.features
    vectors = np.array(list(product(values.tolist(), repeat=p)))
    probabilities = np.array([math.prod(factors) for factors in product(weights.tolist(), repeat=p)])
    kept = probabilities > _MIN_WEIGHT
    return vectors[kept], probabilities[kept] / probabilities[kept].sum()


def _one_feature(model: ContrastiveModel) -> tuple[FloatArray, FloatArray]:
    if model.feature_law == "gaussian":
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES[model.features])
        return nodes, weights / weights.sum()
    fraction = model.feature_fraction or 1.0  # Rademacher features are sparse features without zeros
    size = 1 / math.sqrt(fraction)
    values, weights = np.array([-size, 0.0, size]), np.array([fraction / 2, 1 - fraction, fraction / 2])
    return values[weights > 0], weights[weights > 0]
