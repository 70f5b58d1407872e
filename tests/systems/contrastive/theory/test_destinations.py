"""Destinations: folding by symmetry changes nothing, and a slow end is waited for."""

import numpy as np
import pytest

import clhd
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.states.destinations import NOT_SETTLED, Destinations
from tests.systems.contrastive.theory.example import make_model, three_point

SKEWED = clhd.TwoPoint(second_moment=1.5, skewness=0.5)
MODELS = {
    "equal": make_model(three_point(1), three_point(1)),
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
    # Which state it is, is asked: they are 0.1 or more apart, and integration errs by 1e-8.
    np.testing.assert_allclose(destinations.states.overlap.values[reached], ends.overlap, rtol=0, atol=1e-4)


def test_an_end_that_is_not_reached_in_time_is_none_and_is_waited_for():
    model, starts = MODELS["equal"], np.array([[0.3, 0.2, 1.0], [-0.3, 0.2, 1.0]])
    assert Destinations(model, time=1.0).assign(starts).tolist() == [NOT_SETTLED] * 2
    destinations = Destinations(model)
    ends = destinations.targets[destinations.assign(starts)]
    assert np.all(destinations.states.kind.values[destinations.assign(starts)] == "pure")
    assert np.sign(ends[:, :2]).tolist() == [[1, 0], [-1, 0]]


def test_no_starts_have_no_destinations():
    assert Destinations(MODELS["symmetric"]).assign(np.empty((0, 3))).shape == (0,)
