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
| overlap, cosine_similarity | time, unit, feature | of several units |
| squared_norm | time, unit, unit_2 | of several units: w_i . w_k / n |
| growth_rate | feature | theory only: growth rate of a small overlap at the uninformative state |
| | | of several units the theory gives the first three outputs and averaging_error |
| X_fluctuation | dims of X | theory only, with ``theory: fluctuations``: standard deviation of sqrt(n) (X_n - X) |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import GRAM_WORDS, WORDS
from clhd.systems.contrastive.simulation.chains import is_isotropic_pair
from clhd.systems.contrastive.simulation.lockstep import LANES, family
from clhd.systems.contrastive.simulation.one_unit import count_numbers
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import count_steps, simulate_points, split_values
from clhd.systems.contrastive.sweeps.outputs import NOTHING, find_diverged, label_outputs, number_features, predict_each
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS, parse_model_and_start
from clhd.systems.contrastive.theory.averages.point_sets import count_terms
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import check_diffusion
from clhd.systems.contrastive.theory.diffusion.diffusion_nodes import count_products
from clhd.systems.contrastive.theory.diffusion.fluctuations import predict_fluctuations
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.states.threshold import growth_rates
from clhd.systems.contrastive.theory.units.units_flow import check_units, count_lanes
from clhd.systems.declarations import Cost, NotConvergedError, Output, Outputs, Result, Value, describe
from clhd.systems.protocol import System

# Measured, on a core of 2024 with AVX-512: seconds per step and lane of the projected chain, for one feature and for
# each further one, and for each negative beyond the first, likewise; many of these no longer vectorise. Per step, lane,
# dimension and view of the full one; per step and dimension of the conditioned one; of one fluctuation theory.
_PROJECTED_SECONDS, _FEATURE_SECONDS, _LANE_SECONDS = 9e-9, 4e-9, 3e-6
_NEGATIVE_SECONDS, _NEGATIVE_FEATURE_SECONDS, _MANY_NEGATIVES, _MANY_FACTOR = 3e-9, 1e-9, 12, 5
_FULL_SECONDS, _CONDITIONED_SECONDS = 1.4e-9, 1.8e-9
# Per step, lane and normal number of the chain of one unit. Of the chain in a frame: per step and lane, and for each
# number of its views; more for each further unit.
_UNIT_NUMBER_SECONDS, _FRAME_SECONDS, _FRAME_NUMBER_SECONDS, _UNIT_SHARE = 2.2e-9, 5e-9, 1.5e-9, 0.4
_FLUCTUATION_SECONDS, _MOST_FLUCTUATION_SECONDS = 0.2, 100.0
# Of one ODE, at least, and of one evaluation, also with wide noise. The number of evaluations follows from the fastest
# rate, to which the averages add a little, as the steps of an explicit method are about 6 / rate; and it has a limit.
_ODE_SECONDS, _CALL_SECONDS, _WIDE_CALL_SECONDS, _WIDE_NORM = 0.007, 3.5e-5, 1e-3, 100
_CALLS_PER_RATE, _OTHER_DECAY, _MOST_CALLS = 2.0, 0.1, 30_000
# Products of one diffusion matrix for which the other work of a fluctuation theory still counts.
_PRODUCTS = 1e6
# Of one theory of infonce, for each term of its averages and each view.
_TERM_SECONDS = 3.3e-6
# Of one evaluation of the ODE of several units, for each pre-activation of its batches; evaluations by rate and time.
_UNITS_SECONDS, _UNITS_CALLS = 6e-8, 56.0
# Averages over points err by 1e-4 or more: the ODE need not be integrated more exactly by orders of magnitude.
_TOLERANCES, _TOLERANCES_OF_POINT_SETS = (1e-9, 1e-11), (1e-6, 1e-8)  # relative, absolute
_WITH_FEATURE, _WITHOUT = ("time", "feature"), ("time",)
_QUANTITIES = {"overlap": _WITH_FEATURE, "squared_norm": _WITHOUT, "cosine_similarity": _WITH_FEATURE}
_OF_UNITS = {
    "overlap": ("time", "unit", "feature"),
    "squared_norm": ("time", "unit", "unit_2"),
    "cosine_similarity": ("time", "unit", "feature"),
}
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

    # 2: the projected chain draws other random numbers. 3: so does the chain of several units; batches round otherwise.
    # 4: one unit has a chain of its own for batches, and for the orthogonal background.
    version = 4
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
        return _label_quantities(constants)

    def cost(self, point: Point, time: FloatArray) -> Cost:
        steps, features = sum(count_steps(time, point.dimension)), point.model.features
        more_units = point.model.units - 1
        if point.engine == "full":
            seconds = steps * point.dimension * point.model.views * _FULL_SECONDS * (1 + _UNIT_SHARE * more_units)
            return Cost(seconds=seconds, family=("full", point.dimension, point.model.views, point.model.units))
        if point.engine == "conditioned":
            seconds = steps * point.dimension * _CONDITIONED_SECONDS
            return Cost(seconds=seconds, family=("conditioned", point.dimension, point.model.views))
        if not is_isotropic_pair(point.model):
            step = _UNIT_NUMBER_SECONDS * count_numbers(features, point.model.views)
            if more_units > 0:
                numbers = point.model.views * (features + point.model.units)
                step = _FRAME_SECONDS + _FRAME_NUMBER_SECONDS * numbers * (1 + _UNIT_SHARE * more_units)
            return Cost(seconds=steps * step + _LANE_SECONDS, runs_per_call=LANES, family=family(point))
        further = point.model.views - 3
        of_negatives = further * (_NEGATIVE_SECONDS + _NEGATIVE_FEATURE_SECONDS * (features - 1))
        of_negatives *= _MANY_FACTOR if further > _MANY_NEGATIVES else 1
        step = _PROJECTED_SECONDS + _FEATURE_SECONDS * (features - 1) + of_negatives
        return Cost(seconds=steps * step + _LANE_SECONDS, runs_per_call=LANES, family=family(point))

    def compute(self, points: Sequence[Point], time: FloatArray, replicas: Sequence[int]) -> Result:
        values = simulate_points(points, time, replicas, threads=1)
        overlap, squared_norm, similarity = split_values(values, points[0].model.units)
        return Result(
            values={"overlap": overlap, "squared_norm": squared_norm, "cosine_similarity": similarity},
            status=find_diverged(values[..., -1]),
        )


class ContrastiveTheory:
    """The ODE, and its fluctuations if asked for; see `clhd.systems.protocol.Half`."""

    # 4: a norm that has shrunk below the tolerance is 0; after many evaluations an implicit method goes on; averages
    # under wide noise (r s2 above about 120) come from another quadrature. 5: batches round otherwise.
    # 6: the Jacobian next to a feature; fluctuations from interpolated Jacobians and noise. 7: the kernel of batches
    # integrates single starts too, and its steps end at output times; relu units that collapse are not diverged.
    # 8: scipy integrates points with fluctuations, once for the ODE and the covariance.
    # 9: equal atoms of a latent of second moment 0 all count.
    version = 9
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> TheoryPoint:
        model, overlap, squared_norm = parse_model_and_start(values)
        fluctuations = values.get("theory", "ode") == "fluctuations"
        acts_on = values.get("correlation_acts_on", "both")
        if model.units > 1:
            _check_units(model, fluctuations=fluctuations, acts_on=acts_on)
        else:
            _check_theory(model)
        if model.l1_penalty > 0:
            raise InputError(f"l1_penalty = {model.l1_penalty!r}: must be 0 for the ODE; set theory: none")
        if fluctuations:
            if acts_on != "both":
                raise InputError(f"correlation_acts_on = {acts_on!r}: must be 'both' with theory = 'fluctuations'")
            check_diffusion(model)
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
        if constants.get("units", 1) != 1:
            return _label_quantities(constants, averaging_error=_WITHOUT)
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
        if point.model.units > 1:
            rate = point.model.learning_rate * (point.model.weight_decay + _OTHER_DECAY)
            calls = min(_UNITS_CALLS * (1 + rate * float(time[-1])), _MOST_CALLS)
            return Cost(seconds=calls * count_lanes(point.model) * _UNITS_SECONDS)
        if not point.model.loss_terms.factorises:
            return Cost(seconds=count_terms(point.model) * point.model.views * _TERM_SECONDS)
        norm = _guess_norm(point, float(time[-1]))
        rate = 2 * point.model.learning_rate * (point.model.weight_decay + _OTHER_DECAY)
        calls = min(_CALLS_PER_RATE * rate * float(time[-1]), _MOST_CALLS)
        seconds = _ODE_SECONDS + calls * (_WIDE_CALL_SECONDS if norm > _WIDE_NORM else _CALL_SECONDS)
        if point.fluctuations:
            products = min(count_products(point.model, norm) / _PRODUCTS, _MOST_FLUCTUATION_SECONDS)
            seconds += _FLUCTUATION_SECONDS * max(products, 1.0)
        return Cost(seconds=seconds * point.model.features)

    def compute(self, points: Sequence[TheoryPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        units = points[0].model.units
        sizes = {"time": len(time), "feature": points[0].model.features, "unit": units, "unit_2": units}
        if units > 1:
            dims = {**_OF_UNITS, "averaging_error": _WITHOUT}
            return predict_each(points, lambda point: _predict_units(point, time), dims, sizes)
        dims = {**_OF_THEORY, "growth_rate": ("feature",)}
        if points[0].fluctuations:
            dims |= {f"{name}_fluctuation": inner for name, inner in _QUANTITIES.items()}
        return predict_each(points, lambda point: _predict(point, time), dims, sizes)


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
        "C8": "clhd.systems.contrastive.claims.sharing:SHARING",
        "matrix": "clhd.systems.contrastive.claims.matrix:MATRIX",
    }
    figures = {
        "dimension": "clhd.figures.convergence:plot_convergence",
        "escape_law": "clhd.systems.contrastive.figures.escape:plot_escape",
        "moments": "clhd.systems.contrastive.figures.presets:plot_moments",
        "noise_correlation": "clhd.systems.contrastive.figures.presets:plot_noise_correlation",
        "optimal_correlation": "clhd.systems.contrastive.figures.phases:plot_best_correlation",
        "phase_regions": "clhd.systems.contrastive.figures.phases:plot_phases",
        "rare_selection": "clhd.systems.contrastive.figures.escape:plot_rare_selection",
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


def _check_theory(model: ContrastiveModel) -> None:
    """Raise ClhdError, which says how to do without a theory, if there is none for the model."""
    try:
        _ = model.loss_terms
    except InputError as error:
        raise InputError(f"{error}; set theory: none") from None


def _check_units(model: ContrastiveModel, *, fluctuations: bool, acts_on: Value) -> None:
    """Raise ClhdError if the theory of several units does not offer what is asked for."""
    check_units(model)
    if fluctuations:
        raise InputError(f"theory = 'fluctuations': must be 'ode' or 'none' with units = {model.units}")
    if acts_on != "both":
        raise InputError(f"correlation_acts_on = {acts_on!r}: must be 'both' with units = {model.units}")


def _label_quantities(constants: Mapping[str, Value], **more: tuple[str, ...]) -> Outputs:
    """Return the outputs of both halves, and more by their dims; those of several units have dims of units."""
    features, units = number_features(constants), range(1, int(constants.get("units", 1)) + 1)  # type: ignore[arg-type]
    if len(units) == 1:
        return label_outputs({**_QUANTITIES, **more}, {"feature": features})
    outputs = label_outputs({**_OF_UNITS, **more}, {"feature": features, "unit": units, "unit_2": units})
    gram = replace(outputs.variables["squared_norm"], words=GRAM_WORDS)
    return replace(outputs, variables={**outputs.variables, "squared_norm": gram})


def _guess_norm(point: TheoryPoint, end: float) -> float:
    """Return about how large the squared norm becomes: under the noise r grows as t^(2/3), until the decay stops it."""
    model = point.model
    if model.is_sphere:
        return 1.0
    growth: float = (1.5 * model.learning_rate**2 * end) ** (2 / 3)
    balance = 0.5 * model.learning_rate / model.weight_decay if model.weight_decay > 0 else np.inf
    return point.squared_norm + min(growth, balance)


def _predict(point: TheoryPoint, time: FloatArray) -> dict[str, FloatArray]:
    """The outputs of one point of the theory."""
    limit = (_predict_fluctuations if point.fluctuations else _integrate)(point, time)
    if point.model.loss_terms.factorises:
        limit = limit.assign(averaging_error=xr.zeros_like(limit["squared_norm"]))
    values = {name: limit[name].values for name in _OF_THEORY}
    is_switched = point.gradient_variance_of is not None
    values["growth_rate"] = (
        np.full(point.model.features, np.nan)
        if is_switched
        else growth_rates(point.model, squared_norm=point.squared_norm)
    )
    return values | (_find_spread(limit) if point.fluctuations else {})


def _integrate(point: TheoryPoint, time: FloatArray) -> xr.Dataset:
    """The ODE of a point."""
    rtol, atol = _TOLERANCES if point.model.loss_terms.factorises else _TOLERANCES_OF_POINT_SETS
    flow = integrate_ode(
        point.model,
        overlap=np.zeros(point.model.features) if point.overlap is None else np.array(point.overlap),
        squared_norm=point.squared_norm,
        time=time,
        rtol=rtol,
        atol=atol,
        gradient_variance_of=point.gradient_variance_of,
    )
    if flow["not_converged"]:
        raise NotConvergedError(flow.attrs["not_converged"])
    return flow


def _predict_units(point: TheoryPoint, time: FloatArray) -> dict[str, FloatArray]:
    """The outputs of one point of the theory of several units."""
    start = np.zeros((point.model.units, point.model.features)) if point.overlap is None else point.overlap
    flow = integrate_ode(point.model, overlap=start, squared_norm=point.squared_norm, time=time)
    return {name: flow[name].values for name in (*_OF_UNITS, "averaging_error")}


def _predict_fluctuations(point: TheoryPoint, time: FloatArray) -> xr.Dataset:
    """The ODE of a point, with the covariance of its fluctuations."""
    initial = "random" if point.overlap is None else "fixed"
    return predict_fluctuations(point.model, point.overlap, point.squared_norm, time, initial=initial)


def _find_spread(limit: xr.Dataset) -> dict[str, FloatArray]:
    """The standard deviation of the fluctuations of each quantity, times sqrt(n)."""
    variance = np.diagonal(limit["covariance"].values, axis1=1, axis2=2)
    similarity_variance = np.diagonal(limit["cosine_similarity_covariance"].values, axis1=1, axis2=2)
    # Rounding may leave a variance of zero a little below it.
    return {
        "overlap_fluctuation": np.sqrt(np.maximum(variance[:, :-1], 0)),
        "squared_norm_fluctuation": np.sqrt(np.maximum(variance[:, -1], 0)),
        "cosine_similarity_fluctuation": np.sqrt(np.maximum(similarity_variance, 0)),
    }
