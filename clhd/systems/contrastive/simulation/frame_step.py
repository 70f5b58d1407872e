"""The compiled step of the chain of several units; `frame_chain.py` has its equations and symbols."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.streams import (
    fill_chi_squares,
    fill_normal_pairs,
    fill_six_normals,
    transform_to_chi_squares,
)
from clhd.systems.contrastive.model.activations import activate
from clhd.systems.contrastive.model.losses import covariance
from clhd.systems.contrastive.simulation.lockstep import LANES, sample_latents

BitArray = NDArray[np.uint64]


@kernel
def _set_zero(row: FloatArray) -> None:
    for i in range(LANES):
        row[i] = 0.0


@kernel
def _add_product(row: FloatArray, one: FloatArray, other: FloatArray) -> None:
    for i in range(LANES):
        row[i] += one[i] * other[i]


@kernel
def _factorise(matrix: FloatArray) -> None:
    """Replace symmetric matrices, shape (unit, unit, lanes), by their lower Cholesky factors.

    They may be singular: a pivot of 0, or below 0 by rounding, leaves a column of zeros. NaN stays NaN.
    """
    for k in range(len(matrix)):
        pivot = matrix[k, k]
        for m in range(k):
            before = matrix[k, m]
            for i in range(LANES):
                pivot[i] -= before[i] * before[i]
        for i in range(LANES):
            pivot[i] = math.sqrt(0.0 if pivot[i] <= 0.0 else pivot[i])
        for other in range(k + 1, len(matrix)):
            row = matrix[other, k]
            for m in range(k):
                one, before = matrix[other, m], matrix[k, m]
                for i in range(LANES):
                    row[i] -= one[i] * before[i]
            for i in range(LANES):
                quotient = row[i] / pivot[i]
                row[i] = quotient if pivot[i] != 0.0 else 0.0
            _set_zero(matrix[k, other])


@kernel
def draw_bartlett(state: BitArray, group: Any) -> None:
    """Draw all normal numbers of a step, and write Bartlett's lower triangle A of each lane."""
    bartlett, normal, chi_square = group.bartlett, group.normal, group.chi_square
    sixes = len(group.bits)
    for k in range(sixes):
        fill_six_normals(state, normal[6 * k : 6 * k + 6], group.fraction[k], group.bits[k])
    for row in range(6 * sixes, len(normal), 2):
        fill_normal_pairs(state, normal[row], normal[row + 1])
    row = group.z.shape[1] * group.moved.shape[1]
    for k in range(len(bartlett)):
        d, c = group.gamma_d[k], group.gamma_c[k]
        if k < sixes:
            transform_to_chi_squares(state, normal[row], d, c, group.fraction[k], chi_square)
        else:
            fill_chi_squares(state, normal[row], d, c, group.uniform, chi_square)
        diagonal, is_there = bartlett[k, k], group.is_there[k]
        for i in range(LANES):
            diagonal[i] = is_there[i] * math.sqrt(chi_square[i])
        row += 1
        for m in range(k):
            _set_zero(bartlett[k, m])
            _add_product(bartlett[k, m], group.is_there[m], normal[row])
            _set_zero(bartlett[m, k])
            row += 1


@kernel
def _scale_pair(
    first: FloatArray,
    second: FloatArray,
    sigma: FloatArray,
    common: FloatArray,
    own: FloatArray,
    latent: FloatArray,
    has_latent: bool,
) -> None:
    """Give two rows of standard normal numbers the law of the two views of a sample, with their latent if any."""
    if has_latent:
        for i in range(LANES):
            noise = sigma[i] * first[i]
            second[i] = latent[i] + (common[i] * noise + own[i] * second[i])
            first[i] = latent[i] + noise
    else:
        for i in range(LANES):
            noise = sigma[i] * first[i]
            second[i] = common[i] * noise + own[i] * second[i]
            first[i] = noise


@kernel
def _draw_views(state: BitArray, samplers: IntArray, group: Any) -> None:
    """Turn the first rows of ``group.normal`` into c + f and t of all views."""
    y, directions, views = group.normal, group.moved.shape[1], group.z.shape[1]
    sample_latents(state, samplers, group)
    for v in range(0, views, 2):
        for j in range(directions):
            has_latent = j < len(samplers)
            first, second, part = y[v * directions + j], y[(v + 1) * directions + j], 0 if has_latent else 1
            sigma, latent = group.sigma[part], group.c[v // 2, j if has_latent else 0]
            _scale_pair(first, second, sigma, group.common[part], group.own[part], latent, has_latent)


@kernel
def _project(group: Any) -> None:
    """Write z_iv = Q_i . (c_v + f_v) + L_i . t_v."""
    q, rest, y, z = group.q, group.rest, group.normal, group.z
    features = q.shape[1]
    directions = features + len(q)
    for k in range(len(q)):
        for v in range(z.shape[1]):
            for i in range(LANES):
                total = 0.0
                for j in range(features):
                    total += q[k, j, i] * y[v * directions + j, i]
                for m in range(len(q)):
                    total += rest[k, m, i] * y[v * directions + features + m, i]
                z[k, v, i] = total


@kernel
def _add_pair(
    row: FloatArray, crossed: FloatArray, one: FloatArray, one_2: FloatArray, other: FloatArray, other_2: FloatArray
) -> None:
    """Add the products within and across the two views of a sample."""
    for i in range(LANES):
        row[i] += one[i] * other[i] + one_2[i] * other_2[i]
        crossed[i] += one_2[i] * other[i] + one[i] * other_2[i]


@kernel
def _add_four(row: FloatArray, one: FloatArray, other: FloatArray, v: int, place: int, stride: int) -> None:
    """Add the products of rows v .. v + 3 of `one` with rows of `other` that are `stride` apart."""
    a, b, c, d = one[v], one[v + 1], one[v + 2], one[v + 3]
    w, x, y, z = other[place], other[place + stride], other[place + 2 * stride], other[place + 3 * stride]
    for i in range(LANES):
        row[i] += (a[i] * w[i] + b[i] * x[i]) + (c[i] * y[i] + d[i] * z[i])


@kernel
def _collect(group: Any) -> None:
    """Write sum_v Delta_v (c_v + f_v, t_v)' to `moved`, and D to `form`."""
    moved, form, delta, y, crossed = group.moved, group.form, group.delta, group.normal, group.chi_square
    views, directions = delta.shape[1], moved.shape[1]
    for k in range(len(moved)):
        for j in range(directions):
            row = moved[k, j]
            _set_zero(row)
            fours = views // 4
            for v in range(0, 4 * fours, 4):
                _add_four(row, delta[k], y, v, v * directions + j, directions)
            for v in range(4 * fours, views):
                _add_product(row, delta[k, v], y[v * directions + j])
        for m in range(k + 1):
            row = form[k, m]
            _set_zero(row)
            _set_zero(crossed)
            for v in range(0, views, 2):
                _add_pair(row, crossed, delta[k, v], delta[k, v + 1], delta[m, v], delta[m, v + 1])
            for i in range(LANES):
                row[i] = group.variance[i] * row[i] + group.covariance[i] * crossed[i]


@kernel
def _move(group: Any) -> None:
    """Make the step of (Q, L) from `moved`, `form` and `bartlett`."""
    q, rest, moved, form, bartlett = group.q, group.rest, group.moved, group.form, group.bartlett
    decay, rate, entry = group.decay, group.rate, group.chi_square
    units, features = q.shape[0], q.shape[1]
    _factorise(form)
    for k in range(units):
        for j in range(features):
            for i in range(LANES):
                q[k, j, i] = decay[i] * q[k, j, i] + rate[i] * moved[k, j, i]
        for m in range(units):
            row = moved[k, features + m]
            for i in range(LANES):
                row[i] = decay[i] * rest[k, m, i] + rate[i] * row[i]
        # Row k of (eta / n) C A. Entry m needs the entries m and later of this row of C.
        for m in range(k + 1):
            _set_zero(entry)
            for other in range(m, k + 1):
                _add_product(entry, form[k, other], bartlett[other, m])
            for i in range(LANES):
                form[k, m, i] = rate[i] * entry[i]
    for k in range(units):
        for m in range(k + 1):
            row = rest[k, m]
            _set_zero(row)
            for other in range(units):
                _add_product(row, moved[k, features + other], moved[m, features + other])
                _add_product(row, form[k, other], form[m, other])
    _factorise(rest)


@kernel
def _return_to_sphere(group: Any) -> None:
    """Divide each row of (Q, L) by its length."""
    q, rest, square = group.q, group.rest, group.chi_square
    for k in range(len(q)):
        _set_zero(square)
        for j in range(q.shape[1]):
            _add_product(square, q[k, j], q[k, j])
        for m in range(len(q)):
            _add_product(square, rest[k, m], rest[k, m])
        for i in range(LANES):
            square[i] = 1.0 / math.sqrt(square[i])
        for j in range(q.shape[1]):
            for i in range(LANES):
                q[k, j, i] *= square[i]
        for m in range(len(q)):
            for i in range(LANES):
                rest[k, m, i] *= square[i]


@kernel
def advance(
    steps: int,
    activation: int,
    coefficients: FloatArray,
    centred: bool,
    penalty: int,
    sphere: bool,
    samplers: IntArray,
    state: BitArray,
    group: Any,
) -> None:
    """Advance all lanes of a group by `steps` steps, in place."""
    z, h, d, delta = group.z, group.h, group.d, group.delta
    for _ in range(steps):
        draw_bartlett(state, group)
        _draw_views(state, samplers, group)
        _project(group)
        for k in range(len(z)):
            for v in range(z.shape[1]):
                activate(activation, coefficients, z[k, v], h[k, v], d[k, v])
        covariance.forces(centred, penalty, group.weight, h, d, group.mean, group.slope, delta)
        _collect(group)
        _move(group)
        if sphere:
            _return_to_sphere(group)
