"""Compiled steps of the two-layer network: forward, InfoNCE, gradient, SGD with momentum.

The input is one-hot at each location, so in a batch a location has at most `vocabulary` different hidden vectors for
each view, however many samples there are. They are computed and differentiated once for each token, as rows of tables,
and samples only add up rows. All sums are loops: the bits depend on no BLAS.

| symbol | name | shape | unit |
|---|---|---|---|
| K, V, C | locations, vocabulary, hidden units of a location | | |
| B, D | batch, output dimension | | |
| W1 | first | (K, V, C) | 1 |
| W2 | second | (K, C, D) | 1 |
| x | tokens of both views | (2, B, K) | index of the vocabulary |
| R | rows of a location: a view and a token that it has there | at most 2 V | |
| n | counts of the samples that have a row | (K, R) | samples |
| a | act(W1) | (K, R, C) | 1 |
| m, s | mean of a over the batch of a view, and root of its variance + eps | (C,), (K, 2, C) | 1 |
| h | hidden, (a - m) / s | (K, R, C) | 1 |
| y | sum over k, c of h[k, row of the sample, c] W2[k, c] | (2 B, D) | 1 |
| z | outputs, y / abs(y), 0 where y is 0 | (2 B, D) | 1 |
| M | z1 z1', with z1.z2 on the diagonal | (B, B) | 1 |

The loss is the mean over i of -log softmax(M_i / temperature)_i.
"""

import math
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.products import add_product, add_rows, dot, transpose
from clhd.core.vector_math import exponential

NONE, MEAN, FULL = 0, 1, 2  # batch normalisation: none; s constant in the gradient; differentiated in full
EPSILON = 1e-5  # added to variances, as is usual
MOMENTUM = 0.9
VIEWS = 2


@kernel
def list_rows(tokens: IntArray, vocabulary: int) -> Any:
    """Return the rows of each location: (token of each, n, where those of a view end, row of each sample)."""
    _, batch, locations = tokens.shape
    token, counts = np.zeros((locations, VIEWS * vocabulary), np.int64), np.zeros((locations, VIEWS * vocabulary))
    ends, rows = np.zeros((locations, VIEWS + 1), np.int64), np.zeros((locations, VIEWS * batch), np.int64)
    for k in range(locations):
        row = 0
        for view in range(VIEWS):
            found = np.zeros(vocabulary, np.int64)  # how often each token is there, then its row
            for i in range(batch):
                found[tokens[view, i, k]] += 1
            for v in range(vocabulary):
                if found[v] > 0:
                    token[k, row], counts[k, row], found[v] = v, found[v], row
                    row += 1
            for i in range(batch):
                rows[k, view * batch + i] = found[tokens[view, i, k]]
            ends[k, view + 1] = row
    return token, counts, ends, rows


@kernel
def sort_samples(rows: IntArray, counts: FloatArray) -> IntArray:
    """Return the samples in the order of their rows, of which there are so many."""
    place, samples = np.zeros(len(counts) + 1, np.int64), np.zeros(len(rows), np.int64)
    for r in range(len(counts)):
        place[r + 1] = place[r] + int(counts[r])
    for i in range(len(rows)):
        samples[place[rows[i]]] = i
        place[rows[i]] += 1
    return samples


@kernel
def normalise(values: FloatArray, counts: FloatArray, batch: int, inverse: FloatArray) -> None:
    """Turn a into h, of the rows of one view at one location, and write 1 / s to `inverse`."""
    rows, units = values.shape
    mean, variance = np.zeros(units), np.zeros(units)
    for r in range(rows):
        for c in range(units):
            mean[c] += counts[r] / batch * values[r, c]
    for r in range(rows):
        for c in range(units):
            values[r, c] -= mean[c]
            variance[c] += counts[r] / batch * values[r, c] * values[r, c]
    for c in range(units):
        inverse[c] = 1.0 / math.sqrt(variance[c] + EPSILON)
    for r in range(rows):
        for c in range(units):
            values[r, c] *= inverse[c]


@kernel
def encode(first: FloatArray, second: FloatArray, lists: Any, relu: bool, norm: int) -> Any:
    """Return what is known of both views: (h, 1 / s, z, lengths of y); `lists` is that of `list_rows`."""
    token, counts, ends, rows = lists
    samples, (locations, units, size) = rows.shape[1], second.shape
    most, floor = token.shape[1], 0.0 if relu else -np.inf
    hidden, inverse = np.zeros((locations, most, units)), np.ones((locations, VIEWS, units))
    products, outputs, lengths = np.zeros((locations * most, size)), np.zeros((samples, size)), np.zeros(samples)
    for k in range(locations):
        last = ends[k, VIEWS]
        for r in range(last):
            for c in range(units):
                hidden[k, r, c] = max(first[k, token[k, r], c], floor)
        for view in range(VIEWS if norm != NONE else 0):
            begin, end = ends[k, view], ends[k, view + 1]
            normalise(hidden[k, begin:end], counts[k, begin:end], samples // VIEWS, inverse[k, view])
        add_product(products[k * most : k * most + last], hidden[k, :last], second[k])
    chosen = np.zeros(locations, np.int64)
    for i in range(samples):
        for k in range(locations):
            chosen[k] = k * most + rows[k, i]
        add_rows(outputs[i], products, chosen)
        lengths[i] = math.sqrt(dot(outputs[i], outputs[i])) or 1.0  # y = 0 where no unit answers: then z is 0
        for d in range(size):
            outputs[i, d] /= lengths[i]
    return hidden, inverse, outputs, lengths


@kernel
def contrast(outputs: FloatArray, temperature: float) -> Any:
    """Return the loss and its derivatives by z.

    M is symmetric, but for a diagonal of its own. So sums over rows are sums over columns.
    """
    batch = len(outputs) // VIEWS
    one, two, d_outputs = outputs[:batch], outputs[batch:], np.zeros(outputs.shape)
    similarity, positive, totals = np.zeros((batch, batch)), np.zeros(batch), np.zeros(batch)
    add_product(similarity, one, transpose(one))
    for i in range(batch):
        positive[i] = similarity[i, i] = dot(one[i], two[i])
        for j in range(batch):
            similarity[i, j] = exponential((similarity[i, j] - 1.0) / temperature)  # M is at most 1
            totals[j] += similarity[i, j]
    loss = 0.0
    shares = 1.0 / (totals * batch * temperature)
    for i in range(batch):
        loss += (math.log(totals[i]) - (positive[i] - 1.0) / temperature) / batch
        own = similarity[i, i] * shares[i] - 1.0 / (batch * temperature)
        for d in range(outputs.shape[1]):
            d_outputs[i, d], d_outputs[batch + i, d] = own * two[i, d], own * one[i, d]
        for j in range(batch):
            similarity[i, j] *= shares[i] + shares[j]
        similarity[i, i] = 0.0
    add_product(d_outputs[:batch], similarity, one)
    return loss, d_outputs


@kernel
def differentiate(
    first: FloatArray, second: FloatArray, lists: Any, relu: bool, norm: int, known: Any, d_outputs: FloatArray
) -> Any:
    """Return the gradients by W1 and W2; `known` is that of `encode`, and `d_outputs` the derivatives by z."""
    token, counts, ends, rows = lists
    hidden, inverse, outputs, lengths = known
    samples, (locations, units, size) = rows.shape[1], second.shape
    batch, floor = samples // VIEWS, 0.0 if relu else -np.inf
    d_first, d_second = np.zeros(first.shape), np.zeros(second.shape)
    for i in range(samples):  # from dL/dz to dL/dy
        along = dot(outputs[i], d_outputs[i])
        for d in range(size):
            d_outputs[i, d] = (d_outputs[i, d] - along * outputs[i, d]) / lengths[i]
    for k in range(locations):
        n, last, begin, by_row = counts[k], ends[k, VIEWS], 0, sort_samples(rows[k], counts[k])
        d_rows, d_hidden = np.zeros((last, size)), np.zeros((last, units))
        for r in range(last):
            end = begin + int(n[r])
            add_rows(d_rows[r], d_outputs, by_row[begin:end])
            begin = end
        add_product(d_second[k], transpose(hidden[k, :last]), d_rows)
        add_product(d_hidden, d_rows, transpose(second[k]))
        for view in range(VIEWS):
            mean, slope = np.zeros(units), np.zeros(units)
            for r in range(ends[k, view], ends[k, view + 1]):
                for c in range(units):
                    mean[c] += d_hidden[r, c] / batch if norm != NONE else 0.0
                    slope[c] += d_hidden[r, c] * hidden[k, r, c] / batch if norm == FULL else 0.0
            for r in range(ends[k, view], ends[k, view + 1]):
                for c in range(units):
                    force = d_hidden[r, c] - n[r] * mean[c] - n[r] * hidden[k, r, c] * slope[c]
                    is_on = first[k, token[k, r], c] > floor
                    d_first[k, token[k, r], c] += force * inverse[k, view, c] if is_on else 0.0
    return d_first, d_second


def evaluate(first: FloatArray, second: FloatArray, pair: IntArray, relu: bool, norm: int, temperature: float) -> Any:
    """Return the loss of a pair of views, shape (2, B, K), and its gradients by W1 and W2."""
    lists = list_rows(pair, first.shape[1])
    known = encode(first, second, lists, relu, norm)
    loss, d_outputs = contrast(known[2], temperature)
    d_first, d_second = differentiate(first, second, lists, relu, norm, known, d_outputs)
    return loss, d_first, d_second


@kernel
def descend(weights: FloatArray, velocity: FloatArray, gradient: FloatArray, rate: float, decay: float) -> None:
    """Take one step, v <- 0.9 v + gradient + decay W and W <- W - rate v, in place; all arrays are flat."""
    for i in range(len(weights)):
        velocity[i] = MOMENTUM * velocity[i] + gradient[i] + decay * weights[i]
        weights[i] -= rate * velocity[i]
