"""Power laws c n^a fitted to numbers with known errors: how fast something converges."""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

_VAGUEST = 0.25  # standard error of an exponent beyond which a fit says nothing
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Slope:
    """A fitted power law c n^a: its exponent, the standard error of that, and its values at each n."""

    exponent: float
    error: float
    values: FloatArray

    def __str__(self) -> str:
        """The exponent with its error."""
        return f"{self.exponent:.3g} ± {self.error:.2g}".replace("-", "\N{MINUS SIGN}")


def fit_power_law(size: FloatArray, values: FloatArray, errors: FloatArray) -> Slope | None:
    """Fit c n^a to values with known errors; None if they do not fix a, to 0.25.

    Parameters
    ----------
    size, values, errors : arrays of shape (n,)
        Values may have any sign, and may be within their error of zero.
    """
    used = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if used.sum() < 3:
        return None
    x, y, e = np.log(size[used]), values[used], errors[used]
    origin = float(x[0])  # so that c is the value at the smallest n, and tells little of a
    guess = (float(y[0]) or float(e[0]), -1.0)
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            warnings.simplefilter("ignore", OptimizeWarning)  # an unknown error is infinite, and refused below
            (c, a), covariance = curve_fit(
                lambda x, c, a: c * np.exp(a * (x - origin)), x, y, guess, sigma=e, absolute_sigma=True
            )
    except RuntimeError:
        return None
    error = float(np.sqrt(covariance[1, 1]))
    if not error <= _VAGUEST:
        return None
    return Slope(float(a), error, c * np.exp(a * (np.log(size) - origin)))
