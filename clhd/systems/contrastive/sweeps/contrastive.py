"""The system "contrastive": SGD at finite dimension and the ODE, with their outputs and costs.

A point of the simulation is a `simulation.point.Point`, whose key seeds the random streams. A point of the theory is
the model with the initial state: the theory depends on nothing else.

| output | dims | meaning |
|---|---|---|
| overlap | time, feature | xi_j . w / n |
| squared_norm | time | abs(w)^2 / n |
| cosine_similarity | time, feature | overlap / sqrt(squared_norm), NaN at 0 |
| gradient_variance | time | theory only: D |
| averaging_error | time | theory only: error of the averages of infonce; 0 for the other losses |
| growth_rate | feature | theory only: growth rate of a small overlap at the uninformative state |
| X_fluctuation | dims of X | theory only, with ``theory: fluctuations``: standard deviation of sqrt(n) (X_n - X) |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.model.state import cosine_similarity
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected import LANES, family
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.outputs import NOTHING, find_diverged, label_outputs, number_features
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS, parse_model_and_start
from clhd.systems.contrastive.theory.fluctuations import predict_fluctuations
from clhd.systems.contrastive.theory.ode import integrate_ode
from clhd.systems.contrastive.theory.point_sets import count_terms
from clhd.systems.contrastive.theory.threshold import growth_rates
from clhd.systems.declarations import Cost, FloatArray, Output, Outputs, Result, Value, describe
from clhd.systems.protocol import System

# Measured, on a core of 2024 with AVX-512: seconds per step and lane of the projected chain, for one feature and for
# each further one, and for each negative beyond the first, likewise; many of these no longer vectorise. Per step, lane,
# dimension and view of the full one; of one ODE, at least and per unit of time; of one fluctuation theory.
_PROJECTED_SECONDS, _FEATURE_SECONDS, _LANE_SECONDS = 9e-9, 4e-9, 3e-6
_NEGATIVE_SECONDS, _NEGATIVE_FEATURE_SECONDS, _MANY_NEGATIVES, _MANY_FACTOR = 3e-9, 1e-9, 12, 5
_FULL_SECONDS = 1.4e-9
_ODE_SECONDS, _ODE_SECONDS_PER_TIME, _FLUCTUATION_SECONDS = 0.02, 1e-4, 1.0
# Of one theory of infonce, for each term of its averages and each view.
_TERM_SECONDS = 3.3e-6
# Averages over points err by 1e-4 or more: the ODE need not be integrated more exactly by orders of magnitude.
_TOLERANCES_OF_POINT_SETS = {"rtol": 1e-6, "atol": 1e-8}
_WITH_FEATURE, _WITHOUT = ("time", "feature"), ("time",)
_QUANTITIES = {"overlap": _WITH_FEATURE, "squared_norm": _WITHOUT, "cosine_similarity": _WITH_FEATURE}
_OF_THEORY = {**_QUANTITIES, "gradient_variance": _WITHOUT, "averaging_error": _WITHOUT}


@dataclass(frozen=True, kw_only=True)
class TheoryPoint:
    """A point of the theory."""

    model: ContrastiveModel
    overlap: tuple[float, ...] | None
    squared_norm: float
    fluctuations: bool
    gradient_variance_of: ContrastiveModel | None


class ContrastiveSimulation:
    """SGD at finite dimension; see `clhd.systems.protocol.Half`."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> Point:
        if "dimension" not in values:
            raise InputError("dimension: must be given, as a constant or an axis")
        model, overlap, squared_norm = parse_model_and_start(values)
        return Point(
            model=model,
            dimension=values["dimension"],  # type: ignore[arg-type]
            overlap=overlap,
            squared_norm=squared_norm,
            seed=seed,
            engine=values.get("engine", "projected"),  # type: ignore[arg-type]
        )

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("simulation", "sgd") == "none":
            return NOTHING
        return label_outputs(_QUANTITIES, {"feature": number_features(constants)})

    def cost(self, point: Point, time: FloatArray) -> Cost:
        steps, features = float(time[-1]) * point.dimension, point.model.features
        if point.engine == "full":
            seconds = steps * point.dimension * point.model.views * _FULL_SECONDS
            return Cost(seconds=seconds, family=("full", point.dimension, point.model.views))
        further = point.model.views - 3
        of_negatives = further * (_NEGATIVE_SECONDS + _NEGATIVE_FEATURE_SECONDS * (features - 1))
        of_negatives *= _MANY_FACTOR if further > _MANY_NEGATIVES else 1
        step = _PROJECTED_SECONDS + _FEATURE_SECONDS * (features - 1) + of_negatives
        return Cost(seconds=steps * step + _LANE_SECONDS, runs_per_call=LANES, family=family(point))

    def compute(self, points: Sequence[Point], time: FloatArray, replicas: Sequence[int]) -> Result:
        values = simulate_points(points, time, replicas, threads=1)
        overlap, squared_norm = values[..., :-1], values[..., -1]
        similarity = cosine_similarity(overlap, squared_norm)
        return Result(
            values={"overlap": overlap, "squared_norm": squared_norm, "cosine_similarity": similarity},
            status=find_diverged(squared_norm),
        )


class ContrastiveTheory:
    """The ODE, and its fluctuations if asked for; see `clhd.systems.protocol.Half`."""

    version = 3
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> TheoryPoint:
        model, overlap, squared_norm = parse_model_and_start(values)
        if model.l1_penalty > 0:
            raise InputError(f"l1_penalty = {model.l1_penalty!r}: must be 0 for the ODE; set theory: none")
        fluctuations = values.get("theory", "ode") == "fluctuations"
        acts_on = values.get("correlation_acts_on", "both")
        if fluctuations and acts_on != "both":
            raise InputError(f"correlation_acts_on = {acts_on!r}: must be 'both' with theory = 'fluctuations'")
        independent = model if acts_on == "both" else replace(model, noise_correlation=0.0)
        return TheoryPoint(
            model=independent if acts_on == "gradient_variance" else model,
            overlap=overlap,
            squared_norm=squared_norm,
            fluctuations=fluctuations,
            gradient_variance_of={"both": None, "drift": independent, "gradient_variance": model}[acts_on],  # type: ignore[index]
        )

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        chosen = constants.get("theory", "ode")
        if chosen == "none":
            return NOTHING
        outputs = label_outputs(
            {**_OF_THEORY, "growth_rate": ("feature",)},
            {"feature": number_features(constants)},
            may_be_nan=("cosine_similarity", "growth_rate"),
        )
        if chosen == "ode":
            return outputs
        variables = dict(outputs.variables)
        growth_rate = variables.pop("growth_rate")  # last, as in earlier stores
        variables |= {f"{name}_fluctuation": _declare_fluctuation(name) for name in _QUANTITIES}
        return replace(outputs, variables=variables | {"growth_rate": growth_rate})

    def cost(self, point: TheoryPoint, time: FloatArray) -> Cost:
        if not point.model.loss_terms.factorises:
            return Cost(seconds=count_terms(point.model) * point.model.views * _TERM_SECONDS)
        of_ode = _ODE_SECONDS + _ODE_SECONDS_PER_TIME * float(time[-1])
        return Cost(seconds=(_FLUCTUATION_SECONDS if point.fluctuations else of_ode) * point.model.features)

    def compute(self, points: Sequence[TheoryPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        predictions = [_predict(point, time) for point in points]
        values = {name: np.stack([values[name] for values in predictions]) for name in predictions[0]}
        return Result(values=values, status=find_diverged(values["squared_norm"]))


class ContrastiveSystem(System):
    """The contrastive unit: its SGD at finite dimension and its ODE."""

    title = "contrastive unit"
    parameters = PARAMETERS
    time = WORDS["time"]
    size = "dimension"
    limit = "limit of infinite dimension"
    quantity = "cosine_similarity"
    components = "features"
    claims = {
        "C1": "clhd.systems.contrastive.claims.weights:WEIGHTS",
        "C2": "clhd.systems.contrastive.claims.reduction:REDUCTION",
        "C3": "clhd.systems.contrastive.claims.convergence:CONVERGENCE",
        "C4": "clhd.systems.contrastive.claims.learnability:LEARNABILITY",
        "C5": "clhd.systems.contrastive.claims.attraction:ATTRACTION",
        "C6": "clhd.systems.contrastive.claims.noise:NOISE",
        "C7": "clhd.systems.contrastive.claims.correlation:CORRELATION",
        "matrix": "clhd.systems.contrastive.claims.matrix:MATRIX",
    }
    figures = {
        "dimension": "clhd.figures.convergence:plot_convergence",
        "moments": "clhd.systems.contrastive.figures.presets:plot_moments",
        "noise_correlation": "clhd.systems.contrastive.figures.presets:plot_noise_correlation",
    }
    simulation = ContrastiveSimulation()
    theory = ContrastiveTheory()


def _declare_fluctuation(name: str) -> Output:
    words = describe(
        f"fluctuation of the {WORDS[name]['long_name']}",
        f"sigma({WORDS[name]['symbol']})",
        description="standard deviation of sqrt(n) times the deviation from the ODE, in the limit",
    )
    return Output(dims=_QUANTITIES[name], words=words, may_be_nan=name == "cosine_similarity")


def _predict(point: TheoryPoint, time: FloatArray) -> dict[str, FloatArray]:
    """The outputs of one point of the theory."""
    start = np.zeros(point.model.features) if point.overlap is None else np.array(point.overlap)
    is_exact = point.model.loss_terms.factorises
    flow = integrate_ode(
        point.model,
        overlap=start,
        squared_norm=point.squared_norm,
        time=time,
        gradient_variance_of=point.gradient_variance_of,
        **({} if is_exact else _TOLERANCES_OF_POINT_SETS),
    )
    if is_exact:
        flow = flow.assign(averaging_error=xr.zeros_like(flow["squared_norm"]))
    values = {name: flow[name].values for name in _OF_THEORY}
    is_switched = point.gradient_variance_of is not None
    rates = np.full_like(start, np.nan) if is_switched else growth_rates(point.model, squared_norm=point.squared_norm)
    values["growth_rate"] = rates
    return values | (_predict_spread(point, time) if point.fluctuations else {})


def _predict_spread(point: TheoryPoint, time: FloatArray) -> dict[str, FloatArray]:
    """The standard deviation of the fluctuations of each quantity, times sqrt(n)."""
    limit = predict_fluctuations(
        point.model,
        None if point.overlap is None else point.overlap,
        point.squared_norm,
        time,
        initial="random" if point.overlap is None else "fixed",
    )
    variance = np.diagonal(limit["covariance"].values, axis1=1, axis2=2)
    similarity_variance = np.diagonal(limit["cosine_similarity_covariance"].values, axis1=1, axis2=2)
    # Rounding may leave a variance of zero a little below it.
    return {
        "overlap_fluctuation": np.sqrt(np.maximum(variance[:, :-1], 0)),
        "squared_norm_fluctuation": np.sqrt(np.maximum(variance[:, -1], 0)),
        "cosine_similarity_fluctuation": np.sqrt(np.maximum(similarity_variance, 0)),
    }
