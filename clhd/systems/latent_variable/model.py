"""The model: two layers without a nonlinearity, f(x) = g (u.w) x, fitted to y with the loss <(f(x) - y)^2>.

All scales are powers of the width d, with exponents that the experiment chooses.

| symbol | name | meaning |
|---|---|---|
| d | network_width | number of hidden units; u and w have one entry for each |
| g | scale = d^-alpha | factor of the output |
| eta_u, eta_w | rate_u, rate_w = d^-beta | learning rates of the two layers |
| s | root_rate = sqrt(eta_u eta_w) | |
| a, b | second_moment, cross_moment | <x^2>, <x y> |
| m | u.w | the response f = g m is the slope of f(x) |
| P, M | modes | squared lengths of u/sqrt(eta_u) + w/sqrt(eta_w), and of their difference |
| h | drive = b/(a g s) | where P z - M/z = 4 h, the loss is least |
| kappa | speed = a g^2 s^2 | |
| K | g^2 (eta_u abs(w)^2 + eta_w abs(u)^2) | tangent kernel; a direction of the loss falls at the rate 2 a K |
"""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from clhd.core.arrays import FloatArray


@dataclass(frozen=True, kw_only=True)
class Network:
    """The scales of a network of one width; symbols as at the head of this module."""

    scale: float
    rate_u: float
    rate_w: float
    second_moment: float
    cross_moment: float

    @property
    def root_rate(self) -> float:
        """The geometric mean s of both learning rates."""
        return math.sqrt(self.rate_u * self.rate_w)

    @property
    def drive(self) -> float:
        """h: four times it is the value of P z - M/z at which the loss is least."""
        return self.cross_moment / (self.second_moment * self.scale * self.root_rate)

    @property
    def speed(self) -> float:
        """kappa: half the rate of the loss per unit of P + M."""
        return self.second_moment * (self.scale * self.root_rate) ** 2


def make_network(values: SimpleNamespace) -> Network:
    """Return the scales at the parameters of a point."""
    width = float(values.network_width)
    return Network(
        scale=width**-values.scale_exponent,
        rate_u=width**-values.rate_exponent_u,
        rate_w=width**-values.rate_exponent_w,
        second_moment=values.second_moment,
        cross_moment=values.cross_moment,
    )


def make_start(values: SimpleNamespace, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return the weights u and w at the start, of shape (d,) each; of a fixed start, (2,).

    A random start draws all entries, first those of u. A fixed start has the mean squared norms of a random one and
    lies on two coordinates: the dynamics know only u.u, w.w and u.w, so other entries would stay at 0.
    """
    width = values.network_width
    if values.initial == "random":
        u = float(width) ** -values.initial_exponent_u * random.standard_normal(width)
        return u, float(width) ** -values.initial_exponent_w * random.standard_normal(width)
    norm_u, norm_w = (
        float(width) ** (0.5 - exponent) for exponent in (values.initial_exponent_u, values.initial_exponent_w)
    )
    cosine = values.initial_alignment
    return np.array([norm_u, 0.0]), norm_w * np.array([cosine, math.sqrt(1.0 - cosine**2)])


def measure_modes(network: Network, u: FloatArray, w: FloatArray) -> tuple[float, float]:
    """Return P and M; each is a sum of squares, so that one of them can be exactly 0."""
    scaled_u, scaled_w = u / math.sqrt(network.rate_u), w / math.sqrt(network.rate_w)
    return float(((scaled_u + scaled_w) ** 2).sum()), float(((scaled_u - scaled_w) ** 2).sum())


def find_time_unit(network: Network, plus: float, minus: float) -> float:
    """Return the unit of time, 1 / (2 a max(K_0, K_inf)), of a start with the modes P and M.

    It is the time in which the loss's slowest part decays, with the larger one of the first and the last tangent
    kernel. With a step of 2 of these units, gradient descent is unstable at that kernel.
    """
    last = math.sqrt(4.0 * network.drive**2 + plus * minus)
    return 1.0 / (2.0 * network.speed * max(last, (plus + minus) / 2))


def measure_area(u: FloatArray, w: FloatArray) -> float:
    """Return c^2 = u.u w.w - (u.w)^2, the Gram determinant, without cancellation."""
    squared = float((u * u).sum())
    if squared == 0.0:
        return 0.0
    rest = w - float((u * w).sum()) / squared * u
    return squared * float((rest * rest).sum())
