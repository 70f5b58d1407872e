"""The contrastive model as a system that can be swept: its parameters, its simulation and its theory.

A point is a `clhd.simulation.point.Point`, whose key seeds the random streams. The theory depends on the model and on
the initial state alone, so a point of the theory is those.

| output | dims | meaning |
|---|---|---|
| overlap | time, feature | xi_j . w / n |
| squared_norm | time | abs(w)^2 / n |
| cosine_similarity | time, feature | overlap / sqrt(squared_norm), NaN at 0 |
| gradient_variance | time | theory only: D |
| averaging_error | time | theory only: of infonce, by the points of its averages; 0 for the other losses |
| growth_rate | feature | theory only: of a small overlap, at the uninformative state |
| X_fluctuation | dims of X | theory only, with ``theory: fluctuations``: standard deviation of sqrt(n) (X_n - X) |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from clhd.errors import ClhdError
from clhd.model.activations import ACTIVATIONS
from clhd.model.contrastive import CONSTRAINTS, FEATURE_LAWS, MOST_NEGATIVES, NOISE_LAWS, ContrastiveModel
from clhd.model.labels import WORDS
from clhd.model.latents import Gaussian, Laplace, Latent, ThreePoint, TwoPoint, Uniform, canonical_value
from clhd.model.losses import LOSSES
from clhd.model.state import cosine_similarity, parse_norm, parse_overlap
from clhd.simulation.point import ENGINES, Point
from clhd.simulation.projected import LANES, family
from clhd.simulation.sgd import simulate_points
from clhd.systems.base import Cost, FloatArray, Output, Outputs, Parameter, Result, Status, Value
from clhd.theory.fluctuations import predict_fluctuations
from clhd.theory.ode import integrate_ode
from clhd.theory.point_sets import count_terms
from clhd.theory.threshold import growth_rates, uninformative_state

_LATENTS = ("three_point", "two_point", "gaussian", "uniform", "laplace")
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


def _number(default: float | None, meaning: str, symbol: str, **more: Any) -> Parameter:
    return Parameter(kind="number", default=default, meaning=meaning, symbol=symbol, **more)


def _choice(default: str, meaning: str, choices: Sequence[str], **more: Any) -> Parameter:
    return Parameter(kind="choice", default=default, meaning=meaning, choices=tuple(choices), **more)


_PER_DIMENSION = "per unit of time"
PARAMETERS: dict[str, Parameter] = {
    "features": Parameter(
        kind="count", default=1, meaning="number of features", symbol="p", minimum=1, maximum=6, can_vary=False
    ),
    "latent": _choice("three_point", "law of the latent variable", _LATENTS, per_feature=True),
    "second_moment": _number(1.0, "second moment of the latent variable", "m", minimum=0, per_feature=True),
    "kurtosis": _number(None, "kurtosis of a three-point latent", "k", minimum=1, per_feature=True),
    "skewness": _number(None, "skewness of a two-point latent", "g", minimum=-1e6, maximum=1e6, per_feature=True),
    "activation": Parameter(
        kind="curve", default="tanh", meaning="activation of the unit", symbol="h", choices=tuple(ACTIVATIONS)
    ),
    "loss": _choice("bilinear", "loss", tuple(LOSSES)),
    "temperature": _number(None, "temperature of infonce; 1 if not given", "T", above=0),
    "negatives": Parameter(
        kind="count",
        default=None,
        meaning="negatives of infonce; 1 if not given",
        symbol="M",
        minimum=1,
        maximum=MOST_NEGATIVES,
    ),
    "learning_rate": _number(0.5, "learning rate", "eta", above=0, units=_PER_DIMENSION),
    "weight_decay": _number(0.0, "weight decay (L2)", "lambda", minimum=0),
    "base_noise_variance": _number(0.5, "variance of the noise that two views share", "s_b^2", minimum=0),
    "augmentation_noise_variance": _number(0.5, "variance of the noise of one view", "s_a^2", minimum=0),
    "noise_correlation": _number(
        0.0, "correlation of the augmentation noise of two views", "rho", minimum=-1, maximum=1
    ),
    "constraint": _choice("none", "constraint on the weights", CONSTRAINTS),
    "l1_penalty": _number(0.0, "L1 penalty of the elastic net", "lambda_1", minimum=0),
    "noise_law": _choice("gaussian", "law of the noise of a coordinate", NOISE_LAWS, in_theory=False),
    "noise_degrees_of_freedom": _number(None, "of the Student-t noise", "nu", above=2, in_theory=False),
    "feature_law": _choice("gaussian", "law of the entries of a feature", FEATURE_LAWS, in_theory=False),
    "feature_fraction": _number(
        None, "share of non-zero entries of sparse features", "f", above=0, maximum=1, in_theory=False
    ),
    "dimension": Parameter(
        kind="count", default=None, meaning="dimension", symbol="n", minimum=3, maximum=10**9, in_theory=False
    ),
    "engine": _choice("projected", "engine of the simulation", ENGINES, in_theory=False),
    "initial": _choice("fixed", "initial state: fixed, or random weights", ("fixed", "random")),
    "initial_squared_norm": _number(
        1.0,
        "initial squared norm (variance of random weights), or that of the uninformative state",
        "r_0",
        minimum=0,
        choices=("uninformative",),
    ),
    "initial_cosine_similarity": _number(
        None, "initial cosine similarity", "S_0", minimum=-1, maximum=1, per_feature=True
    ),
    "initial_overlap": _number(None, "initial overlap", "q_0", per_feature=True),
    "correlation_acts_on": _choice(
        "both",
        "a switch: noise_correlation enters drift and gradient variance, or the other of them is that of correlation 0",
        ("both", "drift", "gradient_variance"),
        in_simulation=False,
    ),
    "simulation": _choice(
        "sgd", "what is simulated: SGD, or nothing", ("sgd", "none"), in_theory=False, can_vary=False
    ),
    "theory": _choice(
        "ode",
        "what is predicted: the ODE, the ODE and its fluctuations (50 times the work), or nothing",
        ("ode", "fluctuations", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}
_SHARED = (
    "activation",
    "loss",
    "learning_rate",
    "weight_decay",
    "base_noise_variance",
    "augmentation_noise_variance",
    "noise_correlation",
    "constraint",
    "l1_penalty",
    "noise_law",
    "noise_degrees_of_freedom",
    "feature_law",
    "feature_fraction",
    "temperature",
    "negatives",
)
# What model and initial state do not depend on.
_OF_THE_RUN = frozenset({"dimension", "engine", "simulation", "theory", "correlation_acts_on"})
_WITH_FEATURE, _WITHOUT = ("time", "feature"), ("time",)
# The averages at the uninformative state take some seconds at this noise variance, and minutes at ten times of it: too
# long for a check of all points.
_WIDEST_NOISE = 100
_QUANTITIES = {"overlap": _WITH_FEATURE, "squared_norm": _WITHOUT, "cosine_similarity": _WITH_FEATURE}
_OF_THEORY = {**_QUANTITIES, "gradient_variance": _WITHOUT, "averaging_error": _WITHOUT}


@dataclass(frozen=True, kw_only=True)
class TheoryPoint:
    """What the theory of a point depends on."""

    model: ContrastiveModel
    overlap: tuple[float, ...] | None
    squared_norm: float
    fluctuations: bool
    gradient_variance_of: ContrastiveModel | None

    @property
    def key(self) -> str:
        """The point as text, exact to the last bit."""
        start = "random" if self.overlap is None else canonical_value(self.overlap)
        other = "" if self.gradient_variance_of is None else f"|{self.gradient_variance_of.canonical()}"
        return f"{self.model.canonical()}|overlap={start}|squared_norm={self.squared_norm.hex()}{other}"


class ContrastiveSystem:
    """The contrastive model, its SGD at finite dimension and its ODE; see `clhd.systems.base.System`."""

    kernel_version = 1
    theory_version = 3
    parameters: Mapping[str, Parameter] = PARAMETERS
    size = "dimension"

    def point(self, values: Mapping[str, Value], seed: int) -> Point:
        """The point of the simulation; raises ClhdError where values do not go together."""
        if "dimension" not in values:
            raise ClhdError("dimension: must be given, as a constant or an axis")
        model, overlap, squared_norm = parse_model_and_start(values)
        return Point(
            model=model,
            dimension=values["dimension"],  # type: ignore[arg-type]
            overlap=overlap,
            squared_norm=squared_norm,
            seed=seed,
            engine=values.get("engine", "projected"),  # type: ignore[arg-type]
        )

    def theory_point(self, values: Mapping[str, Value]) -> TheoryPoint:
        """The point of the theory; raises ClhdError where values do not go together."""
        model, overlap, squared_norm = parse_model_and_start(values)
        if model.l1_penalty > 0:
            raise ClhdError(f"l1_penalty = {model.l1_penalty!r}: must be 0 for the ODE; set theory: none")
        fluctuations = values.get("theory", "ode") == "fluctuations"
        acts_on = values.get("correlation_acts_on", "both")
        if fluctuations and acts_on != "both":
            raise ClhdError(f"correlation_acts_on = {acts_on!r}: must be 'both' with theory = 'fluctuations'")
        independent = model if acts_on == "both" else replace(model, noise_correlation=0.0)
        return TheoryPoint(
            model=independent if acts_on == "gradient_variance" else model,
            overlap=overlap,
            squared_norm=squared_norm,
            fluctuations=fluctuations,
            gradient_variance_of={"both": None, "drift": independent, "gradient_variance": model}[acts_on],  # type: ignore[index]
        )

    def simulation_outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """Overlap, squared norm and cosine similarity."""
        if constants.get("simulation", "sgd") == "none":
            return Outputs(variables={})
        return _label_outputs(constants, {name: Output(dims=d, words=WORDS[name]) for name, d in _QUANTITIES.items()})

    def theory_outputs(self, constants: Mapping[str, Value]) -> Outputs:
        """The same, and their fluctuations if asked for; nothing with ``theory: none``."""
        if constants.get("theory", "ode") == "none":
            return Outputs(variables={})
        variables = {name: Output(dims=dims, words=WORDS[name]) for name, dims in _OF_THEORY.items()}
        if constants.get("theory", "ode") == "fluctuations":
            for name, dims in _QUANTITIES.items():
                words = {
                    "long_name": f"fluctuation of the {WORDS[name]['long_name']}",
                    "symbol": f"sigma({WORDS[name]['symbol']})",
                    "units": "1",
                    "description": "standard deviation of sqrt(n) times the deviation from the ODE, in the limit",
                }
                variables[f"{name}_fluctuation"] = Output(dims=dims, words=words)
        variables["growth_rate"] = Output(dims=("feature",), words=WORDS["growth_rate"])
        return _label_outputs(constants, variables)

    def simulation_cost(self, point: Point, time: FloatArray) -> Cost:
        """From the number of steps and the measured time of one."""
        steps, features = float(time[-1]) * point.dimension, point.model.features
        if point.engine == "full":
            seconds = steps * point.dimension * point.model.views * _FULL_SECONDS
            return Cost(seconds=seconds, family=("full", point.dimension, point.model.views))
        further = point.model.views - 3
        of_negatives = further * (_NEGATIVE_SECONDS + _NEGATIVE_FEATURE_SECONDS * (features - 1))
        of_negatives *= _MANY_FACTOR if further > _MANY_NEGATIVES else 1
        step = _PROJECTED_SECONDS + _FEATURE_SECONDS * (features - 1) + of_negatives
        return Cost(seconds=steps * step + _LANE_SECONDS, lanes=LANES, family=family(point))

    def theory_cost(self, point: TheoryPoint, time: FloatArray) -> Cost:
        """From measurements at a few points."""
        if not point.model.loss_terms.factorises:
            return Cost(seconds=count_terms(point.model) * point.model.views * _TERM_SECONDS)
        of_ode = _ODE_SECONDS + _ODE_SECONDS_PER_TIME * float(time[-1])
        return Cost(seconds=(_FLUCTUATION_SECONDS if point.fluctuations else of_ode) * point.model.features)

    def simulate(self, points: Sequence[Point], time: FloatArray, replicas: Sequence[int]) -> Result:
        """SGD by the engine of each point; diverged replicas are NaN from then on."""
        values = simulate_points(points, time, replicas, threads=1)
        overlap, squared_norm = values[..., :-1], values[..., -1]
        diverged = np.isnan(squared_norm).any(axis=-1)
        similarity = cosine_similarity(overlap, squared_norm)
        return Result(
            values={"overlap": overlap, "squared_norm": squared_norm, "cosine_similarity": similarity},
            status=np.where(diverged, Status.DIVERGED, Status.OK).astype(np.int8),
        )

    def predict(self, points: Sequence[TheoryPoint], time: FloatArray) -> Result:
        """The ODE of each point, with its fluctuations if asked for."""
        predictions = [_predict(point, time) for point in points]
        values = {name: np.stack([values[name] for values in predictions]) for name in predictions[0]}
        diverged = np.isnan(values["squared_norm"]).any(axis=-1)
        return Result(values=values, status=np.where(diverged, Status.DIVERGED, Status.OK).astype(np.int8))


def _label_outputs(constants: Mapping[str, Value], variables: dict[str, Output]) -> Outputs:
    features = range(1, int(constants.get("features", 1)) + 1)  # type: ignore[arg-type]
    return Outputs(variables=variables, coordinates={"feature": (features, WORDS["feature"])})


def parse_model_and_start(
    values: Mapping[str, Value],
) -> tuple[ContrastiveModel, tuple[float, ...] | None, float]:
    """The model, the initial overlap (None if random) and the initial squared norm."""
    return _make_model_and_start(tuple([item for item in values.items() if item[0] not in _OF_THE_RUN]))


@lru_cache(maxsize=1024)
def _make_model_and_start(
    items: tuple[tuple[str, Value], ...],
) -> tuple[ContrastiveModel, tuple[float, ...] | None, float]:
    """The same, remembered: points of a grid that differ in dimension alone share both."""
    values = dict(items)
    features = int(values.get("features", 1))  # type: ignore[arg-type]
    latents = tuple(_parse_latent(values, j) for j in range(1, features + 1))
    model = ContrastiveModel(latents=latents, **{name: values[name] for name in _SHARED if name in values})  # type: ignore[arg-type]
    squared_norm = _parse_norm(model, values.get("initial_squared_norm", 1.0))
    overlaps = [_parse_overlap(values, j, squared_norm) for j in range(1, features + 1)]
    given = [q is not None for q in overlaps]
    if values.get("initial", "fixed") == "random":
        if any(given):
            raise ClhdError("initial = 'random': goes with no initial_cosine_similarity and no initial_overlap")
        return model, None, squared_norm
    if not any(given):
        raise ClhdError("initial = 'fixed': needs initial_cosine_similarity or initial_overlap")
    return model, parse_overlap(model, tuple([q or 0.0 for q in overlaps]), squared_norm), squared_norm


def _parse_norm(model: ContrastiveModel, value: Value) -> float:
    """The initial squared norm, given or that of the uninformative state."""
    if value != "uninformative":
        return parse_norm(model, value)
    widest = max(model.base_noise_variance, model.augmentation_noise_variance)
    if widest > _WIDEST_NOISE:
        raise ClhdError(
            f"initial_squared_norm = {value!r}: needs noise variances of at most {_WIDEST_NOISE}, not {widest:g}; "
            "give the norm as a number"
        )
    squared_norm = uninformative_state(model).squared_norm
    if not 0 < squared_norm < np.inf:
        end = "collapses" if squared_norm == 0 else "grows without bound"
        raise ClhdError(f"initial_squared_norm = {value!r}: needs a state of rest at zero overlap, and the norm {end}")
    return squared_norm


def _find(values: Mapping[str, Value], name: str, feature: int) -> Any:
    """The value of one feature: its own, or that of all features, or None."""
    return values.get(f"{name}_{feature}", values.get(name))


def _parse_latent(values: Mapping[str, Value], feature: int) -> Latent:
    law = _find(values, "latent", feature) or "three_point"
    second_moment = _find(values, "second_moment", feature)
    second_moment = 1.0 if second_moment is None else second_moment
    kurtosis, skewness = _find(values, "kurtosis", feature), _find(values, "skewness", feature)
    for name, value, owner in (("kurtosis", kurtosis, "three_point"), ("skewness", skewness, "two_point")):
        if value is not None and law != owner:
            raise ClhdError(
                f"{name} = {value!r}: is only for latent = {owner!r}, and that of feature {feature} is {law!r}"
            )
    if law == "three_point":
        return ThreePoint(second_moment=second_moment, kurtosis=1.0 if kurtosis is None else kurtosis)
    if law == "two_point":
        return TwoPoint(second_moment=second_moment, skewness=0.0 if skewness is None else skewness)
    return {"gaussian": Gaussian, "uniform": Uniform, "laplace": Laplace}[law](second_moment=second_moment)


def _parse_overlap(values: Mapping[str, Value], feature: int, squared_norm: float) -> float | None:
    overlap = _find(values, "initial_overlap", feature)
    similarity = _find(values, "initial_cosine_similarity", feature)
    if overlap is not None and similarity is not None:
        raise ClhdError(f"initial_overlap = {overlap!r}: must not be given together with initial_cosine_similarity")
    if similarity is not None:
        return float(similarity) * float(np.sqrt(squared_norm))
    return None if overlap is None else float(overlap)


def _predict(point: TheoryPoint, time: FloatArray) -> dict[str, FloatArray]:
    """Order parameters of one point, D and growth rates, and the spread of their fluctuations if asked for."""
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
    """Standard deviation of the fluctuations of each quantity, times sqrt(n)."""
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
