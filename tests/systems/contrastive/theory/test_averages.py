"""Pair averages against quadrature and formulas that share no code with them."""

import math
from functools import cache

import mpmath
import numpy as np
import pytest
from scipy.special import erf, owens_t
from scipy.stats import norm

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Atoms, Gaussian, Laplace, ThreePoint, Uniform
from clhd.systems.contrastive.theory.averages.atoms import fold_atoms, interpolate_atoms, place_nodes
from clhd.systems.contrastive.theory.averages.pair_averages import pair_averages, pair_rule
from clhd.systems.contrastive.theory.averages.relu import owens_t as own_owens_t

TOLERANCE = 1e-9  # what the theory promises for every activation
MEANS = (0.0, 0.4, -1.3, 2.6, -4.0)
LOSSES = ("bilinear", "spectral", "covariance")
CORRELATIONS = (-1.0, -0.95, -0.4, 0.0, 0.5, 0.95, 1.0)


def model_with(activation, noise_variance, correlation, **others):
    """A model with the given s2 and kappa = correlation s2."""
    return ContrastiveModel(
        latents=others.pop("latents", (ThreePoint(),)),
        activation=activation,
        base_noise_variance=noise_variance * (1 + correlation) / 2,
        augmentation_noise_variance=noise_variance * (1 - correlation) / 2,
        noise_correlation=-1.0,
        **others,
    )


def smooth_activation(name, z):
    if name == "tanh":
        return np.tanh(z), 1 / np.cosh(z) ** 2, -2 * np.tanh(z) / np.cosh(z) ** 2
    slope = math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2)
    return erf(z / math.sqrt(2)), slope, -z * slope


def standard_normal_nodes():
    """A Gauss-Legendre rule (|x| <= 7.5 in 60 pieces of 8 points) so fine that the narrowest tanh here is smooth to it.

    There a piece is 0.6 wide in z, and tanh has its pole at 1.6; outside lies a probability of 6e-14.
    """
    nodes, weights = np.polynomial.legendre.leggauss(8)
    x = (np.arange(-7.5, 7.5, 0.25)[:, None] + 0.125 * (1 + nodes)).ravel()
    return x, np.tile(0.125 * weights, len(x) // 8) * norm.pdf(x)


def brute_force(name, pairs, mean, variance, correlation):
    """E[f(z1) g(z2)] on a product grid of z1 and of z2 given z1: other coordinates than the code under test uses."""
    x, weights = standard_normal_nodes()
    z_1 = mean + math.sqrt(variance) * x[:, None]
    width = math.sqrt(max(variance * (1 - correlation**2), 0.0))
    inner, inner_weights = (x, weights) if width > 0 else (np.zeros(1), np.ones(1))
    z_2 = mean + correlation * (z_1 - mean) + width * inner
    first, second = smooth_activation(name, z_1), smooth_activation(name, z_2)

    def monomial(values, powers):
        factors = [value for value, power in zip(values, powers, strict=True) for _ in range(power)]
        return math.prod(factors, start=np.ones_like(values[0]))

    return np.array([weights @ (monomial(first, f) * monomial(second, g)) @ inner_weights for f, g in pairs])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_averages_of_smooth_activations_equal_brute_force(activation, correlation, loss):
    for noise_variance, squared_norm in [(0.1, 0.3), (0.1, 4.0), (1.0, 1e-4), (1.0, 1.0), (1.5, 4.0)]:
        model = model_with(activation, noise_variance, correlation, loss=loss)
        found = pair_averages(pair_rule(model), np.array(MEANS), squared_norm)
        for mean, row in zip(MEANS, found, strict=True):
            exact = brute_force(activation, model.loss_terms.pairs, mean, squared_norm * noise_variance, correlation)
            np.testing.assert_allclose(row, exact, rtol=0, atol=TOLERANCE)


@cache
def exact_tanh(z):
    """The activation and its first two derivatives; all pairs of all losses ask for the same z."""
    h, d = mpmath.tanh(z), mpmath.sech(z) ** 2
    return h, d, -2 * h * d


@cache
def exact_density(x):
    return mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("correlation", [-1.0, 1.0])
def test_averages_of_tanh_equal_mpmath_at_the_ends_of_the_correlation(correlation, loss):
    model = model_with("tanh", 1.5, correlation, loss=loss)
    mean, deviation = 0.7, math.sqrt(4.0 * 1.5)
    found = pair_averages(pair_rule(model), np.array([mean]), 4.0)[0]
    for (f, g), value in zip(model.loss_terms.pairs, found, strict=True):

        def integrand(x, f=f, g=g):
            product = exact_density(x)
            for powers, z in ((f, mean + deviation * x), (g, mean + correlation * deviation * x)):
                for value, power in zip(exact_tanh(z), powers, strict=True):
                    product *= value**power
            return product

        # Other tests need more digits, which mpmath holds globally; these give the integral to 1e-20.
        with mpmath.workdps(20):
            exact = mpmath.quad(integrand, np.linspace(-9, 9, 37).tolist())
        assert abs(exact - value) < TOLERANCE


def moments_by_isserlis(mean, variance, covariance, top):
    """E[z1^a z2^b] for a, b < top by Stein's recursion."""
    moments = np.zeros((top, top))
    for a in range(top):
        for b in range(top):
            if a == b == 0:
                moments[a, b] = 1
            elif a == 0:
                moments[a, b] = mean * moments[a, b - 1] + (variance * (b - 1) * moments[a, b - 2] if b > 1 else 0)
            else:
                moments[a, b] = mean * moments[a - 1, b]
                moments[a, b] += variance * (a - 1) * moments[a - 2, b] if a > 1 else 0
                moments[a, b] += covariance * b * moments[a - 1, b - 1] if b > 0 else 0
    return moments


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("activation", ["linear", (0.3, 1.0, -0.2), (0.0, 1.0, 0.3, -0.2), (0, 0.5, 0, 0, 0.1, 0.02)])
def test_averages_of_polynomials_are_exact(activation, correlation, loss):
    h = np.polynomial.Polynomial((0, 1) if activation == "linear" else activation)
    for noise_variance, squared_norm, mean in [(1.5, 4.0, -4.0), (0.5, 1.0, 0.7), (1.0, 1e-6, 2.0), (0.0, 1.0, 1.1)]:
        model = model_with(activation, noise_variance, correlation, loss=loss)
        variance = noise_variance * squared_norm
        found = pair_averages(pair_rule(model), np.array([mean]), squared_norm)[0]
        moments = moments_by_isserlis(mean, variance, correlation * variance, 4 * h.degree() + 1)
        # Rounding is relative to the size of the terms that are added: moments and coefficients without their signs.
        sizes = moments_by_isserlis(abs(mean), variance, abs(correlation) * variance, 4 * h.degree() + 1)
        for (f, g), value in zip(model.loss_terms.pairs, found, strict=True):
            left, right = (h ** p[0] * h.deriv(1) ** p[1] * h.deriv(2) ** p[2] for p in (f, g))
            part = (slice(len(left.coef)), slice(len(right.coef)))
            exact = left.coef @ moments[part] @ right.coef
            scale = np.abs(left.coef) @ sizes[part] @ np.abs(right.coef)
            assert abs(value - exact) <= 1e-12 * max(scale, 1e-300)


def relu_by_splitting(pairs, mean, variance, correlation):
    """z1 by quadrature split at the kinks, z2 given z1 by its truncated Gaussian moments; h'' is a delta at 0."""
    deviation = math.sqrt(variance)
    width = deviation * math.sqrt(max(1 - correlation**2, 0.0))
    nodes, weights = np.polynomial.legendre.leggauss(60)

    def truncated(power, centre):  # E[x^power theta(x)], x ~ N(centre, width^2)
        if width == 0:
            return np.where(centre > 0, centre**power, 0.0)
        p, d = norm.cdf(centre / width), width * norm.pdf(centre / width)
        return (p, centre * p + d, (centre**2 + width**2) * p + centre * d)[power]

    def integral(function):  # over z1 ~ N(mean, variance); pieces end at 0, and are fine where z2 turns over
        turn = mean - mean / correlation if correlation else mean
        scales = np.concatenate([[0], width / max(abs(correlation), 0.1) * np.array([1, 2, 4, 6, 9])])
        near = np.concatenate([turn + scales, turn - scales])
        grid = np.concatenate([np.linspace(mean - 10 * deviation, mean + 10 * deviation, 21), [0.0], near])
        edges = np.unique(grid[np.abs(grid - mean) <= 10 * deviation])
        half = np.diff(edges)[:, None] / 2
        z = edges[:-1, None] + half * (1 + nodes)
        return float((half * weights * norm.pdf(z, mean, deviation) * function(z)).sum())

    def average(f, g):
        if f == (0, 0, 0) and g[2]:
            if g[0]:
                return 0.0  # z delta(z)
            return norm.pdf(0, mean, deviation)
        if f[2] or g[2]:
            other = g if f[2] else f
            assert other == (1, 0, 0)
            return norm.pdf(0, mean, deviation) * truncated(1, np.float64(mean - correlation * mean))
        if f == (0, 0, 0):
            return integral(lambda z: (z > 0) * z ** g[0])
        return integral(lambda z: (z > 0) * z ** f[0] * truncated(g[0], mean + correlation * (z - mean)))

    return np.array([average(f, g) for f, g in pairs])


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_averages_of_relu_equal_quadrature_split_at_the_kinks(correlation, loss):
    for noise_variance, squared_norm in [(0.1, 0.3), (1.0, 1.0), (1.5, 4.0), (0.5, 1e-3)]:
        model = model_with("relu", noise_variance, correlation, loss=loss)
        found = pair_averages(pair_rule(model), np.array(MEANS), squared_norm)
        for mean, row in zip(MEANS, found, strict=True):
            if abs(correlation) == 1.0 and mean == 0.0:
                continue  # the reference meets theta(0) and delta at one place; the test below covers it
            exact = relu_by_splitting(model.loss_terms.pairs, mean, squared_norm * noise_variance, correlation)
            np.testing.assert_allclose(row, exact, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_averages_of_relu_at_mean_zero_are_the_orthant_moments(correlation):
    # E[theta theta] = 1/4 + asin(corr) / 2 pi, E[h h] = s^2 (sqrt(1 - corr^2) + (pi/2 + asin corr) corr) / 2 pi.
    model = model_with("relu", 1.0, correlation)
    pairs = model.loss_terms.pairs
    found = pair_averages(pair_rule(model), np.zeros(1), 2.0)[0]
    both = 0.25 + math.asin(correlation) / (2 * math.pi)
    sine = math.sqrt(1 - correlation**2)
    assert found[pairs.index(((0, 1, 0), (0, 1, 0)))] == pytest.approx(both, abs=1e-14)
    product = 2.0 * (sine + (math.pi / 2 + math.asin(correlation)) * correlation) / (2 * math.pi)
    assert found[pairs.index(((1, 1, 0), (1, 1, 0)))] == pytest.approx(product, abs=1e-14)
    assert found[pairs.index(((0, 0, 1), (1, 0, 0)))] == pytest.approx(sine / (2 * math.pi), abs=1e-14)


def test_owens_function_equals_scipys():
    for h in (0.0, 1e-3, 0.5, 1.7, -2.5, 6.0, 40.0):
        for a in (0.0, 1e-6, 0.3, 1.0, 1.5, 30.0, math.inf):
            assert own_owens_t(h, a) == pytest.approx(float(owens_t(h, a)), abs=2e-16)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["linear", "tanh", "erf", "relu", (0.1, 1.0, 0.2)])
@pytest.mark.parametrize(("noise_variance", "squared_norm"), [(0.0, 1.0), (1.0, 0.0)])
def test_without_noise_averages_are_the_products_themselves(activation, noise_variance, squared_norm, loss):
    model = model_with(activation, noise_variance, 0.3, loss=loss)
    means = np.array([-1.2, 0.3, 2.0])
    found = pair_averages(pair_rule(model), means, squared_norm)
    h, d, s = model.unit(means)
    for k, (f, g) in enumerate(model.loss_terms.pairs):
        powers = np.add(f, g)
        np.testing.assert_allclose(found[:, k], h ** powers[0] * d ** powers[1] * s ** powers[2], rtol=1e-14, atol=0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "erf", "linear", (0.2, 0.0, 1.0), (0.0, 1.0, 0.0, 0.3)])
def test_the_signs_of_a_rule_are_those_of_its_averages(activation, loss):
    rule = pair_rule(model_with(activation, 1.0, 0.4, loss=loss))
    upper, lower = pair_averages(rule, np.array([0.7, -0.7]), 1.3)
    np.testing.assert_allclose(lower, rule.signs * upper, rtol=1e-13, atol=1e-14)  # rounding of the sums
    assert set(rule.signs) <= {-1.0, 1.0}


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("activation", ["tanh", "erf"])
def test_very_many_atoms_have_the_averages_of_few(activation, correlation):
    rule = pair_rule(model_with(activation, 1.0, correlation))
    means = np.random.default_rng(1).uniform(-3, 3, 1500)
    for squared_norm in (0.0, 0.3, 4.0):
        nodes, step = place_nodes(rule, means, squared_norm)
        assert len(nodes) < len(means) / 2
        averages = interpolate_atoms(pair_averages(rule, nodes, squared_norm), step, means)
        chosen = slice(0, None, 50)
        np.testing.assert_allclose(
            averages[chosen], pair_averages(rule, means[chosen], squared_norm), rtol=0, atol=2e-11
        )


def test_folding_keeps_the_law_of_the_latents():
    latents = (ThreePoint(second_moment=1.2, kurtosis=2.0), Atoms(values=(-1.0, 0.5), weights=(0.25, 0.75)))
    values, weights = model_with("tanh", 1.0, 0.0, latents=latents).latent_atoms()
    folded = fold_atoms(model_with("tanh", 1.0, 0.0, latents=latents))
    q = np.array([0.3, 0.8])
    cubes = folded.weights @ (folded.values @ q) ** 3 - folded.mirror_weights @ (folded.values @ q) ** 3
    assert cubes == pytest.approx(weights @ (values @ q) ** 3, abs=1e-15)
    assert (folded.weights + folded.mirror_weights).sum() == pytest.approx(1, abs=1e-15)
    symmetric = fold_atoms(model_with("tanh", 1.0, 0.0, latents=(ThreePoint(kurtosis=2.0),) * 2))
    assert len(symmetric.weights) == 5  # of 9


@pytest.mark.parametrize("law", [Gaussian(), Uniform(), Laplace()])
@pytest.mark.parametrize(("overlap", "squared_norm", "noise_variance"), [(0.7, 0.5, 0.5), (2.0, 4.0, 0.3)])
def test_rules_of_continuous_laws_average_the_averages(law, overlap, squared_norm, noise_variance):
    rule = pair_rule(model_with("tanh", noise_variance, 0.0))
    density = {
        "Gaussian": norm.pdf,
        "Uniform": lambda c: (np.abs(c) < math.sqrt(3)) / math.sqrt(12),
        "Laplace": lambda c: np.exp(-math.sqrt(2) * np.abs(c)) / math.sqrt(2),
    }[type(law).__name__]
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.union1d(np.linspace(-20, 20, 161), [-math.sqrt(3), math.sqrt(3)])
    half = np.diff(edges)[:, None] / 2
    c = (edges[:-1, None] + half * (1 + nodes)).ravel()
    fine = (half * weights).ravel() * density(c)
    averages = pair_averages(rule, overlap * c, squared_norm)
    values, shares = law.atoms()
    coarse = pair_averages(rule, overlap * values, squared_norm)
    np.testing.assert_allclose(shares @ coarse, fine @ averages, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose((shares * values) @ coarse, (fine * c) @ averages, rtol=0, atol=TOLERANCE)
