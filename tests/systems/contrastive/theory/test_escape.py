"""Escape from the uninformative state: known answers of the linear law, and the borders that the ODE decides."""

import math

import numpy as np
import pytest
from scipy.special import gamma

import clhd
from clhd.systems.contrastive.sweeps.outcomes import classify_outcomes
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import diffusion_matrix
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.states import destinations
from clhd.systems.contrastive.theory.states.escape import (
    Growth,
    escape_distribution,
    find_borders,
    find_reach,
    predict_growth,
    weaker_probability,
)


def make_model(*moments, **changes):
    settings = {
        "latents": tuple(clhd.ThreePoint(second_moment=moment) for moment in moments),
        "loss": "covariance",
        "background": "orthogonal",
        "learning_rate": 1.0,
        "weight_decay": 0.6,
        "base_noise_variance": 0.25,
        "augmentation_noise_variance": 0.25,
    }
    return clhd.ContrastiveModel(**(settings | changes))


def find_border(model):
    """The border between the regions of both features, of which there are no others."""
    (border,), outcomes = find_borders(model, predict_growth(model), classify_outcomes)
    assert outcomes == [1, 0]
    return border


ISOTROPIC = {"background": "isotropic", "base_noise_variance": 0.3, "augmentation_noise_variance": 0.3}


@pytest.fixture(scope="module")
def escape():
    model = make_model(3.0)
    growth = predict_growth(model)
    return model, growth, find_reach(model, growth, 0.5)


def test_the_reach_is_the_time_at_which_the_ode_passes_the_level(escape):
    model, growth, reach = escape
    for q in (1e-4, 3e-3):
        time = math.log(reach / q) / growth.growth_rate[0]
        state = integrate_ode(model, overlap=[q], squared_norm=growth.squared_norm, time=[time])
        assert state.cosine_similarity.values.item() == pytest.approx(0.5, abs=1e-4)


def test_a_level_that_the_linear_growth_passes_is_reached(escape):
    model, growth, _ = escape
    assert find_reach(model, growth, 5e-4) == pytest.approx(5e-4 * math.sqrt(growth.squared_norm), rel=1e-5)


def test_the_law_of_the_escape_has_the_mean_and_the_deviation_of_the_logarithm_of_a_normal_number(escape):
    _, growth, reach = escape
    rate, n = float(growth.growth_rate[0]), 10**6
    time = np.linspace(0, 30 / rate, 40_001)
    late = 1 - escape_distribution(growth, reach, n, time)
    mean = np.trapezoid(late, time)
    deviation = math.sqrt(2 * np.trapezoid(time * late, time) - mean**2)
    expected = (
        0.5 * math.log(n) + math.log(reach / math.sqrt(growth.variance[0])) + 0.5 * (np.euler_gamma + math.log(2))
    )
    assert mean == pytest.approx(expected / rate, rel=1e-4)
    assert deviation == pytest.approx(math.pi / math.sqrt(8) / rate, rel=1e-3)


def test_the_noise_of_the_steps_widens_the_start(escape):
    """In a linear simulation with the matrix B, the amplitude of the growth has the variance r0 + B / 2 gamma."""
    model, growth, _ = escape
    noise = float(diffusion_matrix(model, np.zeros(1), growth.squared_norm)[0, 0])
    assert noise > 0.05
    rng, step, rate = np.random.default_rng(3), 0.002, growth.growth_rate[0]
    q = rng.normal(size=20_000) * math.sqrt(growth.squared_norm)
    for _ in range(1000):
        q += rate * q * step + math.sqrt(noise * step) * rng.normal(size=q.size)
    amplitude = q * (1 + rate * step) ** -1000.0
    # The standard error of the variance of 20,000 normal numbers is a hundredth of it.
    assert amplitude.var() == pytest.approx(growth.variance[0], rel=0.04)
    assert abs(growth.squared_norm / growth.variance[0] - 1) > 0.08


def test_a_feature_that_does_not_grow_never_escapes():
    model = make_model(0.1)
    growth = predict_growth(model)
    reach = find_reach(model, growth, 0.5)
    assert math.isinf(reach)
    assert not escape_distribution(growth, reach, 1000, np.array([1e6])).any()


def test_equal_variances_and_rates_give_the_angle_of_the_border():
    """If both rates are equal, the border is a straight line, and its angle is the share."""
    growth = Growth(1.0, np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    for border in (0.3, 1.0, 2.5):
        assert weaker_probability(growth, border, 1000) == pytest.approx(2 / math.pi * math.atan(border), rel=1e-9)


def test_the_share_of_the_weaker_feature_falls_as_its_power():
    growth = Growth(1.0, np.array([3.0, 2.0]), np.array([1.2, 1.5]))
    share = [weaker_probability(growth, 0.7, n) for n in (10**12, 10**14)]
    assert math.log(share[1] / share[0]) / math.log(100) == pytest.approx(-0.25, abs=1e-4)
    moment = 2**0.75 * gamma(1.25) / math.sqrt(math.pi)
    prefactor = math.sqrt(2 / math.pi) * moment * 0.7 * 1.5**0.75 / 1.2**0.5
    assert share[1] == pytest.approx(prefactor * 1e14**-0.25, rel=1e-3)


@pytest.mark.parametrize("case", [(3.0, 2.5, {}, 0.02), (10.0, 1.5, {"background": "isotropic"}, 0.1)])
def test_the_border_parts_the_starts(case):
    """Also if the growth rates are very unequal: then the overlaps of feature 1 at the border are tiny."""
    *moments, changes, small = case
    model = make_model(*moments, **changes)
    growth = predict_growth(model)
    border = find_border(model)
    ratio = growth.growth_rate[0] / growth.growth_rate[1]
    assert ratio > 1.05
    for factor, winner in ((0.95, 1), (1.05, 0)):
        second = small * math.sqrt(growth.squared_norm)
        start = [factor * border * second**ratio, second]
        end = integrate_ode(model, overlap=start, squared_norm=growth.squared_norm, time=[60.0])
        assert int(np.argmax(np.abs(end.cosine_similarity.values[0]))) == winner


def test_a_border_below_rounding_is_not_guessed():
    model = make_model(30.0, 1.5, background="isotropic")
    with pytest.raises(clhd.NotConvergedError, match="below rounding"):
        find_borders(model, predict_growth(model), classify_outcomes)


def test_slow_learning_has_the_same_border():
    """As the learning rate falls, the border tends to that of the average loss."""
    models = [make_model(3.0, 2.0, learning_rate=rate, **ISOTROPIC) for rate in (0.01, 0.001)]
    one, other = (find_border(model) for model in models)
    assert one > 1
    assert other == pytest.approx(one, rel=2e-3)


def test_a_border_is_not_guessed_where_starts_do_not_settle(monkeypatch):
    monkeypatch.setattr(destinations, "_TIME", 1.0)
    model = make_model(3.0, 2.5)
    with pytest.raises(clhd.NotConvergedError, match="do not settle"):
        find_borders(model, predict_growth(model), classify_outcomes)
