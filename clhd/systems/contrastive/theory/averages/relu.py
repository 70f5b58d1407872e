"""Pair averages of the relu in closed form: moments of a bivariate normal law over the positive quadrant.

h(z) = z theta(z), h' = theta, h'' = delta, so every monomial is z^a theta(z), 1, delta(z), or h h'' = z delta(z) = 0.
With mean m of both views, variance s^2 = r s2, covariance c = r kappa, M_ab = E[z_1^a theta(z_1) z_2^b theta(z_2)] and
B_b = E[delta(z_1) z_2^b theta(z_2)], integration by parts (Stein's lemma) gives

    M_ab = m M_(a-1)b + s^2 ((a - 1) M_(a-2)b + [a = 1] B_b) + c (b M_(a-1)(b-1) + [b = 0] B_(a-1)),     a >= 1,
    M_00 = Phi(m / s) - 2 T(m / s, sqrt((s^2 - c) / (s^2 + c))),                              T = Owen's function,
    B_b  = phi(m / s) / s * E[x^b theta(x)],     x ~ N(m (s^2 - c) / s^2, (s^2 + c)(s^2 - c) / s^2),

the last because z_2 given z_1 = 0 is Gaussian. Source for T: D. B. Owen, Ann. Math. Statist. 27 (1956) 1075. The
recursion is derived here; tests/.../theory/test_averages.py compares it with quadrature split at the kink.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| m | ``mean`` | | of a pre-activation |
| s | ``deviation`` | | of a pre-activation |
| M | ``quadrant`` | (power, power) | |
| B | ``edge`` | (power,) | |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel

_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(24)
# The average of delta(z) is infinite at r = 0, but cancels in all products that are used: a tiny deviation instead of 0
# gives their limit.
_MIN_DEVIATION = 1e-60


@kernel
def owens_t(h: float, a: float) -> float:
    """Return Owen's T(h, a) = int_0^a exp(-h^2 (1 + x^2) / 2) / (1 + x^2) dx / (2 pi) for a >= 0, to 1e-15.

    For a <= 1, where the integrand is smooth, by Gauss-Legendre in the angle atan x; beyond by the reflection formula.
    """
    h = abs(h)
    if a > 1.0:
        near, far = 0.5 * math.erfc(h / math.sqrt(2.0)), 0.5 * math.erfc(a * h / math.sqrt(2.0)) if h > 0.0 else 0.5
        return 0.5 * (near + far) - near * far - owens_t_near(a * h if h > 0.0 else 0.0, 1.0 / a)
    return owens_t_near(h, a)


@kernel
def owens_t_near(h: float, a: float) -> float:
    """Return Owen's T for h >= 0 and 0 <= a <= 1."""
    half = 0.5 * math.atan(a)
    if h > 38.0:  # exp(-38^2 / 2) underflows
        return 0.0
    total = 0.0
    for i in range(len(_GAUSS_NODES)):
        cosine = math.cos(half * (1.0 + _GAUSS_NODES[i]))
        total += _GAUSS_WEIGHTS[i] * math.exp(-0.5 * h * h / (cosine * cosine))
    return half * total / (2.0 * math.pi)


@kernel
def _positive_moments(mean: float, deviation: float, moments: FloatArray) -> None:
    """Write E[x^k theta(x)], k = 0, 1, ..., of x ~ N(mean, deviation^2) to `moments`; deviation 0 is a point mass."""
    if deviation == 0.0:
        moments[0] = 1.0 if mean > 0.0 else 0.5 if mean == 0.0 else 0.0
        for k in range(1, len(moments)):
            moments[k] = moments[k - 1] * mean
        return
    x = mean / deviation
    moments[0] = 0.5 * math.erfc(-x / math.sqrt(2.0))
    for k in range(1, len(moments)):
        moments[k] = mean * moments[k - 1]
        if k == 1:
            moments[k] += deviation * math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
        else:
            moments[k] += (k - 1) * deviation * deviation * moments[k - 2]


@kernel
def average_relu_atoms(
    monomials: IntArray,
    pairs: IntArray,
    noise_variance: float,
    noise_covariance: float,
    means: FloatArray,
    squared_norm: float,
    averages: FloatArray,
) -> None:
    """Write E[f(z_1) g(z_2)] of every pair to `averages` of shape (atom, pair).

    Parameters
    ----------
    monomials : int array of shape (monomial, 3)
        Exponents of h, h', h''. The average of a product of two h'' does not exist and is NaN.
    pairs : int array of shape (pair, 2)
        Rows of `monomials`.
    noise_variance, noise_covariance, squared_norm : float
        s2, kappa, r.
    means : array of shape (atom,)
        m of every atom.
    """
    deviation = max(math.sqrt(max(squared_norm, 0.0) * noise_variance), _MIN_DEVIATION)
    correlation = noise_covariance / noise_variance if noise_variance > 0.0 else 1.0
    correlation = min(max(correlation, -1.0), 1.0)
    top = 1
    for k in range(len(monomials)):
        top = max(top, monomials[k, 0])
    single, edge, quadrant = np.empty(top + 1), np.empty(top + 1), np.empty((top + 1, top + 1))
    for atom in range(len(means)):
        mean = means[atom]
        x = mean / deviation
        density = math.exp(-0.5 * x * x) / (math.sqrt(2.0 * math.pi) * deviation)
        _positive_moments(mean, deviation, single)
        _positive_moments(mean * (1.0 - correlation), deviation * math.sqrt(1.0 - correlation * correlation), edge)
        for b in range(top + 1):
            edge[b] *= density
        _fill_quadrant(mean, deviation, correlation, single[0], edge, quadrant)
        for k in range(len(pairs)):
            f, g = monomials[pairs[k, 0]], monomials[pairs[k, 1]]
            if _kind(f) > _kind(g):
                f, g = g, f
            if _kind(g) == 3:
                averages[atom, k] = 0.0
            elif _kind(f) == 0:
                averages[atom, k] = 1.0 if _kind(g) == 0 else single[g[0]] if _kind(g) == 1 else density
            elif _kind(f) == 1:
                averages[atom, k] = quadrant[f[0], g[0]] if _kind(g) == 1 else edge[f[0]]
            else:
                averages[atom, k] = math.nan


@kernel
def _kind(monomial: IntArray) -> int:
    """Return 0 for the constant 1, 1 for z^a theta(z), 2 for delta(z), 3 for z^a delta(z), which is 0."""
    if monomial[2] > 0:
        return 3 if monomial[0] > 0 else 2
    return 1 if monomial[0] + monomial[1] > 0 else 0


@kernel
def _fill_quadrant(
    mean: float, deviation: float, correlation: float, above: float, edge: FloatArray, quadrant: FloatArray
) -> None:
    """Write M_ab to `quadrant` by the recursion of the module's head; `above` is Phi(m / s)."""
    ratio = math.sqrt((1.0 - correlation) / (1.0 + correlation)) if correlation > -1.0 else math.inf
    variance, covariance = deviation * deviation, deviation * deviation * correlation
    quadrant[0, 0] = above - 2.0 * owens_t(mean / deviation, ratio)
    for b in range(len(edge)):
        for a in range(1, len(edge)):
            value = mean * quadrant[a - 1, b] + variance * (edge[b] if a == 1 else (a - 1) * quadrant[a - 2, b])
            value += covariance * (edge[a - 1] if b == 0 else b * quadrant[a - 1, b - 1])
            quadrant[a, b] = value
        if b + 1 < len(edge):
            quadrant[0, b + 1] = quadrant[b + 1, 0]
