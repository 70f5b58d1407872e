"""The closed form of gradient flow from any start, and the exponents that make the phase diagram.

Gradient flow keeps the directions of p = u/sqrt(eta_u) + w/sqrt(eta_w) and of p' = u/sqrt(eta_u) - w/sqrt(eta_w). One
grows by sqrt(z) where the other shrinks by it, and z obeys a Riccati equation:

    dz/dt = kappa (M + 4 h z - P z^2),  z(0) = 1,  with the root  D = sqrt(4 h^2 + P M).

Its solution, written so that no term is negative (docs/systems/latent_variable.md): with k = 2 h/D,
E = exp(-2 kappa D t), F = (1 - E)/D, and 2 kappa t in its place where D = 0,

    z = N/Z,   N = (1 + k) + (1 - k) E + M F,   Z = (1 - k) + (1 + k) E + P F,
    P z - M/z = 4 [E (P - M) + h F B] / (N Z),   B = (1 - E) [P (1 + k) + M (1 - k)] + 2 E (P + M) + 2 P M F.

| symbol | name |
|---|---|
| P, M | plus, minus |
| h, kappa | drive, speed |
| D | root |
| A, B | exponents of u.u/(d eta_u) and w.w/(d eta_w) |
| e | phase_index |

Symbols of the model: `clhd.systems.latent_variable.model`.
"""

import math
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike

from clhd.core.arrays import FloatArray
from clhd.systems.latent_variable.model import Network, measure_area, measure_modes

_LOST = 1e-4  # share of the modes below which their difference is not taken: four digits would be lost


def solve_modes(
    plus: ArrayLike, minus: ArrayLike, drive: ArrayLike, speed: ArrayLike, time: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return P z and M / z, the squared lengths of both combinations of the weights at a time.

    All limits are exact: P, M, the drive or D may be 0. P, M and the time are not negative, the speed is positive; all
    arguments are broadcast.
    """
    return _solve(plus, minus, drive, speed, time, 0.0)[:2]


def solve_difference(
    plus: ArrayLike, minus: ArrayLike, drive: ArrayLike, speed: ArrayLike, time: ArrayLike, first: ArrayLike
) -> FloatArray:
    """Return P z - M / z, to the digits of P - M, which is `first`.

    Where both modes are nearly equal, as those of layers of very different size, their difference loses its digits. All
    other arguments are those of `solve_modes`; all are broadcast.
    """
    grown, shrunk, direct, scale = _solve(plus, minus, drive, speed, time, first)
    return np.where(scale < _LOST * (grown + shrunk), direct, grown - shrunk)


def _solve(
    plus: ArrayLike, minus: ArrayLike, drive: ArrayLike, speed: ArrayLike, time: ArrayLike, first: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return P z, M / z, their difference from that at the start, and the size of the terms of this difference."""
    p, m, h = (np.asarray(value, dtype=float) for value in (plus, minus, drive))
    rate = 2.0 * np.asarray(speed, dtype=float) * np.asarray(time, dtype=float)
    root = np.sqrt(4.0 * h * h + p * m)
    safe = np.where(root > 0, root, 1.0)
    # 1 - abs(k), from (D - 2 abs(h)) (D + 2 abs(h)) = P M: the difference itself would lose its digits.
    small = np.where(root > 0, p * m / (safe * (safe + 2.0 * np.abs(h))), 1.0)
    large = np.where(root > 0, 1.0 + 2.0 * np.abs(h) / safe, 1.0)
    up, down = np.where(h >= 0, large, small), np.where(h >= 0, small, large)  # 1 + k, 1 - k
    decay = np.exp(-rate * root)
    grown = np.where(root > 0, -np.expm1(-rate * root) / safe, rate)
    above = up + down * decay + m * grown
    below = down + up * decay + p * grown
    pull = h * grown * ((1.0 - decay) * (p * up + m * down) + 2.0 * decay * (p + m) + 2.0 * p * m * grown)
    left = decay * np.asarray(first, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 times infinity, far along the way into the saddle
        direct, scale = 4.0 * (left + pull) / above / below, 4.0 * (np.abs(left) + np.abs(pull)) / above / below
        return np.where(p > 0, p * (above / below), 0.0), np.where(m > 0, m * (below / above), 0.0), direct, scale


def predict_start(network: Network, u: FloatArray, w: FloatArray, time: FloatArray) -> dict[str, FloatArray | float]:
    """Return the outputs of `LatentVariableSystem` that gradient flow from weights u and w passes through.

    Times are not in units; the kernel's change is that to the last one. The alignment is NaN where the weights are 0,
    to which a start with a mode of 0 can be driven.
    """
    half = network.root_rate / 4
    modes = measure_modes(network, u, w)
    plus, minus = solve_modes(*modes, network.drive, network.speed, time)
    start = 4 * float((u * w).sum()) / network.root_rate
    if abs(start) >= _LOST * sum(modes):
        start = modes[0] - modes[1]
    product = half * solve_difference(*modes, network.drive, network.speed, time, start)
    norms = np.sqrt(measure_area(u, w) + product**2)
    first = (network.scale * network.root_rate) ** 2 / 2 * sum(modes)
    moved = product[-1] ** 2 - (half * start) ** 2
    with np.errstate(invalid="ignore"):
        alignment = product / norms
    return {
        "response": network.scale * product,
        "alignment": alignment,
        "norm_product": norms,
        "tangent_kernel": (network.scale * network.root_rate) ** 2 / 2 * (plus + minus),
        "kernel_change": _root_minus_one(4 * network.scale**4 * network.root_rate**2 * moved / first**2),
    }


def _root_minus_one(x: float) -> float:
    """sqrt(1 + x) - 1, exact where x is tiny, and -1 where rounding makes 1 + x negative."""
    return float(x / (1.0 + math.sqrt(max(1.0 + x, 0.0))))


def predict_phase(values: SimpleNamespace) -> dict[str, float]:
    """Return the exponents of a random start in the limit of infinite width.

    | name | meaning |
    |---|---|
    | phase_index | e: below 0 the kernel freezes, above 0 it grows without bound |
    | kernel_exponent | K_inf/K_0 - 1 goes as d to this power |
    | alignment_index | where it is not below 0, u and w align at the end, or have been aligned |
    """
    layer_u = values.rate_exponent_u - 2 * values.initial_exponent_u
    layer_w = values.rate_exponent_w - 2 * values.initial_exponent_w
    rates = (values.rate_exponent_u + values.rate_exponent_w) / 2
    index = values.scale_exponent + rates - 1 - max(layer_u, layer_w)
    gap = abs(layer_u - layer_w)
    return {
        "phase_index": index,
        "kernel_exponent": index if index > 0 else max(2 * index, -1 - gap),
        "alignment_index": index + gap / 2,
    }
