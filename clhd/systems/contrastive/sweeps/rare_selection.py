"""The system "rare_selection": how often the weaker of two features is selected, by dimension.

The simulation is that of the system "selection", from the squared norm of the uninformative state. The theory is the
leading order at large dimension, where the weaker feature needs a rare start (`theory.escape`).

| output | dims | meaning |
|---|---|---|
| probability | outcome | 1 in the outcome of a run, else 0; theory: the probability |
| growth_rate | feature | theory only: of a small overlap, at the uninformative state |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSystem, ContrastiveTheory
from clhd.systems.contrastive.sweeps.escape import NOT_OF_ESCAPE, THEORY, start_at_rest
from clhd.systems.contrastive.sweeps.outputs import NOTHING, label_outputs
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.sweeps.selection import SelectionSimulation
from clhd.systems.contrastive.theory.batch import check_pair_averages
from clhd.systems.contrastive.theory.escape import Growth, find_border, predict_growth, weaker_probability
from clhd.systems.declarations import Cost, FloatArray, Outputs, Parameter, Result, Status, Value
from clhd.systems.protocol import System

_SECONDS = 2.0
_OWN: dict[str, Parameter] = {
    "features": replace(PARAMETERS["features"], default=None, minimum=2, maximum=2),
    "dimension": replace(PARAMETERS["dimension"], in_theory=True),
    "theory": THEORY,
}
_THEORY = ContrastiveTheory()


@dataclass(frozen=True, kw_only=True)
class RareSelectionPoint:
    """A point of the theory."""

    model: ContrastiveModel
    dimension: int


class RareSelectionSimulation(SelectionSimulation):
    """The outcome of each run of SGD; see `clhd.systems.protocol.Half`."""

    def point(self, values: Mapping[str, Value], seed: int) -> Point:
        return super().point(start_at_rest(values), seed)


class RareSelectionTheory:
    """The probability of the weaker feature; see `clhd.systems.protocol.Half`."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> RareSelectionPoint:
        if "features" not in values or "dimension" not in values:
            raise InputError("features, dimension: must be given")
        model = _THEORY.point(start_at_rest(values), seed).model
        check_pair_averages(model)
        first, second = (law.moment(2) for law in model.latents)
        if not first > second:
            raise InputError(f"second_moment_2 = {second:g}: must be below second_moment_1 = {first:g}")
        return RareSelectionPoint(model=model, dimension=int(values["dimension"]))  # type: ignore[arg-type]

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("theory", "escape") == "none":
            return NOTHING
        outcomes = ["feature_1", "feature_2", "none", "undecided"]
        dims: dict[str, tuple[str, ...]] = {"probability": ("outcome",), "growth_rate": ("feature",)}
        return label_outputs(dims, {"feature": [1, 2], "outcome": outcomes})

    def cost(self, point: RareSelectionPoint, time: FloatArray) -> Cost:
        return Cost(seconds=_SECONDS)

    def compute(self, points: Sequence[RareSelectionPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        known: dict[ContrastiveModel, tuple[Growth, float]] = {}
        shares, rates = [], []
        for point in points:
            if point.model not in known:
                growth = predict_growth(point.model)
                known[point.model] = growth, find_border(point.model, growth)
            growth, border = known[point.model]
            weaker = weaker_probability(growth, border, point.dimension)
            shares.append([1 - weaker, weaker, 0.0, 0.0])
            rates.append(growth.growth_rate)
        return Result(
            values={"probability": np.array(shares), "growth_rate": np.array(rates)},
            status=np.full(len(points), Status.OK, np.int8),
        )


class RareSelectionSystem(System):
    """How often the weaker of two features is selected, by SGD and by its leading order at large dimension."""

    title = "selection of the weaker feature"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in NOT_OF_ESCAPE} | _OWN
    time = WORDS["time"]
    size = "dimension"
    limit = "leading order at large dimension"
    quantity = "probability"
    components = "features"
    claims, figures = ContrastiveSystem.claims, ContrastiveSystem.figures
    simulation = RareSelectionSimulation()
    theory = RareSelectionTheory()
