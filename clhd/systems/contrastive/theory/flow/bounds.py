"""Bounds of an integration: a limit on its work, the divergence limit, and what the end of a solution means.

`WorkBudget` and `distance_to_limit` are events of `scipy.integrate.solve_ivp`, which asks for them after every step;
they change no bit of an integration that stays within the bounds.
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.declarations import NotConvergedError

# Growth rate of the squared norm, times the time passed, above which a solution ends in finite time.
BLOW_UP = 1e6


class WorkBudget:
    """Event that ends an integration once some amount of work is spent; it remembers the last step.

    Parameters
    ----------
    amount : float
        The work that may be spent, in the units of `spend`.

    Attributes
    ----------
    time, state : float, array
        At the end of the last step.
    ended_at : float
        Time at which the event ended the integration; infinite if it did not.
    """

    terminal = True

    def __init__(self, amount: float) -> None:
        self.time, self.state = -math.inf, np.empty(0)
        self.ended_at = math.inf
        self._left = amount

    def spend(self, amount: float) -> None:
        """Count some work; right-hand sides call this."""
        self._left -= amount

    def __call__(self, time: float, state: FloatArray) -> float:
        """Return how far the end lies ahead; 0 after the step that spends the last of the work."""
        if time > self.time:  # not while the solver looks for the place of an event inside a step
            self.time, self.state = time, state.copy()
            if self._left <= 0:
                self.ended_at = min(self.ended_at, time)
        return self.ended_at - time


def distance_to_limit(_: float, state: FloatArray) -> float:
    """Event: the squared norm, which comes last in a state, passes the divergence limit."""
    return DIVERGENCE_LIMIT - float(state[-1])


distance_to_limit.terminal = True  # type: ignore[attr-defined]


def check_divergence(flow: Flow, state: FloatArray, time: float) -> None:
    """Raise NotConvergedError unless a solution whose steps became too short is about to be infinite.

    The steps of a solution that ends in finite time become too short when its norm grows at a rate near 1 / eps.
    """
    growth = flow.velocity(state)[-1] / max(float(state[-1]), 1e-300)
    if not growth * time > BLOW_UP:
        raise NotConvergedError(f"the steps of the ODE become too short at time {time:.3g}: no tolerance is met there")
