"""The system "sharing": which features two units have learned, and whether units that share a feature part.

The simulation runs SGD to the last of the output times and says which feature each unit has, by the rule of
`sweeps.outcomes`. The theory is that of two units that share a feature (`theory.shared_states`).

| output | dims | meaning |
|---|---|---|
| sharing_probability | sharing | simulation only: 1 in the outcome of a run, else 0 |
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
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.simulation.sgd import split_values
from clhd.systems.contrastive.sweeps.halves import EndSimulation, EndSystem, ModelPoint, PointTheory
from clhd.systems.contrastive.sweeps.outcomes import classify_outcomes
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS, parse_model_and_start
from clhd.systems.contrastive.theory.shared_states import check_shared, find_critical_penalty, find_shared_state
from clhd.systems.declarations import Cost, Parameter, Value

SHARINGS = ("same", "each", "one", "none", "undecided")
_RATES = ("joint_rate", "antisymmetric_rate", "distance_rate")
_OF_THEORY = ("critical_penalty", "shared_overlap", *_RATES)
# Measured, in seconds: the theory of one feature.
_THEORY_SECONDS = 5.0
_NOT_HERE = {"correlation_acts_on", "constraint", "negatives", "temperature", "loss", "units"}
_OWN: dict[str, Parameter] = {
    "theory": Parameter(
        kind="choice",
        default="shared",
        meaning="what is predicted: the state in which two units share a feature, or nothing",
        choices=("shared", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}


class SharingSimulation(EndSimulation):
    """Which features two units have at the end of SGD."""

    version = 1  # two units: the chain in the frame, whose numbers are the same
    output, dim = "sharing_probability", "sharing"

    def contrastive(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return _contrastive(values)

    def outcomes(self, features: int) -> Sequence[str]:
        return SHARINGS

    def classify(self, last: FloatArray) -> NDArray[np.int64]:
        overlap, gram, _ = split_values(last, 2)
        return np.where(np.isnan(last[..., -1]), -1, classify_sharing(overlap, gram))


class SharingTheory(PointTheory):
    """Two units that share a feature, in the limit of infinite dimension."""

    may_be_nan = _OF_THEORY

    def point(self, values: Mapping[str, Value], seed: int) -> ModelPoint:
        model, _, _ = parse_model_and_start(_contrastive(values))
        check_shared(model)
        return ModelPoint(model=model)

    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        return dict.fromkeys(_OF_THEORY, ("feature",))

    def cost(self, point: ModelPoint, time: FloatArray) -> Cost:
        return Cost(seconds=_THEORY_SECONDS * len(set(point.model.latents)))

    def predict(self, point: ModelPoint, time: FloatArray) -> Mapping[str, Any]:
        return dict(zip(_OF_THEORY, _predict(point.model), strict=True))


class SharingSystem(EndSystem):
    """Two units with the covariance loss: which features they take, by SGD; whether they share one, by the ODE."""

    title = "two contrastive units"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in _NOT_HERE} | _OWN
    quantity = "sharing_probability"
    simulation = SharingSimulation()
    theory = SharingTheory()


def classify_sharing(overlap: FloatArray, gram: FloatArray) -> NDArray[np.int64]:
    """Return which features two units have, as places in `SHARINGS`.

    Parameters
    ----------
    overlap, gram : arrays of shape (..., unit, feature) and (..., unit, unit)
        At the end; NaN where the run has diverged.

    Returns
    -------
    array of shape (...)
    """
    features = overlap.shape[-1]
    norms = np.diagonal(gram, axis1=-2, axis2=-1)
    owned = classify_outcomes(overlap.reshape(-1, features), norms.ravel()).reshape(norms.shape)
    first, second = owned[..., 0], owned[..., 1]
    has = owned < features
    rules = {
        "undecided": (owned > features).any(axis=-1),
        "same": has.all(axis=-1) & (first == second),
        "each": has.all(axis=-1),
        "one": has.any(axis=-1),
    }
    return np.select(list(rules.values()), [SHARINGS.index(name) for name in rules], SHARINGS.index("none"))


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
