"""Units that climb: the ends of the enumeration, rising energy, basins of known size, bits."""

import numpy as np
import pytest
from scipy.stats import binomtest

from clhd.systems.declarations import NotConvergedError
from clhd.systems.one_layer.model import find_energy, make_patterns, make_probabilities
from clhd.systems.one_layer.simulation import climb_all, expect_steps, label_ends, simulate_layer
from clhd.systems.one_layer.theory import enumerate_optima, find_dead_share, predict_layer
from tests.systems.one_layer.values import make_values

LEVEL = 1e-3  # of the statistical tests, fixed beforehand


def simulate(count, overlap, *, seed=1, ratio=3.0, **others):
    return simulate_layer(make_values(count, overlap, ratio, **others), np.random.default_rng(seed))


def make_starts(count, units, overlap, seed=1):
    starts = np.random.default_rng(seed).normal(size=(units, count))
    return starts / np.linalg.norm(starts, axis=1, keepdims=True) @ make_patterns(count, overlap)


@pytest.mark.parametrize("overlap", [-0.15, 0.0, 0.3, 0.6, 0.9])
def test_units_end_at_the_enumerated_optima_and_nowhere_else(overlap):
    patterns, probabilities = make_patterns(5, overlap), make_probabilities(5, 3.0)
    ends = climb_all(make_starts(5, 300, overlap), probabilities, overlap, False, 4.0, 60_000)
    live = find_energy(ends, probabilities, is_linear=False) > 0
    weights = np.linalg.solve(patterns, ends[live].T).T
    optima = enumerate_optima(patterns, probabilities)[0]
    distance = np.abs(weights[:, None] - optima).max(axis=-1)
    assert distance.min(axis=1).max() < 0.01  # the last step is 0.03 of time, and slopes are below 0.2
    assert set(distance.argmin(axis=1)) == set(range(len(optima)))


@pytest.mark.parametrize(("overlap", "is_linear"), [(0.0, False), (0.5, False), (-0.1, True), (0.4, True)])
def test_a_layer_has_optima_and_energies_of_the_theory(overlap, is_linear):
    activation = "linear" if is_linear else "relu"
    found = simulate(6, overlap, layer_units=600, activation=activation)
    theory = predict_layer(make_values(6, overlap, activation=activation))
    assert found["optima"] == theory["optima"]
    np.testing.assert_allclose(found["optimum_energy"], theory["optimum_energy"], rtol=2e-3)
    assert found["basin_share"].sum() + found["dead_share"] == pytest.approx(1)
    assert found["optima_found"][[0, -1]].tolist() == [1, theory["optima"]]


@pytest.mark.parametrize("is_linear", [True, False])
def test_a_small_step_raises_the_energy_and_keeps_the_unit_on_the_sphere(is_linear):
    overlap, probabilities = 0.4, make_probabilities(5, 3.0)
    gram = overlap + (1 - overlap) * np.eye(5)
    responses = make_starts(5, 64, overlap)
    energies = [find_energy(responses, probabilities, is_linear=is_linear)]
    for _ in range(40):
        responses = climb_all(responses, probabilities, overlap, is_linear, 0.01, 20)
        energies.append(find_energy(responses, probabilities, is_linear=is_linear))
        norm = (responses * np.linalg.solve(gram, responses.T).T).sum(axis=1)
        np.testing.assert_allclose(norm, 1, atol=1e-12)
    # A step across a kink loses at most its length, 0.01 times a slope, times the slope behind; both slopes are < 0.2.
    assert (np.diff(energies, axis=0) > (-1e-14 if is_linear else -4e-4)).all()


def test_one_step_is_a_step_along_the_gradient_of_the_weights():
    overlap, probabilities, size = 0.3, make_probabilities(4, 3.0), 0.05
    patterns, starts = make_patterns(4, overlap), make_starts(4, 10, overlap)
    weights = np.linalg.solve(patterns, starts.T).T
    h = np.maximum(starts, 0)
    force = (probabilities * (h - (h @ probabilities)[:, None]) * (starts > 0)) @ patterns
    moved = weights + size * (force - (force * weights).sum(axis=1, keepdims=True) * weights)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(climb_all(starts, probabilities, overlap, False, size, 1), moved @ patterns, atol=1e-14)


def test_the_flow_is_approached_to_first_order_in_the_step():
    probabilities, starts = make_probabilities(4, 3.0), np.abs(make_starts(4, 64, -0.1))
    starts /= np.sqrt((starts * np.linalg.solve(-0.1 + 1.1 * np.eye(4), starts.T).T).sum(axis=1, keepdims=True))
    ends = []
    for halvings in (3, 4, 5, 11):
        moving = starts
        for _ in range(2**halvings):  # one by one: the step size stays the same
            moving = climb_all(moving, probabilities, -0.1, True, 0.5**halvings, 1)
        ends.append(moving)
    errors = [np.abs(end - ends[-1]).max() for end in ends[:-1]]
    assert np.polyfit([3, 4, 5], np.log2(errors), 1)[0] == pytest.approx(-1, abs=0.15)


@pytest.mark.parametrize("ratio", [1.0, 3.0, 20.0])
def test_each_of_two_optima_takes_three_eighths_of_the_circle(ratio):
    found = simulate(2, 0.0, layer_units=4000, ratio=ratio, ascent_steps=10_000)
    for share in found["basin_share"][:2]:
        assert binomtest(round(4000 * share), 4000, 3 / 8).pvalue > LEVEL


@pytest.mark.parametrize("overlap", [-0.2, 0.0, 0.7])
def test_the_share_of_dead_units_is_that_of_the_theory(overlap):
    found = simulate(4, overlap, layer_units=4000, ascent_steps=2000, room_for_optima=4000)
    assert binomtest(round(4000 * found["dead_share"]), 4000, find_dead_share(4, overlap)).pvalue > LEVEL


def test_units_that_are_dead_at_the_end_were_dead_at_the_start():
    starts = make_starts(6, 1000, 0.8)
    ends = climb_all(starts, make_probabilities(6, 3.0), 0.8, False, 4.0, 5000)
    np.testing.assert_array_equal((ends <= 0).all(axis=1), (starts <= 0).all(axis=1))


def test_a_unit_ends_at_the_same_optimum_with_a_smaller_step():
    """Units next to a border of basins may differ: one of fifty may."""
    probabilities, starts = make_probabilities(6, 3.0), make_starts(6, 500, 0.0)
    ends = [climb_all(starts, probabilities, 0.0, False, size, 60_000).argmax(axis=1) for size in (4.0, 0.25)]
    assert (ends[0] != ends[1]).mean() <= 0.02


def test_ends_are_told_apart_by_their_largest_difference():
    weights = np.array([[1.0, 0], [0.98, 0.01], [-1.0, 0], [0, 1.0], [0, 0]])
    is_live = np.array([True, True, True, True, False])
    assert label_ends(weights, is_live, up_to_sign=False).tolist() == [0, 0, 1, 2, -1]
    assert label_ends(weights, is_live, up_to_sign=True).tolist() == [0, 0, 0, 1, -1]


def test_a_unit_has_nearly_the_same_end_with_fewer_others():
    """A block of units rests together, so the others may give a unit a few more steps, but no other end."""
    starts, probabilities = make_starts(4, 200, 0.0), make_probabilities(4, 3.0)
    together = climb_all(starts, probabilities, 0.0, False, 4.0, 5000)
    alone = climb_all(starts[:10], probabilities, 0.0, False, 4.0, 5000)
    np.testing.assert_allclose(alone, together[:10], atol=1e-9)


def test_more_ends_than_there_is_room_for_are_told():
    with pytest.raises(NotConvergedError, match="distinct end points found: there is room for 2"):
        simulate(4, 0.0, room_for_optima=2)


@pytest.mark.parametrize(("activation", "overlap"), [("linear", 0.0), ("linear", 0.8), ("relu", 0.0)])
def test_units_rest_after_about_as_many_steps_as_are_expected(activation, overlap):
    """A third of these steps is too few, and after three times as many nothing moves."""
    values = make_values(6, overlap, activation=activation)
    starts, probabilities = make_starts(6, 64, overlap), make_probabilities(6, values.probability_ratio)
    few, most, all_steps = (
        climb_all(starts, probabilities, overlap, activation == "linear", values.first_step_size, int(steps))
        for steps in (expect_steps(values) / 3, 3 * expect_steps(values), values.ascent_steps)
    )
    np.testing.assert_array_equal(most, all_steps)
    assert (few != all_steps).any()


def test_units_on_kinks_are_expected_to_take_all_steps():
    values = make_values(6, 0.5)
    assert expect_steps(values) == values.ascent_steps
