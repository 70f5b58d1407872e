"""The system "phases": where one feature is learned, where not, and where the weights collapse or diverge.

The simulation says of each run in which phase it ends. The theory gives the borders as learning rates
(`theory.phases`), so it does not depend on the learning rate.

| output | dims | meaning |
|---|---|---|
| phase_share | end_phase | 1 in the phase of a run, else 0 (simulation only) |
| phase_border | phase_border_name | theory only: learning rate; NaN: no end |

| phase | rule at the last time |
|---|---|
| diverged | the squared norm has passed 1e8 |
| collapsed | squared norm below 1e-3 |
| informative | abs(S) > 0.2 |
| uninformative | everything else |
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.sweeps.escape import THEORY
from clhd.systems.contrastive.sweeps.halves import ODE, EndSimulation, EndSystem, ModelPoint, PointTheory
from clhd.systems.contrastive.sweeps.outcomes import COLLAPSED
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.states.phases import find_phase_borders
from clhd.systems.declarations import Parameter, Value

PHASES = ("collapsed", "uninformative", "informative", "diverged")
BORDERS = ("collapsed", "threshold", "uninformative", "informative")
INFORMATIVE = 0.2  # six times the |S| of random weights at n = 1000
_OF_STARTS = ("initial", "initial_squared_norm", "initial_cosine_similarity", "initial_overlap", "initial_overlaps")
_NOT_HERE = {"features", "units", "decorrelation", "decorrelation_function", "correlation_acts_on", "constraint"}
_NOT_IN_THEORY = {"learning_rate", *_OF_STARTS}
_OWN: dict[str, Parameter] = {
    "theory": replace(THEORY, default="borders", meaning="what is predicted", choices=("borders", "none")),
}


class PhasesSimulation(EndSimulation):
    """The phase in which each run of SGD ends; divergence is one of them."""

    output, dim = "phase_share", "end_phase"

    def contrastive(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value for name, value in values.items() if name != "theory"}

    def outcomes(self, features: int) -> Sequence[str]:
        return PHASES

    def classify(self, last: FloatArray) -> NDArray[np.int64]:
        overlap, norm = last[..., 0], last[..., 1]
        rules = {
            "diverged": np.isnan(norm),
            "collapsed": norm < COLLAPSED,
            "informative": overlap**2 > INFORMATIVE**2 * norm,
        }
        return np.select(list(rules.values()), [PHASES.index(name) for name in rules], PHASES.index("uninformative"))


class PhasesTheory(PointTheory):
    """The borders of the phases."""

    version = 2  # the end of the informative branch lies between nodes of the similarity, too
    seconds = 0.5
    may_be_nan = ("phase_border",)

    def point(self, values: Mapping[str, Value], seed: int) -> ModelPoint:
        own = {name: value for name, value in values.items() if name not in {"theory", *_OF_STARTS}}
        model = ODE.point(own | {"initial": "random"}, seed).model
        if not model.has_zero_mean_latents:
            raise InputError("latent, skewness: the latent must have mean zero for phases")
        return ModelPoint(model=model)

    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        return {"phase_border": ("phase_border_name",)}

    def coordinates(self, features: int) -> Mapping[str, Sequence[Any]]:
        return {"phase_border_name": BORDERS}

    def predict(self, point: ModelPoint, time: FloatArray) -> Mapping[str, Any]:
        found = find_phase_borders(point.model)
        rates = np.array([getattr(found, name) for name in BORDERS])
        return {"phase_border": np.where(np.isfinite(rates), rates, np.nan)}


class PhasesSystem(EndSystem):
    """The phases of a unit that sees one feature, by SGD and by its states of rest."""

    title = "phases of the contrastive unit"
    parameters = {
        name: replace(parameter, in_theory=False) if name in _NOT_IN_THEORY else parameter
        for name, parameter in PARAMETERS.items()
        if name not in _NOT_HERE
    } | _OWN
    components = ""
    quantity = "phase_share"
    simulation = PhasesSimulation()
    theory = PhasesTheory()
