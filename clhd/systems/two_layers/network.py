"""Compiled steps of the two-layer network: forward, InfoNCE, gradient, one step of SGD with momentum.

The input is one-hot at each location, so in a batch a location has at most `vocabulary` different hidden vectors,
however many samples there are. They are computed and differentiated once for each token, as tables, and samples only
add up rows of tables. All sums are loops: the bits depend on no BLAS.

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

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.products import add_product, add_rows, dot
from clhd.core.vector_math import exponential

NONE, MEAN, FULL = 0, 1, 2  # batch normalisation: none; s constant in the gradient; differentiated in full
EPSILON = 1e-5  # added to variances, as is usual
MOMENTUM = 0.9


@kernel
def sort_samples(tokens: IntArray, counts: FloatArray) -> IntArray:
    """Return the samples in the order of their tokens, of which there are so many."""
    place, samples = np.zeros(len(counts) + 1, np.int64), np.empty(len(tokens), np.int64)
    for v in range(len(counts)):
        place[v + 1] = place[v] + np.int64(counts[v])
    for i in range(len(tokens)):
        samples[place[tokens[i]]] = i
        place[tokens[i]] += 1
    return samples


@kernel
def normalise_table(first: FloatArray, tokens: IntArray, relu: bool, norm: int) -> Any:
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
    for k in range(locations):
        shares, mean, variance = counts[k] / batch, np.zeros(units), np.zeros(units)
        for v in range(vocabulary):
            for c in range(units):
                mean[c] += shares[v] * table[k, v, c]
        table[k] -= mean
        for v in range(vocabulary):
            for c in range(units):
                variance[c] += shares[v] * table[k, v, c] * table[k, v, c]
        inverse[k] = 1.0 / np.sqrt(variance + EPSILON)
        table[k] *= inverse[k]
    return counts, table, inverse


@kernel
def view_batch(first: FloatArray, second: FloatArray, tokens: IntArray, relu: bool, norm: int) -> Any:
    """Return what is known of one view: (counts n, table h, 1 / s, z, lengths of y)."""
    counts, table, inverse = normalise_table(first, tokens, relu, norm)
    batch, locations = tokens.shape
    vocabulary, size = table.shape[1], second.shape[2]
    outputs, rows = np.zeros((batch, size)), np.empty((locations * vocabulary, size))
    for k in range(locations):
        seen = np.nonzero(counts[k])[0]
        products = np.zeros((len(seen), size))
        add_product(products, table[k][seen], second[k])
        rows[k * vocabulary + seen] = products
    first_rows, lengths = np.arange(locations) * vocabulary, np.empty(batch)
    for i in range(batch):
        add_rows(outputs[i], rows, first_rows + tokens[i])
        lengths[i] = math.sqrt(dot(outputs[i], outputs[i]))
        outputs[i] /= lengths[i]
    return counts, table, inverse, outputs, lengths


@kernel
def contrast(one: FloatArray, two: FloatArray, temperature: float) -> Any:
    """Return the loss and its derivatives with respect to z1 and z2.

    M is symmetric, but for a diagonal of its own. So sums over rows are sums over columns.
    """
    batch = len(one)
    similarity, positive, totals = np.zeros((batch, batch)), np.empty(batch), np.zeros(batch)
    add_product(similarity, one, one.T.copy())
    for i in range(batch):
        positive[i] = similarity[i, i] = dot(one[i], two[i])
        for j in range(batch):
            similarity[i, j] = exponential((similarity[i, j] - 1.0) / temperature)  # M is at most 1
            totals[j] += similarity[i, j]
    loss = 0.0
    shares = 1.0 / (totals * batch * temperature)
    d_one, d_two = np.zeros_like(one), np.empty_like(one)
    for i in range(batch):
        loss += (math.log(totals[i]) - (positive[i] - 1.0) / temperature) / batch
        own = similarity[i, i] * shares[i] - 1.0 / (batch * temperature)
        d_one[i] = own * two[i]
        d_two[i] = own * one[i]
        for j in range(batch):
            similarity[i, j] *= shares[i] + shares[j]
        similarity[i, i] = 0.0
    add_product(d_one, similarity, one)
    return loss, d_one, d_two


@kernel
def add_gradient(
    first: FloatArray,
    second: FloatArray,
    tokens: IntArray,
    relu: bool,
    norm: int,
    view: Any,
    d_outputs: FloatArray,
    d_first: FloatArray,
    d_second: FloatArray,
) -> None:
    """Add the gradient by one view to `d_first` and `d_second`; `view` is that of `view_batch`."""
    counts, table, inverse, outputs, lengths = view
    batch, locations = tokens.shape
    vocabulary, units, size = table.shape[1], table.shape[2], second.shape[2]
    for i in range(batch):  # from dL/dz to dL/dy
        along = dot(outputs[i], d_outputs[i])
        for d in range(size):
            d_outputs[i, d] = (d_outputs[i, d] - along * outputs[i, d]) / lengths[i]
    for k in range(locations):
        seen = np.nonzero(counts[k])[0]
        h = table[k][seen]
        samples = sort_samples(tokens[:, k], counts[k])
        rows = np.zeros((len(seen), size))
        begin = 0
        for i in range(len(seen)):
            end = begin + int(counts[k, seen[i]])
            add_rows(rows[i], d_outputs, samples[begin:end])
            begin = end
        d_h = np.zeros((len(seen), units))
        add_product(d_second[k], h.T.copy(), rows)
        add_product(d_h, rows, second[k].T.copy())
        d_table, mean, slope = np.zeros((vocabulary, units)), np.zeros(units), np.zeros(units)
        for i in range(len(seen)):
            d_table[seen[i]] = d_h[i]
            for c in range(units):
                mean[c] += d_h[i, c] / batch
                slope[c] += d_h[i, c] * h[i, c] / batch
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
def evaluate(first: FloatArray, second: FloatArray, pair: IntArray, relu: bool, norm: int, temperature: float) -> Any:
    """Return the loss of a pair of views, shape (2, B, K), and its gradients by W1 and W2."""
    one = view_batch(first, second, pair[0], relu, norm)
    two = view_batch(first, second, pair[1], relu, norm)
    loss, d_one, d_two = contrast(one[3], two[3], temperature)
    d_first, d_second = np.zeros_like(first), np.zeros_like(second)
    add_gradient(first, second, pair[0], relu, norm, one, d_one, d_first, d_second)
    add_gradient(first, second, pair[1], relu, norm, two, d_two, d_first, d_second)
    return loss, d_first, d_second


@kernel
def descend(weights: FloatArray, velocity: FloatArray, gradient: FloatArray, rate: float, decay: float) -> None:
    """Take one step, v <- 0.9 v + gradient + decay W and W <- W - rate v, in place; all arrays are flat."""
    for i in range(len(weights)):
        velocity[i] = MOMENTUM * velocity[i] + gradient[i] + decay * weights[i]
        weights[i] -= rate * velocity[i]
