"""SGD as plain numba loops: over the n coordinates, and over the order parameters alone (the projected chain)."""

import numpy as np

from benchmarks.full_engine import advance_numba_loop as advance_weights
from benchmarks.projected_engine import advance_numba_loop as advance_overlaps
from benchmarks.race.sgd_problem import (
    AMPLITUDE,
    COMMON,
    ETA,
    KAPPA,
    LAM,
    OVERLAP,
    OWN,
    SQUARED_NORM,
    FloatArray,
    S,
    cosine_similarity,
    start,
)


class Loop:
    """The loop over coordinates, replica by replica."""

    def __init__(self, n: int, replicas: int, seed: int) -> None:
        self.features, self.weights = start(n, replicas, seed)
        self.random = np.random.default_rng(seed + 1)

    def advance(self, steps: int) -> None:
        numbers = np.array([ETA, LAM, S, COMMON, OWN])
        for w in self.weights:
            advance_weights(steps, w, self.features, AMPLITUDE, numbers, self.random)

    def cosine_similarity(self) -> FloatArray:
        return cosine_similarity(self.weights, self.features)


class OverlapLoop:
    """The loop over the order parameters, replica by replica: for one who knows that they suffice."""

    def __init__(self, n: int, replicas: int, seed: int) -> None:
        self.n, self.overlap, self.norm = n, np.tile(OVERLAP, (replicas, 1)), np.full(replicas, SQUARED_NORM)
        self.random = np.random.default_rng(seed)

    def advance(self, steps: int) -> None:
        numbers = np.array([ETA, LAM, S**2, KAPPA])
        for k, q in enumerate(self.overlap):
            self.norm[k] = advance_overlaps(steps, self.n, q, self.norm[k], AMPLITUDE, numbers, self.random)

    def cosine_similarity(self) -> FloatArray:
        return np.asarray(self.overlap / np.sqrt(self.norm)[:, None])


SINGLE = {"numba loop": Loop, "numba loop of the order parameters": OverlapLoop}
