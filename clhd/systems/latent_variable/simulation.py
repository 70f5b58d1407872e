"""Gradient descent on all weights of the network, at a step that is not small.

The loss a g^2 m^2 - 2 b g m + <y^2> moves u by 2 step eta_u g (b - a g m) w, and w likewise with u.
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.core.products import dot
from clhd.systems.latent_variable.model import Network, measure_area

_MOVES = 1e-9  # what rounding may move; see count_breaks


def descend(
    network: Network, u: FloatArray, w: FloatArray, *, time: FloatArray, step: float
) -> dict[str, FloatArray | float]:
    """Return the outputs of `LatentVariableSystem` that gradient descent from weights u and w passes through.

    Times and step are not in units. Between two output times all steps are equal, and at most `step`. The drift is the
    largest change of c^2 and of delta, relative to (u.u w.w) and to K/g^2 at the start.
    """
    states = [_measure(network, u, w)]
    for gap in np.diff(time, prepend=0.0).tolist():
        if steps := math.ceil(round(gap / step, 9)):
            u, w = take_steps(u, w, steps, gap / steps, network)
        states.append(_measure(network, u, w))
    squared_u, squared_w, product, area, balance = np.array(states).T
    norms = np.sqrt(squared_u * squared_w)
    kernels = network.rate_u * squared_w + network.rate_w * squared_u
    drift = max(np.abs(area - area[0]).max() / norms[0] ** 2, np.abs(balance - balance[0]).max() / kernels[0])
    with np.errstate(invalid="ignore"):
        alignment = product / norms
    return {
        "response": network.scale * product[1:],
        "alignment": alignment[1:],
        "norm_product": norms[1:],
        "tangent_kernel": network.scale**2 * kernels[1:],
        "kernel_change": float(kernels[-1] / kernels[0] - 1.0),
        "invariant_drift": float(drift),
        "rule_breaks": float(count_breaks(product, alignment, norms)),
    }


def count_breaks(product: FloatArray, alignment: FloatArray, norms: FloatArray) -> int:
    """Return on how many intervals alignment or norms move against abs(u.w).

    Both should rise and fall with abs(u.w), the first argument. Changes below 1e-9, relative to the larger end for the
    norms, do not count.
    """
    direction = np.sign(np.diff(np.abs(product)))
    turned = np.diff(np.abs(alignment)) * direction < -_MOVES
    shrunk = np.diff(norms) * direction < -_MOVES * norms.max()
    return int(np.sum(turned | shrunk))


def _measure(network: Network, u: FloatArray, w: FloatArray) -> tuple[float, ...]:
    squared_u, squared_w = (u * u).sum(), (w * w).sum()
    balance = network.rate_u * squared_w - network.rate_w * squared_u
    return squared_u, squared_w, (u * w).sum(), measure_area(u, w), balance


def take_steps(
    u: FloatArray, w: FloatArray, steps: int, step: float, network: Network
) -> tuple[FloatArray, FloatArray]:
    """Return the weights after some steps of gradient descent."""
    u, w = u.copy(), w.copy()
    rates = step * network.rate_u, step * network.rate_w
    _descend(u, w, steps, *rates, network.scale, network.second_moment, network.cross_moment)
    return u, w


@kernel
def _descend(
    u: FloatArray, w: FloatArray, steps: int, step_u: float, step_w: float, scale: float, a: float, b: float
) -> None:
    """Take steps of gradient descent in place."""
    product = 0.0
    for i in range(len(u)):
        product += u[i] * w[i]
    for _ in range(steps):
        force = 2.0 * scale * (b - a * scale * product)
        by_w, by_u = step_u * force, step_w * force
        for i in range(len(u)):
            old = u[i]
            u[i] += by_w * w[i]
            w[i] += by_u * old
        product = dot(u, w)
