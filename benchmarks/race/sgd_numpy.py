"""SGD in numpy: one replica as a researcher writes it, and all replicas in one array."""

import numpy as np

from benchmarks.race.sgd_problem import AMPLITUDE, COMMON, ETA, LAM, OWN, FloatArray, S, cosine_similarity, start


class OneByOne:
    """Replicas one after the other, vectors of n numbers."""

    def __init__(self, n: int, replicas: int, seed: int) -> None:
        self.features, self.weights = start(n, replicas, seed)
        self.random = np.random.default_rng(seed + 1)

    def advance(self, steps: int) -> None:
        n = self.features.shape[1]
        for k in range(len(self.weights)):
            w = self.weights[k]
            for _ in range(steps):
                positive, negative = AMPLITUDE * self.random.choice([-1.0, 1.0], size=(2, 2))
                x, y, x3 = self.random.standard_normal((3, n))
                y1 = positive @ self.features / np.sqrt(n) + S * x
                y2 = positive @ self.features / np.sqrt(n) + COMMON * x + OWN * y
                y3 = negative @ self.features / np.sqrt(n) + S * x3
                h1, h2, h3 = (np.tanh(w @ view / np.sqrt(n)) for view in (y1, y2, y3))
                force = (1 - h1**2) * (h2 - h3) * y1 + h1 * (1 - h2**2) * y2 - h1 * (1 - h3**2) * y3
                w += ETA / np.sqrt(n) * force - ETA * LAM / n * w

    def cosine_similarity(self) -> FloatArray:
        return cosine_similarity(self.weights, self.features)


class Batched:
    """All replicas at once, arrays of shape (replicas, n)."""

    def __init__(self, n: int, replicas: int, seed: int) -> None:
        self.features, self.weights = start(n, replicas, seed)
        self.random = np.random.default_rng(seed + 1)

    def advance(self, steps: int) -> None:
        replicas, n = self.weights.shape
        w, features = self.weights, self.features / np.sqrt(n)
        for _ in range(steps):
            positive, negative = AMPLITUDE * self.random.choice([-1.0, 1.0], size=(2, replicas, 2))
            x, y, x3 = self.random.standard_normal((3, replicas, n))
            signal = positive @ features
            y1, y2, y3 = signal + S * x, signal + COMMON * x + OWN * y, negative @ features + S * x3
            h1, h2, h3 = (np.tanh(np.vecdot(w, view) / np.sqrt(n))[:, None] for view in (y1, y2, y3))
            w *= 1 - ETA * LAM / n
            w += ETA / np.sqrt(n) * ((1 - h1**2) * (h2 - h3) * y1 + h1 * (1 - h2**2) * y2 - h1 * (1 - h3**2) * y3)

    def cosine_similarity(self) -> FloatArray:
        return cosine_similarity(self.weights, self.features)


BATCHED = {"numpy, all replicas in one array": Batched}
SINGLE = {"numpy, replica by replica": OneByOne}
