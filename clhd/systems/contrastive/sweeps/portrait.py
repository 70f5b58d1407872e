"""The system "portrait": the phase portrait of two features, a theory without a simulation and without time.

It is the section of the flow with the plane of starts r = initial squared norm (on the sphere that is all of it): the
velocity of the cosine similarities on a grid of the plane, the attraction regions as a map, their borders as curves,
and all fixed points, which under L2 lie at squared norms of their own and are projected onto the plane. What varies
in number from point to point is padded with NaN.

| output | dims | meaning |
|---|---|---|
| velocity | cosine_similarity_1, cosine_similarity_2, feature | dS_j/dt; NaN outside the disc |
| attractor | cosine_similarity_1, cosine_similarity_2 | index of the state; -1 not settled, -2 outside the disc |
| separatrix | curve, point, feature | (S_1, S_2) |
| saddle_distance | curve, point | how close to a saddle the start on the separatrix comes |
| state_cosine_similarity | state, feature | S of the fixed point; 0 at r = 0 |
| state_squared_norm | state | r |
| state_kind | state | 0 collapsed, 1 uninformative, 2 pure, 3 mixed |
| state_eigenvalue | state | largest real part |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import KINDS
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSystem
from clhd.systems.contrastive.sweeps.outputs import label_outputs, predict_each
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.flow.drift import Flow, check_pair_averages
from clhd.systems.contrastive.theory.states.fixed_points import state_eigenvalues
from clhd.systems.contrastive.theory.states.regions import attraction_region
from clhd.systems.contrastive.theory.states.separatrix import trace_separatrices
from clhd.systems.declarations import Cost, NotConvergedError, Outputs, Parameter, Result, Value, choice, count
from clhd.systems.protocol import NoHalf, System

STATES, CURVES, _POINTS = 40, 16, 64
_NODE_SECONDS = 2e-4
_OF_MODEL = (
    "latent",
    "second_moment",
    "kurtosis",
    "skewness",
    "activation",
    "loss",
    "batch",
    "centred",
    "background",
    "learning_rate",
    "weight_decay",
    "base_noise_variance",
    "augmentation_noise_variance",
    "noise_correlation",
    "constraint",
    "initial_squared_norm",
)
_OWN: dict[str, Parameter] = {
    "features": replace(PARAMETERS["features"], default=None, minimum=2, maximum=2),
    "nodes": count(81, "values of each cosine similarity, from -1 to 1", minimum=3, maximum=1001, can_vary=False),
    "simulation": choice("none", "there is none", ("none",), in_theory=False, can_vary=False),
}
_PLANE = ("cosine_similarity_1", "cosine_similarity_2")
_DIMS: dict[str, tuple[str, ...]] = {
    "velocity": (*_PLANE, "feature"),
    "attractor": _PLANE,
    "separatrix": ("curve", "point", "feature"),
    "saddle_distance": ("curve", "point"),
    "state_cosine_similarity": ("state", "feature"),
    "state_squared_norm": ("state",),
    "state_kind": ("state",),
    "state_eigenvalue": ("state",),
}
_PLACES = {"feature": range(1, 3), "state": range(STATES), "curve": range(CURVES), "point": range(_POINTS)}


@dataclass(frozen=True, kw_only=True)
class PortraitPoint:
    """A point of the theory."""

    model: ContrastiveModel
    squared_norm: float
    nodes: int


class PortraitTheory:
    """The phase portrait of each point; see `clhd.systems.protocol.Half`."""

    version = 8  # stable states of squared norms far above 30 are found
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> PortraitPoint:
        if "features" not in values:
            raise InputError("features: must be given, as a constant")
        shared = {name: value for name, value in values.items() if name != "nodes"}
        base = ContrastiveSystem.theory.point(shared | {"initial": "random"}, seed)
        check_pair_averages(base.model)
        return PortraitPoint(model=base.model, squared_norm=base.squared_norm, nodes=_count_nodes(values))

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        grid = _grid(_count_nodes(constants)).tolist()
        return label_outputs(_DIMS, dict.fromkeys(_PLANE, grid) | _PLACES, may_be_nan=_DIMS.keys() - {"attractor"})

    def cost(self, point: PortraitPoint, time: FloatArray) -> Cost:
        return Cost(seconds=3.0 + _NODE_SECONDS * point.nodes**2)

    def compute(self, points: Sequence[PortraitPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        sizes = dict.fromkeys(_PLANE, points[0].nodes)
        return predict_each(points, _predict, _DIMS, sizes | {name: len(places) for name, places in _PLACES.items()})


class PortraitSystem(System):
    """Phase portraits of two features: a theory without a simulation and without time."""

    title = "phase portrait of the contrastive unit"
    parameters = {name: PARAMETERS[name] for name in _OF_MODEL} | _OWN
    time = None
    limit = "limit of infinite dimension"
    quantity = "attractor"
    components = "features"
    claims, figures = ContrastiveSystem.claims, ContrastiveSystem.figures
    simulation = NoHalf()
    theory = PortraitTheory()


def _count_nodes(values: Mapping[str, Value]) -> int:
    return int(values.get("nodes", _OWN["nodes"].default))  # type: ignore[arg-type]


def _grid(nodes: int) -> FloatArray:
    return np.linspace(-1.0, 1.0, nodes)


def _predict(point: PortraitPoint) -> dict[str, FloatArray]:
    """The outputs of one point."""
    model, norm, grid = point.model, point.squared_norm, _grid(point.nodes)
    region = attraction_region(model, cosine_similarity_1=grid, cosine_similarity_2=grid, squared_norm=norm, threads=1)
    edges = trace_separatrices(model, squared_norm=norm, points=_POINTS)
    for name, most in (("state", STATES), ("curve", CURVES)):
        found = max(region.sizes.get(name, 0), edges.sizes[name])
        if found > most:
            raise NotConvergedError(f"{found} {name}s found: a portrait has room for {most}")
    separatrix = np.stack([edges.separatrix_1.values, edges.separatrix_2.values], axis=-1)
    return {
        "velocity": _velocities(model, grid, norm),
        "attractor": region.attractor.values.astype(np.float64),
        "separatrix": _pad(separatrix, CURVES),
        "saddle_distance": _pad(edges.saddle_distance.values, CURVES),
    } | {name: _pad(values, STATES) for name, values in _describe_states(model, region).items()}


def _pad(values: FloatArray, rows: int) -> FloatArray:
    padded = np.full((rows, *values.shape[1:]), np.nan)
    padded[: len(values)] = values
    return padded


def _velocities(model: ContrastiveModel, grid: FloatArray, squared_norm: float) -> FloatArray:
    """Return dS/dt on the grid, shape (first, second, feature)."""
    flow, root = Flow(model), np.sqrt(squared_norm)
    velocities = np.full((len(grid), len(grid), 2), np.nan)
    for i, first in enumerate(grid):
        for j, second in enumerate(grid):
            if np.hypot(first, second) <= 1:
                similarity = np.array([first, second])
                velocity = flow.velocity(np.append(root * similarity, squared_norm))
                velocities[i, j] = velocity[:2] / root - 0.5 * similarity * velocity[2] / squared_norm
    return velocities


def _describe_states(model: ContrastiveModel, states: xr.Dataset) -> dict[str, FloatArray]:
    """The outputs along the states."""
    overlap, squared_norm = states.overlap.values, states.squared_norm.values
    with np.errstate(divide="ignore", invalid="ignore"):
        similarity = np.where(squared_norm[:, None] > 0, overlap / np.sqrt(squared_norm)[:, None], 0.0)
    rates = [state_eigenvalues(model, q, float(r))[0].real for q, r in zip(overlap, squared_norm, strict=True)]
    return {
        "state_cosine_similarity": similarity,
        "state_squared_norm": squared_norm,
        "state_kind": np.array([float(KINDS.index(kind)) for kind in states.kind.values]),
        "state_eigenvalue": np.array(rates),
    }
