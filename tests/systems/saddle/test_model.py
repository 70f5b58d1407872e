"""The saddle and its smoothing: known answers."""

import numpy as np
import pytest

from clhd.systems.saddle.model import invert_smoothing
from tests.systems.saddle.saddles import make


@pytest.mark.parametrize("n", [3, 4, 7, 64])
def test_the_inverse_of_the_smoothing_solves_its_equations(n):
    second_difference = -2 * np.eye(n) + np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0)
    strengths = np.array([0.0, 0.3, 50.0])
    for sigma, inverse in zip(strengths, invert_smoothing(strengths, n), strict=True):
        np.testing.assert_allclose(inverse @ (np.eye(n) - sigma * second_difference), np.eye(n), atol=1e-12)


def test_strengths_follow_the_schedule():
    def strengths(**changes):
        return make(dimension=3, smoothing=2.0, **changes)[0].strengths(0, 4).tolist()

    assert strengths(schedule="gradient_descent") == [0, 0, 0, 0]
    assert strengths(schedule="fixed") == [2, 2, 2, 2]
    assert strengths(schedule="ratio", ratio_constant=4.0) == [2 / 4, 4 / 5, 6 / 6, 8 / 7]
    assert strengths(schedule="alternating") == [2, 0, 2, 0]
    assert strengths(schedule="power", growth_power=2.0) == [2, 8, 18, 32]


def test_the_canonical_hessian_has_one_negative_axis_the_last():
    assert make(dimension=4)[0].hessian.tolist() == np.diag([1.0, 1, 1, -1]).tolist()


def test_a_random_hessian_has_norm_one_and_the_negative_eigenvalues_that_are_asked_for():
    hessians = [make(seed, dimension=8, hessian="random", negative_eigenvalues=3)[0].hessian for seed in range(5)]
    for hessian in hessians:
        eigenvalues = np.linalg.eigvalsh(hessian)
        assert (eigenvalues < 0).sum() == 3
        assert np.abs(eigenvalues).max() == pytest.approx(1, abs=1e-14)
        assert np.abs(eigenvalues).min() >= 0.5
    assert np.abs(hessians[0] - hessians[1]).max() > 0.1
