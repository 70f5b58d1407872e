"""The function that everybody sweeps: it keeps a processor busy for 1 ms."""

import math
import os
import time

SIDE = 100
SECONDS = 1e-3
X = [0.01 * i for i in range(SIDE)]
Y = [1.0 + j for j in range(SIDE)]


def compute(x: float, y: float) -> float:
    """Return a number that tells which point this was; note the call in the file that RACE_CALLS names."""
    end = time.perf_counter() + SECONDS
    if "RACE_CALLS" in os.environ:
        with open(os.environ["RACE_CALLS"], "ab", buffering=0) as calls:  # noqa: PTH123  (a user's function is quick)
            calls.write(b".")
    while time.perf_counter() < end:
        pass
    return expected(x, y)


def expected(x: float, y: float) -> float:
    """The value at a point."""
    return math.sin(x) + y
