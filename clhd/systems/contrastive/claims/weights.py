"""C1: the empirical distribution of the weights converges to the solution of the McKean-Vlasov equation.

Distances are Wasserstein-1, of each replica's weights to the equation's law, averaged over replicas, and over the
signs of the feature value with their shares. With an L1 penalty and without, at every time but the start, where both
stages are given the same law, the claim asks three things:

| part | measured | holds |
|---|---|---|
| rate | exponent of the distance as a power of the dimension | in a range around -1/2 |
| size | distance at the largest dimension, over what fluctuations of order n^(-1/2) explain | below a bound |
| support | precision and recall of a sparse feature's support, by SGD minus by the equation | within an allowance |

The bound of what fluctuations explain is derived in `claims.distances`. The ratio of the distance to it must not exceed
1, except for the errors of sd(q) and sd(r) and for higher orders (the error of the distance is in the interval of the
ratio). If the equation were wrong, the ratio would grow as n^(1/2). The largest dimension may differ by penalty.

Several intervals are compared with each range; they hold together (`clhd.claims.verdict`).

*The smallest error of the solution that C1 is certain to notice.*
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
from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.verdict import Estimate, Verdict, all_hold, below, within
from clhd.core.statistics import fit_power_law
from clhd.systems.contrastive.claims.distances import Distances, measure_distances
from clhd.systems.contrastive.claims.support import describe_best, judge_support


def judge_weights(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C1 from distances by dimension and from the support of a sparse feature."""
    distances = measure_distances(summaries)
    rate, exponents = _judge_rate(distances, thresholds["exponent_range"])
    size, ratios = _judge_size(distances, thresholds["largest_ratio"])
    support, differences = judge_support(summaries["support"], thresholds["allowance"])
    parts = {"rate": rate, "size": size, "support": support}
    evidence: dict[str, Any] = {
        "exponents": exponents,
        "distances": {
            name: {
                "dimension": here.mean["dimension"].values,
                "by_sgd": here.mean.values,
                "standard_error": here.error.values,
                "of_independent_draws": here.of_draws.values,
                "of_shared_forces": here.of_forces.values,
            }
            for name, here in ((name, distances.at(place)) for name, place in distances.places.items())
        },
        "ratio_to_what_fluctuations_explain": ratios,
        "smallest_error_that_is_noticed": _describe_resolution(distances, ratios, thresholds["largest_ratio"]),
        "support_sgd_minus_theory": differences,
        "best_threshold": describe_best(summaries["support"]),
    }
    return Judgement.of_all(parts, evidence)


def _describe_resolution(distances: Distances, ratios: Mapping[str, Estimate], limit: float) -> dict[str, Any]:
    """By place: the smallest errors that are certain to be noticed at the largest dimension."""
    found = {}
    for place, ratio in ratios.items():
        here = distances.at(distances.places[place])
        distance = (ratio.value + limit + (ratio.value - ratio.low)) * float(here.explained[-1])
        in_deviations = distance / np.sqrt(float(here.variance[-1]))  # the variance of the weights, given the feature
        found[place] = {
            "distance": float(distance),
            "in_standard_deviations": float(in_deviations),
            "relative_error_of_variance": float(in_deviations * np.sqrt(2 * np.pi)),
        }
    return found


def _judge_rate(distances: Distances, allowed: tuple[float, float]) -> tuple[Verdict, dict[str, Estimate]]:
    """The exponent of each penalty and time, and whether all are in the range."""
    found = {}
    for name, place in distances.places.items():
        here = distances.at(place)
        sizes = here.mean["dimension"].values.astype(float)
        slope = fit_power_law(sizes, here.mean.values, here.error.values)
        exponent, doubt = (slope.exponent, slope.error) if slope else (np.nan, np.nan)
        # Some dimensions have few runs, so errors are uncertain: as if all of them had as few.
        fewest = float(here.runs.min())
        found[name] = Estimate.with_error(exponent, doubt, among=len(distances.places), runs=fewest)
    return all_hold(within(exponent, allowed) for exponent in found.values()), found


def _judge_size(distances: Distances, limit: float) -> tuple[Verdict, dict[str, Estimate]]:
    """Distance at the largest dimension over what fluctuations explain, and whether all are below the limit."""
    found = {}
    for name, place in distances.places.items():
        here = distances.at(place)
        mean, error, explained, runs = (
            float(values[-1]) for values in (here.mean, here.error, here.explained, here.runs)
        )
        found[name] = Estimate.with_error(mean / explained, error / explained, among=len(distances.places), runs=runs)
    return all_hold(below(ratio, limit) for ratio in found.values()), found


WEIGHTS = Claim(
    statement="The empirical distribution of the weights converges to the solution of the McKean-Vlasov equation as "
    "the dimension grows.",
    experiments={
        "small": "distances by dimension and penalty",
        "large": "the same at the largest dimension; may be the same experiment",
        "support": "weights on and off the support of a sparse feature",
    },
    optional_experiments={"largest": "the same at dimensions that some of the penalties alone can reach"},
    thresholds={
        "exponent_range": "exponents of the distance, as a power of the dimension, that count as -1/2",
        "largest_ratio": "largest ratio of the distance at the largest dimension to what fluctuations explain",
        "allowance": "difference in precision and recall, SGD minus theory, that counts as none",
    },
    judge=judge_weights,
    figure="clhd.systems.contrastive.figures.weights:plot_weights",
)
