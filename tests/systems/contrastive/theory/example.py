"""The example of docs/theory.md, section 9, which the tests of states of rest and of attraction regions share."""

from typing import Any

import clhd


def make_model(*laws: Any, **changes: Any) -> clhd.ContrastiveModel:
    """tanh under weight decay with features of the given `laws`; `changes` are other parameters."""
    settings = {
        "latents": laws,
        "learning_rate": 0.3,
        "weight_decay": 0.6,
        "base_noise_variance": 0.25,
        "augmentation_noise_variance": 0.25,
        "noise_correlation": -1.0,
    }
    return clhd.ContrastiveModel(**(settings | changes))


def three_point(kurtosis: float, second_moment: float = 1.5) -> clhd.ThreePoint:
    """The law of the example, by its kurtosis."""
    return clhd.ThreePoint(second_moment=second_moment, kurtosis=kurtosis)
