"""The quadrature for wide noise: against the trapezoid rule and one-dimensional integrals, at a bounded cost."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from clhd.systems.contrastive.theory.averages import pair_averages as narrow
from clhd.systems.contrastive.theory.averages.pair_averages import pair_averages, pair_rule
from clhd.systems.contrastive.theory.averages.wide_averages import _outer_rule
from tests.systems.contrastive.theory.test_averages import model_with, smooth_activation

# What both rules promise is 1e-12, and the averages are of order 1.
TOLERANCE = 2e-12


def wide_averages(rule, means, squared_norm):
    found = np.empty((len(means), len(rule.pairs)))
    narrow.average_wide_atoms(
        rule.activation,
        rule.monomials,
        rule.factors,
        rule.pairs,
        rule.noise_variance,
        rule.noise_covariance,
        means,
        squared_norm,
        found,
    )
    return found


@pytest.mark.parametrize("activation", ["tanh", "erf"])
@pytest.mark.parametrize("correlation", [-1.0, -0.999, -0.4, 0.0, 0.5, 0.9999, 1.0])
@pytest.mark.parametrize("noise_variance", [0.05, 1.0])
def test_both_rules_agree_where_both_can_be_used(activation, correlation, noise_variance):
    rule = pair_rule(model_with(activation, noise_variance, correlation, loss="spectral"))
    for squared_norm in (20 / noise_variance, 90 / noise_variance):
        means = math.sqrt(squared_norm) * np.array([0.0, 0.3, -1.0, 1.7])
        expected = pair_averages(rule, means, squared_norm)
        np.testing.assert_allclose(wide_averages(rule, means, squared_norm), expected, rtol=0, atol=TOLERANCE)


def one_integral(function, mean, deviation):
    """E[function(z)], z ~ N(mean, deviation^2), of a function that is constant beyond |z| = 20."""
    density = lambda z: function(z) * norm.pdf(z, mean, deviation)  # noqa: E731
    near = quad(density, -20, 20, points=[0], epsabs=1e-15, limit=200)[0]
    sides = norm.sf((20 - mean) / deviation), norm.cdf((-20 - mean) / deviation)
    return near + function(20.0) * sides[0] + function(-20.0) * sides[1]


@pytest.mark.parametrize("activation", ["tanh", "erf"])
@pytest.mark.parametrize("squared_norm", [1e4, 1e6, 1e8, 1e12])
def test_averages_at_very_large_norms_are_known_where_the_noises_are_independent_or_equal(activation, squared_norm):
    def monomial(exponents, z):
        values = smooth_activation(activation, z)
        return math.prod(value**power for value, power in zip(values, exponents, strict=True))

    deviation = math.sqrt(squared_norm)
    for correlation in (0.0, 1.0):
        model = model_with(activation, 1.0, correlation)
        rule = pair_rule(model)
        for mean in (0.0, 0.4 * deviation):
            found = pair_averages(rule, np.array([mean]), squared_norm)[0]
            for (f, g), value in zip(model.loss_terms.pairs, found, strict=True):
                if correlation == 1.0:
                    expected = one_integral(lambda z, f=f, g=g: monomial(f, z) * monomial(g, z), mean, deviation)
                else:
                    expected = math.prod(one_integral(lambda z, e=e: monomial(e, z), mean, deviation) for e in (f, g))
                assert value == pytest.approx(expected, rel=0, abs=TOLERANCE)


def test_the_quadrature_grows_as_the_logarithm_of_the_norm_only():
    nodes = [len(_outer_rule(0.0, math.sqrt(r), -0.4, 0.9 * math.sqrt(r))[0]) for r in (1e2, 1e4, 1e6, 1e8)]
    assert max(np.diff(nodes)) <= 400  # two more decades of r: 3.3 panels of 16 nodes on four sides, in blocks of 128
    assert nodes[-1] < 2048


def test_a_norm_without_averages_gives_nan_and_returns():
    rule = pair_rule(model_with("tanh", 1.0, 0.5))
    for squared_norm in (np.inf, np.nan, 1e300):
        assert np.isnan(pair_averages(rule, np.zeros(1), squared_norm)).all()
