"""`interpolate`: known functions, few evaluations, and an end where a function is not smooth."""

import numpy as np
import pytest

from clhd.core.chebyshev import interpolate


class Counted:
    """A function of time that counts its values and checks the order of the times."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, times):
        self.count += len(times)
        assert np.all(np.diff(times) > 0)
        return self.function(times)


def relax(times):
    return np.stack([np.exp(-times), 3.0 + np.exp(-0.3 * times) * np.cos(times), np.zeros_like(times)], axis=1)


@pytest.mark.parametrize("accuracy", [1e-4, 1e-8, 1e-11])
def test_a_smooth_function_is_met_to_the_accuracy(accuracy):
    function = Counted(relax)
    found = interpolate(function, 0.0, 30.0, accuracy=accuracy)
    times = np.linspace(0.0, 30.0, 1001)
    error = np.abs([found(time) for time in times] - relax(times)).max()
    assert error < 10 * accuracy
    assert function.count < 300


def test_polynomials_need_nine_values():
    function = Counted(lambda times: np.stack([times**3 - times, np.ones_like(times)], axis=1))
    found = interpolate(function, -1.0, 2.0, accuracy=1e-12)
    assert function.count == 9
    np.testing.assert_allclose(found(0.7), [0.7**3 - 0.7, 1.0], rtol=1e-13)
    np.testing.assert_array_equal(found(2.0), [6.0, 1.0])  # at a point itself


def test_zero_is_zero():
    assert interpolate(lambda times: np.zeros((len(times), 1)), 0.0, 1.0, accuracy=1e-9)(0.3) == 0.0


def test_a_jump_costs_a_bounded_number_of_values():
    function = Counted(lambda times: np.where(times < np.sqrt(2), 0.0, 1.0)[:, None])
    found = interpolate(function, 0.0, 8.0, accuracy=1e-9)
    assert function.count < 600
    assert found(1.4) == pytest.approx(0.0, abs=1e-8)
    assert found(1.5) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("end", [1e5, 1e8])
def test_what_happens_near_the_beginning_of_a_long_time_is_met(end):
    function = Counted(lambda times: 1.0 + np.tanh(times[:, None] - 20.0))
    found = interpolate(function, 0.0, end, accuracy=1e-8)
    times = np.linspace(0.0, 60.0, 1001)
    error = np.abs([found(time) for time in times] - function.function(times)).max()
    assert error < 1e-7
    assert function.count < 1000
