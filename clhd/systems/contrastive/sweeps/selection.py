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

from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSimulation, ContrastiveSystem, ContrastiveTheory
from clhd.systems.contrastive.sweeps.outcomes import classify_outcomes
from clhd.systems.contrastive.sweeps.outputs import NOTHING, label_outputs, number_features, predict_each
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.batch import check_pair_averages
from clhd.systems.contrastive.theory.pure_states import find_pure_state
from clhd.systems.contrastive.theory.separatrix import measure_regions
from clhd.systems.contrastive.theory.threshold import growth_rates
from clhd.systems.declarations import Cost, FloatArray, Outputs, Parameter, Result, Status, Value
from clhd.systems.protocol import System

# Measured, in seconds: two searches for pure states, and all separatrices of one model.
_EIGENVALUE_SECONDS, _REGION_SECONDS = 0.2, 1.5
_OF_STARTS = {"initial", "initial_cosine_similarity", "initial_overlap", "initial_overlaps"}
_OF_UNITS = {"units", "decorrelation", "decorrelation_function"}
_NOT_HERE = {*_OF_STARTS, *_OF_UNITS, "correlation_acts_on"}
_OWN: dict[str, Parameter] = {
    "features": replace(PARAMETERS["features"], default=None, minimum=2),
    "initial_radius": Parameter(
        kind="number",
        default=0.01,
        meaning="cosine similarity of the small starts of the theory",
        symbol="epsilon",
        above=0,
        maximum=1,
        in_simulation=False,
    ),
    "theory": Parameter(
        kind="choice",
        default="regions",
        meaning="what is predicted: shares, areas and eigenvalues, eigenvalues alone (a tenth of the work), or nothing",
        choices=("regions", "eigenvalues", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}
_SIMULATION, _THEORY = ContrastiveSimulation(), ContrastiveTheory()


@dataclass(frozen=True, kw_only=True)
class SelectionTheoryPoint:
    """A point of the theory."""

    model: ContrastiveModel
    squared_norm: float
    radius: float
    regions: bool


class SelectionSimulation:
    """The outcome of each run of SGD; see `clhd.systems.protocol.Half`."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> Point:
        return _SIMULATION.point(_contrastive(values), seed)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("simulation", "sgd") == "none":
            return NOTHING
        return _declare(constants, {"probability": ("outcome",)})

    def cost(self, point: Point, time: FloatArray) -> Cost:
        return _SIMULATION.cost(point, time)

    def compute(self, points: Sequence[Point], time: FloatArray, replicas: Sequence[int]) -> Result:
        last = simulate_points(points, time[-1:], replicas, threads=1)[:, :, 0]
        features = last.shape[-1] - 1
        outcome = classify_outcomes(last[..., :-1].reshape(-1, features), last[..., -1].ravel())
        probability = np.eye(features + 2)[outcome].reshape(*last.shape[:2], features + 2)
        diverged = np.isnan(last[..., -1])
        probability[diverged] = np.nan
        return Result(
            values={"probability": probability},
            status=np.where(diverged, Status.DIVERGED, Status.OK).astype(np.int8),
        )


class SelectionTheory:
    """Selection in the limit of infinite dimension and time; see `clhd.systems.protocol.Half`."""

    version = 3
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> SelectionTheoryPoint:
        base = _THEORY.point(_contrastive(values), seed)
        regions = values.get("theory", "regions") == "regions"
        if regions and base.model.features != 2:
            raise InputError(
                f"features = {base.model.features}: must be 2 for attraction regions; set theory: eigenvalues or none"
            )
        if regions:
            check_pair_averages(base.model)
        return SelectionTheoryPoint(
            model=base.model,
            squared_norm=base.squared_norm,
            radius=float(values.get("initial_radius", _OWN["initial_radius"].default)),  # type: ignore[arg-type]
            regions=regions,
        )

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        chosen = constants.get("theory", "regions")
        if chosen == "none":
            return NOTHING
        return _declare(constants, _dims(chosen == "regions"))

    def cost(self, point: SelectionTheoryPoint, time: FloatArray) -> Cost:
        return Cost(seconds=_EIGENVALUE_SECONDS + _REGION_SECONDS * point.regions)

    def compute(self, points: Sequence[SelectionTheoryPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        features = points[0].model.features
        return predict_each(points, _predict, _dims(points[0].regions), {"feature": features, "outcome": features + 2})


class SelectionSystem(System):
    """Selection among features from random starts, by SGD and by the ODE."""

    title = "feature selection by the contrastive unit"
    parameters = {k: v for k, v in PARAMETERS.items() if k not in _NOT_HERE} | _OWN
    time = WORDS["time"]
    size = "dimension"
    limit = "limit of infinite dimension"
    quantity = "probability"
    components = "features"
    claims, figures = ContrastiveSystem.claims, ContrastiveSystem.figures
    simulation = SelectionSimulation()
    theory = SelectionTheory()


def _contrastive(values: Mapping[str, Value]) -> dict[str, Value]:
    """The values as the system "contrastive" takes them: random weights, and no parameter of this system alone."""
    if "features" not in values:
        raise InputError("features: must be given, as a constant")
    return {name: value for name, value in values.items() if name not in {"initial_radius", "theory"}} | {
        "initial": "random"
    }


def _dims(regions: bool) -> dict[str, tuple[str, ...]]:
    """Return the dims of the theory's outputs."""
    shares: dict[str, tuple[str, ...]] = {"probability": ("outcome",), "area": ("outcome",)} if regions else {}
    return {**shares, "growth_rate": ("feature",), "pure_eigenvalue": ("feature",)}


def _declare(constants: Mapping[str, Value], dims: Mapping[str, tuple[str, ...]]) -> Outputs:
    features = number_features(constants, default=2)
    outcomes = [*(f"feature_{j}" for j in features), "none", "undecided"]
    return label_outputs(dims, {"feature": features, "outcome": outcomes}, may_be_nan=("pure_eigenvalue",))


def _predict(point: SelectionTheoryPoint) -> dict[str, FloatArray]:
    """The outputs of one point of the theory."""
    model = point.model
    values: dict[str, FloatArray] = {}
    if point.regions:
        states, share, area = measure_regions(model, squared_norm=point.squared_norm, radius=point.radius)
        # What settles nowhere comes last, and is undecided.
        outcome = np.append(classify_outcomes(states.overlap.values, states.squared_norm.values), model.features + 1)
        for name, of_states in (("probability", share), ("area", area)):
            values[name] = np.array([of_states[outcome == k].sum() for k in range(model.features + 2)])
    values["growth_rate"] = growth_rates(model, squared_norm=point.squared_norm)
    values["pure_eigenvalue"] = _pure_eigenvalues(model)
    return values


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
