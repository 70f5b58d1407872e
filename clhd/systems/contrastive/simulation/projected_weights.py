"""Weights at the output times from the projected chain, at a cost per step that does not depend on n.

The order parameters of one unit move by the chain. A step of SGD commutes with every rotation that fixes the features
and the weights w_0 at the last output time. So the chain follows one more overlap b, with the direction v of w_0
orthogonal to the features, and the rest of the weights has a uniformly random direction (docs/theory.md, "Weights
from the chain"):

    w = sum_j q_j xi_j + b v + sqrt(r - |q|^2 - b^2) g,     g uniform with |g|^2 = n, orthogonal to xi_1..xi_p and v.

It is drawn at each output time, and the next segment starts from it.
"""

import math
from collections.abc import Sequence

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.streams import seed_states
from clhd.errors import InputError
from clhd.systems.contrastive.simulation.chains import choose_unit_chain
from clhd.systems.contrastive.simulation.lockstep import LANES
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.start import dot, draw_start, multiply

# Coordinates of the weights of all lanes of a group: 256 MB, and as much for each feature.
_MOST_COORDINATES = 2**25
# A smaller share of the squared norm is rounding: a step with noise leaves about 1 / n.
_ROUNDING = 1e-14


def count_weight_lanes(dimension: int) -> int:
    """Return the number of replicas that one group holds."""
    return max(1, min(LANES, _MOST_COORDINATES // dimension))


class WeightGroup:
    """Replicas of points of one family, by the projected chain, with their weights at the output times.

    Parameters
    ----------
    pieces : sequence of (Point, sequence of int)
        Points and the replicas of each, `count_weight_lanes` at most.

    Attributes
    ----------
    weights : array of shape (lanes, n)
        Of the last call of `draw`, or of the start.
    features : array of shape (lanes, p, n)

    Raises
    ------
    ClhdError
        If the points have several units, or no dimension is left for the rest.
    """

    def __init__(self, pieces: Sequence[tuple[Point, Sequence[int]]]) -> None:
        first = pieces[0][0]
        model, n = first.model, first.dimension
        if model.units > 1:
            raise InputError(f"units = {model.units}: weights of several units need engine = 'full'")
        if n < model.features + 3:
            raise InputError(
                f"dimension = {n}: weights by the projected engine need at least {model.features + 3}, the number of "
                "features + 3; use engine = 'full'"
            )
        self._chain = choose_unit_chain(model)(pieces, further=1)
        runs = [(point, replica) for point, replicas in pieces for replica in replicas]
        self.features = np.empty((len(runs), model.features, n))
        self.weights = np.empty((len(runs), n))
        self._generators: list[np.random.Generator] = []
        for (point, replica), features, weights in zip(runs, self.features, self.weights, strict=True):
            stream = f"{point.key}|replica={replica}"
            start = None if point.overlap is None else np.array(point.overlap)
            draw_start(point.model, stream, start, point.squared_norm, features, weights[None])
            words = seed_states(f"{stream}|rest", [0])[:, 0]
            self._generators.append(np.random.default_rng([int(word) for word in words]))
        self._restart()

    def _restart(self) -> None:
        """Start the chain from the weights."""
        overlap = np.array([multiply(w, xi) for w, xi in zip(self.weights, self.features, strict=True)])
        rest = np.array([dot(w, w) for w in self.weights]) / self.weights.shape[1] - np.sum(overlap**2, axis=1)
        self._overlap = np.column_stack([overlap, np.sqrt(np.maximum(rest, 0.0))])
        self._chain.restart(self._overlap)

    def advance(self, steps: int) -> None:
        """Make `steps` steps of the chain, without the GIL."""
        self._chain.advance(steps)

    def draw(self) -> None:
        """Draw what the order parameters leave open of the weights, and start the chain from the new weights."""
        state = self._chain.order_parameters()
        with np.errstate(all="ignore"):
            for lane, generator in enumerate(self._generators):
                _move(self.weights[lane], self.features[lane], self._overlap[lane], state[lane], generator)
            self._restart()

    def order_parameters(self) -> FloatArray:
        """Return overlaps and squared norm, shape (lanes, feature + 1)."""
        return np.delete(self._chain.order_parameters(), -2, axis=1)


def _move(
    weights: FloatArray, features: FloatArray, before: FloatArray, state: FloatArray, generator: np.random.Generator
) -> None:
    """Replace weights with overlaps `before`, shape (p + 1,), by weights with the state (q, b, r), shape (p + 2,)."""
    n = len(weights)
    for value, feature in zip(before[:-1], features, strict=True):
        weights -= value * feature
    q, along, squared_norm = state[:-2], float(state[-2]), float(state[-1])
    if not before[-1] > 0.0:  # without a direction v, all the rest is random
        along = 0.0
    direction = weights  # v, of squared length n
    direction *= 1.0 / before[-1] if before[-1] > 0.0 else 0.0
    rest = squared_norm - dot(q, q) - along**2
    if rest < _ROUNDING * squared_norm:  # no step was made, or none with noise
        rest = 0.0
    g = generator.standard_normal(n)
    for _ in range(2):  # the second pass removes the rounding error of the first
        for other in (*features, direction):
            g -= (dot(other, g) / n) * other
    g *= math.sqrt(rest * n / dot(g, g))
    weights *= along
    weights += g
    for value, feature in zip(q, features, strict=True):
        weights += value * feature
