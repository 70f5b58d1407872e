"""The measured attraction region: known answers, the theorem and its bounds, and 60 digits where double fails."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest

from clhd.systems.saddle.model import draw_frame
from clhd.systems.saddle.simulation import (
    RANK_CUT,
    STARTS,
    measure_escape,
    measure_exponents,
    measure_normals,
    simulate_saddle,
)
from clhd.systems.saddle.theory import (
    multiply_period,
    predict_dimension,
    predict_exponents,
    predict_normal,
    predict_saddle,
)
from tests.systems.saddle.saddles import SCHEDULES, make

# Measured in an earlier prototype: n = 6, sigma = 1, eta = 0.1.
FIXED = [0.037282, -0.021538, -0.025318, -0.036755, -0.051293, -0.089477]


def run(steps=2000, seed=1, **changes):
    saddle, random = make(seed, **changes)
    return simulate_saddle(saddle, steps, 12, random)


def test_the_exponents_of_gradient_descent_are_those_of_its_axes():
    found = run(dimension=5, schedule="gradient_descent")["lyapunov_exponent"][:5]
    np.testing.assert_allclose(found, np.log([1.1, 0.9, 0.9, 0.9, 0.9]), rtol=1e-12)


def test_theory_has_the_exponents_of_the_prototype():
    np.testing.assert_allclose(predict_exponents(make(dimension=6, schedule="fixed")[0]), FIXED, atol=5e-7)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("first_step", [0, 10, 1000])
def test_the_region_of_the_canonical_saddle_is_a_hyperplane(schedule, first_step):
    for n in (3, 4, 7, 12):
        found = run(dimension=n, schedule=schedule, first_step=first_step)
        assert (found["attraction_dimension"], found["stalled_directions"]) == (n - 1, 0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("m", [1, 2, 5, 7])
def test_exponents_obey_the_bounds_of_the_proof(schedule, m):
    """On the region f shrinks by 1 - 2 mu c in each step, elsewhere -f grows by 1 + 2 mu c; f is quadratic."""
    saddle, random = make(3, dimension=8, hessian="random", negative_eigenvalues=m, schedule=schedule)
    c = saddle.step_size * (1 - saddle.step_size / 2) / (1 + 4 * saddle.smoothing)
    mu = np.abs(np.linalg.eigvalsh(saddle.hessian)).min()
    for exponents in (measure_exponents(saddle, 2000, draw_frame(random, 8, 8))[0], predict_exponents(saddle)):
        assert exponents[m - 1] > np.log(1 + 2 * mu * c) / 2
        assert exponents[m] < np.log(1 - 2 * mu * c) / 2


def test_one_step_lowers_f_by_what_the_proof_says():
    for seed in range(20):
        saddle, random = make(seed, dimension=7, hessian="random", negative_eigenvalues=3, step_size=0.9)
        hessian, eta = saddle.hessian, saddle.step_size
        for matrix in saddle.step_matrices(0, 5):
            x = random.normal(size=7)
            smoothed = (x - matrix @ x) / eta  # A^-1 g
            fall = eta * (1 - eta / 2) * (hessian @ x) @ smoothed
            x_next = matrix @ x
            assert x_next @ hessian @ x_next / 2 <= x @ hessian @ x / 2 - fall + 1e-12


def test_measured_exponents_approach_the_limit_of_the_ratio_as_one_over_the_steps():
    saddle, random = make(dimension=6)
    frame, limit = draw_frame(random, 6, 6), predict_exponents(saddle)[0]
    steps = np.array([1000, 2000, 4000, 8000])
    errors = [abs(measure_exponents(saddle, int(count), frame)[0][0] - limit) for count in steps]
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("schedule", ["alternating", "fixed", "gradient_descent"])
@pytest.mark.parametrize("first_step", [0, 1])
def test_the_backward_rows_are_the_normal_of_the_periodic_scheme(schedule, first_step):
    saddle, random = make(dimension=9, schedule=schedule, first_step=first_step)
    found = simulate_saddle(saddle, 2000, 12, random)["normal_vector"][:9]
    np.testing.assert_allclose(found, predict_normal(saddle), atol=1e-12)


def test_the_normal_of_fixed_smoothing_has_its_closed_form():
    """Of the proof: l is e - (mu A + I)^-1 e up to a factor, where -mu is the negative eigenvalue of A^-1 H."""
    n, sigma = 8, 1.0
    saddle, _ = make(dimension=n, schedule="fixed", smoothing=sigma)
    rate = np.abs(np.linalg.eigvals(multiply_period(saddle)[0])).max()
    mu, last = (rate - 1) / saddle.step_size, np.eye(n)[-1]
    smoothing = np.eye(n) * (1 + 2 * sigma) - sigma * (np.roll(np.eye(n), 1, 0) + np.roll(np.eye(n), -1, 0))
    normal = last - np.linalg.solve(mu * smoothing + np.eye(n), last)
    np.testing.assert_allclose(predict_normal(saddle), normal / np.linalg.norm(normal), atol=1e-12)


@pytest.mark.parametrize("n", [3, 6])
def test_with_many_digits_a_start_on_the_region_reaches_the_saddle_and_one_beside_it_does_not(n):
    """The start is far from the common region: by the abstract's statement it should not be driven to the saddle."""
    saddle, random = make(dimension=n)
    normal = measure_normals(saddle, 3000, draw_frame(random, n, 1))[0, 0]
    symmetric = np.array([1.0 + (j == n - 1) for j in range(n)])  # x_j = x_(n-j): orthogonal to the common region
    with mpmath.workdps(60):
        row = [mpmath.mpf(float(entry)) for entry in np.random.default_rng(0).normal(size=n)]
        steps = [_make_exact_step(n, k) for k in range(1500)]
        for step in reversed(steps):
            row = [mpmath.fsum(row[i] * step[i][j] for i in range(n)) for j in range(n)]
            size = mpmath.sqrt(mpmath.fsum(x * x for x in row))
            row = [x / size for x in row]
        np.testing.assert_allclose(np.abs([float(x) for x in row]), np.abs(normal), atol=1e-12)
        start = [mpmath.mpf(float(entry)) for entry in symmetric / np.linalg.norm(symmetric)]
        height = mpmath.fsum(a * b for a, b in zip(start, row, strict=True))
        on = [x - height * a for x, a in zip(start, row, strict=True)]
        beside = [x + mpmath.mpf("1e-3") * a for x, a in zip(on, row, strict=True)]
        assert np.linalg.norm([float(x) for x in on]) > 0.5
        assert _iterate(on, steps) < 1e-10
        assert _iterate(beside, steps) > 1e10


def _make_exact_step(n, k):
    """M(k) = I - 0.1 A^-1 H at sigma = (k + 1)/(k + 10)."""
    sigma = mpmath.mpf(k + 1) / (k + 10)
    smoothing = mpmath.matrix(n, n)
    for i in range(n):
        smoothing[i, i] += 1 + 2 * sigma
        smoothing[i, (i + 1) % n] -= sigma
        smoothing[i, (i - 1) % n] -= sigma
    inverse = smoothing**-1
    tenth = mpmath.mpf(1) / 10
    return [[(i == j) - tenth * inverse[i, j] * (-1 if j == n - 1 else 1) for j in range(n)] for i in range(n)]


def _iterate(x, steps):
    for step in steps:
        x = [mpmath.fsum(a * b for a, b in zip(row, x, strict=True)) for row in step]
    return float(mpmath.sqrt(mpmath.fsum(entry * entry for entry in x)))


@pytest.mark.parametrize("n", range(3, 13))
def test_the_common_region_is_that_of_the_proof(n):
    """x_j = -x_(n-j) and x_n = 0: on it every normal vanishes, and nothing else is left by all step indices."""
    saddle, random = make(dimension=n)
    normals = measure_normals(saddle, 2000, draw_frame(random, n, 1))[:, 0]
    j = np.arange(1, n)
    region = np.eye(n)[j - 1] - np.eye(n)[n - j - 1]
    assert np.abs(normals @ region.T).max() < 1e-12
    assert np.linalg.matrix_rank(region) == (n - 1) // 2
    assert n - np.linalg.matrix_rank(normals, rtol=RANK_CUT) == (n - 1) // 2


@pytest.mark.parametrize("n", [3, 6, 9, 12])
def test_fixed_smoothing_of_every_strength_leaves_the_same_common_region(n):
    strengths = np.linspace(0, 3, 25)
    normals = [predict_normal(make(dimension=n, schedule="fixed", smoothing=s)[0]) for s in strengths]
    assert n - np.linalg.matrix_rank(np.array(normals), rtol=RANK_CUT) == (n - 1) // 2


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_simulation_and_theory_agree_on_dimensions(schedule):
    for n in (3, 8, 11):
        saddle, random = make(dimension=n, schedule=schedule)
        found, theory = simulate_saddle(saddle, 2000, 12, random), predict_saddle(saddle, 12)
        assert found["attraction_dimension"] == theory["attraction_dimension"]
        assert found["common_dimension"] == theory["common_dimension"]


def test_smoothing_that_grows_too_fast_leaves_one_direction():
    found = run(dimension=6, schedule="power", growth_power=2.0)
    assert (found["attraction_dimension"], found["stalled_directions"]) == (1, 5)
    assert np.isnan(found["common_dimension"])
    assert np.isnan(found["normal_vector"]).all()
    # The mean shrinks by 1 - eta (n - 2)/n in each step, as the theory says.
    np.testing.assert_allclose(found["lyapunov_exponent"][5], np.log(1 - 0.1 * 4 / 6), rtol=1e-5)
    theory = predict_saddle(make(dimension=6, schedule="power", growth_power=2.0)[0], 12)
    assert theory["attraction_dimension"] == 1


@pytest.mark.parametrize(
    ("power", "canonical", "expected"), [(0, False, 5), (0.5, False, 5), (1, True, 5), (1, False, np.nan)]
)
def test_the_theory_knows_what_is_proved_of_growing_smoothing(power, canonical, expected):
    saddle, _ = make(dimension=6, schedule="power", growth_power=power)
    np.testing.assert_equal(predict_dimension(replace(saddle, is_canonical=canonical)), expected)


def test_gradient_descent_escapes_when_its_distance_says():
    """f = (0.9^2k - 1e-12 1.1^2k) / 2 < -1."""
    saddle, random = make(dimension=5, schedule="gradient_descent")
    k = np.arange(1000)
    expected = int(np.argmax((0.9 ** (2 * k) - 1e-12 * 1.1 ** (2 * k)) / 2 < -1))
    assert measure_escape(saddle, 1000, random) == expected
    assert np.isnan(measure_escape(saddle, 100, random))


def test_normals_that_have_not_converged_are_not_told():
    found = run(steps=400, dimension=6, step_size=0.001)
    assert np.isnan(found["normal_vector"]).all()
    assert np.isnan(found["common_dimension"])


def test_normals_are_asked_for_at_as_many_indices_as_the_table_says():
    saddle, random = make(dimension=5, hessian="random", negative_eigenvalues=2)
    normals = measure_normals(saddle, 1000, draw_frame(random, 5, 2))
    assert normals.shape == (STARTS, 2, 5)
    np.testing.assert_allclose(
        normals @ normals.transpose(0, 2, 1), np.broadcast_to(np.eye(2), (STARTS, 2, 2)), atol=1e-13
    )
