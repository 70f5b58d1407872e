"""Speed of the closed form of the two-layer network, and of its gradient descent, on one core.

`python -m benchmarks.latent_variable` prints the rows.
"""

import math
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.systems.latent_variable import LatentVariableSystem
from clhd.systems.latent_variable.theory import solve_modes

ROUNDS = 5


def _fastest(function: Callable[[], Any]) -> float:
    seconds = math.inf
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        function()
        seconds = min(seconds, time.perf_counter() - begin)
    return seconds


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table: what (text), measured (seconds), reach (text)."""
    plus, minus, drive, when = np.random.default_rng(0).random((4, 100_000))
    system = LatentVariableSystem()
    defaults = {name: parameter.default for name, parameter in system.parameters.items()}
    values = SimpleNamespace(**(defaults | {"network_width": 100_000}))

    def descend() -> None:
        system.simulate(values, np.array([10.0]), np.random.default_rng(0))

    descend()  # compiles
    return [
        {
            "what": "seconds of 1e5 closed forms",
            "measured": _fastest(lambda: solve_modes(plus, minus, drive, 1.0, when)),
            "reach": "<= 0.1",
        },
        {"what": "seconds of one gradient descent, d = 1e5, 200 steps", "measured": _fastest(descend), "reach": "-"},
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"| {row['what']} | {row['measured']:.3g} | {row['reach']} |")
