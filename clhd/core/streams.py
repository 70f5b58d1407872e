"""Random streams: one xoshiro256++ generator for each lane, keyed by text, advanced in lockstep.

A lane's 256-bit state is the BLAKE2b digest of a key (the point's canonical text, the replica). A stream therefore
depends on its key alone, never on its position, its neighbours or the number of threads. All kernels below work on
arrays of lanes; a lane's numbers come from its own state.

| symbol | name | shape | unit |
|---|---|---|---|
| state | generator states | (4, lanes) | bits (uint64) |
| out | random numbers | (lanes,) | standard normal, or uniform on (0, 1] |

Source of the generator: D. Blackman and S. Vigna, *Scrambled linear pseudorandom number generators* (2021).
Normal numbers by G. Box and M. Muller (1958), gamma numbers by G. Marsaglia and W. W. Tsang (2000).
"""

import math
from collections.abc import Iterable
from hashlib import blake2b, shake_256
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from clhd.core.arrays import FloatArray
from clhd.core.kernels import bits_to_float, float_to_bits, inlined, kernel
from clhd.core.vector_math import minus_two_log, sine_cosine

BitArray = NDArray[np.uint64]

_ONE_BITS = np.uint64(0x3FF0000000000000)
_SIGN_BIT = np.uint64(0x8000000000000000)
_TWELVE, _LEFT17, _LEFT45, _RIGHT19 = np.uint64(12), np.uint64(17), np.uint64(45), np.uint64(19)
_LEFT23, _RIGHT41 = np.uint64(23), np.uint64(41)
_BIT0, _BIT62 = np.uint64(1), np.uint64(62)
_SQRT_EIGHTH = math.sqrt(0.125)
_CACHE_LINE = 64  # bytes
_SETTLED = 2.0  # mark of a decided lane: not a uniform number on (0, 1]


def aligned_zeros(shape: int | tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """Return zeros that begin at a cache line: loads across two lines cost the kernels 10 to 15 % of their speed."""
    kind = np.dtype(dtype)
    size = math.prod(np.atleast_1d(shape).tolist()) * kind.itemsize
    buffer = np.zeros(size + _CACHE_LINE, np.uint8)
    begin = -buffer.ctypes.data % _CACHE_LINE
    return buffer[begin : begin + size].view(kind).reshape(shape)


def seed_states(key: str, indices: Iterable[int]) -> BitArray:
    """Return the states of the streams ``(key, index)``, one for each index.

    Parameters
    ----------
    key : str
        Text that identifies the streams, exact to the last bit (it includes, say, ``ContrastiveModel.canonical()``).
    indices : iterable of int
        Such as the replicas.

    Returns
    -------
    array of uint64, shape (4, indices)
    """
    root = blake2b(key.encode(), digest_size=32, person=b"clhd stream")
    words = bytearray()
    for index in indices:
        digest = root.copy()
        digest.update(int(index).to_bytes(8, "little"))
        words += digest.digest()
    return np.ascontiguousarray(np.frombuffer(words, dtype="<u8").astype(np.uint64).reshape(-1, 4).T)


def seed_lanes(key: str, lanes: int) -> BitArray:
    """Return the states of all lanes of one replica, shape (4, lanes), from one digest of its key (SHAKE-256).

    A lane's state does not depend on how many lanes there are.
    """
    words = np.frombuffer(shake_256(f"clhd lanes|{key}".encode()).digest(32 * lanes), dtype="<u8")
    states = aligned_zeros((4, lanes), np.uint64)
    states[:] = words.reshape(-1, 4).T
    return states


@inlined
def next_bits(
    s0: np.uint64, s1: np.uint64, s2: np.uint64, s3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return 64 random bits and the new state: one step of xoshiro256++."""
    total = s0 + s3
    bits = ((total << _LEFT23) | (total >> _RIGHT41)) + s0
    shifted = s1 << _LEFT17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    s3 = (s3 << _LEFT45) | (s3 >> _RIGHT19)
    return bits, s0, s1, s2, s3


@inlined
def bits_to_fraction(bits: np.uint64) -> float:
    """Return a uniform number on (0, 1] from 52 of 64 random bits."""
    return 2.0 - bits_to_float((bits >> _TWELVE) | _ONE_BITS)


@inlined
def normal_pair(radius_bits: np.uint64, angle_bits: np.uint64) -> tuple[float, float]:
    """Return two standard normal numbers from two words of random bits (Box-Muller)."""
    return point_on_circle(minus_two_log(bits_to_fraction(radius_bits)), angle_bits)


@inlined
def point_on_circle(square: float, angle_bits: np.uint64) -> tuple[float, float]:
    """Return the coordinates of a uniformly random point at the given squared distance from 0.

    The high bits give an angle in the right-hand quadrant, (-pi/4, pi/4]. Of two unused low bits, one mirrors it into
    the upper quadrant and the other turns the result by pi.
    """
    radius = math.sqrt(square)
    radius = bits_to_float(float_to_bits(radius) ^ ((angle_bits << _BIT62) & _SIGN_BIT))
    sine, cosine = sine_cosine(bits_to_fraction(angle_bits) - 0.5)
    swap = (angle_bits & _BIT0) != 0
    return radius * (sine if swap else cosine), radius * (cosine if swap else sine)


@kernel
def fill_uniforms(state: BitArray, out: FloatArray) -> None:
    """Write one uniform number on (0, 1] for each lane to `out`."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for i in range(len(out)):
        bits, s0[i], s1[i], s2[i], s3[i] = next_bits(s0[i], s1[i], s2[i], s3[i])
        out[i] = bits_to_fraction(bits)


@kernel
def fill_normal_pairs(state: BitArray, first: FloatArray, second: FloatArray) -> None:
    """Write two independent standard normal numbers for each lane to `first` and `second`."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    for i in range(len(first)):
        radius_bits, a0, a1, a2, a3 = next_bits(s0[i], s1[i], s2[i], s3[i])
        angle_bits, s0[i], s1[i], s2[i], s3[i] = next_bits(a0, a1, a2, a3)
        first[i], second[i] = normal_pair(radius_bits, angle_bits)


@kernel
def fill_six_normals(state: BitArray, out: FloatArray, uniform: FloatArray, bits: FloatArray) -> None:
    """Write six independent standard normal numbers for each lane to `out`, by one logarithm.

    The squared radii of three pairs are independent exponential numbers. Their sum is -2 log(u v w) for uniform u, v,
    w, and the shares of the three in it are the spacings that two further uniform numbers leave on (0, 1]. The word of
    random bits that is drawn as well costs less here than in a pass of its own.

    Parameters
    ----------
    state : array of shape (4, lanes)
    out : array of shape (6, lanes)
    uniform : array of shape (lanes,)
        Receives one uniform number on (0, 1], from the high bits of a further word.
    bits : array of shape (lanes,)
        Receives this word; its 12 lowest bits are independent of `uniform`.
    """
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    x0, x1, x2, x3, x4, x5 = out[0], out[1], out[2], out[3], out[4], out[5]
    for i in range(len(x0)):
        u, a0, a1, a2, a3 = next_bits(s0[i], s1[i], s2[i], s3[i])
        v, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        w, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        square = minus_two_log(bits_to_fraction(u) * bits_to_fraction(v) * bits_to_fraction(w))
        one, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        other, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        first, second = bits_to_fraction(one), bits_to_fraction(other)
        low = first if first < second else second
        high = second if first < second else first
        angle0, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        angle1, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        angle2, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
        word, s0[i], s1[i], s2[i], s3[i] = next_bits(a0, a1, a2, a3)
        uniform[i], bits[i] = bits_to_fraction(word), bits_to_float(word)
        x0[i], x1[i] = point_on_circle(square * low, angle0)
        x2[i], x3[i] = point_on_circle(square * (high - low), angle1)
        x4[i], x5[i] = point_on_circle(square * (1.0 - high), angle2)


@kernel
def fill_signs(bits: FloatArray, position: int, scale: FloatArray, out: FloatArray) -> None:
    """Write `scale` with a random sign for each lane to `out`: the bit of this position, 0 to 11, of `bits`."""
    shift = np.uint64(63 - position)
    for i in range(len(out)):
        sign = (float_to_bits(bits[i]) << shift) & _SIGN_BIT
        out[i] = bits_to_float(float_to_bits(scale[i]) ^ sign)


@kernel
def gamma_constants(degrees: FloatArray, d: FloatArray, c: FloatArray) -> None:
    """Write the constants d and c of `fill_chi_squares` for each lane's degrees of freedom (at least 1)."""
    for i in range(len(degrees)):
        d[i] = 0.5 * degrees[i] - 1.0 / 3.0
        c[i] = 1.0 / math.sqrt(9.0 * d[i])


@kernel
def fill_chi_squares(
    state: BitArray, normal: FloatArray, d: FloatArray, c: FloatArray, uniform: FloatArray, out: FloatArray
) -> None:
    """Write an exact chi-square number for each lane to `out` (Marsaglia and Tsang's method).

    Parameters
    ----------
    state : array of shape (4, lanes)
    normal : array of shape (lanes,)
        Fresh standard normal numbers; rejected lanes draw new ones.
    d, c : arrays of shape (lanes,)
        From `gamma_constants`. With one degree of freedom the result is the squared normal number; the method needs
        at least two.
    uniform : array of shape (lanes,)
        Work space.
    """
    fill_uniforms(state, uniform)
    transform_to_chi_squares(state, normal, d, c, uniform, out)


@kernel
def transform_to_chi_squares(
    state: BitArray, normal: FloatArray, d: FloatArray, c: FloatArray, uniform: FloatArray, out: FloatArray
) -> None:
    """Write the numbers of `fill_chi_squares` from fresh uniform numbers on (0, 1], which are overwritten."""
    undecided = 0
    for i in range(len(out)):
        x = normal[i]
        y = c[i] * x
        root = 1.0 + y
        out[i] = 2.0 * d[i] * root * root * root if d[i] > 0.5 else x * x
        # With f the log of the acceptance probability, 1 + f >= 1 - c^2 x^4 / 8 wherever y > -0.4.
        sure = (uniform[i] <= 1.0 - 0.125 * y * y * x * x) & (y > -0.4)
        settled = sure | (d[i] < 0.5)
        uniform[i] = _SETTLED if settled else uniform[i]
        undecided += 0 if settled else 1
    if undecided > 0:
        _settle_undecided(state, normal, d, c, uniform, out)


@kernel
def _settle_undecided(
    state: BitArray, normal: FloatArray, d: FloatArray, c: FloatArray, uniform: FloatArray, out: FloatArray
) -> None:
    """Apply the exact test to the lanes that the quick test left undecided; redraw the rejected ones.

    The mark of the first pass tells which lanes these are. Repeating its comparison here might round differently, and
    a lane's numbers would then depend on its neighbours.
    """
    for i in range(len(out)):
        if uniform[i] == _SETTLED:
            continue
        x, u = normal[i], uniform[i]
        redrawn = False
        while True:
            root = 1.0 + c[i] * x
            v = root * root * root
            if root > 0.0 and math.log(u) < 0.5 * x * x + d[i] * (1.0 - v + math.log(v)):
                break
            radius_bits, a0, a1, a2, a3 = next_bits(state[0, i], state[1, i], state[2, i], state[3, i])
            angle_bits, a0, a1, a2, a3 = next_bits(a0, a1, a2, a3)
            bits, state[0, i], state[1, i], state[2, i], state[3, i] = next_bits(a0, a1, a2, a3)
            x, _ = normal_pair(radius_bits, angle_bits)
            u = bits_to_fraction(bits)
            redrawn = True
        if redrawn:
            out[i] = 2.0 * d[i] * v


@kernel
def fill_laplace(state: BitArray, uniform: FloatArray, out: FloatArray) -> None:
    """Write one Laplace number of unit variance for each lane to `out`; `uniform` (same shape) is work space."""
    fill_uniforms(state, uniform)
    fill_uniforms(state, out)
    for i in range(len(out)):
        size = _SQRT_EIGHTH * minus_two_log(uniform[i])
        out[i] = size if out[i] > 0.5 else -size
