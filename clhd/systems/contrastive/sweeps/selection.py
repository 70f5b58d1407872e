"""The system "selection": the feature that a unit learns from an uninformative start.

The simulation runs SGD from random weights w ~ N(0, r I) to the last of the output times and says of each run in which
outcome it ended (`sweeps.outcomes`: the winner rule); the mean over replicas is the selection probability. The
theory is that of infinite dimension and time: the share of the directions of a small circle, and of the disc of all
cosine similarities, that flow into each outcome (`theory.separatrix`), and the eigenvalues that local stability
rests on.

| output | dims | meaning |
|---|---|---|
| probability | outcome | 1 in the outcome of a run, else 0; theory: share of the directions of a small start |
| area | outcome | theory only: share of the disc of initial cosine similarities |
| growth_rate | feature | theory only: of a small overlap, at the uninformative state |
| pure_eigenvalue | feature | theory only: largest real part at the pure state; NaN if the feature is not learned |

With ``theory: eigenvalues`` the last two only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.sweeps.halves import ODE, EndSimulation, EndSystem, ModelPoint, PointTheory
from clhd.systems.contrastive.sweeps.outcomes import classify_outcomes, name_outcomes
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.flow.drift import check_pair_averages
from clhd.systems.contrastive.theory.states.pure_states import find_pure_state
from clhd.systems.contrastive.theory.states.separatrix import measure_regions
from clhd.systems.contrastive.theory.states.threshold import growth_rates
from clhd.systems.declarations import Cost, Parameter, Value, choice, number

# Measured, in seconds: two searches for pure states, and all separatrices of one model.
_EIGENVALUE_SECONDS, _REGION_SECONDS = 0.2, 1.5
_OF_STARTS = {"initial", "initial_cosine_similarity", "initial_overlap", "initial_overlaps"}
_OF_UNITS = {"units", "decorrelation", "decorrelation_function"}
_NOT_HERE = {*_OF_STARTS, *_OF_UNITS, "correlation_acts_on"}
_OWN: dict[str, Parameter] = {
    "features": replace(PARAMETERS["features"], default=None, minimum=2),
    "initial_radius": number(
        0.01, "cosine similarity of the small starts of the theory", "epsilon", above=0, maximum=1, in_simulation=False
    ),
    "theory": choice(
        "regions",
        "what is predicted: shares, areas and eigenvalues, eigenvalues alone (a tenth of the work), or nothing",
        ("regions", "eigenvalues", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}


@dataclass(frozen=True, kw_only=True)
class SelectionTheoryPoint(ModelPoint):
    """A point of the theory."""

    squared_norm: float
    radius: float


class SelectionSimulation(EndSimulation):
    """The feature that a unit has at the end of SGD."""

    output, dim = "probability", "outcome"

    def contrastive(self, values: Mapping[str, Value]) -> dict[str, Value]:
        return _contrastive(values)

    def outcomes(self, features: int) -> Sequence[str]:
        return name_outcomes(features)

    def classify(self, last: FloatArray) -> NDArray[np.int64]:
        norm = last[..., -1]
        outcome = classify_outcomes(last[..., :-1].reshape(-1, last.shape[-1] - 1), norm.ravel())
        return np.where(np.isnan(norm), -1, outcome.reshape(norm.shape))


class SelectionTheory(PointTheory):
    """Selection in the limit of infinite dimension and time."""

    version = 8  # stable states of squared norms far above 30 are found
    may_be_nan = ("pure_eigenvalue",)

    def point(self, values: Mapping[str, Value], seed: int) -> SelectionTheoryPoint:
        base = ODE.point(_contrastive(values), seed)
        theory = str(values.get("theory", "regions"))
        if theory == "regions":
            if base.model.features != 2:
                raise InputError(
                    f"features = {base.model.features}: must be 2 for attraction regions; set theory: eigenvalues or "
                    "none"
                )
            check_pair_averages(base.model)
        return SelectionTheoryPoint(
            model=base.model,
            theory=theory,
            squared_norm=base.squared_norm,
            radius=float(values.get("initial_radius", _OWN["initial_radius"].default)),  # type: ignore[arg-type]
        )

    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        of_regions: tuple[str, ...] = () if theory == "eigenvalues" else ("probability", "area")
        return dict.fromkeys(of_regions, ("outcome",)) | dict.fromkeys(("growth_rate", "pure_eigenvalue"), ("feature",))

    def coordinates(self, features: int) -> Mapping[str, Sequence[Any]]:
        return {**super().coordinates(features), "outcome": name_outcomes(features)}

    def cost(self, point: SelectionTheoryPoint, time: FloatArray) -> Cost:
        return Cost(seconds=_EIGENVALUE_SECONDS + _REGION_SECONDS * (point.theory == "regions"))

    def predict(self, point: SelectionTheoryPoint, time: FloatArray) -> Mapping[str, Any]:
        model = point.model
        values: dict[str, FloatArray] = {}
        if point.theory == "regions":
            states, share, area = measure_regions(model, squared_norm=point.squared_norm, radius=point.radius)
            # What settles nowhere comes last, and is undecided.
            outcome = classify_outcomes(states.overlap.values, states.squared_norm.values)
            outcome = np.append(outcome, model.features + 1)
            for name, of_states in (("probability", share), ("area", area)):
                values[name] = np.array([of_states[outcome == k].sum() for k in range(model.features + 2)])
        values["growth_rate"] = growth_rates(model, squared_norm=point.squared_norm)
        values["pure_eigenvalue"] = _pure_eigenvalues(model)
        return values


class SelectionSystem(EndSystem):
    """Selection among features from random starts, by SGD and by the ODE."""

    title = "feature selection by the contrastive unit"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in _NOT_HERE} | _OWN
    quantity = "probability"
    simulation = SelectionSimulation()
    theory = SelectionTheory()


def _contrastive(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values as the system "contrastive" takes them: random weights, and no parameter of this system alone."""
    if "features" not in values:
        raise InputError("features: must be given, as a constant")
    return {name: value for name, value in values.items() if name not in {"initial_radius", "theory"}} | {
        "initial": "random"
    }


def _pure_eigenvalues(model: ContrastiveModel) -> FloatArray:
    """The largest real part at each pure state; features that are alike share one search."""
    found: dict[Any, float] = {}
    kinds = []
    for j, law in enumerate(model.latents):
        rivals = tuple(sorted(other.moment(2) for k, other in enumerate(model.latents) if k != j))
        kinds.append((law, rivals))
        if kinds[j] not in found:
            state = find_pure_state(model, j + 1)
            found[kinds[j]] = np.nan if state is None else state.largest_rate
    return np.array([found[kind] for kind in kinds])
