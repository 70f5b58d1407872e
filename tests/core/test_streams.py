"""The random streams: their keys, their generator, and the laws of their numbers."""

import numpy as np
import pytest
from scipy import stats

from clhd.core.streams import (
    fill_chi_squares,
    fill_laplace,
    fill_normal_pairs,
    fill_signs,
    fill_six_normals,
    fill_uniforms,
    gamma_constants,
    next_bits,
    seed_states,
)

# Every test below draws from a fixed key and rejects at this level, chosen beforehand.
LEVEL = 1e-4
LANES = 256


def draw(fill, rounds, key, *arguments):
    """Numbers of shape (rounds, lanes) from `fill(state, *arguments, out)`."""
    state = seed_states(key, range(LANES))
    out = np.empty((rounds, LANES))
    for row in out:
        fill(state, *arguments, row)
    return out


def draw_normals(rounds, key):
    state = seed_states(key, range(LANES))
    out = np.empty((rounds, 2, LANES))
    for first, second in out:
        fill_normal_pairs(state, first, second)
    return out


def draw_sixes(rounds, key):
    """Normal numbers of shape (rounds, 6, lanes), and the uniform numbers and bits drawn with them, (rounds, lanes)."""
    state = seed_states(key, range(LANES))
    out, uniform, bits = np.empty((rounds, 6, LANES)), np.empty((rounds, LANES)), np.empty((rounds, LANES))
    for row in range(rounds):
        fill_six_normals(state, out[row], uniform[row], bits[row])
    return out, uniform, bits


def xoshiro_by_hand(words):
    """One step of xoshiro256++ in Python integers, as its authors define it."""
    mask = 2**64 - 1

    def rotate(x, k):
        return ((x << k) | (x >> (64 - k))) & mask

    s = list(words)
    result = (rotate((s[0] + s[3]) & mask, 23) + s[0]) & mask
    t = (s[1] << 17) & mask
    s[2] ^= s[0]
    s[3] ^= s[1]
    s[1] ^= s[2]
    s[0] ^= s[3]
    s[2] ^= t
    s[3] = rotate(s[3], 45)
    return result, *s


def test_the_generator_is_xoshiro256_plus_plus():
    state = seed_states("generator", [0])[:, 0]
    words = [int(x) for x in state]
    for _ in range(100):
        got = [int(x) for x in next_bits(*state)]
        assert got == list(xoshiro_by_hand(words))
        state, words = np.array(got[1:], dtype=np.uint64), got[1:]


def test_a_stream_depends_on_its_key_and_index_alone():
    states = seed_states("point", range(5))
    assert np.array_equal(states[:, [3]], seed_states("point", [3]))
    assert not np.any(states == seed_states("another point", range(5)))
    assert len(np.unique(states)) == states.size


def test_lanes_do_not_disturb_each_other():
    together = seed_states("lanes", range(LANES))
    alone = seed_states("lanes", [7] * 64)
    first, second, x, y = (np.empty(size) for size in (LANES, LANES, 64, 64))
    for _ in range(50):
        fill_normal_pairs(together, first, second)
        fill_normal_pairs(alone, x, y)
        assert first[7] == x[0]
        assert second[7] == y[63]


def test_uniform_numbers_are_uniform_and_never_zero():
    numbers = draw(fill_uniforms, 2000, "uniform")
    assert numbers.min() > 0
    assert numbers.max() <= 1
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > LEVEL


def test_normal_numbers_are_normal_and_pairs_independent():
    pairs = draw_normals(4000, "normal")
    assert stats.kstest(pairs.ravel(), "norm").pvalue > LEVEL
    first, second = pairs[:, 0].ravel(), pairs[:, 1].ravel()
    count = len(first)
    sigmas = stats.norm.isf(LEVEL / 2)
    # Joint moments of independent normals: (power, power, expectation, variance of one product).
    for a, b, mean, variance in ((1, 1, 0, 1), (2, 2, 1, 8), (1, 3, 0, 15), (3, 3, 0, 225), (4, 4, 9, 105**2 - 81)):
        error = np.mean(first**a * second**b) - mean
        assert abs(error) < sigmas * np.sqrt(variance / count), (a, b)
    angle = np.arctan2(second, first) / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > LEVEL
    assert stats.kstest(first**2 + second**2, "chi2", args=(2,)).pvalue > LEVEL


def test_six_normal_numbers_are_normal_and_independent():
    numbers, uniform, bits = draw_sixes(3000, "six")
    sixes = np.moveaxis(numbers, 1, 0).reshape(6, -1)
    count = sixes.shape[1]
    for x in sixes:
        assert stats.kstest(x, "norm").pvalue > LEVEL / 6
    # Squares of the three pairs and of all six: a wrong share of one logarithm would show here.
    pairs = (sixes**2).reshape(3, 2, count).sum(axis=1)
    for pair in pairs:
        assert stats.kstest(pair, "chi2", args=(2,)).pvalue > LEVEL / 6
    assert stats.kstest(pairs.sum(axis=0), "chi2", args=(6,)).pvalue > LEVEL / 6
    assert stats.kstest(pairs[0] / (pairs[0] + pairs[2]), "uniform").pvalue > LEVEL / 6
    signs = np.array([draw_signs(bits, k).ravel() for k in range(12)])
    everything = np.vstack([sixes, np.sqrt(12) * (uniform.ravel() - 0.5), signs])
    moments = [np.corrcoef(everything), np.corrcoef(sixes**2), np.corrcoef(sixes**3)]
    sigmas = stats.norm.isf(LEVEL / 2 / 200)  # 200 correlations, one level for all
    for matrix in moments:
        assert np.abs(matrix - np.eye(len(matrix))).max() < sigmas / np.sqrt(count)
    assert stats.kstest(uniform.ravel(), "uniform").pvalue > LEVEL
    assert np.abs(signs.mean(axis=1)).max() < sigmas / np.sqrt(count)


def draw_signs(bits, position):
    """The signs of one position, shape of `bits`."""
    out = np.empty_like(bits)
    for row, word in zip(out, bits, strict=True):
        fill_signs(word, position, np.full(LANES, 1.0), row)
    return out


def test_equal_shares_of_one_logarithm_would_be_found():
    numbers, _, _ = draw_sixes(300, "six")
    pairs = (np.moveaxis(numbers, 1, 0).reshape(3, 2, -1) ** 2).sum(axis=1)
    assert stats.kstest(pairs.mean(axis=0), "chi2", args=(2,)).pvalue < LEVEL


def test_a_sign_leaves_the_size_of_its_scale():
    _, _, bits = draw_sixes(1, "six")
    scale, out = np.linspace(0, 3, LANES), np.empty(LANES)
    fill_signs(bits[0], 5, scale, out)
    assert np.array_equal(np.abs(out), scale)


def test_successive_normal_numbers_of_a_lane_are_uncorrelated():
    pairs = draw_normals(4000, "successive")
    for ahead in (1, 2, 7):
        product = pairs[ahead:] * pairs[:-ahead]
        assert abs(product.mean()) < stats.norm.isf(LEVEL / 2) / np.sqrt(product.size)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 20, 997, 10**6])
def test_chi_square_numbers_are_exact_at_every_degree_of_freedom(degrees):
    rounds = 2000
    normals = draw_normals(rounds, "chi-square input")[:, 0]
    d, c, work, out = np.empty(LANES), np.empty(LANES), np.empty(LANES), np.empty((rounds, LANES))
    gamma_constants(np.full(LANES, float(degrees)), d, c)
    state = seed_states("chi-square", range(LANES))
    for normal, row in zip(normals, out, strict=True):
        fill_chi_squares(state, normal, d, c, work, row)
    assert stats.kstest(out.ravel(), "chi2", args=(degrees,)).pvalue > LEVEL


def test_a_chi_square_number_does_not_depend_on_rejections_in_other_lanes():
    # Lane 0 shares its group once with lanes that are often rejected (2 degrees) and once with ones that never are.
    results = []
    for neighbour in (2.0, 1e6):
        d, c, work, out = (np.empty(LANES) for _ in range(4))
        degrees = np.full(LANES, neighbour)
        degrees[0] = 5.0
        gamma_constants(degrees, d, c)
        state = seed_states("rejections", range(LANES))
        first, second = np.empty(LANES), np.empty(LANES)
        numbers = []
        for _ in range(3000):
            fill_normal_pairs(state, first, second)
            fill_chi_squares(state, first, d, c, work, out)
            numbers.append(out[0])
        results.append(numbers)
    assert results[0] == results[1]


def test_laplace_numbers_have_unit_variance_and_the_laplace_law():
    numbers = draw(fill_laplace, 2000, "laplace", np.empty(LANES)).ravel()
    assert stats.kstest(numbers, "laplace", args=(0, np.sqrt(0.5))).pvalue > LEVEL
