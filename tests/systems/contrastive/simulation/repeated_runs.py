"""Many short runs of the full engine from one start, without the half millisecond that each new replica takes."""

import numpy as np

from clhd.systems.contrastive.simulation.full import FullReplica
from clhd.systems.contrastive.simulation.point import Point


def run_full_repeatedly(system, dimension, overlap, steps, runs):
    """Overlaps and squared norms, as `simulate_sgd` returns them, after independent runs in n dimensions.

    The weights are set back before each run, and the streams of random numbers go on.
    """
    point = Point(model=system, dimension=dimension, overlap=overlap, engine="full")
    replica = FullReplica(system, dimension, point.key, 0, overlap=np.array(overlap), squared_norm=1.0)
    start = replica.weights.copy()
    ends = np.empty((runs, *start.shape))
    for end in ends:
        replica.weights[:] = start
        replica.advance(steps)
        end[:] = replica.weights
    overlaps = ends @ replica.features.T / dimension
    if system.units > 1:
        return overlaps, ends @ ends.transpose(0, 2, 1) / dimension
    return overlaps, np.sum(ends**2, axis=1) / dimension
