"""Conditional pair averages E[f(z_1) g(z_2) | c] over the Gaussian noise of the two views of one sample.

Given the latent, both pre-activations have the mean m = c . q, and z_v = m + e_v with e ~ N(0, r K),
K = [[s2, kappa], [kappa, s2]]. Sum and difference of the two noises are independent, so with u, v ~ N(0, 1)

    z_1 = m + alpha u + beta v,    z_2 = m + alpha u - beta v,
    alpha^2 = r (s2 + kappa) / 2,  beta^2 = r (s2 - kappa) / 2,

which holds at correlation -1 and +1 and without noise too. The views are exchangeable, so f g + g f is averaged and
v >= 0 suffices. f and g are monomials of h, h', h''; which pairs are needed, the loss says (`Loss.pairs`).

| activation | rule | error |
|---|---|---|
| tanh, erf | trapezoid rule in u and v (`trapezoid_step`) | 1e-12 |
| linear, polynomial | Gauss-Hermite nodes, as many as the degree asks for | rounding |
| relu | closed form (`clhd.theory.relu`) | rounding |

| symbol | name | shape | unit or scale |
|---|---|---|---|
| m | ``means`` | (atom,) | of a pre-activation |
| r | ``squared_norm`` | | of w_i^2 |
| s2, kappa | ``noise_variance``, ``noise_covariance`` | | per coordinate |
| E[f g] | averages | (atom, pair) | of the pair |
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clhd.model.activations import ERF, LINEAR, POLYNOMIAL, RELU, activate, activate_second
from clhd.model.compiled import kernel
from clhd.model.contrastive import ContrastiveModel
from clhd.model.losses.base import Monomial
from clhd.theory.relu import average_relu

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# exp(-8^2 / 2) = 1e-14 of the noise lies outside this radius of the (u, v) plane.
_RADIUS = 8.0
# -log of the trapezoid rule's error before the factor of its poles of order up to 6 (tests measure 1e-12 in all).
_DIGITS = 34.0


class PairRule(NamedTuple):
    """All that fixes the pair averages but m and r, as the kernels take it.

    Attributes
    ----------
    activation : int
        Code of the activation.
    coefficients : array of shape (degree + 1,) or (0,)
        Of a polynomial.
    monomials : int array of shape (monomial, 3)
        Exponents of h, h', h''.
    pairs : int array of shape (pair, 2)
        Rows of `monomials`.
    nodes, weights : arrays of shape (node,)
        Gauss-Hermite rule of the standard normal law; empty where the trapezoid rule or a closed form is used.
    noise_variance, noise_covariance : float
        s2 and kappa.
    """

    activation: int
    coefficients: FloatArray
    monomials: IntArray
    pairs: IntArray
    nodes: FloatArray
    weights: FloatArray
    noise_variance: float
    noise_covariance: float


def pair_rule(model: ContrastiveModel) -> PairRule:
    """The rule for the pairs that the loss of `model` needs."""
    pairs = model.loss_terms.pairs
    monomials = sorted({monomial for pair in pairs for monomial in pair})
    code = model.unit.code
    nodes, weights = np.empty(0), np.empty(0)
    if code in (LINEAR, POLYNOMIAL):
        degree = max(1, len(model.unit.coefficients) - 1)
        nodes, weights = _hermite_rule(max(_degree(f, degree) + _degree(g, degree) for f, g in pairs))
    return PairRule(
        activation=code,
        coefficients=model.unit.coefficient_array,
        monomials=np.array(monomials, dtype=np.int64),
        pairs=np.array([[monomials.index(f), monomials.index(g)] for f, g in pairs], dtype=np.int64),
        nodes=nodes,
        weights=weights,
        noise_variance=model.noise_variance,
        noise_covariance=model.noise_covariance,
    )


def pair_averages(rule: PairRule, means: FloatArray, squared_norm: float) -> FloatArray:
    """Pair averages for every conditional mean.

    Parameters
    ----------
    rule : PairRule
        From `pair_rule`.
    means : array of shape (atom,)
        m = c . q of every atom.
    squared_norm : float
        r >= 0.

    Returns
    -------
    array of shape (atom, pair)
        E[f(z_1) g(z_2) | c].
    """
    averages = np.empty((len(means), len(rule.pairs)))
    average_atoms(rule, np.ascontiguousarray(means, dtype=np.float64), float(squared_norm), averages)
    return averages


def _degree(monomial: Monomial, degree: int) -> int:
    """Degree in z of a monomial of h, h', h'' for a polynomial h."""
    return sum(power * max(degree - order, 0) for order, power in enumerate(monomial))


def _hermite_rule(degree: int) -> tuple[FloatArray, FloatArray]:
    """Gauss-Hermite nodes and weights for N(0, 1), exact up to `degree`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(degree // 2 + 1)
    return nodes, weights / weights.sum()


@kernel
def trapezoid_step(activation: int, width: float) -> float:
    """Step at which the trapezoid rule in one standard normal coordinate u is exact to about 1e-12.

    By Poisson summation the error is the integrand's Fourier transform at 2 pi / step. Shifting the contour by i y
    costs exp(y^2 / 2) of the normal density and gains exp(-2 pi y / step):

    - tanh(m + width u) stops the shift at its pole, y = pi / (2 width);
    - erf is entire: h^2 h'^2 grows as exp(2 width^2 y^2), which only narrows the Gaussian.
    """
    if activation == ERF:
        return math.pi * math.sqrt(2.0 / (_DIGITS * (1.0 + 4.0 * width * width)))
    pole = 0.5 * math.pi / width
    if 0.5 * pole * pole > _DIGITS:
        return math.pi * math.sqrt(2.0 / _DIGITS)
    return 2.0 * math.pi * pole / (_DIGITS + 0.5 * pole * pole)


@kernel
def _half_line(rule: PairRule, width: float) -> tuple[FloatArray, FloatArray]:
    """Nodes u >= 0 and the weights of u and -u together, for one of the two coordinates."""
    if width == 0.0:
        return np.zeros(1), np.ones(1)
    if len(rule.nodes) > 0:
        first = len(rule.nodes) // 2
        nodes, weights = rule.nodes[first:].copy(), 2.0 * rule.weights[first:]
        if len(rule.nodes) % 2 == 1:
            nodes[0] = 0.0
            weights[0] *= 0.5
        return nodes, weights
    step = trapezoid_step(rule.activation, width)
    nodes = step * np.arange(int(_RADIUS / step) + 1)
    weights = 2.0 * step / math.sqrt(2.0 * math.pi) * np.exp(-0.5 * nodes * nodes)
    weights[0] *= 0.5
    return nodes, weights


@kernel
def average_atoms(rule: PairRule, means: FloatArray, squared_norm: float, averages: FloatArray) -> None:
    """Write the pair averages of every mean to `averages` of shape (atom, pair)."""
    if rule.activation == RELU:
        for atom in range(len(means)):
            average_relu(
                rule.monomials,
                rule.pairs,
                rule.noise_variance,
                rule.noise_covariance,
                means[atom],
                squared_norm,
                averages[atom],
            )
        return
    alpha = math.sqrt(max(0.5 * squared_norm * (rule.noise_variance + rule.noise_covariance), 0.0))
    beta = math.sqrt(max(0.5 * squared_norm * (rule.noise_variance - rule.noise_covariance), 0.0))
    u, u_weights = _half_line(rule, alpha)
    v, v_weights = _half_line(rule, beta)
    radius = math.inf if len(rule.nodes) > 0 else _RADIUS
    for atom in range(len(means)):
        _average_smooth(rule, means[atom], alpha, beta, u, u_weights, v, v_weights, radius, averages[atom])


@kernel
def _average_smooth(
    rule: PairRule,
    mean: float,
    alpha: float,
    beta: float,
    u: FloatArray,
    u_weights: FloatArray,
    v: FloatArray,
    v_weights: FloatArray,
    radius: float,
    averages: FloatArray,
) -> None:
    """Sum over the nodes +-u, v of one atom: lanes run along v (both views side by side), so that LLVM vectorises."""
    sums = np.zeros((len(rule.pairs), len(v)))
    buffer = np.empty((4 + len(rule.monomials), 2 * len(v)))
    used = len(v)
    for i in range(len(u)):
        while used > 1 and u[i] * u[i] + v[used - 1] * v[used - 1] > radius * radius:
            used -= 1
        for sign in (1.0, -1.0):
            if sign < 0.0 and u[i] == 0.0:
                continue
            weight = 0.5 * u_weights[i] if u[i] > 0.0 else u_weights[i]
            z = buffer[0, : 2 * used]
            for j in range(used):
                z[j] = mean + sign * alpha * u[i] + beta * v[j]
                z[used + j] = mean + sign * alpha * u[i] - beta * v[j]
            _write_monomials(rule, buffer[:, : 2 * used])
            for k in range(len(rule.pairs)):
                f, g = buffer[4 + rule.pairs[k, 0]], buffer[4 + rule.pairs[k, 1]]
                row = sums[k]
                for j in range(used):
                    row[j] += 0.5 * weight * (f[j] * g[used + j] + g[j] * f[used + j])
    for k in range(len(averages)):
        total = 0.0
        for j in range(len(v)):
            total += v_weights[j] * sums[k, j]
        averages[k] = total


@kernel
def _write_monomials(rule: PairRule, buffer: FloatArray) -> None:
    """From z in row 0 write h, h', h'' to rows 1-3 and the monomials to the rows from 4 on."""
    activate(rule.activation, rule.coefficients, buffer[0], buffer[1], buffer[2])
    activate_second(rule.activation, rule.coefficients, buffer[0], buffer[1], buffer[2], buffer[3])
    for k in range(len(rule.monomials)):
        row = buffer[4 + k]
        row[:] = 1.0
        for order in range(3):
            factor = buffer[1 + order]
            for _ in range(rule.monomials[k, order]):
                for j in range(len(row)):
                    row[j] *= factor[j]
