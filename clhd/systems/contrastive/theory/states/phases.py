"""Borders of the phases of one feature, as learning rates: where states of rest appear, vanish or lose stability.

The averages g, A and D at a state (q, r) do not depend on the learning rate. So at a given state, the learning rate at
which the squared norm rests follows without a search,

    eta(q, r) = 2 (lam r - g q - A r) / D,

and a branch of states of rest is a curve in r, along which eta can be read:

| branch | condition | what is read |
|---|---|---|
| uninformative | q = 0, as far as eta rises with r | its limit at r -> 0 bounds the collapsed phase; its end |
| loss of stability | q = 0, m G + A = lam (with A_b: see `threshold`) | the analytic learnability threshold |
| informative | g / q + A falls through lam, at each S = q / sqrt r | the largest value along the branch, its end |

If the informative branch ends beyond the threshold, the transition is discontinuous: both states are stable between.
Beyond the ends of both branches no state of rest is stable, and the weights diverge. Under tanh and erf the
uninformative branch never ends, if lam > 0: the forces are bounded. If they are not, starts of a large norm diverge at
every rate. The saddles that bound these starts, at a larger r, belong to no branch: there eta falls with r, or
g / q + A rises. Derived in docs/theory.md, section 13.

| symbol | name | unit or scale |
|---|---|---|
| eta | ``learning_rate`` | 1 / time |
| r, S | ``squared_norm``, ``similarity`` | |
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clhd.core.lazy import optimize
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states.threshold import collapses

_NORMS = np.geomspace(1e-8, 1e2, 41)
_SIMILARITIES = np.append(np.linspace(0.02, 0.98, 17), [0.99, 0.995, 0.998, 0.999])
_PROBE = 1e-3  # overlap, in units of sqrt r, from which the slope of g is taken


@dataclass(frozen=True)
class PhaseBorders:
    """Learning rates at which the phases of one feature end.

    Attributes
    ----------
    collapsed : float
        The collapsed state is stable below it; 0 if it never is.
    threshold : float
        Below it the uninformative state is unstable against the feature; 0 if it is stable at every rate at which it
        exists, infinite if it is never stable.
    uninformative, informative : float
        Above it there is no such state; 0 if there is none at any rate, infinite if there is one at all rates.
    """

    collapsed: float
    threshold: float
    uninformative: float
    informative: float


def find_phase_borders(model: ContrastiveModel) -> PhaseBorders:
    """Return the borders of the phases of one feature.

    Parameters
    ----------
    model : ContrastiveModel
        With one feature of mean zero, without a constraint. Its learning rate does not matter.

    Raises
    ------
    ClhdError
        If the model has another number of features, a mean, or the sphere constraint.
    """
    if model.features != 1 or model.is_sphere or not model.has_zero_mean_latents:
        raise InputError("phase borders: need one feature of mean zero, and constraint = 'none'")
    branch = _Branch(model)
    rates = np.array([branch.rate(0.0, r) for r in _NORMS])
    growth = np.array([branch.growth(_PROBE, r) for r in _NORMS])
    # The part of the branch that begins at r = 0 is stable in r as far as eta rises.
    top = int(np.argmax(rates))
    is_endless = top == len(rates) - 1 and model.unit.is_bounded
    end = math.inf if is_endless else max(_maximise(lambda r: branch.rate(0.0, r), top), 0.0)
    changes = [k for k in range(top) if growth[k] > 0 >= growth[k + 1]]
    if changes:
        k = changes[-1]
        r = optimize.brentq(lambda r: branch.growth(_PROBE, r), _NORMS[k], _NORMS[k + 1])
        threshold = max(branch.rate(0.0, r), 0.0)
    else:
        threshold = math.inf if growth[top] > 0 else 0.0
    return PhaseBorders(
        collapsed=max(float(rates[0]), 0.0) if collapses(model) and growth[0] < 0 else 0.0,
        threshold=threshold,
        uninformative=end,
        informative=_end_of_informative(branch, min(threshold, end)),
    )


class _Branch:
    """Averages of one model as functions of (S, r)."""

    def __init__(self, model: ContrastiveModel) -> None:
        self._flow, self._decay = Flow(model), model.weight_decay

    def rate(self, similarity: float, r: float) -> float:
        """Return the learning rate at which the squared norm rests; infinite if D = 0 and the norm shrinks."""
        q = similarity * math.sqrt(r)
        g, alignment, variance = self._flow.terms(np.array([q]), r)
        excess = 2 * (self._decay * r - g[0] * q - alignment * r)
        return excess / variance if variance > 0 else math.copysign(math.inf, excess)

    def growth(self, similarity: float, r: float) -> float:
        """Return d(log q)/dt / eta."""
        q = similarity * math.sqrt(r)
        g, alignment, _ = self._flow.terms(np.array([q]), r)
        return float(g[0] / q + alignment - self._decay)


def _end_of_informative(branch: _Branch, threshold: float) -> float:
    """Return the largest learning rate on the informative branch, which begins at the threshold."""

    def rate(similarity: float) -> float:
        norms = _resting_norms(lambda r: branch.growth(similarity, r))
        return max((branch.rate(similarity, r) for r in norms), default=-math.inf)

    rates = [rate(similarity) for similarity in _SIMILARITIES]
    top = int(np.argmax(rates))
    if not math.isfinite(rates[top]):  # no such state, or it has no end
        return max(threshold, rates[top])
    # Between nodes a state may be missing: its rate counts as that of the lowest node, for the search is by parabolas.
    lowest = min(value for value in rates if math.isfinite(value))
    low, high = _SIMILARITIES[max(top - 1, 0)], _SIMILARITIES[min(top + 1, len(rates) - 1)]
    found = optimize.minimize_scalar(
        lambda s: -max(rate(s), lowest), bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    )
    return max(threshold, rates[top], -float(found.fun))


def _maximise(rate: Callable[[float], float], top: int) -> float:
    """Return the largest value of a rate next to the node at which it is largest."""
    if top in {0, len(_NORMS) - 1}:
        return float(rate(_NORMS[top]))
    low, high = (math.log(_NORMS[k]) for k in (top - 1, top + 1))
    found = optimize.minimize_scalar(lambda x: -rate(math.exp(x)), bounds=(low, high), method="bounded")
    return -float(found.fun)


def _resting_norms(growth: Callable[[float], float]) -> list[float]:
    """Return the squared norms at which a growth rate falls through zero; where it rises, a state is a saddle."""
    values = [growth(r) for r in _NORMS]
    return [
        optimize.brentq(growth, _NORMS[k], _NORMS[k + 1], rtol=1e-6)
        for k in range(len(_NORMS) - 1)
        if values[k] > 0 > values[k + 1]
    ]
