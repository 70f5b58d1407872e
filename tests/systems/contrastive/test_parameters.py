"""No engine and no theory ignores a parameter of the model without a word: it takes the parameter, or refuses it."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import clhd
from clhd.errors import ClhdError
from clhd.systems.contrastive.simulation.point import ENGINES, Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from tests.systems.contrastive.model.test_contrastive import NEEDS, ONE, OTHER_VALUES

# Of parameters that have no default where they are needed: the value that is compared with the other one.
FIRST_VALUES = {"noise_degrees_of_freedom": 10.0, "feature_fraction": 0.5}
# In the limit of high dimension the laws of a coordinate do not matter (docs/theory.md), except for the weights; nor
# does the projected chain, which is exact for Gaussian noise, depend on the entries of the features.
OF_FEATURES = {"feature_law", "feature_fraction"}
OF_COORDINATES = {*OF_FEATURES, "noise_law", "noise_degrees_of_freedom"}
# One model for each chain of the order parameters, and for each form of the ODE.
BASES: dict[str, dict[str, Any]] = {
    "a pair": {},
    "orthogonal": {"background": "orthogonal"},
    "a batch": {"loss": "covariance"},
    "two units": {"loss": "covariance", "units": 2, "decorrelation": 0.5},
}
IGNORED = {
    "projected": OF_FEATURES,
    "conditioned": set[str](),
    "full": set[str](),
    "integrate_ode": OF_COORDINATES,
    "predict_fluctuations": OF_COORDINATES,
    "find_fixed_points": OF_COORDINATES,
    "learnability_threshold": OF_COORDINATES,
    "solve_pde": OF_COORDINATES - OF_FEATURES,
}


def make_models(base: str, name: str, features: int = 1) -> list[clhd.ContrastiveModel]:
    """Two models that differ in one parameter, but not in the shape of their results; none if it has that value."""
    values = {"latents": ONE * features, "weight_decay": 0.5, **BASES[base], **NEEDS.get(name, {})}
    if name == "constraint":
        values["weight_decay"] = 0.0  # the sphere has none
    if name in FIRST_VALUES:
        values[name] = FIRST_VALUES[name]
    first, other = (clhd.ContrastiveModel(**{**values, **more}) for more in ({}, {name: OTHER_VALUES[name]}))
    is_comparable = (first.features, first.units) == (other.features, other.units)
    return [first, other] if is_comparable and first != other else []


def make_start(model: clhd.ContrastiveModel) -> Any:
    """The same overlap of every unit with every feature."""
    rows = [[0.3] * model.features] * model.units
    return rows if model.units > 1 else rows[0]


def make_points(base: str, name: str, engine: str) -> list[Point]:
    # Two units have two features, so that test_frame_chain.py needs the same kernels.
    models = make_models(base, name, features=2 if base == "two units" else 1)
    return [Point(model=model, dimension=24, overlap=make_start(model), engine=engine) for model in models]


def compute(function: str, model: clhd.ContrastiveModel) -> list[np.ndarray]:
    """All numbers that one of the theories returns."""
    start, time = make_start(model), [0.5]
    if function == "find_fixed_points":
        found = clhd.find_fixed_points(model)
    elif function == "learnability_threshold":
        found = clhd.learnability_threshold(model).to_dataset()
    elif function == "solve_pde":
        found = clhd.solve_pde(model, time, overlap=start, cells=100)
    else:
        found = getattr(clhd, function)(model, overlap=start, squared_norm=1.0, time=time)
    return [np.asarray(values) for values in found.data_vars.values() if values.dtype.kind in "fiub"]


def are_equal(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(a.shape == b.shape and np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", OTHER_VALUES)
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_takes_a_parameter_or_refuses_it(engine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # With the same random numbers, only the parameter itself can make a difference.
    monkeypatch.setattr(Point, "key", "the same")
    for base in BASES:
        with suppress(ClhdError):
            points = make_points(base, name, engine)
            values = [[simulate_points([point], [0.5], [0, 1], threads=1)[0]] for point in points]
            assert values == [] or are_equal(*values) == (name in IGNORED[engine]), base


@pytest.mark.parametrize("name", OTHER_VALUES)
def test_points_that_differ_in_a_parameter_have_the_same_bits_side_by_side_and_alone(name: str) -> None:
    """What kernels branch on is part of the `family`; all else is a number of each lane."""
    for base in BASES:
        with suppress(ClhdError):
            points = make_points(base, name, "projected")
            together = simulate_points(points, [0.5], [0, 1], threads=1) if points else []
            for point, values in zip(points, together, strict=True):
                alone = simulate_points([point], [0.5], [0, 1], threads=1)[0]
                np.testing.assert_array_equal(values, alone, err_msg=base)


@pytest.mark.parametrize("name", OTHER_VALUES)
@pytest.mark.parametrize("function", [name for name in IGNORED if name not in ENGINES])
def test_a_theory_takes_a_parameter_or_refuses_it(function: str, name: str) -> None:
    for base in BASES if function == "integrate_ode" else ("a pair",):  # the others rest on it, or refuse
        with suppress(ClhdError):
            values = [compute(function, model) for model in make_models(base, name)]
            assert values == [] or are_equal(*values) == (name in IGNORED[function]), base
