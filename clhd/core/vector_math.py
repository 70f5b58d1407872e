"""Elementary functions that LLVM can vectorise: no branch, no table, no call.

Each is a range reduction by exact bit operations, then a polynomial: the shortest Chebyshev series with an error below
the rounding error, computed with 50 digits and written in powers. The table gives the largest errors found against
40-digit arithmetic (tests/core/test_vector_math.py checks them). ULP = unit in the last place of float64.

| function | argument | error |
|---|---|---|
| `tanh` | any | 3 ULP, also at tiny arguments |
| `exponential` | -700 ... 700 | 2 ULP |
| `erf` | any | 4 ULP |
| `minus_two_log` | 2.3e-308 ... 1 | 3 ULP, also near 1 |
| `sine_cosine` | -1/2 ... 1/2 quarter turns | 2 ULP |
"""

import numpy as np

from clhd.core.kernels import bits_to_float, float_to_bits, inlined

# Adding 1.5 * 2^52 rounds a float64 to an integer and leaves that integer in its low bits.
_ROUND = 6755399441055744.0
_LOG2_E = 1.4426950408889634
# ln 2 in two parts; the first has 21 trailing zero bits, so that k * _LN2_HIGH is exact.
_LN2_HIGH = 0.6931471803691238
_LN2_LOW = 1.9082149292705877e-10
_TWO_LN2 = 1.3862943611198906
_ONE_BITS = np.uint64(0x3FF0000000000000)
_SQRT_HALF_BITS = np.uint64(0x3FE6A09E667F3BCD)
_MANTISSA = np.uint64(0x000FFFFFFFFFFFFF)
_FIFTY_TWO = np.uint64(52)


@inlined
def _expm1_reduced(f: float) -> float:
    """Return exp(f) - 1 for |f| <= ln(2) / 2, by a polynomial with error 4e-17 relative to f."""
    p = 2.510520706464424e-08
    p = p * f + 2.762007691611333e-07
    p = p * f + 2.755725542387984e-06
    p = p * f + 2.4801521319879672e-05
    p = p * f + 0.00019841269874802173
    p = p * f + 0.0013888888917198588
    p = p * f + 0.008333333333326141
    p = p * f + 0.04166666666662416
    p = p * f + 0.1666666666666667
    p = p * f + 0.5000000000000001
    return f + f * f * p


@inlined
def exponential(x: float) -> float:
    """Return exp(x) for -700 <= x <= 700."""
    shifted = x * _LOG2_E + _ROUND
    k = shifted - _ROUND
    power = bits_to_float((float_to_bits(shifted) << _FIFTY_TWO) + _ONE_BITS)
    return power + power * _expm1_reduced((x - k * _LN2_HIGH) - k * _LN2_LOW)


@inlined
def tanh(x: float) -> float:
    """Return tanh(x) as t / (t + 2) with t = exp(2 |x|) - 1, which loses no digits at small x."""
    y = 2.0 * abs(x)
    y = 40.0 if y > 40.0 else y  # tanh(20) rounds to 1; NaN stays NaN
    shifted = y * _LOG2_E + _ROUND
    k = shifted - _ROUND
    power = bits_to_float((float_to_bits(shifted) << _FIFTY_TWO) + _ONE_BITS)
    t = power * _expm1_reduced((y - k * _LN2_HIGH) - k * _LN2_LOW) + (power - 1.0)
    signed: float = np.copysign(t / (t + 2.0), x)
    return signed


@inlined
def minus_two_log(u: float) -> float:
    """Return -2 log(u), 0 < u <= 1: u = 2^k m with sqrt(1/2) <= m < sqrt(2), log m = 2 artanh((m - 1) / (m + 1))."""
    shifted = float_to_bits(u) + (_ONE_BITS - _SQRT_HALF_BITS)
    k = np.float64(np.int64(shifted >> _FIFTY_TWO) - 1023)
    f = bits_to_float((shifted & _MANTISSA) + _SQRT_HALF_BITS) - 1.0
    s = f / (2.0 + f)
    z = s * s
    p = -0.29620725279638843
    p = p * z - 0.3062492195246747
    p = p * z - 0.3636726879510633
    p = p * z - 0.4444439400444865
    p = p * z - 0.5714285752240549
    p = p * z - 0.7999999999859918
    p = p * z - 1.333333333333353
    p = p * z - 4.0
    return s * p - k * _TWO_LN2


@inlined
def sine_cosine(y: float) -> tuple[float, float]:
    """Return (sin(pi y / 2), cos(pi y / 2)) for |y| <= 1/2, by polynomials in y^2 with errors of 1e-16."""
    z = y * y
    s = 5.633936132273839e-08
    s = s * z - 3.5986433706134926e-06
    s = s * z + 0.00016044115074714992
    s = s * z - 0.004681754132341619
    s = s * z + 0.07969262624604304
    s = s * z - 0.6459640975062443
    s = s * z + 1.5707963267948966
    c = 4.655298729149094e-07
    c = c * z - 2.520013545491748e-05
    c = c * z + 0.0009192599500952791
    c = c * z - 0.02086348073495352
    c = c * z + 0.25366950789986514
    c = c * z - 1.2337005501361513
    c = c * z + 1.0
    return y * s, c


# exp(y^2) erfc(y) / t for t = 1 / (1 + y / 2) as a polynomial in x, t = 21/34 + 13/34 x, |x| <= 1 (y from 0 to 6.5):
# the Chebyshev series of degree 20, computed with 60 digits and written in powers of x; truncated at 3e-17.
_ERFCX = (
    0.599572371428603,
    0.31487669484856085,
    0.08694383988575342,
    0.003013597824544733,
    -0.0045011849532819725,
    -0.0002113453420378948,
    0.0003482942106517063,
    -2.2637774038448066e-05,
    -2.739653419837992e-05,
    7.640096972738766e-06,
    9.597259053480797e-07,
    -1.061070177043317e-06,
    2.0601187020012883e-07,
    5.5282963737145025e-08,
    -4.329113744966487e-08,
    9.181775929186402e-09,
    2.0630672025583504e-09,
    -2.1727484593903184e-09,
    5.040478187292782e-10,
    1.5128283023315788e-10,
    -7.837983332547408e-11,
)


@inlined
def erf(y: float) -> float:
    """Return erf(y): the Taylor series for |y| < 1/2, and 1 - exp(-y^2) times a polynomial beyond."""
    a = abs(y)
    a = 6.5 if a > 6.5 else a  # erf(6) rounds to 1; NaN stays NaN
    z = a * a
    t = 1.0 / (1.0 + 0.5 * a)
    x = (t - 21.0 / 34.0) * (34.0 / 13.0)
    q = _ERFCX[20]
    for i in range(19, -1, -1):
        q = q * x + _ERFCX[i]
    far = 1.0 - t * q * exponential(-z)
    # Terms (-1)^k z^k / (k! (2 k + 1)); the first one left out is below 1e-17 for z <= 1/4.
    p = 1.0 / (479001600.0 * 25.0)
    p = p * z - 1.0 / (39916800.0 * 23.0)
    p = p * z + 1.0 / (3628800.0 * 21.0)
    p = p * z - 1.0 / (362880.0 * 19.0)
    p = p * z + 1.0 / (40320.0 * 17.0)
    p = p * z - 1.0 / (5040.0 * 15.0)
    p = p * z + 1.0 / (720.0 * 13.0)
    p = p * z - 1.0 / (120.0 * 11.0)
    p = p * z + 1.0 / (24.0 * 9.0)
    p = p * z - 1.0 / (6.0 * 7.0)
    p = p * z + 1.0 / (2.0 * 5.0)
    p = p * z - 1.0 / 3.0
    near = 1.1283791670955126 * (a + a * z * p)
    signed: float = np.copysign(near if a < 0.5 else far, y)
    return signed
