"""What is known of the saddle without iterating: dimensions, exponents and normal of the limit of many steps.

docs/systems/saddle.md proves the dimensions.

| schedule | attraction region | common region, of the canonical Hessian | exponents |
|---|---|---|---|
| gradient descent, fixed | n - m | n - m: there is one region only | log abs of the eigenvalues of M |
| ratio | n - m | at least floor((n - 1) / 2); found to be equal | those of the limit of sigma |
| alternating | n - m | n - 2 | half the log abs of the eigenvalues of the product of two steps |
| power, p < 1, or p = 1 and canonical | n - m | not known | 0, and that of the mean |
| power, p > 1 | 1, or 0 if the mean grows | not known | 0, and that of the mean |
"""

from functools import reduce
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray, pad
from clhd.systems.saddle.model import Saddle, point_upwards


def predict_saddle(saddle: Saddle, room: int) -> dict[str, Any]:
    """Return the outputs of `SaddleSystem`, NaN where nothing is known or behind the last of `room` axes."""
    exponents = predict_exponents(saddle)
    return {
        "attraction_dimension": predict_dimension(saddle),
        "common_dimension": predict_common_dimension(saddle),
        "largest_exponent": exponents[0],
        "slowest_contraction": max(exponents[exponents < 0], default=np.nan),
        "lyapunov_exponent": pad(exponents, room),
        "normal_vector": pad(predict_normal(saddle), room),
    }


def is_bounded(saddle: Saddle) -> bool:
    """Return True if the strength of the smoothing stays bounded."""
    return saddle.schedule != "power" or saddle.is_constant


def predict_dimension(saddle: Saddle) -> float:
    """Return the dimension of the attraction region; NaN if it is not known."""
    power = saddle.growth_power
    if is_bounded(saddle) or power < 1 or (power == 1 and saddle.is_canonical):
        return float(saddle.dimension - saddle.negative)
    return float(saddle.hessian.mean() > 0) if power > 1 else np.nan


def predict_common_dimension(saddle: Saddle) -> float:
    """Return the dimension of the starts that are attracted from whichever step index on; NaN if it is not known."""
    if saddle.is_constant:
        return float(saddle.dimension - saddle.negative)
    if not saddle.is_canonical or not is_bounded(saddle):
        return np.nan
    return float(saddle.dimension - 2 if saddle.schedule == "alternating" else (saddle.dimension - 1) // 2)


def predict_exponents(saddle: Saddle) -> FloatArray:
    """Return the exponents of the limit of many steps, per step, largest first."""
    if not is_bounded(saddle):
        exponents = np.zeros(saddle.dimension)  # of the smoothed directions: steps shrink to nothing
        exponents[-1] = np.log(1 - saddle.step_size * saddle.hessian.sum() / saddle.dimension)
    else:
        product, steps = multiply_period(saddle)
        exponents = np.log(np.abs(np.linalg.eigvals(product))) / steps
    return np.sort(exponents)[::-1]


def predict_normal(saddle: Saddle) -> FloatArray:
    """Return the unit normal of the attraction region of a periodic scheme; NaN if m > 1, or it is not periodic."""
    if saddle.negative > 1 or not (saddle.is_constant or saddle.schedule == "alternating"):
        return np.full(saddle.dimension, np.nan)
    rates, vectors = np.linalg.eig(multiply_period(saddle)[0].T)
    normal = np.real(vectors[:, np.argmax(np.abs(rates))])
    return point_upwards(normal / np.linalg.norm(normal))


def multiply_period(saddle: Saddle) -> tuple[FloatArray, int]:
    """Return the product of the step matrices of one period of the limit of a bounded scheme, and their number."""
    if saddle.schedule == "ratio":
        matrices = saddle.matrices_of(np.array([saddle.smoothing]))
    else:
        matrices = saddle.step_matrices(0, 1 if saddle.is_constant else 2)
    return reduce(np.matmul, matrices[::-1]), len(matrices)
