"""The first race: contrastive SGD with two features, and the start from which every competitor begins.

One step, of one replica: two samples with latents c in {-a, a}; three views y_v = c . xi / sqrt n + a_v, of which the
first two see the same sample; z_v = w . y_v / sqrt n, h_v = tanh z_v, and

    w <- w + eta / sqrt n [h_1' (h_2 - h_3) y_1 + h_1 h_2' y_2 - h_1 h_3' y_3] - eta lam / n w.

The noise of views 1 and 2 has the covariance kappa: a_1 = s x, a_2 = (kappa / s) x + sqrt(s^2 - kappa^2 / s^2) y.
"""

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

ETA, LAM, AMPLITUDE = 0.5, 0.6, math.sqrt(1.5)
S = 1.0  # root of the base noise variance 1/2 and the augmentation noise variance 1/2
KAPPA = 0.5
COMMON, OWN = KAPPA / S, math.sqrt(S**2 - (KAPPA / S) ** 2)
OVERLAP, SQUARED_NORM = np.array([0.3, 0.2]), 1.0


def start(n: int, replicas: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """Return orthogonal features, shape (2, n), rows of squared length n, and weights of shape (replicas, n).

    All weights have the overlap `OVERLAP`; the rest of each has a random direction.
    """
    random = np.random.default_rng(seed)
    features = math.sqrt(n) * np.linalg.qr(random.standard_normal((n, 2)))[0].T
    rest = random.standard_normal((replicas, n))
    rest -= (rest @ features.T / n) @ features
    rest *= np.sqrt(n * (SQUARED_NORM - OVERLAP @ OVERLAP) / np.sum(rest**2, axis=1, keepdims=True))
    return features, OVERLAP @ features + rest


def cosine_similarity(weights: FloatArray, features: FloatArray) -> FloatArray:
    """Return S of shape (replicas, 2) for weights of shape (replicas, n)."""
    weights = np.asarray(weights, dtype=np.float64)
    n = weights.shape[1]
    return np.asarray((weights @ features.T / n) / np.sqrt(np.sum(weights**2, axis=1, keepdims=True) / n))
