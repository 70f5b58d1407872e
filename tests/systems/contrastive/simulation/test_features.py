"""Features are exactly orthogonal, and their entries have the law that their name says.

Statistical tests: seeds fixed here, level 1e-4 for each test.
"""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.simulation.features import check_features, draw_features

LEVEL = 1e-4


def make_model(p: int, law: str, fraction: float | None = None) -> ContrastiveModel:
    return ContrastiveModel(latents=(ThreePoint(),) * p, feature_law=law, feature_fraction=fraction)


CASES = {
    "gaussian": (3, "gaussian", None, 50),
    "gaussian_as_many_as_dimensions": (4, "gaussian", None, 4),
    "gaussian_large": (6, "gaussian", None, 20_000),
    "rademacher_one": (1, "rademacher", None, 7),
    "rademacher_two": (2, "rademacher", None, 10),
    "rademacher_three": (3, "rademacher", None, 12),
    "rademacher_six": (6, "rademacher", None, 1000),
    "sparse_one": (1, "sparse", 0.3, 11),
    "sparse_two": (2, "sparse", 0.1, 1000),
    "sparse_half": (2, "sparse", 0.5, 10),
    "sparse_three": (3, "sparse", 0.2, 500),
    "sparse_six": (6, "sparse", 0.15, 3000),
    "sparse_all": (3, "sparse", 1.0, 16),
}


@pytest.mark.parametrize(("p", "law", "fraction", "n"), CASES.values(), ids=CASES.keys())
def test_features_are_orthogonal_and_of_squared_length_n(p: int, law: str, fraction: float | None, n: int) -> None:
    features = draw_features(make_model(p, law, fraction), n, np.random.default_rng(1))
    assert features.shape == (p, n)
    np.testing.assert_allclose(features @ features.T / n, np.eye(p), rtol=0, atol=3e-14)


SIGNED = {name: case for name, case in CASES.items() if case[1] != "gaussian"}


@pytest.mark.parametrize(("p", "law", "fraction", "n"), SIGNED.values(), ids=SIGNED.keys())
def test_atoms_are_not_smeared_and_signs_are_exactly_orthogonal(
    p: int, law: str, fraction: float | None, n: int
) -> None:
    features = draw_features(make_model(p, law, fraction), n, np.random.default_rng(2))
    support = n if fraction is None else round(fraction * n)
    signs = np.sign(features).astype(int)
    np.testing.assert_array_equal(signs @ signs.T, support * np.eye(p, dtype=int))
    np.testing.assert_array_equal(features, signs * math.sqrt(n / support))


def test_supports_overlap_as_independent_ones_do() -> None:
    features = draw_features(make_model(3, "sparse", 0.2), 500, np.random.default_rng(3))
    held = features != 0
    exactly = [
        int(np.sum(np.all(held[list(members)], axis=0) & (held.sum(axis=0) == size)))
        for size in range(4)
        for members in combinations(range(3), size)
    ]
    assert exactly == [256, 64, 64, 64, 16, 16, 16, 4]  # 500 * 0.2^size * 0.8^(3 - size)


def test_support_counts_come_nearest_to_their_means_where_these_are_not_whole() -> None:
    p, n, fraction = 4, 1001, 0.3
    held = draw_features(make_model(p, "sparse", fraction), n, np.random.default_rng(4)) != 0
    for size, most in ((2, 3), (3, 4), (4, 4)):  # one Hadamard pattern, and half of one more where single ones pay
        for members in combinations(range(p), size):
            count = np.sum(np.all(held[list(members)], axis=0) & (held.sum(axis=0) == size))
            assert abs(count - n * fraction**size * (1 - fraction) ** (p - size)) <= most


def test_entries_of_gaussian_features_are_those_of_a_uniformly_random_frame() -> None:
    n, generator = 6, np.random.default_rng(5)
    draws = np.array([draw_features(make_model(2, "gaussian"), n, generator) for _ in range(3000)])
    # One coordinate of a uniformly random unit vector: x^2 ~ Beta(1/2, (n - 1) / 2), either sign.
    law = stats.beta(0.5, (n - 1) / 2)
    for j, i in ((0, 0), (1, 0), (1, n - 1)):
        x = draws[:, j, i]
        assert stats.kstest(x**2 / n, law.cdf).pvalue > LEVEL / 6
        assert stats.binomtest(int(np.sum(x > 0)), len(x)).pvalue > LEVEL / 6


def test_sign_patterns_of_one_coordinate_are_fair_even_where_the_hadamard_rows_are_dependent() -> None:
    # Four rows of the 4 x 4 Hadamard matrix multiply to 1: without random row signs half of the patterns are missing.
    generator = np.random.default_rng(6)
    codes = []
    for _ in range(3000):
        signs = draw_features(make_model(4, "rademacher"), 8, generator) > 0
        codes.append([int("".join("01"[int(s)] for s in column), 2) for column in signs.T[[0, 7]]])
    for column in np.array(codes).T:
        assert stats.chisquare(np.bincount(column, minlength=16)).pvalue > LEVEL / 2


def test_every_coordinate_is_in_every_support_alike() -> None:
    generator = np.random.default_rng(7)
    counts = np.zeros((5, 4))
    for _ in range(3000):
        held = draw_features(make_model(2, "sparse", 0.4), 5, generator) != 0
        counts[np.arange(5), held[0] + 2 * held[1]] += 1
    assert np.all(counts.sum(axis=1) == 3000)
    used = counts.sum(axis=0) > 0
    assert stats.chi2_contingency(counts[:, used]).pvalue > LEVEL


def test_one_stream_gives_one_draw() -> None:
    for p, law, fraction, n in CASES.values():
        model = make_model(p, law, fraction)
        first, again, other = (draw_features(model, n, np.random.default_rng(seed)) for seed in (8, 8, 9))
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


REFUSED = {
    "fewer_than_features": (
        make_model(3, "gaussian"),
        2,
        "dimension = 2: must be at least 3, the number of features",
    ),
    "rademacher_three": (
        make_model(3, "rademacher"),
        10,
        "dimension = 10: must be a multiple of 4 for 3 exactly orthogonal features with feature_law = 'rademacher'",
    ),
    "rademacher_two": (make_model(2, "rademacher"), 9, "dimension = 9: must be a multiple of 2 for 2 exactly"),
    "sparse_without_an_entry": (
        make_model(1, "sparse", 0.01),
        20,
        "feature_law = 'sparse' and feature_fraction = 0.01; the nearest dimension that has them is 51",
    ),
    "sparse_too_dense": (make_model(2, "sparse", 1.0), 9, "the nearest dimension that has them is 10"),
}


@pytest.mark.parametrize(("model", "n", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_impossible_features_are_refused_in_one_sentence(model: ContrastiveModel, n: int, message: str) -> None:
    with pytest.raises(ClhdError) as caught:
        check_features(model, n)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ClhdError):
        draw_features(model, n, np.random.default_rng(10))


@settings(max_examples=60)
@given(p=st.integers(1, 6), n=st.integers(6, 200), fraction=st.floats(0.01, 1.0))
def test_sparse_features_are_exactly_orthogonal_or_refused_with_a_dimension_that_works(
    p: int, n: int, fraction: float
) -> None:
    model = make_model(p, "sparse", fraction)
    try:
        check_features(model, n)
    except ClhdError as error:
        n = int(str(error).split()[-1])
    signs = np.sign(draw_features(model, n, np.random.default_rng(11))).astype(int)
    np.testing.assert_array_equal(signs @ signs.T, round(fraction * n) * np.eye(p, dtype=int))
