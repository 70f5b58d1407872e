"""Speed of the full and the conditioned engine against two programs written by hand: a numba loop, and numpy.

All make the same step: p = 2, tanh, bilinear loss, Gaussian noise, one replica, one core. Runs are interleaved
and the best of each counts, so that the ratios hold on a machine that does other work as well.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.simulation.full import FullReplica

FloatArray = NDArray[np.float64]

MODEL = ContrastiveModel(
    latents=(ThreePoint(second_moment=1.5),) * 2,
    learning_rate=0.5,
    weight_decay=0.6,
    base_noise_variance=0.5,
    augmentation_noise_variance=0.5,
)
OVERLAP, SQUARED_NORM = np.array([0.3, 0.2]), 1.0
# Coordinates per timed run and rounds, 10 s in all: runs of a few milliseconds, so that some fall into quiet moments.
_COORDINATES, _ROUNDS = 200_000, 50
_REACH = {
    "full": {"numba loop": 4.0, "numpy": 10.0},
    "conditioned": {"full": 2.0, "numba loop": 6.0, "numpy": 25.0},
}


@njit(nogil=True)  # type: ignore[untyped-decorator]
def advance_numba_loop(
    steps: int,
    w: FloatArray,
    features: FloatArray,
    amplitude: float,
    numbers: FloatArray,
    generator: np.random.Generator,
) -> None:
    """SGD as a plain loop over coordinates, random numbers from numpy's Generator inside numba."""
    eta, lam, s, common, own = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    p, n = features.shape
    a = np.empty((3, n))
    c = np.empty((2, p))
    for _ in range(steps):
        for sample in range(2):
            for j in range(p):
                c[sample, j] = amplitude if generator.random() < 0.5 else -amplitude
        z1, z2, z3 = 0.0, 0.0, 0.0
        for i in range(n):
            x, y = generator.standard_normal(), generator.standard_normal()
            a[0, i], a[1, i], a[2, i] = s * x, common * x + own * y, s * generator.standard_normal()
            positive, negative = 0.0, 0.0
            for j in range(p):
                positive += c[0, j] * features[j, i]
                negative += c[1, j] * features[j, i]
            a[0, i] += positive / math.sqrt(n)
            a[1, i] += positive / math.sqrt(n)
            a[2, i] += negative / math.sqrt(n)
            z1 += w[i] * a[0, i]
            z2 += w[i] * a[1, i]
            z3 += w[i] * a[2, i]
        h1, h2, h3 = math.tanh(z1 / math.sqrt(n)), math.tanh(z2 / math.sqrt(n)), math.tanh(z3 / math.sqrt(n))
        f1 = eta / math.sqrt(n) * (1 - h1 * h1) * (h2 - h3)
        f2 = eta / math.sqrt(n) * h1 * (1 - h2 * h2)
        f3 = -eta / math.sqrt(n) * h1 * (1 - h3 * h3)
        for i in range(n):
            w[i] += f1 * a[0, i] + f2 * a[1, i] + f3 * a[2, i] - eta * lam / n * w[i]


def advance_numpy(
    steps: int,
    w: FloatArray,
    features: FloatArray,
    amplitude: float,
    numbers: FloatArray,
    generator: np.random.Generator,
) -> None:
    """SGD in numpy as a researcher writes it."""
    eta, lam, s, common, own = numbers
    p, n = features.shape
    for _ in range(steps):
        positive, negative = amplitude * generator.choice([-1.0, 1.0], size=(2, p))
        x, y, x3 = generator.standard_normal((3, n))
        y1 = positive @ features / np.sqrt(n) + s * x
        y2 = positive @ features / np.sqrt(n) + common * x + own * y
        y3 = negative @ features / np.sqrt(n) + s * x3
        h1, h2, h3 = (np.tanh(w @ y / np.sqrt(n)) for y in (y1, y2, y3))
        force = (1 - h1**2) * (h2 - h3) * y1 + h1 * (1 - h2**2) * y2 - h1 * (1 - h3**2) * y3
        w += eta / np.sqrt(n) * force - eta * lam / n * w


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (microseconds per step), reach (ratio wanted) and ratio (reference /
        measured, in this run).
    """
    table = []
    for dimension in (1000, 10_000):
        seconds = _time_all(dimension)
        for engine, name, reach in ((engine, *pair) for engine, pairs in _REACH.items() for pair in pairs.items()):
            table.append(
                {
                    "what": f"{engine} engine, p = 2, n = {dimension}, us per step, against {name}",
                    "reach": f">= {reach:g} x",
                    "measured": 1e6 * seconds[engine],
                    "reference": 1e6 * seconds[name],
                    "ratio": seconds[name] / seconds[engine],
                }
            )
    return table


def _time_all(n: int) -> dict[str, float]:
    """Seconds per step of each way, the best of interleaved rounds."""
    replicas = {
        engine: FullReplica(MODEL, n, "benchmark", 0, overlap=OVERLAP, squared_norm=SQUARED_NORM, engine=engine)
        for engine in _REACH
    }
    replica = replicas["full"]
    s, kappa = math.sqrt(MODEL.noise_variance), MODEL.noise_covariance
    numbers = np.array([MODEL.learning_rate, MODEL.weight_decay, s, kappa / s, math.sqrt(s**2 - kappa**2 / s**2)])
    features, generator = replica.features.copy(), np.random.default_rng(0)
    weights = {"numba loop": replica.weights.copy(), "numpy": replica.weights.copy()}
    by_hand = {"numba loop": advance_numba_loop, "numpy": advance_numpy}
    amplitude = math.sqrt(1.5)

    def run(name: str) -> Callable[[int], None]:
        return lambda steps: by_hand[name](steps, weights[name], features, amplitude, numbers, generator)

    ways: dict[str, Callable[[int], None]] = {engine: replica.advance for engine, replica in replicas.items()}
    ways |= {name: run(name) for name in by_hand}
    steps = max(_COORDINATES // n, 10)
    best = dict.fromkeys(ways, math.inf)
    for round_ in range(_ROUNDS + 1):
        for name, advance in ways.items():
            start = time.perf_counter()
            advance(steps)
            if round_ > 0:  # the first round compiles
                best[name] = min(best[name], (time.perf_counter() - start) / steps)
    return best


if __name__ == "__main__":
    for row in rows():
        print(f"{row['what']:70} {row['measured']:8.2f} {row['reference']:8.2f} {row['ratio']:6.1f} x ({row['reach']})")
