"""What the quadratures of the pair averages share: the step of the trapezoid rule, and monomials of h at its nodes."""

import math

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.activations import ERF, activate, activate_second

# Radius beyond which nodes of standard normal coordinates are dropped: exp(-8^2 / 2) = 1e-14 of the noise.
RADIUS = 8.0
# -log of the intended error of the trapezoid rule, 1e-13.
_DIGITS = 30.0
# Nodes in one block of lanes: enough for LLVM's vector loops, few enough for the level 1 cache.
LANES = 128


@kernel
def trapezoid_step(activation: int, width: float) -> float:
    """Return the step at which the trapezoid rule in one standard normal coordinate u is exact to about 1e-12.

    By Poisson summation the error is the integrand's Fourier transform at 2 pi / step. A shift of the contour by i y
    multiplies the normal density by exp(y^2 / 2) and the error by exp(-2 pi y / step):

    - tanh(m + width u) limits the shift by its pole, y = pi / (2 width). A product of two squares of h and two of h'
      has a pole of order 6, which adds the factor (2 pi / (step width))^5 / 5!;
    - erf is entire: h^2 h'^2 grows as exp(2 width^2 y^2), which only narrows the Gaussian.
    """
    if activation == ERF:
        return math.pi * math.sqrt(2.0 / (_DIGITS * (1.0 + 4.0 * width * width)))
    pole = 0.5 * math.pi / width
    step = _step_below_pole(pole, _DIGITS)
    order = 5.0 * math.log(2.0 * math.pi / (step * width)) - math.log(120.0)
    return _step_below_pole(pole, _DIGITS + max(order, 0.0))


@kernel
def _step_below_pole(pole: float, digits: float) -> float:
    """Return the step for an error exp(-digits) if the contour may be shifted by at most `pole`."""
    if 0.5 * pole * pole > digits:
        return math.pi * math.sqrt(2.0 / digits)
    return 2.0 * math.pi * pole / (digits + 0.5 * pole * pole)


@kernel
def write_monomials(
    activation: int, coefficients: FloatArray, factors: IntArray, z: FloatArray, rows: FloatArray
) -> None:
    """Write the monomials at z to `rows`; the first row is already 1."""
    activate(activation, coefficients, z, rows[1], rows[2])
    activate_second(activation, coefficients, z, rows[1], rows[2], rows[3])
    for k in range(len(factors)):
        _multiply(rows[factors[k, 0]], rows[factors[k, 1]], rows[4 + k])


@kernel
def _multiply(f: FloatArray, g: FloatArray, product: FloatArray) -> None:
    for i in range(LANES):
        product[i] = f[i] * g[i]
