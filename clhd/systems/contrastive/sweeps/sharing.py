"""The system "sharing": which features two units have learned, and whether units that share a feature part.

The simulation runs SGD to the last of the output times and says which feature each unit has, by the rule of
`sweeps.outcomes`. The theory is that of two units that share a feature (`theory.shared_states`), or with
``theory: selection`` the share of the starts of the ODE that end in each outcome.

| output | dims | meaning |
|---|---|---|
| sharing_probability | sharing | 1 in the outcome of a run, else 0; of the ODE with ``selection``: shares of starts |
| critical_penalty | feature | theory only: decorrelation from which on units that share the feature part |
| shared_overlap | feature | theory only: of both units, at rest |
| joint_rate, antisymmetric_rate, distance_rate | feature | theory only: growth of deviations from this state |

| sharing | rule |
|---|---|
| same | both units have the same feature |
| each | the units have different features |
| one | one unit has a feature and the other has none |
| none | neither has a feature |
| undecided | everything else |

The theory is NaN where the feature is not learned. The critical penalty is NaN also where no penalty up to 1000 parts
the units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.simulation.sgd import split_values
from clhd.systems.contrastive.sweeps.halves import EndSimulation, EndSystem, ModelPoint, PointTheory
from clhd.systems.contrastive.sweeps.outcomes import SHARINGS, classify_sharing, predict_sharing
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS, parse_model_and_start
from clhd.systems.contrastive.theory.states.shared_states import check_shared, find_critical_penalty, find_shared_state
from clhd.systems.contrastive.theory.units.pair_flow import check_pair
from clhd.systems.declarations import Cost, Parameter, Value, choice

_RATES = ("joint_rate", "antisymmetric_rate", "distance_rate")
_OF_THEORY = ("critical_penalty", "shared_overlap", *_RATES)
# Measured, in seconds: the theory of one feature; one start of the ODE.
_THEORY_SECONDS, _START_SECONDS = 0.5, 1.5
# Starts of the ODE for random weights; each share has an error of about 1 / this number.
_STARTS = 64
_NOT_HERE = {"correlation_acts_on", "constraint", "negatives", "temperature", "loss", "units"}
_OWN: dict[str, Parameter] = {
    "theory": choice(
        "shared",
        "what is predicted: the state in which two units share a feature, where the ODE ends, or nothing",
        ("shared", "selection", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}


class SharingSimulation(EndSimulation):
    """Which features two units have at the end of SGD."""

    output, dim = "sharing_probability", "sharing"

    def contrastive(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return _contrastive(values)

    def outcomes(self, features: int) -> Sequence[str]:
        return SHARINGS

    def classify(self, last: FloatArray) -> NDArray[np.int64]:
        overlap, gram, _ = split_values(last, 2)
        return np.where(np.isnan(last[..., -1]), -1, classify_sharing(overlap, gram))


@dataclass(frozen=True, kw_only=True)
class SharingPoint(ModelPoint):
    """A point of the theory; the overlap is None for random weights."""

    overlap: Any
    squared_norm: float


class SharingTheory(PointTheory):
    """Two units that share a feature, in the limit of infinite dimension."""

    version = 3  # a shared state is followed around bends, and to where the units part outside the features
    may_be_nan = _OF_THEORY

    def point(self, values: Mapping[str, Value], seed: int) -> SharingPoint:
        model, overlap, squared_norm = parse_model_and_start(_contrastive(values))
        theory = str(values.get("theory", "shared"))
        (check_pair if theory == "selection" else check_shared)(model)
        return SharingPoint(model=model, theory=theory, overlap=overlap, squared_norm=squared_norm)

    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        if theory == "selection":
            return {"sharing_probability": ("sharing",)}
        return dict.fromkeys(_OF_THEORY, ("feature",))

    def coordinates(self, features: int) -> Mapping[str, Sequence[Any]]:
        return {"feature": range(1, features + 1), "sharing": SHARINGS}

    def cost(self, point: SharingPoint, time: FloatArray) -> Cost:
        if point.theory == "selection":
            return Cost(seconds=_START_SECONDS * (_STARTS if point.overlap is None else 1))
        return Cost(seconds=_THEORY_SECONDS * len(set(point.model.latents)))

    def predict(self, point: SharingPoint, time: FloatArray) -> Mapping[str, Any]:
        if point.theory == "selection":
            start = None if point.overlap is None else np.array(point.overlap)
            shares = predict_sharing(point.model, start, point.squared_norm, float(time[-1]), _STARTS)
            return {"sharing_probability": shares}
        return dict(zip(_OF_THEORY, _predict(point.model), strict=True))


class SharingSystem(EndSystem):
    """Two units with the covariance loss: which features they take, by SGD; whether they share one, by the ODE."""

    title = "two contrastive units"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in _NOT_HERE} | _OWN
    quantity = "sharing_probability"
    simulation = SharingSimulation()
    theory = SharingTheory()


def _contrastive(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values as the system "contrastive" takes them."""
    return {name: value for name, value in values.items() if name != "theory"} | {"loss": "covariance", "units": 2}


def _predict(model: ContrastiveModel) -> FloatArray:
    """The outputs of one point of the theory, shape (output, feature); features that are alike share one search."""
    found: dict[tuple[object, ...], list[float]] = {}
    columns = []
    for j, law in enumerate(model.latents):
        kind = (law, *sorted(other.moment(2) for k, other in enumerate(model.latents) if k != j))
        if kind not in found:
            state = find_shared_state(model, j + 1)
            rates = [np.nan] * 4 if state is None else [state.overlap, *(getattr(state, name) for name in _RATES)]
            found[kind] = [_critical_penalty(replace(model, decorrelation=0.0), j + 1), *rates]
        columns.append(found[kind])
    return np.array(columns).T


@lru_cache(maxsize=1024)
def _critical_penalty(model: ContrastiveModel, feature: int) -> float:
    """The critical penalty, or NaN; points that differ in the penalty alone share it."""
    critical = find_critical_penalty(model, feature)
    return critical.penalty if critical is not None and np.isfinite(critical.penalty) else np.nan
