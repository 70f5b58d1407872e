"""Noise of the views in n dimensions, drawn one chunk of coordinates at a time, for every noise law.

Views 0 and 1 are the positive pair, every further view belongs to another sample. In each coordinate the pair has
covariance [[s2, kappa], [kappa, s2]], every other view has variance s2, and samples are independent. The noise of
view v is a_v = sum_u mixing[v, u] x_u, where the *raw* noise x, of unit variance, is drawn:

| law | raw noise of one coordinate | mixing of the pair, rows |
|---|---|---|
| gaussian | standard normal | (s, 0), (kappa / s, sqrt(s2 - kappa^2 / s2)) |
| rademacher | signs, equal in the two views with probability (1 + kappa / s2) / 2 | (s, 0), (0, s) |
| student_t | standard normal times sqrt((nu - 2) / X), X chi-square (nu), shared by the pair | as gaussian |

The mixing needs no loop over coordinates: the kernel in `full_step.py` applies it to w . x_u.

| symbol | name | shape | unit |
|---|---|---|---|
| s2, kappa | ``noise_variance``, ``noise_covariance`` | | per coordinate |
| s | root of s2 | | |
| nu | ``noise_degrees_of_freedom`` | | |
| V | views | | |
| x | raw noise, by chunks of CHUNK coordinates and their two halves | (chunks, 2, V * LANES) | 1 |

A lane is one stream of one view. Coordinate i of each half draws from lane i of its view, since a Box-Muller pair gives
two numbers. 64 lanes were the fastest: with fewer the loops are short, with more small dimensions are mostly padding.
"""

import math
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.core.streams import (
    BitArray,
    bits_to_fraction,
    fill_chi_squares,
    fill_normal_pairs,
    gamma_constants,
    next_bits,
    seed_lanes,
)
from clhd.systems.contrastive.model.contrastive import ContrastiveModel

LANES = 64
CHUNK = 2 * LANES
_GAUSSIAN, _RADEMACHER, _STUDENT_T = range(3)
_LAWS = {"gaussian": _GAUSSIAN, "rademacher": _RADEMACHER, "student_t": _STUDENT_T}


class NoiseSource(NamedTuple):
    """A noise law and its random streams, in the form that `fill_raw_noise` takes."""

    law: int
    state: BitArray  # (4, V * LANES)
    positive: FloatArray  # (V * LANES,), probability of + (rademacher); in view 1, of the same sign as in view 0
    freedom: float  # nu (student_t)
    chi_state: BitArray  # (4, (V - 1) * LANES), for the chi-square numbers of each sample (student_t)
    chi_work: FloatArray  # (6, (V - 1) * LANES): constants d and c, normal numbers (2 rows), uniform numbers, factors


def open_noise_source(model: ContrastiveModel, key: str) -> NoiseSource:
    """Return the noise law of `model` with its streams, seeded by ``key`` or ``key|chi-squares`` and the lane."""
    s2, kappa = model.noise_variance, model.noise_covariance
    return open_rows(model, key, model.views, kappa / s2 if s2 > 0 else 1.0)


def open_rows(model: ContrastiveModel, key: str, rows: int, correlation: float) -> NoiseSource:
    """Return a source of `rows` rows (2 or more), of which the first two are a pair and the others are independent.

    Signs of the pair have the given correlation.
    """
    freedom = model.noise_degrees_of_freedom or 0.0
    lanes = (rows - 1) * LANES if freedom else 0
    chi_work = np.zeros((6, lanes))
    gamma_constants(np.full(lanes, freedom), chi_work[0], chi_work[1])
    positive = np.full((rows, LANES), 0.5)
    positive[1] = 0.5 * (1.0 + correlation)
    return NoiseSource(
        law=_LAWS[model.noise_law],
        state=seed_lanes(key, rows * LANES),
        positive=positive.ravel(),
        freedom=freedom,
        chi_state=seed_lanes(f"{key}|chi-squares", lanes),
        chi_work=chi_work,
    )


def noise_mixing(model: ContrastiveModel) -> FloatArray:
    """Return the matrix that turns raw noise into the noise of the views, shape (V, V); 0 without noise."""
    s2 = model.noise_variance
    mixing = math.sqrt(s2) * np.eye(model.views)
    mixing[:2, :2] = pair_mixing(s2, model.noise_covariance, model.noise_law)
    return mixing


def pair_mixing(variance: float, covariance: float, law: str) -> FloatArray:
    """Return the matrix that turns the raw noise of a pair into its noise, shape (2, 2); 0 without noise."""
    mixing = math.sqrt(variance) * np.eye(2)
    if variance > 0 and law != "rademacher":
        # These forms are exact at covariance = +-variance; the second one also loses no digits near there.
        mixing[1, 0] = math.sqrt(variance) * (covariance / variance)
        mixing[1, 1] = math.sqrt(max((variance - covariance) * (variance + covariance), 0.0) / variance)
    return mixing


@kernel
def fill_raw_noise(source: NoiseSource, noise: FloatArray) -> None:
    """Write raw noise, shape (chunks, 2, V * LANES), to `noise`; the streams of `source` advance."""
    if source.law == _RADEMACHER:
        _fill_signs(source.state, source.positive, noise)
        return
    _fill_normals(source.state, noise)
    if source.law == _STUDENT_T:
        _spread_by_chi_squares(source.freedom, source.chi_state, source.chi_work, noise)


@kernel
def _fill_normals(state: BitArray, noise: FloatArray) -> None:
    for chunk in range(len(noise)):
        fill_normal_pairs(state, noise[chunk, 0], noise[chunk, 1])


@kernel
def _fill_signs(state: BitArray, positive: FloatArray, noise: FloatArray) -> None:
    """Draw a sign for each lane; then multiply the sign of view 1 by the sign of view 0."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for chunk in range(len(noise)):
        for half in range(2):
            x = noise[chunk, half]
            for i in range(len(positive)):
                bits, s0[i], s1[i], s2[i], s3[i] = next_bits(s0[i], s1[i], s2[i], s3[i])
                x[i] = 1.0 if bits_to_fraction(bits) <= positive[i] else -1.0
            first, second = x[:LANES], x[LANES : 2 * LANES]
            for i in range(LANES):
                second[i] *= first[i]


@kernel
def _spread_by_chi_squares(freedom: float, state: BitArray, work: FloatArray, noise: FloatArray) -> None:
    """Turn normal into Student-t numbers of unit variance, with one chi-square number per sample and coordinate."""
    gamma_d, gamma_c, normal_low, normal_high, uniform, factor = work[0], work[1], work[2], work[3], work[4], work[5]
    for chunk in range(len(noise)):
        fill_normal_pairs(state, normal_low, normal_high)
        for half in range(2):
            fill_chi_squares(state, normal_high if half else normal_low, gamma_d, gamma_c, uniform, factor)
            # Views 0 and 1 belong to sample 0, view k + 1 to sample k.
            first, others = noise[chunk, half, :LANES], noise[chunk, half, LANES:]
            for i in range(len(factor)):
                factor[i] = math.sqrt((freedom - 2.0) / factor[i])
            for i in range(LANES):
                first[i] *= factor[i]
            for i in range(len(factor)):
                others[i] *= factor[i]
