"""The engines of clhd: the projected chain in groups of lanes, and the two that keep weights, replica by replica."""

import math
from collections.abc import Callable

import numpy as np

from benchmarks.race.sgd_problem import ETA, KAPPA, LAM, OVERLAP, SQUARED_NORM, FloatArray, S
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.simulation.full import FullReplica
from clhd.systems.contrastive.simulation.lockstep import LANES
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.projected import LaneGroup

MODEL = ContrastiveModel(
    latents=(ThreePoint(second_moment=1.5),) * 2,
    learning_rate=ETA,
    weight_decay=LAM,
    base_noise_variance=KAPPA,
    augmentation_noise_variance=S**2 - KAPPA,
)


class Projected:
    """The projected chain, in groups of lanes."""

    def __init__(self, n: int, replicas: int, seed: int) -> None:
        point = Point(model=MODEL, dimension=n, overlap=tuple(OVERLAP), squared_norm=SQUARED_NORM, seed=seed)
        groups = (range(replicas)[first : first + LANES] for first in range(0, replicas, LANES))
        self._groups = [LaneGroup([(point, lanes)]) for lanes in groups]

    def advance(self, steps: int) -> None:
        for group in self._groups:
            group.advance(steps)

    def cosine_similarity(self) -> FloatArray:
        state = np.concatenate([group.order_parameters() for group in self._groups])
        return np.asarray(state[:, :-1] / np.sqrt(state[:, -1:]))


class Weights:
    """Replicas of an engine that keeps the weights."""

    def __init__(self, n: int, replicas: int, seed: int, engine: str) -> None:
        self._replicas = [
            FullReplica(MODEL, n, f"race {seed}", k, overlap=OVERLAP, squared_norm=SQUARED_NORM, engine=engine)
            for k in range(replicas)
        ]

    def advance(self, steps: int) -> None:
        for replica in self._replicas:
            replica.advance(steps)

    def cosine_similarity(self) -> FloatArray:
        state = [replica.order_parameters() for replica in self._replicas]
        return np.array([q / math.sqrt(float(r)) for q, r in state])


def _make(engine: str) -> Callable[[int, int, int], Weights]:
    return lambda n, replicas, seed: Weights(n, replicas, seed, engine)


WHOLE = {"clhd, projected": Projected}
SINGLE = {f"clhd, {engine}": _make(engine) for engine in ("conditioned", "full")}
