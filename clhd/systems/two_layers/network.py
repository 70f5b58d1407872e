"""Compiled steps of the two-layer network: forward, InfoNCE, gradient, one step of SGD with momentum.

The input is one-hot at each location, so in a batch a location has at most `vocabulary` different hidden vectors,
however many samples there are. They are computed and differentiated once for each token, as tables, and samples only
add up rows of tables. All sums are loops of this file: the bits depend on no BLAS.

| symbol | name | shape | unit |
|---|---|---|---|
| K, V, C | locations, vocabulary, hidden units of a location | | |
| B, D | batch, output dimension | | |
| W1 | first | (K, V, C) | 1 |
| W2 | second | (K, C, D) | 1 |
| x | tokens of one view | (B, K) | index of the vocabulary |
| n | counts of each token in the batch | (K, V) | samples |
| a | activated, act(W1) | (K, V, C) | 1 |
| m, s | mean of a over the batch, and root of its variance + eps | (C,), (K, C) | 1 |
| h | table, (a - m) / s | (K, V, C) | 1 |
| y | output, sum over k, c of h[k, x_k, c] W2[k, c] | (B, D) | 1 |
| z | y / abs(y) | (B, D) | 1 |
| M | z1 z1', with z1.z2 on the diagonal | (B, B) | 1 |

The loss is the mean over i of -log softmax(M_i / temperature)_i.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.kernels import kernel
from clhd.core.vector_math import exponential

FloatArray = NDArray[np.float64]
TokenArray = NDArray[np.int64]

NONE, MEAN, FULL = 0, 1, 2  # batch normalisation: none; s as a constant in the gradient; differentiated in full
EPSILON = 1e-5  # added to variances, as is usual
MOMENTUM = 0.9


@kernel
def add_combination(out: FloatArray, factors: FloatArray, rows: FloatArray) -> None:
    """Add the sum of factors[i] rows[i] to `out`, four rows at a time, to load and store `out` less often."""
    whole = len(factors) - len(factors) % 4
    for i in range(0, whole, 4):
        f, g, p, q = factors[i], factors[i + 1], factors[i + 2], factors[i + 3]
        for j in range(len(out)):
            out[j] += (f * rows[i, j] + g * rows[i + 1, j]) + (p * rows[i + 2, j] + q * rows[i + 3, j])
    for i in range(whole, len(factors)):
        for j in range(len(out)):
            out[j] += factors[i] * rows[i, j]


@kernel
def normalise_table(first: FloatArray, tokens: TokenArray, relu: bool, norm: int) -> Any:
    """Return counts n, table h and 1 / s of one view."""
    batch, locations = tokens.shape
    vocabulary, units = first.shape[1], first.shape[2]
    counts = np.zeros((locations, vocabulary))
    for i in range(batch):
        for k in range(locations):
            counts[k, tokens[i, k]] += 1.0
    table = np.maximum(first, 0.0) if relu else first.copy()
    inverse = np.ones((locations, units))
    if norm == NONE:
        return counts, table, inverse
    mean, variance = np.empty(units), np.empty(units)
    for k in range(locations):
        mean[:], variance[:] = 0.0, 0.0
        for v in range(vocabulary):
            share = counts[k, v] / batch
            for c in range(units):
                mean[c] += share * table[k, v, c]
        for v in range(vocabulary):
            share = counts[k, v] / batch
            for c in range(units):
                table[k, v, c] -= mean[c]
                variance[c] += share * table[k, v, c] * table[k, v, c]
        for c in range(units):
            inverse[k, c] = 1.0 / math.sqrt(variance[c] + EPSILON)
        for v in range(vocabulary):
            for c in range(units):
                table[k, v, c] *= inverse[k, c]
    return counts, table, inverse


@kernel
def compute_outputs(table: FloatArray, counts: FloatArray, second: FloatArray, tokens: TokenArray) -> Any:
    """Return z and the lengths of y of one view."""
    batch, locations = tokens.shape
    vocabulary, size = table.shape[1], second.shape[2]
    outputs, rows = np.zeros((batch, size)), np.empty((vocabulary, size))
    for k in range(locations):
        for v in range(vocabulary):
            rows[v] = 0.0
            if counts[k, v] > 0.0:
                add_combination(rows[v], table[k, v], second[k])
        for i in range(batch):
            for d in range(size):
                outputs[i, d] += rows[tokens[i, k], d]
    lengths = np.empty(batch)
    for i in range(batch):
        squared = 0.0
        for d in range(size):
            squared += outputs[i, d] * outputs[i, d]
        lengths[i] = math.sqrt(squared)
        for d in range(size):
            outputs[i, d] /= lengths[i]
    return outputs, lengths


@kernel
def contrast(one: FloatArray, two: FloatArray, temperature: float) -> Any:
    """Return the loss and its derivatives with respect to z1 and z2."""
    batch, size = one.shape
    across = one.T.copy()
    forces = np.zeros((batch, batch))  # M, then dL/dM
    loss = 0.0
    for i in range(batch):
        row = forces[i]
        add_combination(row, one[i], across)
        row[i] = 0.0
        for d in range(size):
            row[i] += one[i, d] * two[i, d]
        positive, largest, total = row[i], row[0], 0.0
        for j in range(batch):
            largest = max(largest, row[j])
        for j in range(batch):
            row[j] = exponential((row[j] - largest) / temperature)
        for j in range(batch):
            total += row[j]
        loss += (math.log(total) - (positive - largest) / temperature) / batch
        for j in range(batch):
            row[j] /= total * batch * temperature
        row[i] -= 1.0 / (batch * temperature)
    d_one, d_two = np.zeros((batch, size)), np.empty((batch, size))
    both = forces + forces.T
    for i in range(batch):
        both[i, i] = 0.0
        add_combination(d_one[i], both[i], one)
        for d in range(size):
            d_one[i, d] += forces[i, i] * two[i, d]
            d_two[i, d] = forces[i, i] * one[i, d]
    return loss, d_one, d_two


@kernel
def add_gradient(
    first: FloatArray,
    second: FloatArray,
    tokens: TokenArray,
    relu: bool,
    norm: int,
    view: Any,
    d_outputs: FloatArray,
    d_first: FloatArray,
    d_second: FloatArray,
) -> None:
    """Add the gradient by one view to `d_first` and `d_second`; `view` is (counts, table, inverse, z, lengths)."""
    counts, table, inverse, outputs, lengths = view
    batch, locations = tokens.shape
    vocabulary, units, size = table.shape[1], table.shape[2], second.shape[2]
    for i in range(batch):  # from dL/dz to dL/dy
        along = 0.0
        for d in range(size):
            along += outputs[i, d] * d_outputs[i, d]
        for d in range(size):
            d_outputs[i, d] = (d_outputs[i, d] - along * outputs[i, d]) / lengths[i]
    rows, across = np.empty((vocabulary, size)), np.empty((size, units))
    d_table, mean, slope = np.empty((vocabulary, units)), np.empty(units), np.empty(units)
    for k in range(locations):
        rows[:] = 0.0
        for i in range(batch):
            for d in range(size):
                rows[tokens[i, k], d] += d_outputs[i, d]
        for c in range(units):
            for d in range(size):
                across[d, c] = second[k, c, d]
        d_table[:], mean[:], slope[:] = 0.0, 0.0, 0.0
        for v in range(vocabulary):
            if counts[k, v] == 0.0:
                continue
            for c in range(units):
                for d in range(size):
                    d_second[k, c, d] += table[k, v, c] * rows[v, d]
            add_combination(d_table[v], rows[v], across)
            for c in range(units):
                mean[c] += d_table[v, c] / batch
                slope[c] += d_table[v, c] * table[k, v, c] / batch
        for v in range(vocabulary):
            for c in range(units):
                force = d_table[v, c]
                if norm != NONE:
                    force -= counts[k, v] * mean[c]
                if norm == FULL:
                    force -= counts[k, v] * table[k, v, c] * slope[c]
                is_on = first[k, v, c] > 0.0 or not relu
                d_first[k, v, c] += force * inverse[k, c] if is_on else 0.0


@kernel
def evaluate(first: FloatArray, second: FloatArray, pair: TokenArray, relu: bool, norm: int, temperature: float) -> Any:
    """Return the loss of a pair of views, shape (2, B, K), and its gradients by W1 and W2."""
    counts, table, inverse = normalise_table(first, pair[0], relu, norm)
    one, lengths = compute_outputs(table, counts, second, pair[0])
    counts2, table2, inverse2 = normalise_table(first, pair[1], relu, norm)
    two, lengths2 = compute_outputs(table2, counts2, second, pair[1])
    loss, d_one, d_two = contrast(one, two, temperature)
    d_first, d_second = np.zeros_like(first), np.zeros_like(second)
    add_gradient(first, second, pair[0], relu, norm, (counts, table, inverse, one, lengths), d_one, d_first, d_second)
    add_gradient(
        first, second, pair[1], relu, norm, (counts2, table2, inverse2, two, lengths2), d_two, d_first, d_second
    )
    return loss, d_first, d_second


@kernel
def descend(weights: FloatArray, velocity: FloatArray, gradient: FloatArray, rate: float, decay: float) -> None:
    """Take one step, v <- 0.9 v + gradient + decay W and W <- W - rate v, in place; all arrays are flat."""
    for i in range(len(weights)):
        velocity[i] = MOMENTUM * velocity[i] + gradient[i] + decay * weights[i]
        weights[i] -= rate * velocity[i]
