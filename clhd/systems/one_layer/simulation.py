"""Units that climb E on the sphere from random starts, and the distinct points at which they end.

One step moves the responses z = X w of a unit, and sets |w| back to 1:

    v_m = p_m (h_m - mean h) h'(z_m),   z <- z + dt [(1 - c) v + c sum(v) - (z . v) z],   dt = step_size / (1 + k/500)

The bracket is X times the gradient of E on the sphere: it needs no weights. dt falls, because a constant step jumps
to and fro across a kink w . x_m = 0 on which an optimum lies.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, pad
from clhd.core.kernels import kernel
from clhd.systems.declarations import NotConvergedError
from clhd.systems.one_layer.model import find_covariance, find_energy, make_patterns, make_probabilities

TOLD_APART = 0.03  # largest difference of two weights of one end point
SETTLING = 500.0  # steps after which the step size has halved
_LANES = 64  # units that move together
_CHECKED = 100  # steps between two looks whether all of them are at rest
_AT_REST = 1e-13  # largest change of a response in one step
_DECAY = 29.0  # rate times t until then: -log(1e-13), fitted


@kernel
def climb(
    responses: FloatArray,
    probabilities: FloatArray,
    overlap: float,
    count: int,
    is_linear: bool,
    step_size: float,
    steps: int,
) -> None:
    """Move the responses, shape (blocks, rows, lanes), up to the ends of the units.

    Rows are taken in pairs, to load and store each sum half as often. They are the patterns, of this number, and one of
    probability 0 if it is odd, whose responses stay at 0.
    """
    blocks, rows, lanes = responses.shape
    shift = overlap / (1 + (count - 1) * overlap)  # |w|^2 (1 - c) = |z|^2 - shift (sum z)^2
    floor = -np.inf if is_linear else 0.0  # below it, h is 0
    mean, total, along = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    squares, sums, largest = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    for block in range(blocks):
        z = responses[block]
        for k in range(steps):
            dt = step_size / (1 + k / SETTLING)
            for j in range(lanes):
                mean[j], total[j], along[j], squares[j], sums[j], largest[j] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for m in range(0, rows, 2):
                p, q = probabilities[m], probabilities[m + 1]
                for j in range(lanes):
                    a, b = z[m, j], z[m + 1, j]
                    mean[j] = mean[j] + p * (a if a > floor else 0.0) + q * (b if b > floor else 0.0)
            for m in range(0, rows, 2):
                p, q = probabilities[m], probabilities[m + 1]
                for j in range(lanes):
                    a, b = z[m, j], z[m + 1, j]
                    v, u = p * (a - mean[j]) if a > floor else 0.0, q * (b - mean[j]) if b > floor else 0.0
                    total[j] = total[j] + v + u
                    along[j] = along[j] + a * v + b * u
            for m in range(0, rows, 2):
                p, q = probabilities[m], probabilities[m + 1]
                other = dt if q > 0 else 0.0
                for j in range(lanes):
                    a, b = z[m, j], z[m + 1, j]
                    v, u = p * (a - mean[j]) if a > floor else 0.0, q * (b - mean[j]) if b > floor else 0.0
                    v = dt * ((1 - overlap) * v + overlap * total[j] - along[j] * a)
                    u = other * ((1 - overlap) * u + overlap * total[j] - along[j] * b)
                    a, b = a + v, b + u
                    z[m, j], z[m + 1, j] = a, b
                    squares[j] = squares[j] + a * a + b * b
                    sums[j] = sums[j] + a + b
                    largest[j] = max(largest[j], abs(v), abs(u))
            for j in range(lanes):
                squares[j] = np.sqrt((1 - overlap) / (squares[j] - shift * sums[j] * sums[j]))
            for m in range(rows):
                for j in range(lanes):
                    z[m, j] *= squares[j]
            if k % _CHECKED == 0 and largest.max() < _AT_REST:
                break


def expect_steps(values: SimpleNamespace) -> float:
    """Return about how many steps the units take: on a kink all of them, else until they are at rest.

    The slowest direction decays as exp(-rate t), with t = 500 step_size log(1 + k/500) after k steps. The rate is the
    gap of the largest eigenvalues of a linear unit, and about the smallest probability for relu.
    """
    if values.activation == "relu" and values.pattern_overlap > 0:
        return float(values.ascent_steps)
    probabilities = make_probabilities(values.pattern_count, values.probability_ratio)
    rate = probabilities.min()
    if values.activation == "linear":
        patterns = make_patterns(values.pattern_count, values.pattern_overlap)
        rate = np.subtract(*np.linalg.eigvalsh(find_covariance(patterns, probabilities))[:-3:-1])
    folds = _DECAY / (SETTLING * values.first_step_size * max(rate, 1e-4))
    return float(min(_CHECKED + SETTLING * np.expm1(min(folds, 10.0)), values.ascent_steps))


def list_sizes(units: int) -> list[int]:
    """Return 1, 10, 100, ... units, and the whole layer."""
    return [size for size in (10**k for k in range(6)) if size < units] + [units]


def simulate_layer(values: SimpleNamespace, random: np.random.Generator) -> dict[str, Any]:
    """Let the units of one layer climb from uniform starts on the sphere, and count where they end.

    Returns
    -------
    dict
        The outputs of `OneLayerSystem`; beyond the optima, energies are NaN and shares 0.

    Raises
    ------
    NotConvergedError
        If there are more distinct end points than room.
    """
    count, overlap, units = values.pattern_count, values.pattern_overlap, values.layer_units
    patterns, probabilities = make_patterns(count, overlap), make_probabilities(count, values.probability_ratio)
    is_linear = values.activation == "linear"
    starts = random.normal(size=(units, count))
    starts /= np.sqrt((starts**2).sum(axis=1, keepdims=True))
    responses = climb_all(
        starts @ patterns, probabilities, overlap, is_linear, values.first_step_size, values.ascent_steps
    )
    energies = find_energy(responses, probabilities, is_linear=is_linear)
    weights = np.asarray(np.linalg.solve(patterns, responses.T).T, dtype=np.float64)
    labels = label_ends(weights, energies > 0, up_to_sign=is_linear)
    optima = int(labels.max()) + 1
    if optima > values.room_for_optima:
        raise NotConvergedError(f"{optima} distinct end points found: there is room for {values.room_for_optima}")
    highest = np.array([energies[labels == label].max() for label in range(optima)])
    shares = np.bincount(labels[labels >= 0], minlength=optima) / units
    order = np.argsort(-highest, kind="stable")
    return {
        "optima": optima,
        "dead_share": (labels < 0).mean(),
        "optimum_energy": pad(highest[order], values.room_for_optima),
        "basin_share": pad(shares[order], values.room_for_optima, 0.0),
        "optima_found": np.array([len(set(labels[:size]) - {-1}) for size in list_sizes(units)]),
    }


def climb_all(
    responses: FloatArray, probabilities: FloatArray, overlap: float, is_linear: bool, step_size: float, steps: int
) -> FloatArray:
    """Return the responses of all units at their ends, shape (units, M); the last block is filled with copies."""
    units, count = responses.shape
    blocks, spare = -(-units // _LANES), count % 2
    filled = np.concatenate([responses, np.broadcast_to(responses[0], (blocks * _LANES - units, count))])
    rows = np.pad(filled.reshape(blocks, _LANES, count), ((0, 0), (0, 0), (0, spare)))
    lanes = np.ascontiguousarray(rows.transpose(0, 2, 1))
    climb(lanes, np.pad(probabilities, (0, spare)), overlap, count, is_linear, step_size, steps)
    return lanes[:, :count].transpose(0, 2, 1).reshape(-1, count)[:units]


def label_ends(weights: FloatArray, is_live: NDArray[np.bool_], *, up_to_sign: bool) -> NDArray[np.int_]:
    """Return the number of the end point of each unit, in the order of their first units; -1 for dead units.

    With `up_to_sign`, w and -w are one end point.
    """
    labels = np.full(len(weights), -1)
    found = 0
    for first in range(len(weights)):
        if not is_live[first] or labels[first] >= 0:
            continue
        distance = np.abs(weights - weights[first]).max(axis=1)
        if up_to_sign:
            distance = np.minimum(distance, np.abs(weights + weights[first]).max(axis=1))
        labels[(distance < TOLD_APART) & is_live & (labels < 0)] = found
        found += 1
    return labels
