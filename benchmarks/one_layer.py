"""Speed of one layer: 1000 units that climb 6 patterns with kinks, and the enumeration of 3^8 cases, one core."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from clhd.systems.one_layer.model import make_patterns, make_probabilities
from clhd.systems.one_layer.simulation import simulate_layer
from clhd.systems.one_layer.theory import enumerate_optima

ROUNDS = 3


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (runs per second and core: here, and as wanted), reach (text), ratio
        (measured / reference).
    """

    def climb() -> None:
        random = np.random.default_rng(1)
        options: dict[str, Any] = {"is_linear": False, "step_size": 4.0, "steps": 60_000, "room": 16, "sizes": [1000]}
        simulate_layer(6, 0.5, 3.0, units=1000, random=random, **options)

    def enumerate_cases() -> None:
        enumerate_optima(make_patterns(8, 0.5), make_probabilities(8, 3.0))

    jobs: list[tuple[str, float, Callable[[], None]]] = [
        ("layers of 1000 units per second and core, M = 6, c = 0.5, 60,000 steps", 3.0, climb),
        ("enumerations per second and core, M = 8", 1.0, enumerate_cases),
    ]
    table = []
    for what, reach, job in jobs:
        job()  # compiles
        best = math.inf
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            job()
            best = min(best, time.perf_counter() - begin)
        row = {"what": what, "reach": f"<= {reach:g} s", "measured": 1 / best, "reference": 1 / reach}
        table.append(row | {"ratio": reach / best})
    return table
