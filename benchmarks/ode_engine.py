"""Speed of the batch of ODE trajectories against scipy's DOP853 on the direct right-hand side, one core.

p = 2, tanh, T = 50, one noise setting, 10 000 starts spread over the disc of cosine similarities. Both run at
tolerances for which the error of the order parameters, against a run at rtol 1e-12, is at most 1e-8.
"""

import math
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.theory.flow.batch import BatchIntegrator
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.flow.ode import integrate_direct

FloatArray = NDArray[np.float64]

STARTS, SAMPLE, ROUNDS = 10_000, 40, 3
TIMES = np.array([50.0])
TOLERANCES = {"rtol": 1e-8, "atol": 1e-10}


def _spread_starts(count: int) -> FloatArray:
    """Starts on a sunflower pattern in the disc of radius 0.9, squared norm 1; shape (count, 3)."""
    k = np.arange(count)
    radius, angle = 0.9 * np.sqrt((k + 0.5) / count), k * math.pi * (3 - math.sqrt(5))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(count)])


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (trajectories per second and core), reach (text), ratio (measured /
        reference, in this run).
    """
    latents = (ThreePoint(second_moment=1.5, kurtosis=2.0), ThreePoint(second_moment=1.5, kurtosis=1.5))
    flow = Flow(ContrastiveModel(latents=latents, learning_rate=0.5, weight_decay=0.6))
    starts = _spread_starts(STARTS)
    sample = starts[:: STARTS // SAMPLE]
    BatchIntegrator(flow, **TOLERANCES).integrate(starts[:200], TIMES)  # compiles
    integrate_direct(flow, starts[0], TIMES, **TOLERANCES)
    batch, direct = math.inf, math.inf
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        outcome = BatchIntegrator(flow, **TOLERANCES).integrate(starts, TIMES)  # with the building of its table
        middle = time.perf_counter()
        for start in sample:
            integrate_direct(flow, start, TIMES, **TOLERANCES)
        end = time.perf_counter()
        batch, direct = min(batch, middle - begin), min(direct, end - middle)
    exact = np.array([integrate_direct(flow, start, TIMES, rtol=1e-12, atol=1e-14) for start in sample])
    error = np.abs(outcome[:: STARTS // SAMPLE] - exact).max()
    speed, reference = STARTS / batch, len(sample) / direct
    return [
        {
            "what": f"ODE trajectories per second and core, p = 2, T = 50, error {error:.0e}, against scipy DOP853",
            "reach": ">= 4000, >= 10 x, error <= 1e-8",
            "measured": speed,
            "reference": reference,
            "ratio": speed / reference,
        }
    ]
