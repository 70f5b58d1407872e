"""Speed of one saddle, n = 12 and 4000 steps: exponents, normals at 30 step indices and escape, one core."""

import math
import time
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.systems.saddle import SaddleSystem

ROUNDS = 5
REACH = 0.3


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (runs per second and core: here, and as wanted), reach (text), ratio
        (measured / reference).
    """
    system, best = SaddleSystem(), math.inf
    values = SimpleNamespace(**{name: parameter.default for name, parameter in system.parameters.items()})
    values.dimension = 12
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        system.simulate(values, np.zeros(0), np.random.default_rng(1))
        best = min(best, time.perf_counter() - begin)
    return [
        {
            "what": "saddle runs per second and core, n = 12, 4000 steps",
            "reach": f"<= {REACH:g} s",
            "measured": 1 / best,
            "reference": 1 / REACH,
            "ratio": REACH / best,
        }
    ]
