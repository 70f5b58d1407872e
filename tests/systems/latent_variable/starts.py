"""Networks and starts for the tests, among them all limits of the closed form."""

from types import SimpleNamespace

import numpy as np

from clhd.systems.latent_variable import LatentVariableSystem
from clhd.systems.latent_variable.model import Network

DEFAULTS = {name: parameter.default for name, parameter in LatentVariableSystem.parameters.items()}


def make_values(**changes):
    return SimpleNamespace(**(DEFAULTS | changes))


def draw_case(seed):
    """A network and its start: three in four are random, the others have a mode, the target, or D at 0."""
    random = np.random.default_rng([8, seed])
    scale, rate_u, rate_w, a = np.exp(random.normal(size=4) / 2)
    b = 0.0 if seed % 8 in (6, 7) else random.normal()
    u, w = random.normal(size=(2, 5)) * np.exp(random.normal(size=2) / 2)[:, None]
    if seed % 4 == 3:  # M = 0 or P = 0, and with b = 0 also D = 0
        rate_u, rate_w = 1.0, 0.25
        w = u / 2 if seed % 16 < 8 else -u / 2
    return Network(scale=scale, rate_u=rate_u, rate_w=rate_w, second_moment=a, cross_moment=b), u, w
