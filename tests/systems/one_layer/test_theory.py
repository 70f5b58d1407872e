"""The enumeration of optima, energies and the dead share: known answers."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from clhd.systems.declarations import NotConvergedError
from clhd.systems.one_layer.model import find_energy, make_patterns, make_probabilities
from clhd.systems.one_layer.theory import enumerate_optima, find_dead_share, find_linear_energy, predict_layer
from tests.systems.one_layer.values import make_values

# Found by an earlier prototype at c = 0, 0.1, ..., 0.9, ratio 3.
COUNTS = {
    4: [4, 4, 4, 4, 4, 3, 3, 3, 2, 2],
    6: [6, 6, 6, 5, 5, 4, 4, 3, 3, 2],
    8: [8, 8, 7, 6, 5, 5, 4, 4, 3, 3],
}


@pytest.mark.parametrize("overlap", [-0.15, 0.0, 0.5, 0.9])
def test_patterns_are_unit_vectors_of_one_overlap(overlap):
    patterns = make_patterns(6, overlap)
    np.testing.assert_allclose(patterns @ patterns.T, overlap + (1 - overlap) * np.eye(6), atol=1e-14)


def test_probabilities_fall_in_equal_steps_from_the_ratio():
    probabilities = make_probabilities(3, 3.0)
    np.testing.assert_allclose(probabilities, np.array([3, 2, 1]) / 6)


@pytest.mark.parametrize(("count", "expected"), COUNTS.items())
def test_the_numbers_of_optima_are_those_of_the_prototype(count, expected):
    probabilities = make_probabilities(count, 3.0)
    found = [len(enumerate_optima(make_patterns(count, k / 10), probabilities)[0]) for k in range(10)]
    assert found == expected


@pytest.mark.parametrize("ratio", [1.0, 3.0, 50.0])
def test_the_optima_of_orthogonal_patterns_are_the_patterns(ratio):
    probabilities = make_probabilities(5, ratio)
    weights, energies = enumerate_optima(np.eye(5), probabilities)
    expected = probabilities * (1 - probabilities) / 2
    np.testing.assert_allclose(energies, np.sort(expected)[::-1], atol=1e-14)
    np.testing.assert_allclose(np.sort(weights, axis=0), np.sort(np.eye(5), axis=0), atol=1e-12)


@pytest.mark.parametrize("overlap", [-0.2, 0.1, 0.35, 0.8])
def test_no_direction_leads_up_from_an_optimum(overlap):
    patterns, probabilities = make_patterns(5, overlap), make_probabilities(5, 3.0)
    weights, energies = enumerate_optima(patterns, probabilities)
    random = np.random.default_rng(1)
    for weight, energy in zip(weights, energies, strict=True):
        assert np.linalg.norm(weight) == pytest.approx(1, abs=1e-12)
        assert find_energy(weight[None] @ patterns.T, probabilities, is_linear=False)[0] == pytest.approx(energy)
        for size in (1e-2, 1e-3):
            near = weight + size * random.normal(size=(2000, 5))
            near /= np.linalg.norm(near, axis=1, keepdims=True)
            assert (find_energy(near @ patterns.T, probabilities, is_linear=False) < energy).all()


def test_the_optimum_of_a_linear_unit_has_the_components_of_the_derivation():
    probabilities = make_probabilities(4, 3.0)
    top = 2 * find_linear_energy(np.eye(4), probabilities)
    weight = probabilities / (probabilities - top)
    matrix = np.diag(probabilities) - np.outer(probabilities, probabilities)
    np.testing.assert_allclose(matrix @ weight, top * weight, atol=1e-12)
    assert (np.sign(weight) == [1, -1, -1, -1]).all()


def test_equal_probabilities_make_a_continuum_for_a_linear_unit():
    with pytest.raises(NotConvergedError, match="continuum"):
        predict_layer(make_values(4, 0.0, 1.0, activation="linear"))


def test_too_many_optima_for_the_room_are_told():
    with pytest.raises(NotConvergedError, match="4 optima found: there is room for 3"):
        predict_layer(make_values(4, 0.0, room_for_optima=3))


@pytest.mark.parametrize("count", [2, 5, 10])
def test_orthogonal_patterns_leave_one_orthant_dead(count):
    assert find_dead_share(count, 0.0) == pytest.approx(2.0**-count, rel=1e-12)


@pytest.mark.parametrize("overlap", [-0.4, 0.3, 0.9])
def test_the_dead_share_of_two_and_three_patterns_is_that_of_their_angles(overlap):
    angle = np.arcsin(overlap) / (2 * np.pi)
    assert find_dead_share(2, overlap) == pytest.approx(1 / 4 + angle, rel=1e-6)
    assert find_dead_share(3, overlap) == pytest.approx(1 / 8 + 3 * angle / 2, rel=1e-6)


@pytest.mark.parametrize("overlap", [0.1, 0.5, 0.9, 0.99])
def test_the_dead_share_of_many_patterns_is_the_integral(overlap):
    def density(t):
        return norm.pdf(t) * norm.cdf(-np.sqrt(overlap / (1 - overlap)) * t) ** 8

    assert find_dead_share(8, overlap) == pytest.approx(quad(density, -10, 10, points=[0])[0], rel=1e-6)
