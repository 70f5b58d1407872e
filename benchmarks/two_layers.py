"""Speed of SGD on the two-layer network, in processor time of one core; run as a program.

5 tokens, 5 hidden units for each, 50 outputs, a batch of 128: the default network. Goal: 1 ms per iteration.
"""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np

import clhd
from clhd.systems.two_layers import TwoLayersSystem
from clhd.systems.two_layers.simulation import train

ITERATIONS, ROUNDS = 500, 3


def measure() -> float:
    """Milliseconds of processor time per iteration, with the drawing of the batches; the best of a few rounds."""
    values: dict[str, Any] = {name: parameter.default for name, parameter in TwoLayersSystem.parameters.items()}
    train(SimpleNamespace(**values), np.array([1.0]), clhd.generator("benchmark", 0))  # compiles
    best = np.inf
    for _ in range(ROUNDS):
        begin = time.process_time()
        train(SimpleNamespace(**values), np.array([float(ITERATIONS)]), clhd.generator("benchmark", 0))
        best = min(best, time.process_time() - begin)
    return 1e3 * best / ITERATIONS


if __name__ == "__main__":
    found = measure()
    print("| what | ms per iteration | goal |\n|---|---|---|")
    print(f"| two layers, P = 5, beta = 5, one core | {found:.2f} | 1 |")
