"""All optima of E on the sphere, by enumeration, also those on kinks; the share of the sphere on which units are dead.

E is quadratic wherever the set S of active patterns (w . x_m > 0) stays the same: E = w'A_S w / 2 with

    A_S = sum_S p_m x_m x_m' - mu_S mu_S',   mu_S = sum_S p_m x_m

On w . x_j = 0 the slope along x_j falls by p_j times the mean of h, from inactive to active. So E has a concave kink
there, and an optimum can lie on the kinks of a set B. docs/systems/one_layer.md derives the conditions that are
checked here.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray, pad
from clhd.core.lazy import special
from clhd.systems.declarations import NotConvergedError
from clhd.systems.one_layer.model import find_covariance, make_patterns, make_probabilities

_TOLERANCE = 1e-9  # of signs and of multipliers
_SAME = 1e-6  # largest difference of the weights of one optimum that two cases find
_CASES = 8192  # that are solved at once
_NODES, _REACH = 20_001, 9.0  # of the integral over the common part of the responses


def predict_layer(values: SimpleNamespace) -> dict[str, Any]:
    """Predict optima, their energies (NaN beyond the last optimum) and the share of dead units.

    Raises
    ------
    NotConvergedError
        If there are more optima than room, or a continuum of them.
    """
    count, overlap, room = values.pattern_count, values.pattern_overlap, values.room_for_optima
    patterns, probabilities = make_patterns(count, overlap), make_probabilities(count, values.probability_ratio)
    is_linear = values.activation == "linear"
    if is_linear:
        energies = find_linear_energy(patterns, probabilities)[None]
    else:
        energies = enumerate_optima(patterns, probabilities)[1]
    if len(energies) > room:
        raise NotConvergedError(f"{len(energies)} optima found: there is room for {room}")
    return {
        "optima": len(energies),
        "dead_share": 0.0 if is_linear else find_dead_share(count, overlap),
        "optimum_energy": pad(energies, room),
    }


def find_linear_energy(patterns: FloatArray, probabilities: FloatArray) -> FloatArray:
    """Return the energy of the one optimum (up to sign) of a linear unit: half the largest eigenvalue.

    It raises NotConvergedError if this eigenvalue is a multiple one: then the optima are a continuum.
    """
    eigenvalues = np.linalg.eigvalsh(find_covariance(patterns, probabilities))
    if eigenvalues[-1] - eigenvalues[-2] < _TOLERANCE * eigenvalues[-1]:
        raise NotConvergedError("the largest eigenvalue is a multiple one: the optima are a continuum")
    return np.asarray(eigenvalues[-1] / 2)


def enumerate_optima(patterns: FloatArray, probabilities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return weights, (optima, M), and energies of all optima of a relu unit, the highest first, by all 3^M cases."""
    count = len(patterns)
    found, energies = [], []
    for begin in range(0, 3**count, _CASES):
        codes = np.arange(begin, min(begin + _CASES, 3**count))
        states = codes[:, None] // 3 ** np.arange(count) % 3  # 0 inactive, 1 active, 2 on its kink
        states = states[(states == 1).any(axis=1)]
        weights, values = solve_cases(patterns, probabilities, states)
        found.append(weights)
        energies.append(values)
    weights, values = np.concatenate(found), np.concatenate(energies)
    order = np.argsort(-values, kind="stable")
    weights, values = weights[order], values[order]
    is_new = [
        not (np.abs(weights[:k] - weight).max(axis=1) < _SAME).any() if k else True for k, weight in enumerate(weights)
    ]
    return weights[is_new], values[is_new]


def solve_cases(patterns: FloatArray, probabilities: FloatArray, states: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return weights and energies of the cases that have an optimum.

    `states`, shape (cases, M), says of each pattern whether it is inactive (0), active (1) or on its kink (2).
    """
    count = len(patterns)
    is_active, is_kink = states == 1, states == 2
    share = np.where(is_active, probabilities, 0.0)
    mean = share @ patterns
    matrix = patterns.T @ (share[:, :, None] * patterns) - mean[:, :, None] * mean[:, None, :]
    # The Gram matrix of the patterns on kinks; of the others, the identity.
    gram = np.where(is_kink[:, :, None] & is_kink[:, None, :], patterns @ patterns.T, 0.0)
    gram[:, np.arange(count), np.arange(count)] = 1.0
    kinks = np.where(is_kink[:, :, None], patterns, 0.0)
    free = np.eye(count) - kinks.transpose(0, 2, 1) @ np.linalg.solve(gram, kinks)
    eigenvalues, vectors = np.linalg.eigh(free @ matrix @ free)
    top, weights = eigenvalues[:, -1], vectors[:, :, -1]
    responses = weights @ patterns.T
    sign = np.sign(np.where(is_active, responses, 0.0).sum(axis=1))
    weights, responses = weights * sign[:, None], responses * sign[:, None]
    is_right = np.where(is_active, responses > _TOLERANCE, is_kink | (responses < -_TOLERANCE)).all(axis=1)
    rest = (matrix @ weights[:, :, None])[:, :, 0] - top[:, None] * weights
    pull = np.linalg.solve(gram, np.where(is_kink, rest @ patterns.T, 0.0)[:, :, None])[:, :, 0]
    slope_change = probabilities * (share * responses).sum(axis=1)[:, None]
    is_held = (pull >= -_TOLERANCE * slope_change) & (pull <= (1 + _TOLERANCE) * slope_change)
    is_optimum = is_right & (is_held | ~is_kink).all(axis=1) & (top > _TOLERANCE)
    return weights[is_optimum], top[is_optimum] / 2


def find_dead_share(count: int, overlap: float) -> float:
    """Return the probability that w . x_m < 0 for all m, for a random w.

    The responses are normal numbers of equal correlation c, so they are sqrt(c) t + sqrt(1 - c) times independent
    ones, and P = E Phi(b t)^M with b^2 = c / (1 - c). The integral is analytic in c. For c < 0, b = i a and
    Phi(i a t) = exp(a^2 t^2 / 2) w(a t / sqrt 2) / 2 with Faddeeva's function w, so the exponential narrows the normal
    weight, to u = s t with s^2 = 1 - M a^2.
    """
    nodes = np.linspace(-_REACH, _REACH, _NODES)
    weights = np.exp(-(nodes**2) / 2)  # the trapezoid rule converges geometrically for such functions
    ratio = overlap / (1 - overlap)
    if overlap >= 0:
        powers = special.ndtr(np.sqrt(ratio) * nodes) ** count
    else:
        narrowing = np.sqrt(1 + count * ratio)
        powers = (special.wofz(np.sqrt(-ratio / 2) * nodes / narrowing) ** count).real / (2.0**count * narrowing)
    return float(np.sum(weights * powers) / weights.sum())  # not a product: its bits depend on the threads of a BLAS
