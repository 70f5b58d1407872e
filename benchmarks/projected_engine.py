"""Speed of the projected chain against a loop written by hand: one replica, numpy's Generator in numba.

Both make the same step (tanh, bilinear loss, n = 1000) on one core. Runs are interleaved and the best of each counts,
so that the ratios hold on a machine that does other work as well.
"""

import math
import time
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from clhd.core.kernels import kernel
from clhd.core.streams import (
    aligned_zeros,
    fill_signs,
    fill_six_normals,
    gamma_constants,
    seed_states,
    transform_to_chi_squares,
)
from clhd.systems.contrastive.model.activations import TANH, activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.simulation.chains import choose_chain
from clhd.systems.contrastive.simulation.lockstep import LANES, Lockstep
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected import LaneGroup

FloatArray = NDArray[np.float64]

DIMENSION, GROUPS = 1000, 8
_STEPS, _LOOP_STEPS, _ROUNDS = 1000, 100_000, 9
_REACH = {1: "<= 10 ns, >= 10 x", 2: "<= 14 ns, >= 10 x"}


@njit(nogil=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def advance_numba_loop(
    steps: int, n: int, q: FloatArray, r: float, amplitude: float, numbers: FloatArray, generator: np.random.Generator
) -> float:
    """The projected chain of one replica as its definition reads, p + 1 noise components for each view."""
    eta, lam, s2, kappa = numbers[0], numbers[1], numbers[2], numbers[3]
    p = len(q)
    s = math.sqrt(s2)
    common, own = kappa / s, math.sqrt(s2 - kappa * kappa / s2)
    c, b, u = np.empty((2, p)), np.empty((3, p)), np.empty(p)
    decay, rate = 1 - eta * lam / n, eta / n
    for _ in range(steps):
        square = 0.0
        z1, z2, z3 = 0.0, 0.0, 0.0
        for j in range(p):
            for sample in range(2):
                c[sample, j] = amplitude if generator.random() < 0.5 else -amplitude
            x, y = generator.standard_normal(), generator.standard_normal()
            b[0, j], b[1, j], b[2, j] = s * x, common * x + own * y, s * generator.standard_normal()
            z1 += q[j] * (c[0, j] + b[0, j])
            z2 += q[j] * (c[0, j] + b[1, j])
            z3 += q[j] * (c[1, j] + b[2, j])
            square += q[j] * q[j]
        across = math.sqrt(max(r - square, 0.0))
        x, y = generator.standard_normal(), generator.standard_normal()
        t1, t2, t3 = s * x, common * x + own * y, s * generator.standard_normal()
        z1, z2, z3 = z1 + across * t1, z2 + across * t2, z3 + across * t3
        h1, h2, h3 = math.tanh(z1), math.tanh(z2), math.tanh(z3)
        f1, f2, f3 = (1 - h1 * h1) * (h2 - h3), h1 * (1 - h2 * h2), -h1 * (1 - h3 * h3)
        form = s2 * (f1 * f1 + f2 * f2 + f3 * f3) + 2 * kappa * f1 * f2
        step = (f1 * t1 + f2 * t2 + f3 * t3) ** 2 + form * generator.chisquare(n - p - 1)
        for j in range(p):
            u[j] = f1 * (c[0, j] + b[0, j]) + f2 * (c[0, j] + b[1, j]) + f3 * (c[1, j] + b[2, j])
            step += u[j] * u[j]
            q[j] = decay * q[j] + rate * u[j]
        r = decay * decay * r + 2 * decay * rate * (f1 * z1 + f2 * z2 + f3 * z3) + rate * rate * step
    return r


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (nanoseconds per step, replica and core), reach (text) and ratio
        (reference / measured, in this run).
    """
    table = []
    for features, reach in _REACH.items():
        engine, loop = _time_both(features)
        table.append(
            {
                "what": f"projected chain, p = {features}, ns per step and replica, against a one-replica numba loop",
                "reach": reach,
                "measured": 1e9 * engine,
                "reference": 1e9 * loop,
                "ratio": loop / engine,
            }
        )
    return table + _batch_rows()


def _time_both(features: int) -> tuple[float, float]:
    """Seconds per step and replica of the engine and of the loop, the best of interleaved rounds."""
    model = ContrastiveModel(latents=(ThreePoint(second_moment=1.5),) * features, weight_decay=0.6)
    overlap = (0.3, 0.2)[:features]
    point = Point(model=model, dimension=DIMENSION, overlap=overlap)
    groups = [LaneGroup([(point, range(k * LANES, (k + 1) * LANES))]) for k in range(GROUPS)]
    numbers = np.array([model.learning_rate, model.weight_decay, model.noise_variance, model.noise_covariance])
    q, generator = np.array(overlap), np.random.default_rng(0)
    engine, loop, r = math.inf, math.inf, 1.0
    for round_ in range(_ROUNDS + 1):
        start = time.perf_counter()
        for group in groups:
            group.advance(_STEPS)
        middle = time.perf_counter()
        r = advance_numba_loop(_LOOP_STEPS, DIMENSION, q, r, math.sqrt(1.5), numbers, generator)
        end = time.perf_counter()
        if round_ > 0:  # the first round compiles
            engine = min(engine, (middle - start) / (_STEPS * LANES * GROUPS))
            loop = min(loop, (end - middle) / _LOOP_STEPS)
    return engine, loop


@kernel
def make_numbers(
    steps: int, sixes: int, latents: int, units: int, outputs: int, state: NDArray[np.uint64], work: FloatArray
) -> None:
    """Draw the random numbers of the steps of a chain in a frame, and compute as many outputs tanh as it needs."""
    for _ in range(steps):
        for k in range(sixes):
            fill_six_normals(state, work[:6], work[6 + k % 2], work[8])
        for k in range(latents):
            fill_signs(work[8], k, work[9], work[10])
        for k in range(units):
            transform_to_chi_squares(state, work[0], work[11], work[12], work[6 + k % 2], work[10])
        for k in range(outputs):
            activate(TANH, work[0, :0], work[k % 6], work[10], work[13])


def _batch_rows() -> list[dict[str, Any]]:
    """Rows of a batch: one unit against the chain of three views, two units against their numbers and activations."""
    three = _make_group(1)
    one = _make_group(1, loss="covariance", batch=2)
    two = _make_group(2, loss="covariance", batch=4, units=2, decorrelation=1.0)
    state, work = seed_states("numbers", range(LANES)), aligned_zeros((14, LANES))
    gamma_constants(np.full(LANES, DIMENSION - 4.0), work[11], work[12])
    best = [math.inf] * 4
    for round_ in range(_ROUNDS + 1):
        for k, group in enumerate((three, one, two)):
            start = time.perf_counter()
            group.advance(_STEPS)
            if round_ > 0:  # the first round compiles
                best[k] = min(best[k], (time.perf_counter() - start) / (_STEPS * LANES))
        start = time.perf_counter()
        # Sixes: 8 views in 4 directions, and Bartlett's triangle. Latents: 4 samples, 2 features. Outputs: 2 units.
        make_numbers(_STEPS, 6, 4 * 2, 2, 2 * 8, state, work)
        if round_ > 0:
            best[3] = min(best[3], (time.perf_counter() - start) / (_STEPS * LANES))
    return [
        {
            "what": "chain of a batch, B = 2, p = d = 1, ns per step and replica, against the chain of three views",
            "reach": "<= 2.2 x three views",
            "measured": 1e9 * best[1],
            "reference": 1e9 * best[0],
            "ratio": best[0] / best[1],
        },
        {
            "what": "chain of a batch, B = 4, p = d = 2, ns per step and replica, against its numbers and activations",
            "reach": "<= 1.5 x these",
            "measured": 1e9 * best[2],
            "reference": 1e9 * best[3],
            "ratio": best[3] / best[2],
        },
    ]


def _make_group(features: int, **changes: Any) -> Lockstep:
    """Lanes of one point, all in use."""
    model = ContrastiveModel(latents=(ThreePoint(second_moment=1.5),) * features, weight_decay=0.6, **changes)
    row = (0.3, 0.2)[:features]
    point = Point(model=model, dimension=DIMENSION, overlap=row if model.units == 1 else (row,) * model.units)
    return choose_chain(model)([(point, range(LANES))])
