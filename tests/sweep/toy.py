"""A system with known results, for tests of the sweep without any science."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import ClhdError
from clhd.systems.declarations import Cost, NotConvergedError, Output, Outputs, Parameter, Result, Status, Value
from clhd.systems.protocol import System

WORDS = {"long_name": "height", "symbol": "x", "units": "m", "description": "of the toy"}
STEEPNESS = {"long_name": "steepness", "symbol": "abs(s)", "units": "m/s", "description": "of the toy"}


@dataclass(frozen=True)
class ToyPoint:
    values: tuple[tuple[str, Value], ...]
    seed: int

    @property
    def key(self) -> str:
        return f"{self.values}|{self.seed}"

    def get(self, name: str, default: Any = 0.0) -> Any:
        return dict(self.values).get(name, default)


@dataclass
class Log:
    """What the toy was asked to do."""

    simulated: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    broken: set[float] = field(default_factory=set)
    calls: int = 0


LOG = Log()


class ToySimulation:
    """height(time) = slope * time + noise; slope < 0 diverges, those in LOG.broken raise, slope * weight <= 50."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> ToyPoint:
        point = ToyPoint(tuple(sorted(values.items())), seed)
        if float(point.get("slope")) * float(point.get("weight", 1.0)) > 50:
            raise ClhdError(f"slope = {point.get('slope')!r}: times weight must not exceed 50")
        return point

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("simulation") == "none":
            return Outputs(variables={})
        features = range(1, int(constants.get("features", 1)) + 1)  # type: ignore[arg-type]
        return Outputs(
            variables={"height": Output(dims=("time", "feature"), words=WORDS)},
            coordinates={"feature": (features, {"long_name": "feature"})},
        )

    def cost(self, point: ToyPoint, time: FloatArray) -> Cost:
        return Cost(seconds=float(point.get("work", 0.3)), family=point.get("size", 1))

    def compute(self, points: Sequence[ToyPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        LOG.calls += 1
        height = np.empty((len(points), len(replicas), len(time), 1))
        status = np.full(height.shape[:2], Status.OK, np.int8)
        for point in points:
            slope = float(point.get("slope"))
            if slope in LOG.broken:
                raise ZeroDivisionError(f"the slope {slope:g} is broken")
        for p, point in enumerate(points):
            slope = float(point.get("slope"))
            for k, replica in enumerate(replicas):
                digest = blake2b(f"{point.key}|{replica}".encode(), digest_size=8).digest()
                noise = np.random.default_rng(int.from_bytes(digest, "little")).normal(size=len(time))
                height[p, k, :, 0] = slope * time + noise / np.sqrt(float(point.get("size", 1)))
                if slope < 0:
                    height[p, k, 1:] = np.nan
                    status[p, k] = Status.DIVERGED
            LOG.simulated.append((point.key, tuple(replicas)))
        return Result(values={"height": height}, status=status)


class ToyTheory:
    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> ToyPoint:
        return ToySimulation().point(values, 0)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        outputs = ToySimulation().outputs({**constants, "simulation": "toy"})
        own = {"height_fluctuation": outputs.variables["height"], "steepness": Output(dims=(), words=STEEPNESS)}
        return Outputs(variables={**outputs.variables, **own}, coordinates=outputs.coordinates)

    def cost(self, point: ToyPoint, time: FloatArray) -> Cost:
        return Cost(seconds=0.01)

    def compute(self, points: Sequence[ToyPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        slopes = np.array([float(point.get("slope")) for point in points])
        if np.any(slopes == 7):
            raise NotConvergedError("no answer at slope 7")
        lifts = np.array([float(point.get("lift")) for point in points])
        height = (lifts[:, None] + slopes[:, None] * time)[..., None]
        return Result(
            values={"height": height, "height_fluctuation": np.ones_like(height), "steepness": np.abs(slopes)},
            status=np.full(len(points), Status.OK, np.int8),
        )


class ToySystem(System):
    title = "toy"
    size = "size"
    limit = "limit of large size"
    components = "features"
    parameters = {
        "slope": Parameter(kind="number", default=0.0, meaning="slope", symbol="s", units="m/s"),
        "weight": Parameter(kind="number", default=1.0, meaning="weight", minimum=0, per_component=True),
        "size": Parameter(kind="count", default=1, meaning="size", minimum=1, maximum=1e9, in_theory=False),
        "colour": Parameter(kind="choice", default="red", meaning="colour", choices=("red", "blue")),
        "features": Parameter(kind="count", default=1, meaning="features", minimum=1, maximum=9, can_vary=False),
        "lift": Parameter(kind="number", default=0.0, meaning="lift of the theory", in_simulation=False),
        "simulation": Parameter(kind="choice", default="toy", meaning="", choices=("toy", "none"), in_theory=False),
        "work": Parameter(kind="number", default=0.3, meaning="predicted cost", units="s", in_theory=False),
    }
    simulation = ToySimulation()
    theory = ToyTheory()
