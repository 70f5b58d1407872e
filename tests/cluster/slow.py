"""The toy system of the sweep's tests, which takes its time while there is a file ``slow`` in the working directory."""

import time
from collections.abc import Sequence
from pathlib import Path

from clhd.core.arrays import FloatArray
from clhd.systems.declarations import Result
from tests.sweep.toy import ToyPoint, ToySimulation, ToySystem


class SlowSimulation(ToySimulation):
    """height = slope * time + noise, after as many seconds as were predicted."""

    def compute(self, points: Sequence[ToyPoint], time_points: FloatArray, replicas: Sequence[int]) -> Result:
        if Path("slow").exists():
            time.sleep(sum(float(point.get("work", 0.3)) * len(replicas) for point in points))
        return super().compute(points, time_points, replicas)


class SlowSystem(ToySystem):
    simulation = SlowSimulation()
