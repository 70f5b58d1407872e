"""SGD in torch: all replicas at once, the step compiled (`torch.compile`) or not, in single and double precision."""

import math
from collections.abc import Callable

import torch

from benchmarks.race.sgd_problem import AMPLITUDE, COMMON, ETA, LAM, OWN, FloatArray, S, cosine_similarity, start

# The step is compiled anew for each number of replicas, dimension and precision; the usual limit is 8.
torch._dynamo.config.recompile_limit = 64


def step(w: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """One step of all replicas; features of squared length 1."""
    replicas, n = w.shape
    signs = torch.randint(0, 2, (2, replicas, 2)).to(w.dtype) * 2 - 1
    positive, negative = AMPLITUDE * (signs @ features)
    x, y, x3 = torch.randn(3, replicas, n, dtype=w.dtype).unbind()
    y1, y2, y3 = positive + S * x, positive + COMMON * x + OWN * y, negative + S * x3
    h1, h2, h3 = (torch.tanh((w * view).sum(1, keepdim=True) / math.sqrt(n)) for view in (y1, y2, y3))
    force = (1 - h1**2) * (h2 - h3) * y1 + h1 * (1 - h2**2) * y2 - h1 * (1 - h3**2) * y3
    return w + ETA / math.sqrt(n) * force - ETA * LAM / n * w


class Torch:
    """All replicas of one batch."""

    def __init__(self, n: int, replicas: int, seed: int, dtype: torch.dtype, *, compiled: bool) -> None:
        torch.manual_seed(seed)
        features, weights = start(n, replicas, seed)
        self.features = features
        self.unit = torch.tensor(features / math.sqrt(n), dtype=dtype)
        self.weights = torch.tensor(weights, dtype=dtype)
        self.step = torch.compile(step, dynamic=False) if compiled else step

    def advance(self, steps: int) -> None:
        with torch.no_grad():
            for _ in range(steps):
                self.weights = self.step(self.weights, self.unit)

    def cosine_similarity(self) -> FloatArray:
        return cosine_similarity(self.weights.numpy(), self.features)


def _make(dtype: torch.dtype, compiled: bool) -> Callable[[int, int, int], Torch]:
    return lambda n, replicas, seed: Torch(n, replicas, seed, dtype, compiled=compiled)


BATCHED = {
    f"torch, {'compiled' if compiled else 'eager'}, {name}": _make(dtype, compiled)
    for compiled in (False, True)
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64))
}
