"""C6: independent augmentation noise degrades performance.

The performance is the cosine similarity of the steady state, from an informative start, with noise of correlation 0.
The claim asks for three things:

| part | measured | holds |
|---|---|---|
| sgd | change between successive variances, at the largest dimension, in the stated setting | together below 0 |
| theory | the same by the ODE | all below minus the least change |
| map | share of the places of a map, among those that learn something, where it falls at every step | above a share |

Where noise lets nothing be learned the similarity counts as 0, so that noise that kills a feature degrades it.
"""

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.verdict import above, all_hold, below
from clhd.systems.contrastive.claims.learned import (
    at_largest_dimension,
    describe_last_change,
    describe_share,
    falls_along,
    learned_similarity,
    list_places,
    steps_by_sgd,
    steps_by_theory,
)

VARIANCE = "augmentation_noise_variance"


def judge_noise(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C6 from the stated setting and the map."""
    setting, least_change = summaries["setting"], thresholds["least_change"]
    in_time = at_largest_dimension(setting).sel(noise_correlation=0)
    end = in_time.isel(time=-1, feature=0)
    by_sgd = steps_by_sgd(setting, VARIANCE, among=end.sizes[VARIANCE] - 1, noise_correlation=0)
    by_theory = steps_by_theory(end["cosine_similarity_theory"], VARIANCE)
    similarity = learned_similarity(summaries["map"].dataset)
    on_map = describe_share(falls_along(similarity, VARIANCE, least_change))
    parts = {
        "sgd": all_hold(below(change, 0) for change in by_sgd),
        "theory": all_hold(below(change, -least_change) for change in by_theory),
        "map": above(on_map["share"], thresholds["least_share"]),
    }
    first, last = similarity.isel({VARIANCE: 0}, drop=True), similarity.isel({VARIANCE: -1}, drop=True)
    evidence: dict[str, Any] = {
        "dimension": setting.dataset["dimension"].max().values,
        "augmentation_noise_variance": end[VARIANCE].values,
        "cosine_similarity_by_sgd": end["cosine_similarity_mean"].values,
        "cosine_similarity_by_theory": end["cosine_similarity_theory"].values,
        "change_by_sgd": by_sgd,
        "change_by_theory": by_theory,
        "largest_last_change_in_setting": describe_last_change(in_time),
        "map": on_map,
        "learned_without_noise_only": list_places((first > 0) & (last == 0)),
        "learned_with_noise_only": list_places((first == 0) & (last > 0)),
        "largest_loss_on_map": float(np.nanmax((first - last).values)),
    }
    return Judgement.of_all(parts, evidence)


NOISE = Claim(
    statement="Independent augmentation noise degrades the performance of the trained model.",
    experiments={
        "setting": "steady cosine similarity by the variance and correlation of the noise, SGD and theory",
        "map": "independent noise over second moment, base noise variance and learning rate, theory alone",
    },
    thresholds={
        "least_share": "share of the map, where something is learned, on which the similarity must fall",
        "least_change": "change of the cosine similarity that counts as one: what still changes at rest does not",
    },
    judge=judge_noise,
    figure="clhd.systems.contrastive.figures.noise:plot_noise",
)
