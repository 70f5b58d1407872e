"""Two layers: a network that learns patterns of tokens by InfoNCE; what can be swept."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import ClhdError
from clhd.systems.declarations import choice, count, describe, number, output
from clhd.systems.protocol import System
from clhd.systems.two_layers.data import LOCATIONS, VOCABULARY

_EQUATIONS = """\
h_k = act(W1_k[token k]), normalised over the batch: (h - mean) / sqrt(variance + 1e-5)
y = sum over locations k of W2_k' h_k;   z = y / |y| for each view, by its own batch
M = z1 z1' with the diagonal z1.z2;   loss = mean over i of -log softmax(M_i / temperature)_i
v <- 0.9 v + dloss/dW + weight_decay W;   W <- W - learning_rate v
match(k, token) = largest entry of the token in a hidden unit of location k, the units scaled to length 1
chi_plus = mean match of tokens that some pattern has there;   chi_minus = of the others
rank = (sum s^2)^2 / sum s^4 over the singular values s of W1_k"""


class TwoLayersSystem(System):
    """Ten locations of one-hot tokens, a first layer for each, batch normalisation, a second layer over all."""

    title = "two layers that learn patterns of tokens"
    time = describe("iterations", "t", "iterations")
    quantity = "chi_plus"
    equations = _EQUATIONS
    sources = (
        "Y. Tian, arXiv:2206.01342: the question, from its abstract; planted data, measures and code are ours",
        "A. van den Oord, Y. Li, O. Vinyals, arXiv:1807.03748: InfoNCE",
        "S. Ioffe, C. Szegedy, Batch Normalization, arXiv:1502.03167",
    )
    version = 4  # match and rank of weights that have decayed below 1e-80
    parameters = {
        "token_law": choice("patterns", "how tokens depend on a pattern", ("patterns", "planted")),
        "activation": choice("relu", "activation of the hidden units", ("relu", "linear")),
        "batch_norm": choice(
            "mean", "normalisation: none, variance constant in the gradient, or in full", ("none", "mean", "full")
        ),
        "tokens": count(5, "tokens that a location allows, of 20", "P", minimum=2, maximum=VOCABULARY),
        "pattern_count": count(40, "number of patterns", "G", minimum=2, maximum=10_000),
        "units_per_token": count(
            5, "hidden units of a location for each allowed token", "beta", minimum=1, maximum=100
        ),
        "output_dimension": count(50, "dimension of the output", "D", minimum=2, maximum=1000),
        "temperature": number(0.1, "temperature", "T", minimum=0.01),
        "learning_rate": number(0.02, "learning rate", "eta", above=0),
        "weight_decay": number(0.005, "weight decay (L2)", minimum=0),
    }
    outputs = {
        "chi_plus": output(("time",), "match of used tokens", "chi_+"),
        "chi_minus": output(("time",), "match of unused tokens", "chi_-", may_be_nan=True),
        "covered": output(("time",), "share of used tokens with a unit of their own"),
        "rank": output(("time",), "effective rank of the first layer"),
        "loss": output(("time",), "loss", "L", "nat"),
        "chi_plus_location": output(("time", "token_location"), "match of used tokens", "chi_+", may_be_nan=True),
        "passage_time": output(("token_location",), "passage time", "", "iterations", may_be_nan=True),
        "order_correlation": output((), "rank correlation of passage time and dependence", may_be_nan=True),
    }
    claims = {name: f"clhd.systems.two_layers.claims:{name}" for name in ("T3", "T4", "T5")}
    figures = {
        "specialisation": "clhd.systems.two_layers.figures:plot_specialisation",
        "modulation": "clhd.systems.two_layers.figures:plot_modulation",
    }

    def check(self, values: SimpleNamespace) -> None:
        if values.token_law == "planted" and values.pattern_count % values.tokens != 0:
            raise ClhdError(
                f"pattern_count = {values.pattern_count}: must be a multiple of tokens = {values.tokens} with planted "
                "data, so that all tokens are equally frequent"
            )

    def coordinates(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        dependence = "planted data depend on the pattern with probability location / 10"
        return {"token_location": (np.arange(1, LOCATIONS + 1), describe("location", "k", description=dependence))}

    def estimate_seconds(self, values: SimpleNamespace, time: FloatArray) -> float:
        # Measured on one core of an AMD EPYC: random numbers and exponentials, the batch against itself, tables.
        size, entries = values.output_dimension, LOCATIONS * values.tokens * values.units_per_token
        occurring = values.tokens if values.token_law == "planted" else VOCABULARY
        work = 1.3e-4 + 2.7e-6 * size + entries * (7e-9 * VOCABULARY + 3.6e-10 * occurring * size)
        return float(1e-3 + time[-1] * work)

    def simulate(self, values: SimpleNamespace, time: FloatArray, random: np.random.Generator) -> Mapping[str, Any]:
        from clhd.systems.two_layers.simulation import train  # noqa: PLC0415  compilers are loaded at need

        return train(values, time, random)
