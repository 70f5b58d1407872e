"""The toy system of the sweep's tests, with points that fail or wait as long as a certain file is there."""

import time
from collections.abc import Sequence
from pathlib import Path

from clhd.core.arrays import FloatArray
from clhd.systems.declarations import Result
from tests.sweep.toy import ToyPoint, ToySimulation, ToySystem


class FlakySimulation(ToySimulation):
    """height = slope * time + noise; in the working directory there may be files that disturb it.

    While there is ``broken``, the slope 1 fails. While there is ``held``, the slope 7 waits, and makes ``reached``.
    """

    def compute(self, points: Sequence[ToyPoint], times: FloatArray, replicas: Sequence[int]) -> Result:
        longest = time.monotonic() + 200
        is_held = any(point.get("slope") == 7 for point in points)
        while is_held and Path("held").exists() and time.monotonic() < longest:
            Path("reached").touch()
            time.sleep(0.01)
        if Path("broken").exists() and any(point.get("slope") == 1 for point in points):
            raise ZeroDivisionError("the slope 1 is broken")
        return super().compute(points, times, replicas)


class FlakySystem(ToySystem):
    simulation = FlakySimulation()
