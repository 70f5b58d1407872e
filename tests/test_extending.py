"""What docs/extending.md promises: a discrete latent law is one dataclass, and both stages take it."""

import math
from dataclasses import dataclass

import numpy as np

import clhd
from clhd.core.checks import parse_number
from clhd.systems.contrastive.model.latents import Latent


@dataclass(frozen=True, kw_only=True)
class FourPoint(Latent):
    """c in {-2a, -a, a, 2a}, the outer pair with the given probability."""

    second_moment: float = 1.0
    outer: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "outer", parse_number("outer", self.outer, minimum=0, maximum=1))

    def atoms(self):
        a = math.sqrt(self.second_moment / (1 + 3 * self.outer))
        inner = (1 - self.outer) / 2
        return a * np.array([-2.0, -1.0, 1.0, 2.0]), np.array([self.outer / 2, inner, inner, self.outer / 2])


def test_a_new_latent_law_is_one_dataclass_for_both_stages():
    model = clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5, outer=0.4)], weight_decay=0.6)
    assert (
        model.canonical() != clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5)], weight_decay=0.6).canonical()
    )
    run = {"overlap": [0.3], "time": [1, 4]}
    theory = clhd.integrate_ode(model, **run).cosine_similarity
    sgd = clhd.simulate_sgd(model, dimension=20_000, replicas=256, **run).cosine_similarity
    # 5 standard errors, and 1 / n times a number of order ten for the bias.
    tolerance = 5 * sgd.std("replica") / np.sqrt(256) + 10 / 20_000
    assert np.all(np.abs(sgd.mean("replica") - theory) < tolerance)
    # The law matters: with all mass on the inner pair the learning curve bends another way in the end.
    other = clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5, outer=0.0)], weight_decay=0.6)
    difference = clhd.integrate_ode(other, **run).cosine_similarity - theory
    assert np.all(np.abs(difference[-1]) > 2 * tolerance[-1])


def test_a_new_law_passes_the_common_threshold():
    # Only the second moment enters, whatever the law.
    settings = {"weight_decay": 0.6, "base_noise_variance": 0.5, "augmentation_noise_variance": 0.5}
    ours = clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5, outer=0.4)], **settings)
    known = clhd.ContrastiveModel(latents=[clhd.ThreePoint(second_moment=1.5, kurtosis=8.0)], **settings)
    assert np.allclose(clhd.learnability_threshold(ours), clhd.learnability_threshold(known), rtol=1e-10)
