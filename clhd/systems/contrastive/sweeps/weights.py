"""The system "weights": the distribution of the weights under SGD, and by the McKean-Vlasov equation.

One feature. Its entries have few values, told apart by their sign: -1 and 1 with Rademacher features, and 0 between
them with sparse ones. The theory's point is the model, the start and the resolution of its weight axis.

| output | dims | meaning |
|---|---|---|
| distribution | time, feature_sign, weight_edge | P(w <= x) at the coordinates whose feature value has this sign |
| overlap | time, feature | xi_j . w / n |
| squared_norm | time | abs(w)^2 / n |
| overlap_ode, squared_norm_ode | as above | theory only: by the ODE; NaN with an L1 penalty, where there is none |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected_weights import count_weight_lanes
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSystem
from clhd.systems.contrastive.sweeps.outputs import NOTHING, find_diverged, label_outputs, predict_each
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS as CONTRASTIVE
from clhd.systems.contrastive.sweeps.parameters import parse_model_and_start
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.weights.density import integrate_density
from clhd.systems.contrastive.theory.weights.pde import distribution_at
from clhd.systems.declarations import (
    Cost,
    NotConvergedError,
    Output,
    Outputs,
    Parameter,
    Result,
    Value,
    choice,
    count,
    number,
)
from clhd.systems.protocol import System

# Measured, on a core of 2024 with AVX-512: of a PDE with 800 cells per unit of time, where no rate is above 1; and of
# as many steps as a solution may take.
_PDE_SECONDS, _MOST_PDE_SECONDS = 0.03, 200.0
# Of drawing and sorting one weight at one output time, beside the chain.
_DRAW_SECONDS = 2e-7
# Errors in time stay far below those of the weight axis, which the number of cells decides.
_TOLERANCE = 1e-7
_OF_UNITS = ("units", "decorrelation", "decorrelation_function", "initial_overlaps")
_NOT_HERE = ("features", "engine", "initial", "correlation_acts_on", "simulation", "theory", *_OF_UNITS)
PARAMETERS: dict[str, Parameter] = {
    name: replace(parameter, per_component=False) for name, parameter in CONTRASTIVE.items() if name not in _NOT_HERE
} | {
    "feature_law": replace(
        CONTRASTIVE["feature_law"],
        default="rademacher",
        choices=("rademacher", "sparse"),
        in_theory=True,
        can_vary=False,
    ),
    "feature_fraction": replace(CONTRASTIVE["feature_fraction"], in_theory=True),
    "weight_limit": number(5.0, "largest weight of the distribution", "w", above=0, can_vary=False),
    "weight_edges": count(
        201,
        "weights, from -weight_limit to weight_limit, at which the distribution is taken",
        minimum=3,
        maximum=100_001,
        can_vary=False,
    ),
    "cells": count(
        800, "cells of the weight axis of the PDE, an even number", minimum=20, maximum=100_000, in_simulation=False
    ),
    "simulation": CONTRASTIVE["simulation"],
    "theory": choice(
        "pde", "what is predicted: the PDE, or nothing", ("pde", "none"), in_simulation=False, can_vary=False
    ),
}
_DIMS = {
    "distribution": ("time", "feature_sign", "weight_edge"),
    "overlap": ("time", "feature"),
    "squared_norm": ("time",),
}
_BY_ODE = {"overlap": "overlap_ode", "squared_norm": "squared_norm_ode"}


@dataclass(frozen=True, kw_only=True)
class WeightsPoint:
    """A run of SGD, and the weights at which its distribution is taken."""

    run: Point
    limit: float
    edges: int

    @property
    def key(self) -> str:
        """The key of the run: the random numbers do not depend on the edges of the distribution."""
        return self.run.key


@dataclass(frozen=True, kw_only=True)
class WeightsTheoryPoint:
    """A point of the theory."""

    model: ContrastiveModel
    overlap: tuple[float, ...]
    squared_norm: float
    limit: float
    edges: int
    cells: int


class WeightsSimulation:
    """The weights under SGD in n dimensions; see `clhd.systems.protocol.Half`."""

    # 2: the projected or the conditioned engine, where the model allows them. 3: the projected chain draws other random
    # numbers. 4: so does the chain of several units; batches round otherwise. 5: so does that of one unit.
    version = 5
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> WeightsPoint:
        if "dimension" not in values:
            raise InputError("dimension: must be given, as a constant or an axis")
        model, overlap, squared_norm = _parse_model(values)
        run = Point(
            model=model,
            dimension=values["dimension"],  # type: ignore[arg-type]
            overlap=overlap,
            squared_norm=squared_norm,
            seed=seed,
            engine=_choose_engine(model),
        )
        return WeightsPoint(run=run, **_parse_shape(values))

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        return NOTHING if constants.get("simulation", "sgd") == "none" else _declare(constants, _DIMS)

    def cost(self, point: WeightsPoint, time: FloatArray) -> Cost:
        cost = ContrastiveSystem.simulation.cost(point.run, time)
        if point.run.engine != "projected":
            return replace(cost, family=("weights", cost.family))
        lanes = count_weight_lanes(point.run.dimension)
        seconds = cost.seconds * cost.runs_per_call / lanes + len(time) * point.run.dimension * _DRAW_SECONDS
        return Cost(seconds=seconds, runs_per_call=lanes, family=("weights", cost.family))

    def compute(self, points: Sequence[WeightsPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        signs, edges = _signs(points[0].run.model.feature_law), [_weight_edges(p.limit, p.edges) for p in points]
        shape = (len(points), len(replicas), len(time))
        distribution = np.full((*shape, len(signs), points[0].edges), np.nan)

        def observe(p: int, k: int, index: int, weights: FloatArray, features: FloatArray) -> None:
            own_signs = np.sign(features[0])
            for i, sign in enumerate(signs):
                own = np.sort(weights[own_signs == sign])
                if len(own):  # f = 1 leaves no zeros, a small n perhaps
                    distribution[p, k, index, i] = np.searchsorted(own, edges[p], side="right") / len(own)

        values = simulate_points([p.run for p in points], time, replicas, threads=1, observe=observe)
        distribution[np.isnan(values[..., -1])] = np.nan
        return Result(
            values={"distribution": distribution, "overlap": values[..., :-1], "squared_norm": values[..., -1]},
            status=find_diverged(values[..., -1]),
        )


class WeightsTheory:
    """The law of the weights by the PDE; see `clhd.systems.protocol.Half`."""

    version = 3  # equal atoms of a latent of second moment 0 all count
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> WeightsTheoryPoint:
        model, overlap, squared_norm = _parse_model(values)
        cells = int(values.get("cells", PARAMETERS["cells"].default))  # type: ignore[arg-type]
        if cells % 2:
            raise InputError(f"cells = {cells!r}: must be an even number, so that one edge stands at weight 0")
        return WeightsTheoryPoint(
            model=model, overlap=overlap, squared_norm=squared_norm, cells=cells, **_parse_shape(values)
        )

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("theory", "pde") == "none":
            return NOTHING
        outputs = _declare(constants, _DIMS)
        by_ode = {ode: _declare_by_ode(name) for name, ode in _BY_ODE.items()}
        return replace(outputs, variables={**outputs.variables, **by_ode})

    def cost(self, point: WeightsTheoryPoint, time: FloatArray) -> Cost:
        rate = max(1.0, 2 * point.model.learning_rate * (point.model.weight_decay + 0.5))
        return Cost(seconds=0.1 + min(_PDE_SECONDS * rate * float(time[-1]), _MOST_PDE_SECONDS) * point.cells / 800)

    def compute(self, points: Sequence[WeightsTheoryPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        signs, edges = _signs(points[0].model.feature_law), points[0].edges
        dims = _DIMS | {ode: _DIMS[name] for name, ode in _BY_ODE.items()}
        sizes = {"time": len(time), "feature": 1, "feature_sign": len(signs), "weight_edge": edges}
        return predict_each(points, lambda point: _predict(point, time), dims, sizes)


class WeightsSystem(System):
    """The distribution of the weights under SGD, and by the PDE."""

    title = "weights of the contrastive unit"
    parameters = PARAMETERS
    time = WORDS["time"]
    size = "dimension"
    limit = "limit of infinite dimension"
    quantity = "distribution"
    claims, figures = ContrastiveSystem.claims, ContrastiveSystem.figures
    simulation = WeightsSimulation()
    theory = WeightsTheory()


def _parse_model(values: Mapping[str, Value]) -> tuple[ContrastiveModel, tuple[float, ...], float]:
    """The model and the start; the default law of the features is another one than that of the model."""
    model, overlap, squared_norm = parse_model_and_start({"feature_law": "rademacher", **values})
    assert overlap is not None  # there is no parameter "initial": the start is fixed
    return model, overlap, squared_norm


def _parse_shape(values: Mapping[str, Value]) -> dict[str, Any]:
    limit, edges = (values.get(name, PARAMETERS[name].default) for name in ("weight_limit", "weight_edges"))
    return {"limit": float(limit), "edges": int(edges)}  # type: ignore[arg-type]


def _weight_edges(limit: float, edges: int) -> FloatArray:
    return np.linspace(-limit, limit, edges)


def _signs(feature_law: Value) -> list[int]:
    return [-1, 0, 1] if feature_law == "sparse" else [-1, 1]


def _declare(constants: Mapping[str, Value], variables: Mapping[str, tuple[str, ...]]) -> Outputs:
    """Outputs with their coordinates; a distribution is NaN where no coordinate has the sign."""
    outputs = label_outputs(
        variables,
        {
            "feature": [1],
            "feature_sign": _signs(constants.get("feature_law", "rademacher")),
            "weight_edge": _weight_edges(**_parse_shape(constants)).tolist(),
        },
        may_be_nan=("distribution",),
    )
    distribution = replace(outputs.variables["distribution"], distribution_along="weight_edge")
    return replace(outputs, variables={**outputs.variables, "distribution": distribution})


def _declare_by_ode(name: str) -> Output:
    """An order parameter by the ODE; NaN with an L1 penalty, where there is no ODE."""
    words = {**WORDS[name], "long_name": f"{WORDS[name]['long_name']} by the ODE"}
    return Output(dims=_DIMS[name], words=words, may_be_nan=True)


def _choose_engine(model: ContrastiveModel) -> str:
    """Return the fastest engine that simulates the model exactly."""
    if model.noise_law != "gaussian":
        return "full"
    return "projected" if model.l1_penalty == 0.0 else "conditioned"


def _empty(times: int, signs: int, edges: int) -> dict[str, FloatArray]:
    """Arrays of NaN for all outputs."""
    return {
        "distribution": np.full((times, signs, edges), np.nan),
        "overlap": np.full((times, 1), np.nan),
        "squared_norm": np.full(times, np.nan),
    }


def _predict(point: WeightsTheoryPoint, time: FloatArray) -> dict[str, FloatArray]:
    """The outputs of one point of the theory."""
    model, state = point.model, np.append(point.overlap, point.squared_norm)
    path = integrate_density(model, state, time, cells=point.cells, tolerance=_TOLERANCE)
    signs = _signs(model.feature_law)
    values = _empty(len(time), len(signs), point.edges)
    values["overlap"], values["squared_norm"] = path.outcome[:, :-2], path.outcome[:, -2]
    found = distribution_at(path, _weight_edges(point.limit, point.edges))
    for atom, sign in enumerate(np.sign(path.values[:, 0]).astype(int).tolist()):
        values["distribution"][:, signs.index(sign)] = found[:, atom]
    values["overlap_ode"] = np.full_like(values["overlap"], np.nan)
    values["squared_norm_ode"] = np.full_like(values["squared_norm"], np.nan)
    if model.l1_penalty == 0:
        flow = integrate_ode(model, overlap=point.overlap, squared_norm=point.squared_norm, time=time)
        if flow["not_converged"]:
            raise NotConvergedError(flow.attrs["not_converged"])
        values["overlap_ode"], values["squared_norm_ode"] = flow["overlap"].values, flow["squared_norm"].values
    return values
