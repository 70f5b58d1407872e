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
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
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
# In units of sqrt(r0), too: overlaps next to the border that rounding does not reach, down to 1 / _WIDEST of the first
# number; and the largest start with which they can be had.
_RESOLVED, _LARGEST_ON_BORDER = 1e-8, 0.1
_UNSETTLED = "starts next to the uninformative state do not settle: rates are too small"


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


def find_borders(
    model: ContrastiveModel, growth: Growth, classify: Callable[[FloatArray, FloatArray], IntArray]
) -> tuple[list[float], list[int]]:
    """Return the separatrices q_1 = c q_2^(gamma_1 / gamma_2) near zero, and the outcomes of the starts between them.

    Parameters
    ----------
    model : ContrastiveModel
        With two features; the first grows, and faster than the second.
    growth : Growth
        From `predict_growth`.
    classify : function
        Returns the outcomes of states of these overlaps, shape (state, feature), and squared norms.

    Returns
    -------
    (borders, outcomes)
        c, rising, and the outcomes from the axis of feature 2 to that of feature 1, one more than the borders.

    Raises
    ------
    NotConvergedError
        If starts do not settle, or a border lies where it cannot be found.
    """
    destinations = Destinations(model)
    overlap, stable = destinations.states.overlap.values, destinations.states.stable.values
    outcome = classify(overlap, destinations.states.squared_norm.values)
    if len(reached := set(outcome[stable].tolist())) == 1:
        return [], list(reached)  # also where feature 2 does not grow, and the border is none of the above

    def assign(positions: FloatArray) -> IntArray:
        """Return the outcomes of the starts with log c = positions, -1 where one does not settle."""
        starts = root * np.column_stack([np.exp(positions) * small**ratio, np.full((len(positions), 2), small)])
        starts[:, 2] = growth.squared_norm
        found = destinations.assign(starts)
        return np.where(found == NOT_SETTLED, -1, outcome[found])

    root = math.sqrt(growth.squared_norm)
    if not growth.growth_rate[1] > 0:  # what overlap feature 2 has stays far below that of feature 1
        small, ratio = _SMALL_ON_BORDER * _SMALL, 0.0
        ends = assign(np.array([math.log(_SMALL_ON_BORDER)]))
        if ends[0] < 0:
            raise NotConvergedError(_UNSETTLED)
        return [], ends.tolist()
    ratio = float(growth.growth_rate[0] / growth.growth_rate[1])
    small = max(_SMALL_ON_BORDER, _RESOLVED ** (1 / ratio))
    if small > _LARGEST_ON_BORDER:
        raise NotConvergedError(
            f"the growth rates differ by a factor of {ratio:.3g}: overlaps next to the border are below rounding"
        )
    widest = math.log(_WIDEST)
    positions = np.linspace(-widest, widest, _STARTS)
    positions = positions[np.exp(2 * positions) * small ** (2 * ratio) + small**2 < 1]
    found = assign(positions)
    if np.sum(found < 0) > 1:  # a single start may lie on the border
        raise NotConvergedError(_UNSETTLED)
    positions, found = positions[found >= 0], found[found >= 0]
    # The first start must end as one without overlap 1 does, in the pure state of feature 2 if that is stable; the last
    # likewise. Else a border lies beyond the starts.
    for axis, end in ((0, found[0]), (1, found[-1])):
        alone = stable & (overlap[:, axis] == 0) & (overlap[:, 1 - axis] != 0)
        if alone.any() and end not in outcome[alone]:
            raise NotConvergedError("the border of the attraction regions is not among the starts")
    borders, outcomes = [], [int(found[0])]
    for k in np.flatnonzero(np.diff(found)):
        low, high = positions[k], positions[k + 1]
        for _ in range(_ROUNDS - 1):
            between = np.linspace(low, high, _STARTS)
            below = int(np.sum(np.cumprod(assign(between) == found[k])))
            low, high = between[below - 1], between[below]
        borders.append(math.exp(0.5 * (low + high)) * root ** (1 - ratio))
        outcomes.append(int(found[k + 1]))
    return borders, outcomes


def weaker_probability(growth: Growth, border: float, dimension: int) -> float:
    """Return the probability that the weaker feature, the second, is selected from random weights.

    Parameters
    ----------
    growth : Growth
        Of two features; the first grows faster, both grow.
    border : float
        One of `find_borders`, below which it is selected.
    dimension : int
        n.
    """
    ratio = float(growth.growth_rate[0] / growth.growth_rate[1])
    first, second = np.sqrt(growth.variance / dimension)
    scale = border * second**ratio / first
    density = math.sqrt(2.0 / math.pi)
    return integrate.quad(
        lambda z: density * math.exp(-(z**2) / 2) * special.erf(scale * z**ratio / math.sqrt(2.0)), 0, 12
    )[0]
