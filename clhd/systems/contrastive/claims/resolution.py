"""`describe_resolution`: the smallest error of the McKean-Vlasov solution that C1 is certain to notice.

Let the equation's law be wrong by a Wasserstein-1 distance x from the true limit law. By the triangle inequality the
mean distance of SGD's weights to the equation's law is then at least x - d, where d is their mean distance to the true
law. We take for d the measured distance: if the equation is right, that is what it is. C1 says "does not hold" if the
lower end of the interval of (x - d) / E exceeds the largest ratio, where E is what fluctuations explain. So every x is
noticed above

    x = d + largest_ratio * E + h,          h: half the width of the interval of the distance.

Smaller errors may be noticed too; this is a bound. To judge its size: a shift of all weights by x is a distance of x,
and a relative error y of their variance v, given the feature, is a distance of y sqrt(v / (2 pi)) for a normal law.
"""

from collections.abc import Mapping

import numpy as np

from clhd.claims.verdict import Estimate


def describe_resolution(
    ratios: Mapping[str, Estimate], explained: Mapping[str, float], variance: Mapping[str, float], largest_ratio: float
) -> dict[str, dict[str, float]]:
    """Return by place the smallest errors that are certain to be noticed at the largest dimension.

    Parameters
    ----------
    ratios : mapping of place to Estimate
        Mean distance over what fluctuations explain, with the interval that is judged.
    explained : mapping of place to float
        What fluctuations explain; unit: of the weights.
    variance : mapping of place to float
        Of the weights, given the feature: r - q^2.
    largest_ratio : float
        The threshold.

    Returns
    -------
    dict
        By place: ``distance`` (of the weights), ``in_standard_deviations``, and ``relative_error_of_variance``.
    """
    found = {}
    for place, ratio in ratios.items():
        distance = (ratio.value + largest_ratio + (ratio.value - ratio.low)) * explained[place]
        in_deviations = distance / np.sqrt(variance[place])
        found[place] = {
            "distance": float(distance),
            "in_standard_deviations": float(in_deviations),
            "relative_error_of_variance": float(in_deviations * np.sqrt(2 * np.pi)),
        }
    return found
