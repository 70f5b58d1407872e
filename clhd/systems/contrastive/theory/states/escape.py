"""Escape from the uninformative state: its time, and which of two features wins, at large dimension.

A start of random weights, w ~ N(0, r0 I), has overlaps of order n^(-1/2). While they are small they grow linearly, with
the growth rate gamma_j, driven by the noise of the steps. At times much larger than 1 / gamma_j

    q_j(t) = a_j exp(gamma_j t),    a_j ~ N(0, s_j / n),    s_j = r0 + B_jj / (2 gamma_j),

with the diffusion matrix B of the uninformative state. After that the overlaps are far larger than the noise and follow
the ODE, which depends on a_j alone. So the law of the escape follows from gamma, s, and one number of the ODE:

- one feature: q = q_0 passes the level at the time log(C / q_0) / gamma, so P(T > t) = P(abs(a) < C exp(-gamma t));
- two features, gamma_1 > gamma_2: the separatrix near zero is q_1 = c q_2^(gamma_1 / gamma_2), so the weaker feature
  wins with the probability P(abs(a_1) < c abs(a_2)^(gamma_1 / gamma_2)).

Derived in docs/theory.md, section 13. Both are leading orders: they neglect overlaps of order n^(-1/2) beside 1.

| symbol | name | unit or scale |
|---|---|---|
| gamma_j | ``growth_rate`` | 1 / time |
| s_j | ``variance`` | of n a_j^2 |
| C | ``reach`` | of an overlap |
| c | ``border`` | of an overlap, to the power 1 - gamma_1 / gamma_2 |
"""

import math
from dataclasses import dataclass

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.lazy import integrate, special
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import diffusion_matrix
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.destinations import NOT_SETTLED, Destinations
from clhd.systems.contrastive.theory.states.threshold import growth_rates, uninformative_state
from clhd.systems.declarations import NotConvergedError

# Small overlaps, in units of sqrt(r0): C and c have errors of the order of their squares.
_SMALL, _SMALL_ON_BORDER = 1e-3, 1e-2
_LONGEST = 60.0  # of the ODE, in growth times
_WIDEST, _STARTS, _ROUNDS = 1e3, 48, 4


@dataclass(frozen=True)
class Growth:
    """Linear growth out of the uninformative state.

    Attributes
    ----------
    squared_norm : float
        r0.
    growth_rate, variance : arrays of shape (feature,)
        gamma_j and s_j; s_j is infinite where the feature does not grow.
    """

    squared_norm: float
    growth_rate: FloatArray
    variance: FloatArray


def predict_growth(model: ContrastiveModel) -> Growth:
    """Return growth rates and effective variances of the overlaps at the uninformative state.

    Parameters
    ----------
    model : ContrastiveModel
        With latents of mean zero and a squared norm that rests at zero overlap, above 0.

    Returns
    -------
    Growth
    """
    r = uninformative_state(model).squared_norm
    rates = growth_rates(model)
    noise = np.diagonal(diffusion_matrix(model, np.zeros(model.features), r))[: model.features]
    with np.errstate(divide="ignore"):
        variance = np.where(rates > 0, r + noise / (2 * rates), np.inf)
    return Growth(r, rates, variance)


def find_reach(model: ContrastiveModel, growth: Growth, level: float) -> float:
    """Return C: a start with small overlap q passes the cosine similarity `level` at time log(C / q) / gamma.

    Parameters
    ----------
    model : ContrastiveModel
        With one feature.
    growth : Growth
        From `predict_growth`.
    level : float
        In (0, 1).

    Returns
    -------
    float
        Infinite if the feature does not grow, or never passes the level.
    """
    rate, small = float(growth.growth_rate[0]), min(_SMALL, level / 2) * math.sqrt(growth.squared_norm)
    if not rate > 0:
        return math.inf
    flow = Flow(model)

    def above(_: float, state: FloatArray) -> float:
        return float(state[0] - level * math.sqrt(max(state[1], 0.0)))

    above.terminal = True  # type: ignore[attr-defined]
    path = integrate.solve_ivp(
        lambda _, state: flow.velocity(state),
        (0.0, _LONGEST / rate),
        [small, growth.squared_norm],
        method="DOP853",
        events=above,
        rtol=1e-9,
        atol=1e-12,
    )
    reached: FloatArray = path.t_events[0]  # type: ignore[index]  # not None: there is an event
    return small * math.exp(rate * float(reached[0])) if len(reached) else math.inf


def escape_distribution(growth: Growth, reach: float, dimension: int, time: FloatArray) -> FloatArray:
    """Return P(T <= t), the probability that a run has escaped by each of the times.

    Parameters
    ----------
    growth : Growth
    reach : float
        From `find_reach`.
    dimension : int
        n.
    time : array
        In steps per dimension.
    """
    if math.isinf(reach):
        return np.zeros(len(time))
    deviation = math.sqrt(float(growth.variance[0]) / dimension)
    return np.asarray(1.0 - special.erf(reach * np.exp(-growth.growth_rate[0] * time) / deviation / math.sqrt(2.0)))


def find_border(model: ContrastiveModel, growth: Growth) -> float:
    """Return c of the separatrix q_1 = c q_2^(gamma_1 / gamma_2) near zero; feature 2 is selected below it.

    Parameters
    ----------
    model : ContrastiveModel
        With two features; the first grows faster.
    growth : Growth
        From `predict_growth`.

    Returns
    -------
    float
        0 if feature 2 is never selected, infinite if always.

    Raises
    ------
    NotConvergedError
        If starts do not settle.
    """
    ratio = float(growth.growth_rate[0] / growth.growth_rate[1])
    destinations = Destinations(model)
    wins = np.abs(destinations.states.overlap.values[:, 1]) > np.abs(destinations.states.overlap.values[:, 0])
    second = _SMALL_ON_BORDER * math.sqrt(growth.squared_norm)
    low, high = -math.log(_WIDEST), math.log(_WIDEST)
    for _ in range(_ROUNDS):
        positions = np.linspace(low, high, _STARTS)
        first = np.exp(positions) * second**ratio
        fits = first**2 + second**2 < growth.squared_norm
        starts = np.column_stack([first, np.full(_STARTS, second), np.full(_STARTS, growth.squared_norm)])[fits]
        found = destinations.assign(starts)
        if high == -low and np.sum(found == NOT_SETTLED) > 1:  # a single start may lie on the border
            raise NotConvergedError("starts next to the uninformative state do not settle: rates are too small")
        below = int(np.sum(np.cumprod((found != NOT_SETTLED) & wins[found])))
        if below == 0:
            return 0.0
        if below == len(starts):
            return math.inf
        low, high = float(positions[below - 1]), float(positions[below])
    return math.exp(0.5 * (low + high))


def weaker_probability(growth: Growth, border: float, dimension: int) -> float:
    """Return the probability that the weaker feature, the second, is selected from random weights.

    Parameters
    ----------
    growth : Growth
        Of two features; the first grows faster, both grow.
    border : float
        From `find_border`.
    dimension : int
        n.
    """
    if border == 0 or math.isinf(border):
        return float(border > 0)
    ratio = float(growth.growth_rate[0] / growth.growth_rate[1])
    first, second = np.sqrt(growth.variance / dimension)
    scale = border * second**ratio / first
    density = math.sqrt(2.0 / math.pi)
    return integrate.quad(
        lambda z: density * math.exp(-(z**2) / 2) * special.erf(scale * z**ratio / math.sqrt(2.0)), 0, 12
    )[0]
