"""`count_errors`: how many standard errors an interval reaches to each side.

`wilson_interval`: the confidence interval of a probability that is estimated from a number of runs.

`fit_power_law`: the fit of c n^a to values with known errors, to measure how fast something converges.
"""

import warnings
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.lazy import optimize, special

# Half the width of a 95 % interval, in standard errors: special.ndtri(0.975), without waiting for scipy.
NORMAL_95 = 1.959963984540054
_MAX_EXPONENT_ERROR = 0.25  # a fit with a larger standard error of the exponent is not returned


def count_errors(among: int = 1, runs: FloatArray | float = np.inf) -> FloatArray | float:
    """Return how many standard errors an interval of 95 % reaches to each side.

    Parameters
    ----------
    among : int, optional
        How many intervals, this one included, are to hold together at 95 % (Bonferroni).
    runs : float or array of any shape, optional
        From how many runs each error is known, 2 or more: Student's t. By default the errors are exact.

    Returns
    -------
    float, or array of the shape of `runs`
    """
    one_end = 0.025 / among
    if np.isposinf(runs).all():  # without waiting for scipy
        return NORMAL_95 if among == 1 else NormalDist().inv_cdf(1 - one_end)
    return np.asarray(special.stdtrit(np.maximum(runs, 2) - 1, 1 - one_end))


def wilson_interval(runs: IntArray, total: int, *, among: int = 1) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the share of `runs` in `total` and the limits of its 95 % interval.

    Source: E. B. Wilson, *Probable inference, the law of succession, and statistical inference* (1927).

    Parameters
    ----------
    runs : int array of any shape
        Number of runs with the outcome.
    total : int
        Number of all runs, > 0; they are independent.
    among : int, optional
        How many intervals, this one included, are to hold together at 95 % (Bonferroni).

    Returns
    -------
    (share, lower, upper) : arrays of the shape of `runs`
        Probabilities, 0 to 1.
    """
    share = np.asarray(runs / total, dtype=np.float64)
    normal = count_errors(among)
    z2 = normal**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = normal / (1 + z2 / total) * np.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return share, np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


@dataclass(frozen=True)
class Slope:
    """A fitted power law c n^a: the exponent a, its standard error, and the fitted values at each n."""

    exponent: float
    error: float
    values: FloatArray

    def __str__(self) -> str:
        """Return the exponent with its error."""
        return f"{self.exponent:.3g} ± {self.error:.2g}".replace("-", "\N{MINUS SIGN}")


def fit_power_law(size: FloatArray, values: FloatArray, errors: FloatArray) -> Slope | None:
    """Fit c n^a to values with known errors.

    Parameters
    ----------
    size, values, errors : arrays of shape (n,)
        Sizes n, values of any sign (also within their error of zero) and standard errors. Entries that are not finite,
        or have no positive error, are ignored.

    Returns
    -------
    Slope or None
        None if fewer than 3 entries remain, or the standard error of a exceeds 0.25.
    """
    used = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if used.sum() < 3:
        return None
    x, y, e = np.log(size[used]), values[used], errors[used]
    origin = float(x[0])  # centre log n at the first n, to decorrelate c and a
    guess = (float(y[0]) or float(e[0]), -1.0)
    try:
        with warnings.catch_warnings(), np.errstate(over="ignore"):
            # When it warns, the error is infinite, which is refused below.
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            (c, a), covariance = optimize.curve_fit(
                lambda x, c, a: c * np.exp(a * (x - origin)), x, y, guess, sigma=e, absolute_sigma=True
            )
    except RuntimeError:
        return None
    error = float(np.sqrt(covariance[1, 1]))
    if not error <= _MAX_EXPONENT_ERROR:
        return None
    return Slope(float(a), error, c * np.exp(a * (np.log(size) - origin)))
