"""The implicit step against a dense solve and known stationary laws; the limiter keeps mass and sign."""

import numpy as np
import pytest

from clhd.systems.contrastive.theory.weights.fokker_planck import limit_masses, step_masses
from clhd.systems.contrastive.theory.weights.weight_grid import gaussian_masses, make_grid, pad_cells

GRID = make_grid(1.0, 9.0, 120)
PULLS = np.array([-0.4, 0.3])


def chain(pull, growth, shrinkage, diffusion, grid):
    """Rates of the jumps between cells, shape (to, from), written out once more from the head of the module."""
    w, cells = grid.centres, len(grid.centres)
    rates = np.zeros((cells, cells))
    for i in range(cells - 1):
        distance = w[i + 1] - w[i]
        drift = pull * distance + growth * (w[i + 1] ** 2 - w[i] ** 2) / 2
        drift -= shrinkage * (abs(w[i + 1]) - abs(w[i]))
        x = drift / diffusion
        fit = [y / np.expm1(y) if y else 1.0 for y in (-x, x)]
        rates[i + 1, i] = diffusion / distance * fit[0] / grid.widths[i]
        rates[i, i + 1] = diffusion / distance * fit[1] / grid.widths[i + 1]
    return rates - np.diag(rates.sum(axis=0))


@pytest.mark.parametrize("duration", [1e-3, 0.3, 100.0])
def test_a_step_solves_the_linear_system(duration):
    masses = gaussian_masses(GRID, np.array([0.5, -1.0]), 0.7)
    stepped, mass_error = step_masses(masses, GRID.centres, GRID.widths, PULLS, -0.3, 0.2, 0.05, duration)
    # A sum of 120 positive masses, each right to its last digits.
    assert mass_error < 1e-13
    for pull, before, after in zip(PULLS, masses, stepped, strict=True):
        matrix = np.eye(GRID.half * 2) - duration * chain(pull, -0.3, 0.2, 0.05, GRID)
        np.testing.assert_allclose(after, np.linalg.solve(matrix, before), rtol=0, atol=1e-13)


EXTREMES = {
    "no diffusion": (0.5, 0.0, 0.0, 0.0),
    "hardly any diffusion": (0.5, -1.0, 0.3, 1e-9),
    "strong shrinkage": (0.1, -0.6, 5.0, 0.05),
    "growth": (0.3, 2.0, 0.0, 0.2),
    "strong decay": (-0.3, -50.0, 0.0, 0.5),
    "much diffusion": (0.0, -0.1, 0.1, 100.0),
}


@pytest.mark.parametrize("case", EXTREMES)
@pytest.mark.parametrize("duration", [1e-9, 1.0, 1e6])
def test_the_linear_system_keeps_the_mass_before_it_is_normalised(case, duration):
    pull, growth, shrinkage, diffusion = EXTREMES[case]
    masses = gaussian_masses(GRID, np.array([0.5]), 0.7)
    _, mass_error = step_masses(
        masses, GRID.centres, GRID.widths, np.array([pull]), growth, shrinkage, diffusion, duration
    )
    # Rounding of 120 cells, some 120 x 2e-16; a scheme that does not conserve would miss by the mass that moves.
    assert mass_error < 1e-13


def test_the_stationary_law_of_linear_drift_is_the_gaussian():
    # Ornstein-Uhlenbeck: N(-a / c, -d / c), exact at the centres, and moments exact to the trapezoid rule.
    masses, growth, diffusion = gaussian_masses(GRID, np.zeros(2), 1.5), -0.3, 0.06
    for _ in range(60):
        masses, _ = step_masses(masses, GRID.centres, GRID.widths, PULLS, growth, 0.0, diffusion, 50.0)
    np.testing.assert_allclose(masses, gaussian_masses(GRID, -PULLS / growth, np.sqrt(-diffusion / growth)), atol=1e-12)
    np.testing.assert_allclose(masses @ GRID.centres, -PULLS / growth, atol=1e-10)


def test_the_stationary_law_of_the_elastic_net_has_its_kink():
    pull, growth, shrinkage, diffusion, masses = PULLS, -0.3, 0.5, 0.02, gaussian_masses(GRID, np.zeros(2), 1.0)
    for _ in range(60):
        masses, _ = step_masses(masses, GRID.centres, GRID.widths, pull, growth, shrinkage, diffusion, 50.0)
    w = GRID.centres
    expected = GRID.widths * np.exp((pull[:, None] * w + growth * w**2 / 2 - shrinkage * np.abs(w)) / diffusion)
    np.testing.assert_allclose(masses, expected / expected.sum(axis=1, keepdims=True), rtol=0, atol=1e-12)


def test_without_diffusion_mass_moves_downstream_only():
    masses = gaussian_masses(GRID, np.zeros(1), 1.0)
    stepped, _ = step_masses(masses, GRID.centres, GRID.widths, np.array([0.5]), 0.0, 0.0, 0.0, 0.1)
    assert np.all(np.cumsum(stepped) <= np.cumsum(masses) + 1e-15)
    assert stepped.sum() == pytest.approx(1, abs=1e-15)


def test_the_limiter_keeps_mass_and_sign_and_changes_nothing_else():
    rng = np.random.default_rng(1)
    low = rng.dirichlet(np.ones(40), size=3)
    high = low * (1 + 0.5 * rng.uniform(-1, 1, low.shape))
    high[0, 20] = -high[0, 20]
    high /= high.sum(axis=1, keepdims=True)
    limited = limit_masses(low, high)
    assert limited.min() >= 0
    np.testing.assert_allclose(limited.sum(axis=1), 1, atol=1e-15)
    gentle = low * (1 + 1e-4 * rng.uniform(-1, 1, low.shape))  # no cell loses all that it has
    gentle /= gentle.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(limit_masses(low, gentle), gentle, atol=1e-15)


def test_moments_of_a_gaussian_on_the_grid_are_exact():
    means = np.array([-2.0, 0.0, 0.7])
    masses = gaussian_masses(GRID, means, 0.8)
    np.testing.assert_allclose(masses @ GRID.centres, means, atol=1e-12)
    np.testing.assert_allclose(masses @ GRID.centres**2, means**2 + 0.64, atol=1e-12)


def test_an_extended_grid_holds_the_old_cells():
    more = GRID.extended()
    offset = more.half - GRID.half
    assert offset > 0
    np.testing.assert_array_equal(more.edges[offset:-offset], GRID.edges)
    masses = gaussian_masses(GRID, np.zeros(1), 1.0)
    np.testing.assert_array_equal(pad_cells(masses, more.half)[:, offset:-offset], masses)
