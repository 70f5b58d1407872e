"""The system "escape": how long a unit stays near the uninformative state, by dimension.

A run starts from random weights, w ~ N(0, r0 I), with the squared norm r0 of the uninformative state. It has escaped
as soon as abs(S) passes `escape_level`. The theory is the leading order at large dimension (`theory.escape`).

| output | dims | meaning |
|---|---|---|
| escaped_share | time | 1 if the run has escaped by this time, else 0; theory: the probability |
| escape_time | | first output time at which abs(S) has passed the level, at most the last; theory: its mean |
| growth_rate | feature | theory only: of a small overlap |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.halves import ODE, SGD, EndSystem, ModelPoint, PointTheory
from clhd.systems.contrastive.sweeps.outputs import NOTHING, find_diverged, label_outputs
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import check_diffusion
from clhd.systems.contrastive.theory.states.escape import Growth, escape_distribution, find_reach, predict_growth
from clhd.systems.declarations import Cost, Outputs, Parameter, Result, Value, choice, number

_OF_STARTS = {name for name in PARAMETERS if name.startswith("initial")}
NOT_OF_ESCAPE = {*_OF_STARTS, "units", "decorrelation", "decorrelation_function", "correlation_acts_on", "constraint"}
THEORY = choice(
    "escape",
    "what is predicted: the leading order at large dimension, or nothing",
    ("escape", "none"),
    in_simulation=False,
    can_vary=False,
)
_OWN: dict[str, Parameter] = {
    "dimension": replace(PARAMETERS["dimension"], in_theory=True),
    "escape_level": number(0.5, "cosine similarity beyond which a run has escaped", above=0, maximum=0.99),
    "theory": THEORY,
}
_DIMS: dict[str, tuple[str, ...]] = {"escaped_share": ("time",), "escape_time": ()}


@dataclass(frozen=True, kw_only=True)
class EscapeSimulationPoint:
    """A point of the simulation."""

    sgd: Point
    level: float


@dataclass(frozen=True, kw_only=True)
class EscapeTheoryPoint(ModelPoint):
    """A point of the theory."""

    dimension: int
    level: float


class EscapeSimulation:
    """When each run of SGD escapes; see `clhd.systems.protocol.Half`."""

    version = SGD.version
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> EscapeSimulationPoint:
        return EscapeSimulationPoint(sgd=SGD.point(start_at_rest(values), seed), level=_level(values))

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        return NOTHING if constants.get("simulation") == "none" else label_outputs(_DIMS, {})

    def cost(self, point: EscapeSimulationPoint, time: FloatArray) -> Cost:
        return SGD.cost(point.sgd, time)

    def compute(self, points: Sequence[EscapeSimulationPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        states = simulate_points([point.sgd for point in points], time, replicas, threads=1)
        level = np.array([point.level for point in points])[:, None, None]
        with np.errstate(invalid="ignore"):
            escaped = np.logical_or.accumulate(states[..., 0] ** 2 > level**2 * states[..., 1], axis=-1)
        first = np.where(escaped.any(axis=-1), escaped.argmax(axis=-1), len(time) - 1)
        return Result(
            values={"escaped_share": escaped.astype(np.float64), "escape_time": time[first]},
            status=find_diverged(states[..., -1]),
        )


class EscapeTheory(PointTheory):
    """The law of the time of escape."""

    version = 2  # levels below 0.001 are reached
    seconds = 0.5

    def point(self, values: Mapping[str, Value], seed: int) -> EscapeTheoryPoint:
        if "dimension" not in values:
            raise InputError("dimension: must be given, as a constant or an axis")
        model = ODE.point(start_at_rest(values), seed).model
        check_diffusion(model)
        return EscapeTheoryPoint(model=model, dimension=int(values["dimension"]), level=_level(values))  # type: ignore[arg-type]

    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        return {**_DIMS, "growth_rate": ("feature",)}

    def predict(self, point: EscapeTheoryPoint, time: FloatArray) -> Mapping[str, Any]:
        growth, reach = _find_growth_and_reach(point.model, point.level)
        share = escape_distribution(growth, reach, point.dimension, time)
        # The mean of the first output time at which a run has escaped, at most the last.
        mean = float(time[0] + np.sum((1.0 - share[:-1]) * np.diff(time)))
        return {"escaped_share": share, "escape_time": mean, "growth_rate": growth.growth_rate}


class EscapeSystem(EndSystem):
    """The escape of a unit from the uninformative state, by SGD and by its leading order at large dimension."""

    title = "escape from the uninformative state"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in {*NOT_OF_ESCAPE, "features"}} | _OWN
    limit = "leading order at large dimension"
    components = ""
    quantity = "escape_time"
    simulation = EscapeSimulation()
    theory = EscapeTheory()


def start_at_rest(values: Mapping[str, Value]) -> dict[str, Value]:
    """Return the values as the system "contrastive" takes them: random weights of the norm of the state of rest."""
    own = {"escape_level", "theory"}
    rest: dict[str, Value] = {"initial": "random", "initial_squared_norm": "uninformative"}
    return {name: value for name, value in values.items() if name not in own} | rest


def _level(values: Mapping[str, Value]) -> float:
    return float(values.get("escape_level", _OWN["escape_level"].default))  # type: ignore[arg-type]


@lru_cache(maxsize=256)
def _find_growth_and_reach(model: ContrastiveModel, level: float) -> tuple[Growth, float]:
    """Return what does not depend on the dimension; points that differ in it alone share it."""
    growth = predict_growth(model)
    return growth, find_reach(model, growth, level)
