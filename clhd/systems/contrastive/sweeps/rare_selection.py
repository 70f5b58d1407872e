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
from functools import lru_cache
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.sweeps.escape import NOT_OF_ESCAPE, THEORY, start_at_rest
from clhd.systems.contrastive.sweeps.halves import ODE, EndSystem, ModelPoint, PointTheory
from clhd.systems.contrastive.sweeps.outcomes import classify_outcomes, name_outcomes
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.sweeps.selection import SelectionSimulation
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import check_diffusion
from clhd.systems.contrastive.theory.flow.drift import check_pair_averages
from clhd.systems.contrastive.theory.states.escape import Growth, find_borders, predict_growth, weaker_probability
from clhd.systems.declarations import Parameter, Value

_OWN: dict[str, Parameter] = {
    "features": replace(PARAMETERS["features"], default=None, minimum=2, maximum=2),
    "dimension": replace(PARAMETERS["dimension"], in_theory=True),
    "theory": THEORY,
}


@dataclass(frozen=True, kw_only=True)
class RareSelectionPoint(ModelPoint):
    """A point of the theory."""

    dimension: int


class RareSelectionSimulation(SelectionSimulation):
    """The feature that a unit has at the end of SGD, from the state of rest."""

    def contrastive(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return super().contrastive(start_at_rest(values))


class RareSelectionTheory(PointTheory):
    """The probability of the weaker feature."""

    version = 4  # the outcome is that of the state reached; borders of very unequal growth rates are resolved
    seconds = 2.0

    def point(self, values: Mapping[str, Value], seed: int) -> RareSelectionPoint:
        if "features" not in values or "dimension" not in values:
            raise InputError("features, dimension: must be given")
        model = ODE.point(start_at_rest(values), seed).model
        check_pair_averages(model)
        check_diffusion(model)
        first, second = (law.moment(2) for law in model.latents)
        if not first > second:
            raise InputError(f"second_moment_2 = {second:g}: must be below second_moment_1 = {first:g}")
        return RareSelectionPoint(model=model, dimension=int(values["dimension"]))  # type: ignore[arg-type]

    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        return {"probability": ("outcome",), "growth_rate": ("feature",)}

    def coordinates(self, features: int) -> Mapping[str, Sequence[Any]]:
        return {**super().coordinates(features), "outcome": name_outcomes(features)}

    def predict(self, point: RareSelectionPoint, time: FloatArray) -> Mapping[str, Any]:
        growth, borders, outcomes = _find_growth_and_borders(point.model)
        below = [0.0, *(weaker_probability(growth, border, point.dimension) for border in borders), 1.0]
        probability = np.zeros(len(name_outcomes(point.model.features)))
        np.add.at(probability, outcomes, np.diff(below))
        return {"probability": probability, "growth_rate": growth.growth_rate}


class RareSelectionSystem(EndSystem):
    """How often the weaker of two features is selected, by SGD and by its leading order at large dimension."""

    title = "selection of the weaker feature"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in NOT_OF_ESCAPE} | _OWN
    limit = "leading order at large dimension"
    quantity = "probability"
    simulation = RareSelectionSimulation()
    theory = RareSelectionTheory()


@lru_cache(maxsize=256)
def _find_growth_and_borders(model: ContrastiveModel) -> tuple[Growth, list[float], list[int]]:
    """Return what does not depend on the dimension; points that differ in it alone share it."""
    growth = predict_growth(model)
    if not growth.growth_rate[0] > 0:
        return growth, [], [name_outcomes(model.features).index("none")]
    return growth, *find_borders(model, growth, classify_outcomes)
