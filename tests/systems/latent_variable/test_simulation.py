"""Gradient descent: first order in its step, exact invariants of a finite step, where a large step ends."""

import numpy as np
import pytest

from clhd.systems.latent_variable.model import Network, find_time_unit, measure_area, measure_modes
from clhd.systems.latent_variable.simulation import count_breaks, descend, take_steps
from clhd.systems.latent_variable.theory import predict_start
from tests.systems.latent_variable.starts import draw_case


@pytest.mark.parametrize("width", [2, 3, 4, 7, 64])
def test_steps_are_those_of_plain_descent(width):
    network = Network(scale=0.7, rate_u=1.3, rate_w=0.4, second_moment=1.2, cross_moment=-0.5)
    u, w = np.random.default_rng(width).normal(size=(2, width))
    found = take_steps(u, w, 5, 0.02, network)
    for _ in range(5):
        slope = 2 * network.scale * (network.second_moment * network.scale * (u @ w) - network.cross_moment)
        u, w = u - 0.02 * network.rate_u * slope * w, w - 0.02 * network.rate_w * slope * u
    np.testing.assert_allclose(found, (u, w), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", range(16))
def test_descent_tends_to_the_closed_form_in_first_order(case):
    network, u, w = draw_case(case)
    unit = find_time_unit(network, *measure_modes(network, u, w))
    time = unit * np.array([0.5, 1.0, 2.0])
    known = predict_start(network, u, w, time)["response"]
    errors = [
        np.abs(descend(network, u, w, time=time, step=unit * step)["response"] - known).max()
        for step in (1 / 32, 1 / 64, 1 / 128)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.1)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(1, abs=0.05)


def test_a_step_shrinks_both_invariants_by_one_factor():
    """u and w are mapped by a matrix of determinant 1 - k^2 s^2: c and delta change by exactly this factor."""
    network, u, w = draw_case(1)
    force = 2 * network.scale * (network.cross_moment - network.second_moment * network.scale * (u @ w))
    step = 0.03
    factor = 1 - (step * force * network.root_rate) ** 2
    after = take_steps(u, w, 1, step, network)
    assert np.sqrt(measure_area(*after) / measure_area(u, w)) == pytest.approx(factor, rel=1e-12)
    before, later = (network.rate_u * (b @ b) - network.rate_w * (a @ a) for a, b in ((u, w), after))
    assert later / before == pytest.approx(factor, rel=1e-12)


def test_a_step_above_two_units_ends_at_a_flatter_minimum():
    """The flow ends at 2 a K = 1 per unit, where steps above 2 are unstable: descent goes on to where they are not."""
    network, u, w = draw_case(0)
    u = 3 * u
    plus, minus = measure_modes(network, u, w)
    root = np.hypot(2 * network.drive, np.sqrt(plus * minus))
    unit = 1 / (2 * network.speed * root)  # of the end
    stable, beyond = (
        descend(network, u, w, time=np.array([4000 * step * unit]), step=step * unit) for step in (1.5, 2.2)
    )
    target = network.cross_moment / network.second_moment
    for found, step in ((stable, 1.5), (beyond, 2.2)):
        assert found["response"][0] == pytest.approx(target, abs=1e-9)
        assert 2 * network.second_moment * found["tangent_kernel"][0] * unit * step < 2
    assert beyond["tangent_kernel"][0] < stable["tangent_kernel"][0]


def test_intervals_are_divided_into_equal_steps():
    """Every output time is reached exactly: descent to 0.3 in one go and by way of 0.1 take the same steps of 0.05."""
    network, u, w = draw_case(2)
    one = descend(network, u, w, time=np.array([0.3]), step=0.05)
    two = descend(network, u, w, time=np.array([0.0, 0.1, 0.3]), step=0.05)
    assert two["response"][0] == pytest.approx(network.scale * (u @ w))
    assert two["response"][-1] == pytest.approx(one["response"][0], rel=1e-12)
    assert u is not two  # the start is not changed
    assert descend(network, u, w, time=np.array([0.3]), step=0.05)["response"][0] == one["response"][0]


BREAKS = {
    "all move together": ([1, 2, 3], [0.1, 0.2, 0.3], [4, 5, 6], 0),
    "through zero": ([-1, 0.5, 2], [-0.3, 0.1, 0.5], [3, 2, 4], 0),
    "the alignment turns": ([1, 2, 3], [0.1, 0.2, 0.1], [4, 5, 6], 1),
    "the norms shrink": ([1, 2, 3], [0.1, 0.2, 0.3], [4, 3, 6], 1),
    "both, twice": ([3, 2, 1], [0.1, 0.2, 0.3], [4, 5, 6], 2),
    "rounding": ([1, 2, 3], [0.1, 0.2, 0.2 - 1e-12], [4, 5, 5 - 1e-12], 0),
}


@pytest.mark.parametrize("case", BREAKS)
def test_breaks_of_the_rule_are_counted(case):
    product, alignment, norms, known = BREAKS[case]
    assert count_breaks(np.array(product, float), np.array(alignment), np.array(norms, float)) == known
