"""Made-up clouds of points, from uniform numbers of a fixed seed: the same on every machine."""

import numpy as np


def make_blobs(centres, count, width, seed):
    """Gaussian blobs of equal size, by the transform of Box and Muller."""
    centres = np.asarray(centres, dtype=float)
    random = np.random.default_rng(seed)
    radius = np.sqrt(-2 * np.log1p(-random.random((len(centres), count, centres.shape[1]))))
    angle = 2 * np.pi * random.random(radius.shape)
    return (centres[:, None] + width * radius * np.cos(angle)).reshape(-1, centres.shape[1])


def make_rings(count, seed):
    """Two rings with a common centre."""
    random = np.random.default_rng(seed)
    angle = 2 * np.pi * random.random(2 * count)
    radius = np.repeat([1.0, 2.5], count) + 0.2 * random.random(2 * count)
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


CROSS = [(1, 0), (-1, 0), (0, 1), (0, -1)]
CLOUDS = {
    "cross": make_blobs(CROSS, 200, 0.1, 1),
    "near": make_blobs([(0, 0), (2.5, 0)], 300, 1.0, 2),
    "cube": make_blobs([(0, 0, 0), (4, 0, 0), (0, 4, 0), (0, 0, 4), (4, 4, 4)], 120, 1.0, 3),
    "rings": make_rings(250, 4),
    "one": make_blobs([(0, 0)], 500, 1.0, 5),
    "flat": np.random.default_rng(6).random((400, 2)),
}
