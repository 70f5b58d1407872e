"""The toy system of the sweep's tests, with a point that fails as long as a file called ``broken`` is there."""

from collections.abc import Sequence
from pathlib import Path

from clhd.systems.base import FloatArray, Result
from tests.sweep.toy import ToyPoint, ToySystem


class FlakySystem(ToySystem):
    """height = slope * time + noise; the slope 1 fails while ``broken`` exists in the working directory."""

    def simulate(self, points: Sequence[ToyPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        if Path("broken").exists() and any(point.get("slope") == 1 for point in points):
            raise ZeroDivisionError("the slope 1 is broken")
        return super().simulate(points, time, replicas)
