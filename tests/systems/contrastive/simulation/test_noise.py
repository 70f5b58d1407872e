"""Noise of the views: its covariance at every correlation, its law, and what the views of a pair share.

Statistical tests: seeds fixed here, level 1e-4 for each test (4.5 standard errors for one mean; more where many are
compared at once).
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.simulation.noise import CHUNK, LANES, fill_raw_noise, noise_mixing, open_noise_source

LEVEL = 1e-4
STANDARD_ERRORS = 5.0  # two-sided 6e-7, for the many moments that one test compares
LAWS: dict[str, dict[str, Any]] = {
    "gaussian": {"noise_law": "gaussian"},
    "rademacher": {"noise_law": "rademacher"},
    "student_t": {"noise_law": "student_t", "noise_degrees_of_freedom": 20.0},
}
# base, augmentation variance and correlation: kappa / s2 = 1, 0.75, 0, -0.5, -1.
CORRELATIONS = {"1": (1.3, 0.0, 0.0), "0.75": (0.5, 0.5, 0.5), "0": (0.0, 2.0, 0.0), "-0.5": (0.0, 0.8, -0.5)}
CORRELATIONS["-1"] = (0.0, 0.6, -1.0)


def make_model(law: str, base: float = 0.5, augmentation: float = 0.5, correlation: float = 0.0) -> ContrastiveModel:
    return ContrastiveModel(
        latents=(ThreePoint(),),
        base_noise_variance=base,
        augmentation_noise_variance=augmentation,
        noise_correlation=correlation,
        **LAWS[law],
    )


def draw_noise(model: ContrastiveModel, chunks: int, key: str = "test") -> NDArray[np.float64]:
    """Noise of the views, shape (V, coordinates)."""
    views = model.views
    raw = np.empty((chunks, 2, views * LANES))
    fill_raw_noise(open_noise_source(model, key), raw)
    return noise_mixing(model) @ raw.reshape(chunks, 2, views, LANES).transpose(2, 0, 1, 3).reshape(views, -1)


def check_mean(samples: NDArray[np.float64], expected: float) -> None:
    error = samples.std() / np.sqrt(len(samples))
    assert abs(samples.mean() - expected) <= STANDARD_ERRORS * error + 1e-12


@pytest.mark.parametrize(("base", "augmentation", "correlation"), CORRELATIONS.values(), ids=CORRELATIONS.keys())
@pytest.mark.parametrize("law", LAWS)
def test_noise_has_the_covariance_of_the_views(law: str, base: float, augmentation: float, correlation: float) -> None:
    model = make_model(law, base, augmentation, correlation)
    a = draw_noise(model, 2000)
    expected = model.noise_variance * np.eye(3)
    expected[0, 1] = expected[1, 0] = model.noise_covariance
    for v in range(3):
        check_mean(a[v], 0.0)
        for u in range(v + 1):
            check_mean(a[u] * a[v], expected[u, v])


@pytest.mark.parametrize("law", LAWS)
def test_views_are_equal_or_opposite_at_the_ends_of_the_correlation(law: str) -> None:
    same = draw_noise(make_model(law, 0.7, 0.0), 4)
    np.testing.assert_array_equal(same[0], same[1])
    opposite = draw_noise(make_model(law, 0.0, 0.7, -1.0), 4)
    np.testing.assert_array_equal(opposite[0], -opposite[1])
    assert not np.any(same[0] == same[2]) or law == "rademacher"


@pytest.mark.parametrize("law", LAWS)
def test_there_is_no_noise_without_variance(law: str) -> None:
    assert np.all(draw_noise(make_model(law, 0.0, 0.0), 1) == 0.0)


def test_gaussian_noise_is_gaussian_in_every_view() -> None:
    model = make_model("gaussian", 0.4, 0.8, -0.9)
    for row in draw_noise(model, 400):
        assert stats.kstest(row, stats.norm(scale=np.sqrt(1.2)).cdf).pvalue > LEVEL / 3


def test_rademacher_noise_has_one_size_and_the_probability_of_equal_signs() -> None:
    model = make_model("rademacher", 0.5, 0.5, 0.5)
    a = draw_noise(model, 400)
    np.testing.assert_array_equal(np.abs(a), 1.0)
    for row in a:
        assert stats.binomtest(int(np.sum(row > 0)), a.shape[1]).pvalue > LEVEL / 4
    assert stats.binomtest(int(np.sum(a[0] == a[1])), a.shape[1], 0.875).pvalue > LEVEL / 4


@pytest.mark.parametrize("freedom", [2.5, 5.0, 40.0])
def test_student_noise_has_its_law_in_every_view(freedom: float) -> None:
    model = ContrastiveModel(
        latents=(ThreePoint(),),
        base_noise_variance=0.3,
        augmentation_noise_variance=0.5,
        noise_correlation=-0.4,
        noise_law="student_t",
        noise_degrees_of_freedom=freedom,
    )
    law = stats.t(freedom, scale=np.sqrt(0.8 * (freedom - 2) / freedom))
    for row in draw_noise(model, 400):
        assert stats.kstest(row, law.cdf).pvalue > LEVEL / 9


def test_student_noise_shares_its_chi_square_in_a_pair_and_nowhere_else() -> None:
    a = draw_noise(make_model("student_t", 0.0, 1.0, 0.0), 4000)
    # E[(nu - 2)^2 / X^2] = (nu - 2) / (nu - 4): the squares of uncorrelated views of one sample are correlated.
    check_mean(a[0] ** 2 * a[1] ** 2, 18 / 16)
    check_mean(a[0] ** 2 * a[2] ** 2, 1.0)
    for lag in (1, LANES, CHUNK):  # nor between the coordinates of one view
        check_mean(a[0, lag:] ** 2 * a[0, :-lag] ** 2, 1.0)


@pytest.mark.parametrize("law", LAWS)
def test_coordinates_are_independent_across_lanes_halves_and_chunks(law: str) -> None:
    a = draw_noise(make_model(law), 2000)
    for lag in (1, LANES, CHUNK, CHUNK + LANES):
        for u in range(3):
            for v in range(3):
                check_mean(a[u, lag:] * a[v, :-lag], 0.0)


@pytest.mark.parametrize("law", LAWS)
def test_noise_does_not_depend_on_how_many_chunks_are_drawn_at_once(law: str) -> None:
    model = make_model(law)
    source, together = open_noise_source(model, "test"), np.empty((6, 2, 3 * LANES))
    fill_raw_noise(source, together)
    source, apart = open_noise_source(model, "test"), np.empty((6, 2, 3 * LANES))
    fill_raw_noise(source, apart[:1])
    fill_raw_noise(source, apart[1:])
    np.testing.assert_array_equal(together, apart)
    fill_raw_noise(open_noise_source(model, "other"), apart)
    assert not np.array_equal(together, apart)
