"""scipy's solve_ivp, with the right-hand side in numpy and in numba."""

import math
from collections.abc import Callable

import numpy as np
from numba import njit
from scipy.integrate import solve_ivp

from benchmarks.race.ode_problem import ALPHA2, ATOL, BETA2, ETA, KAPPA, LAM, RTOL, S2, UNTIL, FloatArray, make_grid

C, U, V, WEIGHT = make_grid()


def velocity(_: float, y: FloatArray) -> FloatArray:
    """The right-hand side in numpy."""
    q, r = y[:2], y[2]
    noise = np.sqrt(ALPHA2 * r) * U
    own = np.sqrt(BETA2 * r) * V
    mean = C @ q
    h1, h2 = np.tanh(mean + noise + own), np.tanh(mean + noise - own)
    d1, d2 = 1 - h1**2, 1 - h2**2
    a, b = d1 * h2, d2 * h1
    g = (WEIGHT * (a + b)) @ C
    alignment = WEIGHT @ (a * (noise + own) + b * (noise - own)) / r
    square, slope = WEIGHT @ (h1**2 + h2**2) / 2, WEIGHT @ (d1**2 + d2**2) / 2
    variance = S2 * (WEIGHT @ (a**2 + b**2) + 2 * square * slope) + 2 * KAPPA * (WEIGHT @ (a * b))
    growth = alignment - LAM
    return np.append(ETA * (g + growth * q), 2 * ETA * (g @ q + growth * r) + ETA**2 * variance)


@njit(fastmath=True)  # type: ignore[untyped-decorator]
def write_velocity(out: FloatArray, y: FloatArray, c: FloatArray, u: FloatArray, v: FloatArray, w: FloatArray) -> None:
    """The right-hand side as a numba loop."""
    r = y[2]
    alpha, beta = math.sqrt(ALPHA2 * r), math.sqrt(BETA2 * r)
    g1, g2, along, square, slope, own, cross = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(len(w)):
        mean = c[k, 0] * y[0] + c[k, 1] * y[1]
        e1, e2 = alpha * u[k] + beta * v[k], alpha * u[k] - beta * v[k]
        h1, h2 = math.tanh(mean + e1), math.tanh(mean + e2)
        d1, d2 = 1 - h1 * h1, 1 - h2 * h2
        a, b = d1 * h2, d2 * h1
        g1 += w[k] * (a + b) * c[k, 0]
        g2 += w[k] * (a + b) * c[k, 1]
        along += w[k] * (a * e1 + b * e2)
        square += w[k] * (h1 * h1 + h2 * h2) / 2
        slope += w[k] * (d1 * d1 + d2 * d2) / 2
        own += w[k] * (a * a + b * b)
        cross += w[k] * a * b
    variance = S2 * (own + 2 * square * slope) + 2 * KAPPA * cross
    growth = along / r - LAM
    out[0] = ETA * (g1 + growth * y[0])
    out[1] = ETA * (g2 + growth * y[1])
    out[2] = 2 * ETA * (g1 * y[0] + g2 * y[1] + growth * r) + ETA * ETA * variance


def fast_velocity(_: float, y: FloatArray) -> FloatArray:
    """The numba loop for scipy."""
    out = np.empty(3)
    write_velocity(out, y, C, U, V, WEIGHT)
    return out


def _make(method: str, right_hand_side: Callable[[float, FloatArray], FloatArray]) -> Callable[..., FloatArray]:
    def solve(starts: FloatArray, rtol: float = RTOL, atol: float = ATOL) -> FloatArray:
        solve_one = (
            solve_ivp(right_hand_side, (0, UNTIL), start, method=method, t_eval=[UNTIL], rtol=rtol, atol=atol)
            for start in starts
        )
        return np.array([solution.y[:, -1] for solution in solve_one])

    return solve


SINGLE = {
    f"scipy {method}, right-hand side in {language}": _make(method, right_hand_side)
    for method in ("DOP853", "LSODA")
    for language, right_hand_side in (("numpy", velocity), ("numba", fast_velocity))
}
