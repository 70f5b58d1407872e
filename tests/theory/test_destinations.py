"""Destinations: folding by symmetry changes nothing, and a slow end is waited for."""

import numpy as np
import pytest

import clhd
from clhd.theory.destinations import NOT_SETTLED, Destinations
from clhd.theory.ode import integrate_ode


def make_model(*laws, **changes):
    settings = {
        "latents": laws,
        "learning_rate": 0.3,
        "weight_decay": 0.6,
        "base_noise_variance": 0.25,
        "augmentation_noise_variance": 0.25,
        "noise_correlation": -1.0,
    }
    return clhd.ContrastiveModel(**(settings | changes))


def three_point(kurtosis):
    return clhd.ThreePoint(second_moment=1.5, kurtosis=kurtosis)


SKEWED = clhd.TwoPoint(second_moment=1.5, skewness=0.5)
MODELS = {
    "symmetric": make_model(three_point(1), three_point(1.5)),
    "skewed": make_model(SKEWED, SKEWED),
    "sphere": make_model(three_point(1), three_point(1.5), constraint="sphere", weight_decay=0.0),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_start_goes_where_its_trajectory_goes(name):
    model, rng = MODELS[name], np.random.default_rng(4)
    overlap = rng.uniform(-0.6, 0.6, (24, 2))
    destinations = Destinations(model)
    reached = destinations.assign(np.column_stack([overlap, np.ones(24)]))
    assert np.all(reached != NOT_SETTLED)
    ends = integrate_ode(model, overlap=overlap, squared_norm=1.0, time=[2000.0]).isel(time=-1)
    np.testing.assert_allclose(destinations.states.overlap.values[reached], ends.overlap, rtol=0, atol=1e-4)


def test_a_start_on_the_border_settles_nowhere_in_a_short_time():
    destinations = Destinations(make_model(three_point(1), three_point(1)), time=1.0)
    assert destinations.assign(np.array([[0.3, 0.2, 1.0], [-0.3, 0.2, 1.0]])).tolist() == [NOT_SETTLED] * 2


def test_no_starts_have_no_destinations():
    assert Destinations(MODELS["symmetric"]).assign(np.empty((0, 3))).shape == (0,)
