"""Activations h of the unit: values, first and second derivatives, for whole arrays inside kernels.

| name | h(x) | symmetry |
|---|---|---|
| linear | x | odd |
| tanh | tanh x | odd |
| erf | erf(x / sqrt 2) | odd |
| relu | max(x, 0) | none |
| polynomial | sum_k coefficients[k] x^k | by its coefficients |

Kernels receive an activation as ``(code, coefficients)`` and branch on the code outside their loops, so that one
compiled kernel serves all. A new activation is one entry in `ACTIVATIONS`, one branch in each of the two kernels, and
its parity and whether it is bounded in `find_activation`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_choice, parse_vector
from clhd.core.kernels import kernel
from clhd.core.vector_math import erf, exponential, tanh
from clhd.errors import InputError

LINEAR, TANH, ERF, RELU, POLYNOMIAL = range(5)
ACTIVATIONS = {"linear": LINEAR, "tanh": TANH, "erf": ERF, "relu": RELU}
_MAXIMUM_DEGREE = 9
_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


def parse_activation(value: str | Sequence[float]) -> str | tuple[float, ...]:
    """Return an activation in its one form: a name, or a tuple of polynomial coefficients, lowest power first.

    Raises
    ------
    ClhdError
        If the value is neither a known name nor a list of 2 to 10 finite numbers, the last one not zero.
    """
    if isinstance(value, str):
        return parse_choice("activation", value, ACTIVATIONS)
    if not isinstance(value, Iterable):
        raise InputError(
            f"activation = {value!r}: must be one of {', '.join(sorted(ACTIVATIONS))}, "
            "or the coefficients of a polynomial from the lowest power up"
        )
    coefficients = parse_vector("activation", value)
    if not 2 <= len(coefficients) <= _MAXIMUM_DEGREE + 1 or coefficients[-1] == 0:
        raise InputError(
            f"activation = {value!r}: a polynomial must have degree 1 to {_MAXIMUM_DEGREE}, "
            "its coefficients given from the lowest power up, the last one not 0"
        )
    return tuple((coefficients + 0.0).tolist())


@dataclass(frozen=True)
class Activation:
    """An activation in the form that kernels take, and its properties that the theory uses.

    Attributes
    ----------
    code : int
        One of LINEAR, TANH, ERF, RELU, POLYNOMIAL.
    coefficients : tuple of float
        Coefficients of a polynomial, lowest power first; empty otherwise.
    parity : int
        -1 if h is odd, +1 if it is even, 0 otherwise.
    is_bounded : bool
        True if h stays finite for all arguments; other activations may diverge.
    """

    code: int
    coefficients: tuple[float, ...]
    parity: int
    is_bounded: bool

    @property
    def coefficient_array(self) -> FloatArray:
        """Coefficients as an array for kernels, shape (degree + 1,) or (0,)."""
        return np.array(self.coefficients, dtype=np.float64)

    def __call__(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return ``(h, h', h'')`` at `x`, each of the shape of `x` (h'' of relu is 0 away from its kink)."""
        x = np.asarray(x, dtype=np.float64)
        flat = np.ascontiguousarray(x).ravel()
        h, d, s = np.empty_like(flat), np.empty_like(flat), np.empty_like(flat)
        activate(self.code, self.coefficient_array, flat, h, d)
        activate_second(self.code, self.coefficient_array, flat, h, d, s)
        return h.reshape(x.shape), d.reshape(x.shape), s.reshape(x.shape)


def find_activation(value: str | tuple[float, ...]) -> Activation:
    """Return the `Activation` for a value that `parse_activation` has returned."""
    if isinstance(value, str):
        code = ACTIVATIONS[value]
        return Activation(code, (), 0 if code == RELU else -1, code in (TANH, ERF))
    powers = {k for k, c in enumerate(value) if c != 0}
    parity = -1 if all(k % 2 for k in powers) else 1 if not any(k % 2 for k in powers) else 0
    return Activation(POLYNOMIAL, value, parity, False)


@kernel
def activate(code: int, coefficients: FloatArray, z: FloatArray, h: FloatArray, d: FloatArray) -> None:
    """Write h(z) to `h` and h'(z) to `d`; all three of shape (lanes,)."""
    if code == TANH:
        for i in range(len(z)):
            t = tanh(z[i])
            h[i] = t
            d[i] = 1.0 - t * t
    elif code == ERF:
        for i in range(len(z)):
            h[i] = erf(_SQRT_HALF * z[i])
            half_square = 0.5 * z[i] * z[i]
            d[i] = _SQRT_2_OVER_PI * exponential(-700.0 if half_square > 700.0 else -half_square)
    elif code == LINEAR:
        for i in range(len(z)):
            h[i] = z[i]
            d[i] = 1.0
    elif code == RELU:
        for i in range(len(z)):
            h[i] = z[i] if z[i] > 0.0 else 0.0 * z[i]
            d[i] = 1.0 if z[i] > 0.0 else 0.0
    else:
        top = len(coefficients) - 1
        for i in range(len(z)):
            h[i] = coefficients[top]
            d[i] = 0.0
        for k in range(top - 1, -1, -1):
            for i in range(len(z)):
                d[i] = d[i] * z[i] + h[i]
                h[i] = h[i] * z[i] + coefficients[k]


@kernel
def activate_second(
    code: int, coefficients: FloatArray, z: FloatArray, h: FloatArray, d: FloatArray, s: FloatArray
) -> None:
    """Write h''(z) to `s`, given `h` and `d` from `activate`; for relu it is 0, the value away from the kink."""
    if code == TANH:
        for i in range(len(z)):
            s[i] = -2.0 * h[i] * d[i]
    elif code == ERF:
        for i in range(len(z)):
            s[i] = -z[i] * d[i]
    elif code == POLYNOMIAL:
        for i in range(len(z)):
            s[i] = 0.0
        for k in range(len(coefficients) - 1, 1, -1):
            for i in range(len(z)):
                s[i] = s[i] * z[i] + (k * (k - 1)) * coefficients[k]
    else:
        for i in range(len(z)):
            s[i] = 0.0
