"""The McKean-Vlasov equation: mass, sign, the ODE under L2, closed stationary laws, convergence, bad input."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

import clhd
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.weights.density import integrate_density
from clhd.systems.contrastive.theory.weights.feature_law import feature_atoms
from clhd.systems.contrastive.theory.weights.pde import distribution_at

MODEL = clhd.ContrastiveModel(
    latents=(clhd.ThreePoint(second_moment=1.5, kurtosis=2.0),), weight_decay=0.6, feature_law="rademacher"
)
SPARSE = replace(MODEL, feature_law="sparse", feature_fraction=0.2)
NET = replace(MODEL, l1_penalty=0.1)
SPHERE = replace(MODEL, weight_decay=0.0, constraint="sphere")
MODELS = {
    "l2": MODEL,
    "sparse": SPARSE,
    "gaussian": replace(MODEL, feature_law="gaussian"),
    "net": NET,
    "sparse net": replace(SPARSE, l1_penalty=0.3),
    "thin layer": replace(NET, base_noise_variance=0.0, augmentation_noise_variance=0.02),
    "collapse": replace(NET, l1_penalty=2.0),
    "no noise": replace(NET, base_noise_variance=0.0, augmentation_noise_variance=0.0),
    "sphere": SPHERE,
    "relu": replace(SPHERE, activation="relu"),
    "skewed": replace(MODEL, latents=(clhd.TwoPoint(second_moment=1.5, skewness=1.0),)),
}
TIMES = [0.0, 0.3, 1.0, 6.0]


@pytest.mark.parametrize("case", MODELS)
def test_mass_is_kept_and_densities_are_positive(case):
    data = clhd.solve_pde(MODELS[case], TIMES, overlap=0.3, cells=200)
    assert not data.diverged
    assert data.mass_error.max() < 1e-12  # before masses are normalised; what rounding does to 200 cells is 2e-15
    assert data.density.min() >= 0
    mass = (data.density * data.cell_width).sum("weight")
    np.testing.assert_allclose(mass, 1, rtol=0, atol=1e-12)
    # Order parameters are moments of the density that is handed out.
    weighted = data.density * data.cell_width * data.feature_probability
    np.testing.assert_allclose(
        (weighted * data.weight**2).sum(("weight", "feature_value")), data.squared_norm, rtol=1e-12
    )
    overlap = (weighted * data.weight * data.feature_values).sum(("weight", "feature_value"))
    np.testing.assert_allclose(overlap, data.overlap, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", ["l2", "sparse", "gaussian", "sphere", "skewed"])
def test_under_l2_the_order_parameters_tend_to_the_ode_with_order_two(case):
    model = MODELS[case]
    ode = clhd.integrate_ode(model, overlap=0.3, time=TIMES)
    cells, errors = np.array([50, 100, 200, 400]), []
    for count in cells:
        data = clhd.solve_pde(model, TIMES, overlap=0.3, cells=int(count), tolerance=1e-7)
        errors.append(max(float(abs(data[name] - ode[name]).max()) for name in ("overlap", "squared_norm")))
    slope = np.polyfit(np.log(cells), np.log(errors), 1)[0]
    assert -2.15 < slope < -1.85  # order 2; the coarsest grids still have terms of order 4
    assert errors[-1] < 2e-4  # the constant: 1.4e-4 at most here, where a scheme of order one leaves 1e-2


def test_two_features_have_the_ode_of_two_features():
    model = replace(MODEL, latents=(clhd.ThreePoint(second_moment=1.5), clhd.ThreePoint(second_moment=1.2)))
    ode = clhd.integrate_ode(model, overlap=[0.3, -0.2], time=TIMES)
    data = clhd.solve_pde(model, TIMES, overlap=[0.3, -0.2], cells=400)
    assert data.density.dims == ("time", "feature_value", "weight")
    assert data.feature_values.shape == (4, 2)
    for name in ("overlap", "squared_norm", "cosine_similarity", "gradient_variance"):
        # As with one feature, whose error with 400 cells stays below 2e-4; S divides by sqrt r and adds its error.
        np.testing.assert_allclose(data[name], ode[name], rtol=0, atol=3e-4)


def test_the_sphere_keeps_the_squared_norm():
    data = clhd.solve_pde(SPHERE, TIMES, overlap=0.3)
    # With 800 cells a quarter of the error of 400.
    np.testing.assert_allclose(data.squared_norm, 1, rtol=0, atol=5e-5)


@pytest.mark.parametrize("case", ["l2", "net", "sparse net"])
def test_the_density_at_rest_is_piecewise_gaussian(case):
    model = MODELS[case]
    last = clhd.solve_pde(model, [200.0], overlap=0.3).isel(time=0)
    flow = Flow(replace(model, l1_penalty=0.0))
    g, alignment, variance = flow.terms(last.overlap.values, float(last.squared_norm))
    w = last.weight.values
    for xi in last.feature_value.values:
        exponent = g[0] * xi * w + (alignment - model.weight_decay) * w**2 / 2 - model.l1_penalty * np.abs(w)
        density = np.exp(2 / (model.learning_rate * variance) * exponent)
        density /= (density * last.cell_width.values).sum()
        # Exact at the centres but for the tolerance of one step, 1e-6.
        np.testing.assert_allclose(last.density.sel(feature_value=xi), density, rtol=0, atol=2e-6)


def test_the_elastic_net_tends_to_its_limit_with_order_two():
    cells, values = [100, 200, 400, 800], []
    for count in cells:
        data = clhd.solve_pde(NET, [1.0, 5.0], overlap=0.3, cells=count, tolerance=1e-8)
        values.append(np.append(data.overlap.values[:, 0], data.squared_norm.values))
    ratios = (
        np.abs(values[0] - values[1]).max() / np.abs(values[1] - values[2]).max(),
        (np.abs(values[1] - values[2]).max() / np.abs(values[2] - values[3]).max()),
    )
    assert np.all(np.abs(np.log2(ratios) - 2) < 0.2)  # order 1 or 3 would be 1 off; grids of 100 cells have more terms


def test_errors_in_time_fall_with_the_tolerance():
    fine = clhd.solve_pde(NET, [2.0], overlap=0.3, cells=200, tolerance=1e-9)
    errors = [
        float(abs(clhd.solve_pde(NET, [2.0], overlap=0.3, cells=200, tolerance=tolerance).density - fine.density).max())
        for tolerance in (1e-4, 1e-6)
    ]
    # Errors of one step are of order 3, so those of many of them fall as tolerance^(2/3), a factor of 21, or faster.
    assert errors[1] < errors[0] / 15
    assert errors[1] < 1e-5  # ten steps' worth of the tolerance


def test_a_start_on_the_boundary_is_a_narrow_law():
    data = clhd.solve_pde(MODEL, [0.0, 2.0], overlap=1.0, squared_norm=1.0)
    ode = clhd.integrate_ode(MODEL, overlap=1.0, time=[0.0, 2.0])
    # The start is narrower than a cell: its variance is too large by a quarter of the width's square at most, 1e-5.
    # What then spreads has the error of 800 cells.
    np.testing.assert_allclose(data.squared_norm, ode.squared_norm, rtol=0, atol=5e-5)
    np.testing.assert_allclose(data.overlap, ode.overlap, rtol=0, atol=5e-5)


def test_a_divergence_is_told():
    model = replace(MODEL, activation="linear", weight_decay=0.0)
    data = clhd.solve_pde(model, [0.5, 50.0], overlap=0.3, cells=100)
    assert data.diverged
    assert np.isfinite(data.density[0]).all()
    assert np.isnan(data.density[1]).all()
    assert np.isnan(data.squared_norm[1])


def test_the_law_of_the_features_has_mean_zero_and_unit_covariance():
    for model in (MODEL, SPARSE, MODELS["gaussian"]):
        for p in (1, 2, 3):
            values, weights = feature_atoms(replace(model, latents=(clhd.ThreePoint(),) * p))
            assert weights.sum() == pytest.approx(1, abs=1e-14)
            np.testing.assert_allclose(weights @ values, 0, atol=1e-13)
            np.testing.assert_allclose(values.T @ (weights[:, None] * values), np.eye(p), atol=1e-9)
    whole = replace(SPARSE, feature_fraction=1.0)
    np.testing.assert_array_equal(feature_atoms(whole)[0], feature_atoms(MODEL)[0])


def test_the_distribution_function_is_that_of_the_density():
    path = integrate_density(NET, np.array([0.3, 1.0]), np.array([0.0, 1.0]), cells=400, tolerance=1e-6)
    weights = np.linspace(-3, 3, 41)
    found = distribution_at(path, weights)
    assert np.all(np.diff(found, axis=-1) >= 0)
    for atom, xi in enumerate((-1.0, 1.0)):
        exact = norm.cdf(weights, 0.3 * xi, np.sqrt(1 - 0.09))
        # Exact at the edges; between them a cubic, with an error of order (width / deviation)^4, at 400 cells 1e-5.
        np.testing.assert_allclose(found[0, atom], exact, rtol=0, atol=2e-5)
    assert distribution_at(path, np.array([-1e3, 1e3]))[:, 0].tolist() == [[0.0, pytest.approx(1.0)]] * 2


BAD_INPUT = {
    "cells": ({"cells": 10}, "cells = 10: must be a whole number, 20 or more"),
    "odd cells": ({"cells": 101}, "cells = 101: must be an even number"),
    "tolerance": ({"tolerance": 0}, "tolerance = 0: must be a number from 1e-10 to 0.01"),
    "time": ({"time": [1, 0]}, "strictly increasing"),
    "overlap": ({"overlap": 1.1}, "must not exceed squared_norm"),
    "features": ({"overlap": [0.1, 0.1]}, "must be a list of 1 number"),
    "sphere": ({"model": SPHERE, "squared_norm": 2.0}, "must be 1 with constraint = 'sphere'"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(case):
    change, message = BAD_INPUT[case]
    settings = {"model": MODEL, "time": [1.0], "overlap": 0.3} | change
    with pytest.raises(clhd.ClhdError, match=message):
        clhd.solve_pde(settings.pop("model"), settings.pop("time"), **settings)
