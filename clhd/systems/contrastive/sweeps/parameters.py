"""The parameters of the contrastive systems; `parse_model_and_start` makes a model and an initial state of values.

Every system takes its own choice of them. Those of the latent variables and of the start may have a value for each
feature, as in ``kurtosis_2``. Of several units, an initial overlap is that of every unit, unless ``initial_overlaps``
lists those of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from clhd.core.checks import parse_vector
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import ACTIVATIONS
from clhd.systems.contrastive.model.contrastive import (
    BACKGROUNDS,
    CONSTRAINTS,
    FEATURE_LAWS,
    MOST_NEGATIVES,
    MOST_SAMPLES,
    MOST_UNITS,
    NOISE_LAWS,
    ContrastiveModel,
)
from clhd.systems.contrastive.model.latents import Gaussian, Laplace, Latent, ThreePoint, TwoPoint, Uniform
from clhd.systems.contrastive.model.losses import DECORRELATIONS, LOSS_NAMES
from clhd.systems.contrastive.model.state import parse_norm, parse_units_overlap
from clhd.systems.contrastive.simulation.point import ENGINES
from clhd.systems.contrastive.theory.states.threshold import uninformative_state
from clhd.systems.declarations import Parameter, Value, choice, count, number


@dataclass(frozen=True, kw_only=True)
class Switch(Parameter):
    """A parameter that is true or false."""

    kind: str = "any"

    def parse(self, name: str, value: Any) -> Value:
        """Return `value`; raise ClhdError if it is not true or false."""
        if not isinstance(value, bool):
            raise InputError(f"{name} = {value!r}: must be true or false")
        return value


@dataclass(frozen=True, kw_only=True)
class Numbers(Parameter):
    """A parameter that is a list of numbers."""

    kind: str = "any"

    def parse(self, name: str, value: Any) -> Value:
        """Return `value` as a tuple; raise ClhdError if it is no list of finite numbers."""
        return tuple(parse_vector(name, value).tolist())


_LATENTS = ("three_point", "two_point", "gaussian", "uniform", "laplace")
_PER_DIMENSION = "per unit of time"
PARAMETERS: dict[str, Parameter] = {
    "features": count(1, "number of features", "p", minimum=1, maximum=6, can_vary=False),
    "latent": choice("three_point", "law of the latent variable", _LATENTS, per_component=True),
    "second_moment": number(1.0, "second moment of the latent variable", "m", minimum=0, per_component=True),
    "kurtosis": number(None, "kurtosis of a three-point latent", "k", minimum=1, per_component=True),
    "skewness": number(None, "skewness of a two-point latent", "g", minimum=-1e6, maximum=1e6, per_component=True),
    "activation": Parameter(
        kind="curve", default="tanh", meaning="activation of the unit", symbol="h", choices=tuple(ACTIVATIONS)
    ),
    "loss": choice("bilinear", "loss", LOSS_NAMES),
    "temperature": number(None, "temperature of infonce; 1 if not given", "T", above=0),
    "negatives": count(None, "negatives of infonce; 1 if not given", "M", minimum=1, maximum=MOST_NEGATIVES),
    "batch": count(
        None, "samples in one step of the covariance loss; 2 if not given", "B", minimum=1, maximum=MOST_SAMPLES
    ),
    "centred": Switch(
        default=None, meaning="whether the covariance loss subtracts the means over the batch; true if not given"
    ),
    "units": count(
        1, "number of units; several need the covariance loss", "d", minimum=1, maximum=MOST_UNITS, can_vary=False
    ),
    "decorrelation": number(0.0, "weight of the penalty on covariances of different units", "lambda_c", minimum=0),
    "decorrelation_function": choice("square", "penalty of the covariance of two units", tuple(DECORRELATIONS)),
    "learning_rate": number(0.5, "learning rate", "eta", above=0, units=_PER_DIMENSION),
    "weight_decay": number(0.0, "weight decay (L2)", "lambda", minimum=0),
    "base_noise_variance": number(0.5, "variance of the noise that two views share", "s_b^2", minimum=0),
    "augmentation_noise_variance": number(0.5, "variance of the noise of one view", "s_a^2", minimum=0),
    "noise_correlation": number(
        0.0, "correlation of the augmentation noise of two views", "rho", minimum=-1, maximum=1
    ),
    "background": choice("isotropic", "base noise: isotropic, or orthogonal to the features", BACKGROUNDS),
    "constraint": choice("none", "constraint on the weights", CONSTRAINTS),
    "l1_penalty": number(0.0, "L1 penalty of the elastic net", "lambda_1", minimum=0),
    "noise_law": choice("gaussian", "law of the noise of a coordinate", NOISE_LAWS, in_theory=False),
    "noise_degrees_of_freedom": number(
        None, "degrees of freedom of the Student-t noise", "nu", above=2, in_theory=False
    ),
    "feature_law": choice("gaussian", "law of the entries of a feature", FEATURE_LAWS, in_theory=False),
    "feature_fraction": number(
        None, "share of non-zero entries of sparse features", "f", above=0, maximum=1, in_theory=False
    ),
    "dimension": count(None, "dimension", "n", minimum=3, maximum=10**9, in_theory=False),
    "engine": choice("projected", "engine of the simulation", ENGINES, in_theory=False),
    "initial": choice("fixed", "initial state: fixed, or random weights", ("fixed", "random")),
    "initial_squared_norm": number(
        1.0,
        "initial squared norm (variance of random weights), or that of the uninformative state",
        "r_0",
        minimum=0,
        choices=("uninformative",),
    ),
    "initial_cosine_similarity": number(
        None, "initial cosine similarity", "S_0", minimum=-1, maximum=1, per_component=True
    ),
    "initial_overlap": number(None, "initial overlap", "q_0", per_component=True),
    "initial_overlaps": Numbers(
        default=None,
        meaning="initial overlaps of several units: those of unit 1 with all features, then those of unit 2, and so on",
        symbol="Q_0",
        can_vary=False,
    ),
    "correlation_acts_on": choice(
        "both",
        "a switch: noise_correlation enters drift and gradient variance, or only the named one; in the other it is 0",
        ("both", "drift", "gradient_variance"),
        in_simulation=False,
    ),
    "simulation": choice("sgd", "what is simulated: SGD, or nothing", ("sgd", "none"), in_theory=False, can_vary=False),
    "theory": choice(
        "ode",
        "what is predicted: the ODE, the ODE and its fluctuations (50 times the work), or nothing",
        ("ode", "fluctuations", "none"),
        in_simulation=False,
        can_vary=False,
    ),
}
# Fields of the model that are parameters under the same name.
_SHARED = tuple(field.name for field in fields(ContrastiveModel) if field.name in PARAMETERS)
# What model and initial state do not depend on.
_OF_THE_RUN = frozenset({"dimension", "engine", "simulation", "theory", "correlation_acts_on"})
# The averages at the uninformative state take some seconds at this noise variance, and minutes at ten times of it: too
# long for a check of all points.
_WIDEST_NOISE = 100


def parse_model_and_start(
    values: Mapping[str, Value],
) -> tuple[ContrastiveModel, Any, float]:
    """Return the model and the initial state that values describe.

    Parameters
    ----------
    values : mapping
        A value for each parameter that is not left at its default, by name.

    Returns
    -------
    model : ContrastiveModel
    overlap : tuple of float, of several units tuple of such tuples, or None
        Of the start with each feature; None if it is random.
    squared_norm : float
        Of the start, of each unit.

    Raises
    ------
    ClhdError
        If values do not go together.
    """
    return _make_model_and_start(tuple([item for item in values.items() if item[0] not in _OF_THE_RUN]))


@lru_cache(maxsize=1024)
def _make_model_and_start(
    items: tuple[tuple[str, Value], ...],
) -> tuple[ContrastiveModel, Any, float]:
    """The same with a memory: points of a grid that differ only in dimension share model and start."""
    values = dict(items)
    features = int(values.get("features", 1))  # type: ignore[arg-type]
    latents = tuple(_parse_latent(values, j) for j in range(1, features + 1))
    model = ContrastiveModel(latents=latents, **{name: values[name] for name in _SHARED if name in values})  # type: ignore[arg-type]
    squared_norm = _parse_norm(model, values.get("initial_squared_norm", 1.0))
    overlaps = [_parse_overlap(values, j, squared_norm) for j in range(1, features + 1)]
    table = values.get("initial_overlaps")
    given = [q is not None for q in overlaps]
    if values.get("initial", "fixed") == "random":
        if any(given) or table is not None:
            raise InputError("initial = 'random': goes with no initial_cosine_similarity and no initial_overlap")
        return model, None, squared_norm
    if any(given) and table is not None:
        raise InputError("initial_overlaps: must not be given together with other initial overlaps or similarities")
    if not any(given) and table is None:
        raise InputError("initial = 'fixed': needs initial_cosine_similarity or initial_overlap")
    start: Any = tuple([q or 0.0 for q in overlaps])
    if model.units > 1:
        start = (start,) * model.units if table is None else _split_overlaps(table, model)
    elif table is not None:
        raise InputError("initial_overlaps: is only for several units; give initial_overlap")
    return model, parse_units_overlap(model, start, squared_norm), squared_norm


def _split_overlaps(table: Any, model: ContrastiveModel) -> list[list[float]]:
    """Return the overlaps of each unit from the list of all."""
    size = model.units * model.features
    if len(table) != size:
        raise InputError(
            f"initial_overlaps = {table!r}: must be {model.features} numbers for each of {model.units} units"
        )
    split: list[list[float]] = np.reshape(table, (model.units, model.features)).tolist()
    return split


def _parse_norm(model: ContrastiveModel, value: Value) -> float:
    """The initial squared norm: the given one, or that of the uninformative state."""
    if value != "uninformative":
        return parse_norm(model, value)
    widest = max(model.base_noise_variance, model.augmentation_noise_variance)
    if widest > _WIDEST_NOISE:
        raise InputError(
            f"initial_squared_norm = {value!r}: needs noise variances of at most {_WIDEST_NOISE}, not {widest:g}; "
            "give the norm as a number"
        )
    squared_norm = uninformative_state(model).squared_norm
    if not 0 < squared_norm < np.inf:
        end = "collapses" if squared_norm == 0 else "grows without bound"
        raise InputError(f"initial_squared_norm = {value!r}: needs a state of rest at zero overlap, and the norm {end}")
    return squared_norm


def _find(values: Mapping[str, Value], name: str, feature: int) -> Any:
    """The value of a parameter for one feature: its own value, the value for all features, or None."""
    return values.get(f"{name}_{feature}", values.get(name))


def _parse_latent(values: Mapping[str, Value], feature: int) -> Latent:
    law = _find(values, "latent", feature) or "three_point"
    second_moment = _find(values, "second_moment", feature)
    second_moment = 1.0 if second_moment is None else second_moment
    kurtosis, skewness = _find(values, "kurtosis", feature), _find(values, "skewness", feature)
    for name, value, owner in (("kurtosis", kurtosis, "three_point"), ("skewness", skewness, "two_point")):
        if value is not None and law != owner:
            raise InputError(
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
        raise InputError(f"initial_overlap = {overlap!r}: must not be given together with initial_cosine_similarity")
    if similarity is not None:
        return float(similarity) * float(np.sqrt(squared_norm))
    return None if overlap is None else float(overlap)
