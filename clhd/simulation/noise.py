"""Noise of the views in n dimensions: one chunk of coordinates at a time, for every noise law.

Views 0 and 1 are the positive pair, every further view belongs to another sample. In each coordinate the pair has
covariance [[s2, kappa], [kappa, s2]], every other view has variance s2, and samples are independent.

| law | one coordinate of the pair (a_1, a_2) |
|---|---|
| gaussian | a_1 = s x_1, a_2 = (kappa / s) x_1 + sqrt(s2 - kappa^2 / s2) x_2, x standard normal |
| rademacher | signs times s, equal in the two views with probability (1 + kappa / s2) / 2 |
| student_t | the Gaussian pair times sqrt((nu - 2) / X), X chi-square with nu degrees of freedom, shared by the pair |

| symbol | name | shape | unit |
|---|---|---|---|
| s2, kappa | ``noise_variance``, ``noise_covariance`` | | per coordinate |
| s | root of s2 | | |
| nu | ``noise_degrees_of_freedom`` | | |
| V | views | | |
| state | generator states, one stream for each lane | (4, LANES) | bits |
| noise | noise of one chunk | (V, CHUNK) | |

Coordinate i of a chunk draws from lane i mod LANES: a Box-Muller pair serves the two halves of the chunk. 64 lanes
are measured: fewer leave the loops short, more fill small dimensions with padding.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clhd.model.compiled import bits_to_float, float_to_bits, kernel
from clhd.model.contrastive import ContrastiveModel
from clhd.simulation.streams import (
    BitArray,
    bits_to_fraction,
    fill_chi_squares,
    fill_normal_pairs,
    gamma_constants,
    next_bits,
)

FloatArray = NDArray[np.float64]

LANES = 64
CHUNK = 2 * LANES
GAUSSIAN, RADEMACHER, STUDENT_T = range(3)
NOISE_CODES = {"gaussian": GAUSSIAN, "rademacher": RADEMACHER, "student_t": STUDENT_T}
_SIGN_BIT = np.uint64(0x8000000000000000)
_NORMAL_LOW, _NORMAL_HIGH, _UNIFORM, _CHI_SQUARE, _GAMMA_D, _GAMMA_C = range(6)
_WORK_ROWS = 6


def noise_constants(model: ContrastiveModel) -> FloatArray:
    """The numbers that `fill_noise` needs of a model.

    Returns
    -------
    array of shape (5,)
        s, kappa / s, sqrt(s2 - kappa^2 / s2), the probability of equal signs, nu (0 where the law has none).
    """
    s2, kappa = model.noise_variance, model.noise_covariance
    freedom = model.noise_degrees_of_freedom or 0.0
    if s2 == 0:
        return np.array([0.0, 0.0, 0.0, 1.0, freedom])
    s = math.sqrt(s2)
    # As a product, so that it is exactly 0 at kappa = +-s2 and loses no digits beside it.
    own = math.sqrt(max((s2 - kappa) * (s2 + kappa), 0.0) / s2)
    return np.array([s, kappa / s, own, 0.5 * (1.0 + kappa / s2), freedom])


def noise_work(model: ContrastiveModel) -> FloatArray:
    """Work space of `fill_noise`, with the constants of the chi-square numbers, shape (rows, LANES)."""
    work = np.zeros((_WORK_ROWS, LANES))
    if model.noise_degrees_of_freedom is not None:
        gamma_constants(np.full(LANES, model.noise_degrees_of_freedom), work[_GAMMA_D], work[_GAMMA_C])
    return work


@kernel
def fill_noise(code: int, constants: FloatArray, state: BitArray, work: FloatArray, noise: FloatArray) -> None:
    """Write the noise of all views in one chunk of coordinates.

    Parameters
    ----------
    code : int
        Noise law, of `NOISE_CODES`.
    constants, work : arrays
        From `noise_constants` and `noise_work`.
    state : array of uint64, shape (4, LANES)
        The streams of the lanes; advanced.
    noise : array of shape (views, CHUNK)
        Receives the noise.
    """
    if code == RADEMACHER:
        _fill_rademacher(constants, state, noise)
        return
    _fill_gaussian(constants, state, noise)
    if code == STUDENT_T:
        _spread_by_chi_squares(constants[4], state, work, noise)


@kernel
def _fill_gaussian(constants: FloatArray, state: BitArray, noise: FloatArray) -> None:
    for v in range(len(noise)):
        fill_normal_pairs(state, noise[v, :LANES], noise[v, LANES:])
    scale, common, own = constants[0], constants[1], constants[2]
    first, second = noise[0], noise[1]
    for i in range(CHUNK):
        x = first[i]
        first[i] = scale * x
        second[i] = common * x + own * second[i]
    for v in range(2, len(noise)):
        row = noise[v]
        for i in range(CHUNK):
            row[i] *= scale


@kernel
def _fill_rademacher(constants: FloatArray, state: BitArray, noise: FloatArray) -> None:
    scale, equal = constants[0], constants[3]
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for v in range(len(noise)):
        for half in range(2):
            row = noise[v, half * LANES : (half + 1) * LANES]
            first = noise[0, half * LANES : (half + 1) * LANES]
            if v == 1:
                for i in range(LANES):
                    bits, s0[i], s1[i], s2[i], s3[i] = next_bits(s0[i], s1[i], s2[i], s3[i])
                    row[i] = first[i] if bits_to_fraction(bits) <= equal else -first[i]
            else:
                for i in range(LANES):
                    bits, s0[i], s1[i], s2[i], s3[i] = next_bits(s0[i], s1[i], s2[i], s3[i])
                    row[i] = bits_to_float(float_to_bits(scale) | (bits & _SIGN_BIT))


@kernel
def _spread_by_chi_squares(freedom: float, state: BitArray, work: FloatArray, noise: FloatArray) -> None:
    """Turn Gaussian noise into Student-t noise: one chi-square number for each sample and coordinate."""
    uniform, chi_square = work[_UNIFORM], work[_CHI_SQUARE]
    for sample in range(len(noise) - 1):
        fill_normal_pairs(state, work[_NORMAL_LOW], work[_NORMAL_HIGH])
        for half in range(2):
            normal = work[_NORMAL_LOW + half]
            fill_chi_squares(state, normal, work[_GAMMA_D], work[_GAMMA_C], uniform, chi_square)
            for i in range(LANES):
                chi_square[i] = math.sqrt((freedom - 2.0) / chi_square[i])
            # Sample 0 is seen by views 0 and 1, sample k by view k + 1.
            for v in range(0 if sample == 0 else sample + 1, sample + 2):
                row = noise[v, half * LANES : (half + 1) * LANES]
                for i in range(LANES):
                    row[i] *= chi_square[i]
