"""The Wilson interval of a share: the confidence interval of a probability estimated from a number of runs."""

import numpy as np
from numpy.typing import NDArray

from clhd.core.lazy import special

FloatArray = NDArray[np.float64]

_NORMAL_95 = 1.959963984540054


def wilson_interval(
    runs: NDArray[np.int64], total: int, *, among: int = 1
) -> tuple[FloatArray, FloatArray, FloatArray]:
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
    normal = _NORMAL_95 if among == 1 else float(special.ndtri(1 - 0.025 / among))
    z2 = normal**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = normal / (1 + z2 / total) * np.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return share, np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
