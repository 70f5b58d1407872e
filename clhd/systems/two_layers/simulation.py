"""One run: SGD on fresh pairs of views, and how far the hidden units of the first layer specialise.

| symbol | name | meaning | unit |
|---|---|---|---|
| s_kv | match | largest entry of token v in a hidden unit of location k, the units scaled to length 1 | 1 |
| chi+ | chi_plus | mean of s_kv over the tokens that some pattern has at location k | 1 |
| chi- | chi_minus | mean of s_kv over the other tokens | 1 |

All three are averaged over locations. A unit that answers to one token alone has a match of 1 with this token.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.arrays import BoolArray, FloatArray
from clhd.core.lazy import stats
from clhd.systems.two_layers.data import DEPENDENCES, LOCATIONS, VOCABULARY, sample_data
from clhd.systems.two_layers.network import FULL, MEAN, NONE, descend, evaluate

NORMS = {"none": NONE, "mean": MEAN, "full": FULL}
COVERED = 0.9  # match from which a token has a unit of its own
# chi_plus of a location at which it counts as learned. Beyond .7 the decay of the other weights decides, not learning.
PASSED = 0.6
PASSAGE_STEP = 25  # iterations between two looks at chi_plus
_NEGLIGIBLE = 1e-3  # of the largest weight of a location: shorter units count for little


def measure_match(first: FloatArray, is_linear: bool) -> FloatArray:
    """Return s_kv, shape (K, V), of first layers of shape (K, V, C); a linear unit may answer by its negative."""
    first = _scale_by_two(first)
    lengths = np.sqrt((first * first).sum(1, keepdims=True))
    largest = np.abs(first).max(axis=(1, 2), keepdims=True)
    scaled = first / np.where(largest > 0, lengths + _NEGLIGIBLE * largest, 1.0)  # weights of 0 answer to nothing
    return np.asarray((np.abs(scaled) if is_linear else scaled).max(axis=2))


def average_by_location(match: FloatArray, chosen: BoolArray) -> FloatArray:
    """Return the mean of the chosen entries of each location, NaN where nothing is chosen."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(chosen, match, 0.0).sum(1) / chosen.sum(1))


def average_known(values: FloatArray) -> float:
    """Return the mean of the values that are not NaN; NaN if all are: no token is used, or all are, or runs diverge."""
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))


def measure_rank(first: FloatArray) -> float:
    """Return (sum s^2)^2 / sum s^4 over the singular values s of W1_k, averaged over locations.

    Both sums are traces of the Gram matrix, which a sum without BLAS makes. A location whose weights are 0 has rank 0.
    """
    first = _scale_by_two(first)
    gram = np.einsum("kvc,kwc->kvw", first, first)
    squares = (gram * gram).sum((1, 2))
    return float((np.einsum("kvv->k", gram) ** 2 / np.where(squares > 0, squares, 1.0)).mean())


def _scale_by_two(first: FloatArray) -> FloatArray:
    """Return first layers with the largest weight of each location at 0.5 to 1, by powers of two.

    The weights of a location that no token activates decay for ever: at 1e-80 the sums of the rank would underflow, at
    1e-160 those of the match. Other measures keep their bits.
    """
    _, exponent = np.frexp(np.abs(first).max(axis=(1, 2), keepdims=True))
    return np.asarray(np.ldexp(first, -exponent))


def train(values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> dict[str, Any]:
    """Return the outputs of one run; see `TwoLayersSystem`.

    The loss is that of one pair of views that is drawn before the first iteration and never trained on. The random
    numbers of an iteration do not depend on the times.
    """
    planted, is_linear, norm = values.token_law == "planted", values.activation == "linear", NORMS[values.batch_norm]
    data = sample_data(planted, values.tokens, values.pattern_count, random)
    used, units = data.used, values.tokens * values.units_per_token
    first = random.uniform(-1, 1, (LOCATIONS, VOCABULARY, units)) / np.sqrt(VOCABULARY)
    second = random.uniform(-1, 1, (LOCATIONS, units, values.output_dimension)) / np.sqrt(LOCATIONS * units)
    weights = [(first.reshape(-1), np.zeros(first.size)), (second.reshape(-1), np.zeros(second.size))]
    held_out = data.draw_pair(random)
    passage = np.full(LOCATIONS, np.nan)
    found: defaultdict[str, list[Any]] = defaultdict(list)  # by time
    done = 0
    for end in np.rint(time).astype(int):
        for iteration in range(done + 1, end + 1):
            pair = data.draw_pair(random)
            _, *gradients = evaluate(first, second, pair, not is_linear, norm, values.temperature)
            for (weight, velocity), gradient in zip(weights, gradients, strict=True):
                descend(weight, velocity, gradient.reshape(-1), values.learning_rate, values.weight_decay)
            if iteration % PASSAGE_STEP == 0:
                learned = average_by_location(measure_match(first, is_linear), used) > PASSED
                passage[np.isnan(passage) & learned] = iteration
        done = end
        match = measure_match(first, is_linear)
        by_location = average_by_location(match, used)
        found["chi_plus_location"].append(by_location)
        found["chi_plus"].append(average_known(by_location))
        found["chi_minus"].append(average_known(average_by_location(match, ~used)))
        found["covered"].append((match[used] > COVERED).mean())
        found["rank"].append(measure_rank(first))
        found["loss"].append(evaluate(first, second, held_out, not is_linear, norm, values.temperature)[0])
    order = correlate_order(passage) if planted else np.nan
    return {**found, "passage_time": passage, "order_correlation": order}


def correlate_order(passage: FloatArray) -> float:
    """Return the rank correlation of passage times with the dependence; locations that did not pass share the end.

    NaN if no two locations differ.
    """
    ranked = np.where(np.isnan(passage), np.inf, passage)
    if len(np.unique(ranked)) == 1:
        return float("nan")
    return float(stats.spearmanr(ranked, DEPENDENCES).statistic)
