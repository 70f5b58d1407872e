"""Conditional pair averages E[f(z_1) g(z_2) | c] over the Gaussian noise of the two views of one sample.

Given the latent, both pre-activations have the mean m = c . q, and z_v = m + e_v with e ~ N(0, r K),
K = [[s2, kappa], [kappa, s2]]. Sum and difference of the two noises are independent, so with u, v ~ N(0, 1)

    z_1 = m + alpha u + beta v,    z_2 = m + alpha u - beta v,
    alpha^2 = r (s2 + kappa) / 2,  beta^2 = r (s2 - kappa) / 2,

also at correlation -1 and +1 and without noise. The views are exchangeable, so f g + g f is averaged over v >= 0 only.
f and g are monomials of h, h', h''; `Loss.pairs` lists the pairs that a loss needs.

| activation | rule | error |
|---|---|---|
| tanh, erf | trapezoid rule in u and v (`normal_nodes.trapezoid_step`) | 1e-12 |
| linear, polynomial | Gauss-Hermite nodes, as many as the degree needs | rounding |
| relu | closed form (`clhd.systems.contrastive.theory.averages.relu`) | rounding |

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

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.activations import ERF, LINEAR, POLYNOMIAL, RELU, TANH
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses.base import ONE, D, H, Monomial, S
from clhd.systems.contrastive.theory.averages.normal_nodes import LANES, RADIUS, trapezoid_step, write_monomials
from clhd.systems.contrastive.theory.averages.relu import average_relu_atoms
from clhd.systems.contrastive.theory.averages.wide_averages import average_wide_atoms

# More nodes of the trapezoid rule (r s2 of about 150 with independent noise) cost more than the rule for wide noise.
_MAX_NODES = 2.0**17
# Largest squared norm with averages: far beyond the divergence limit, where a rejected step may still ask for them.
_LARGEST_NORM = 1e30


class PairRule(NamedTuple):
    """Everything except m and r that determines the pair averages, in the form that kernels take.

    Attributes
    ----------
    activation : int
        Code of the activation.
    coefficients : array of shape (degree + 1,) or (0,)
        Coefficients of a polynomial activation.
    monomials : int array of shape (monomial, 3)
        Exponents of h, h', h''; the first four are 1, h, h', h''.
    factors : int array of shape (monomial - 4, 2)
        For each later monomial, the two earlier ones whose product it is.
    pairs : int array of shape (pair, 2)
        Rows of `monomials`.
    signs : array of shape (pair,)
        Factor of the pair average when m changes its sign: -1 or 1 for an odd or even h, else 0 (not known).
    nodes, weights : arrays of shape (node,)
        Gauss-Hermite rule of the standard normal law; empty if the trapezoid rule or a closed form is used.
    noise_variance, noise_covariance : float
        s2 and kappa.
    """

    activation: int
    coefficients: FloatArray
    monomials: IntArray
    factors: IntArray
    pairs: IntArray
    signs: FloatArray
    nodes: FloatArray
    weights: FloatArray
    noise_variance: float
    noise_covariance: float


def pair_rule(model: ContrastiveModel) -> PairRule:
    """Return the rule for the pairs that the loss of `model` needs."""
    pairs = model.loss_terms.pairs
    monomials, factors = _factorise({monomial for pair in pairs for monomial in pair})
    code = model.unit.code
    nodes, weights = np.empty(0), np.empty(0)
    if code in (LINEAR, POLYNOMIAL) and len(pairs) > 0:
        degree = max(1, len(model.unit.coefficients) - 1)
        nodes, weights = _hermite_rule(max(_degree(f, degree) + _degree(g, degree) for f, g in pairs))
    return PairRule(
        activation=code,
        coefficients=model.unit.coefficient_array,
        monomials=np.array(monomials, dtype=np.int64),
        factors=np.array(factors, dtype=np.int64).reshape(-1, 2),
        pairs=np.array([[monomials.index(f), monomials.index(g)] for f, g in pairs], dtype=np.int64).reshape(-1, 2),
        signs=np.array([_sign(f, model.unit.parity) * _sign(g, model.unit.parity) for f, g in pairs], dtype=np.float64),
        nodes=nodes,
        weights=weights,
        noise_variance=model.noise_variance,
        noise_covariance=model.noise_covariance,
    )


def pair_averages(rule: PairRule, means: FloatArray, squared_norm: float) -> FloatArray:
    """Return E[f(z_1) g(z_2) | c], shape (atom, pair), for every conditional mean.

    Parameters
    ----------
    rule : PairRule
        From `pair_rule`.
    means : array of shape (atom,)
        m = c . q of every atom.
    squared_norm : float
        r >= 0.
    """
    averages = np.empty((len(means), len(rule.pairs)))
    average_atoms(rule, np.ascontiguousarray(means, dtype=np.float64), float(squared_norm), averages)
    return averages


def _factorise(wanted: set[Monomial]) -> tuple[list[Monomial], list[tuple[int, int]]]:
    """Order the monomials so that each one after the first four is the product of two earlier ones."""
    monomials: list[Monomial] = [ONE, H, D, S]
    factors = []
    for monomial in sorted(wanted, key=sum):
        product = ONE
        for order, power in enumerate(monomial):
            for _ in range(power):
                last, product = product, _times(product, monomials[1 + order])
                if product not in monomials:
                    factors.append((monomials.index(last), 1 + order))
                    monomials.append(product)
    return monomials, factors


def _times(f: Monomial, g: Monomial) -> Monomial:
    return f[0] + g[0], f[1] + g[1], f[2] + g[2]


def _sign(monomial: Monomial, parity: int) -> int:
    """Return the parity of a monomial from the parity of h, which differentiation reverses."""
    return parity ** (monomial[0] + monomial[2]) * (-parity) ** monomial[1] if parity else 0


def _degree(monomial: Monomial, degree: int) -> int:
    """Return the degree in z of a monomial of h, h', h'' for a polynomial h."""
    return sum(power * max(degree - order, 0) for order, power in enumerate(monomial))


def _hermite_rule(degree: int) -> tuple[FloatArray, FloatArray]:
    """Return Gauss-Hermite nodes and weights for N(0, 1), exact up to `degree`."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(degree // 2 + 1)
    return nodes, weights / weights.sum()


@kernel
def _line(rule: PairRule, width: float) -> tuple[FloatArray, FloatArray]:
    """Return nodes (symmetric, ascending) and weights of one standard normal coordinate that `width` multiplies."""
    if width == 0.0:
        return np.zeros(1), np.ones(1)
    if len(rule.nodes) > 0:
        return rule.nodes, rule.weights
    step = trapezoid_step(rule.activation, width)
    outer = int(RADIUS / step)
    nodes = step * np.arange(-outer, outer + 1).astype(np.float64)
    return nodes, step / math.sqrt(2.0 * math.pi) * np.exp(-0.5 * nodes * nodes)


@kernel
def _count_nodes(rule: PairRule, squared_norm: float) -> float:
    """Return about how many nodes the trapezoid rule needs in the (u, v) plane."""
    alpha = math.sqrt(max(0.5 * squared_norm * (rule.noise_variance + rule.noise_covariance), 0.0))
    beta = math.sqrt(max(0.5 * squared_norm * (rule.noise_variance - rule.noise_covariance), 0.0))
    u = 2.0 * RADIUS / trapezoid_step(rule.activation, alpha) if alpha > 0.0 else 1.0
    v = RADIUS / trapezoid_step(rule.activation, beta) if beta > 0.0 else 1.0
    return u * v


@kernel
def _plane(rule: PairRule, squared_norm: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return offsets z_1 - m and z_2 - m and weights of all nodes with v >= 0, padded to whole blocks of lanes."""
    alpha = math.sqrt(max(0.5 * squared_norm * (rule.noise_variance + rule.noise_covariance), 0.0))
    beta = math.sqrt(max(0.5 * squared_norm * (rule.noise_variance - rule.noise_covariance), 0.0))
    u, u_weights = _line(rule, alpha)
    v, v_weights = _line(rule, beta)
    square = math.inf if len(rule.nodes) > 0 else RADIUS * RADIUS
    first = len(v) // 2  # first node with v >= 0; if their number is odd it is v = 0, which counts once
    capacity = len(u) * (len(v) - first) + LANES
    offsets_1, offsets_2, weights = np.zeros(capacity), np.zeros(capacity), np.zeros(capacity)
    nodes = 0
    for i in range(len(u)):
        for j in range(first, len(v)):
            if u[i] * u[i] + v[j] * v[j] <= square:
                offsets_1[nodes] = alpha * u[i] + beta * v[j]
                offsets_2[nodes] = alpha * u[i] - beta * v[j]
                weights[nodes] = u_weights[i] * v_weights[j] * (1.0 if 2 * j + 1 == len(v) else 2.0)
                nodes += 1
    padded = (nodes + LANES - 1) // LANES * LANES
    return offsets_1[:padded], offsets_2[:padded], weights[:padded]


@kernel
def average_atoms(rule: PairRule, means: FloatArray, squared_norm: float, averages: FloatArray) -> None:
    """Write the pair averages of every mean to `averages` of shape (atom, pair)."""
    if rule.activation in (TANH, ERF):
        if not squared_norm <= _LARGEST_NORM:
            averages[:] = math.nan
            return
        if _count_nodes(rule, squared_norm) > _MAX_NODES:
            average_wide_atoms(
                rule.activation,
                rule.monomials,
                rule.factors,
                rule.pairs,
                rule.noise_variance,
                rule.noise_covariance,
                means,
                squared_norm,
                averages,
            )
            return
    if rule.activation == RELU:
        average_relu_atoms(
            rule.monomials,
            rule.pairs,
            rule.noise_variance,
            rule.noise_covariance,
            means,
            squared_norm,
            averages,
        )
        return
    offsets_1, offsets_2, weights = _plane(rule, squared_norm)
    views_1, views_2 = np.ones((len(rule.monomials), LANES)), np.ones((len(rule.monomials), LANES))
    z_1, z_2 = np.empty(LANES), np.empty(LANES)
    sums = np.empty((len(rule.pairs), LANES))
    for atom in range(len(means)):
        sums[:] = 0.0
        for start in range(0, len(weights), LANES):
            for i in range(LANES):
                z_1[i] = means[atom] + offsets_1[start + i]
                z_2[i] = means[atom] + offsets_2[start + i]
            write_monomials(rule.activation, rule.coefficients, rule.factors, z_1, views_1)
            write_monomials(rule.activation, rule.coefficients, rule.factors, z_2, views_2)
            block = weights[start : start + LANES]
            for k in range(len(rule.pairs)):
                f, g = rule.pairs[k, 0], rule.pairs[k, 1]
                _add_products(block, views_1[f], views_1[g], views_2[f], views_2[g], sums[k])
        for k in range(len(rule.pairs)):
            averages[atom, k] = sums[k].sum()


@kernel
def _add_products(
    weights: FloatArray, f_1: FloatArray, g_1: FloatArray, f_2: FloatArray, g_2: FloatArray, sums: FloatArray
) -> None:
    """Add the weighted (f(z_1) g(z_2) + g(z_1) f(z_2)) / 2 lane by lane."""
    for i in range(LANES):
        sums[i] += weights[i] * (0.5 * (f_1[i] * g_2[i] + g_1[i] * f_2[i]))
