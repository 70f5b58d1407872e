"""What the systems that ask how a run of SGD ends have in common: `EndSimulation`, `PointTheory`, `EndSystem`.

A run of SGD goes to the last of the output times and ends in one of a few outcomes. A subclass says which these are,
how a run starts, and how the outcome follows from the state at the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSimulation, ContrastiveSystem, ContrastiveTheory
from clhd.systems.contrastive.sweeps.outputs import NOTHING, label_outputs, number_features, predict_each
from clhd.systems.declarations import Cost, Outputs, Result, Status, Value
from clhd.systems.protocol import System

SGD, ODE = ContrastiveSimulation(), ContrastiveTheory()


class EndSimulation(ABC):
    """SGD to the last output time, and the outcome of each run; see `clhd.systems.protocol.Half`.

    Attributes
    ----------
    output, dim : str
        Name of the output, which is 1 in the outcome of a run and else 0, and of its dim.
    """

    version = SGD.version
    per_replica = False
    output: ClassVar[str]
    dim: ClassVar[str]

    @abstractmethod
    def contrastive(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Return the values as the system "contrastive" takes them."""

    @abstractmethod
    def outcomes(self, features: int) -> Sequence[str]:
        """Return the names of the outcomes."""

    @abstractmethod
    def classify(self, last: FloatArray) -> NDArray[np.int64]:
        """Return the outcome of each run, shape (...), from the states (..., state), which are NaN after divergence.

        A negative number says that a run has no outcome, because it has diverged.
        """

    def point(self, values: Mapping[str, Value], seed: int) -> Point:
        return SGD.point(self.contrastive(values), seed)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("simulation") == "none":
            return NOTHING
        outcomes = self.outcomes(len(number_features(constants)))
        return label_outputs({self.output: (self.dim,)}, {self.dim: outcomes})

    def cost(self, point: Point, time: FloatArray) -> Cost:
        return SGD.cost(point, time)

    def compute(self, points: Sequence[Point], time: FloatArray, replicas: Sequence[int]) -> Result:
        outcome = self.classify(simulate_points(points, time[-1:], replicas, threads=1)[:, :, 0])
        share = np.eye(len(self.outcomes(points[0].model.features)))[outcome]
        share[outcome < 0] = np.nan
        status = np.where(outcome < 0, Status.DIVERGED, Status.OK).astype(np.int8)
        return Result(values={self.output: share}, status=status)


@dataclass(frozen=True, kw_only=True)
class ModelPoint:
    """A point of a theory; ``theory`` is what is asked of it, where there is a choice."""

    model: ContrastiveModel
    theory: str = ""


class PointTheory(ABC):
    """A theory that predicts one point after the other; see `clhd.systems.protocol.Half`.

    Attributes
    ----------
    seconds : float
        Of one point.
    may_be_nan : tuple of str
        Outputs for which NaN can be a result.
    """

    version = 1
    per_replica = False
    seconds: ClassVar[float]
    may_be_nan: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def point(self, values: Mapping[str, Value], seed: int) -> ModelPoint:
        """Return a checked, hashable point; raise ClhdError where values do not go together."""

    @abstractmethod
    def dims(self, theory: Value) -> Mapping[str, tuple[str, ...]]:
        """Return the dims of each output, by what is asked; "" is the default."""

    @abstractmethod
    def predict(self, point: Any, time: FloatArray) -> Mapping[str, Any]:
        """Return the outputs of one point; raise NotConvergedError if it has no answer."""

    def coordinates(self, features: int) -> Mapping[str, Sequence[Any]]:
        """Return the values of each dim except the time."""
        return {"feature": range(1, features + 1)}

    def cost(self, point: Any, time: FloatArray) -> Cost:
        return Cost(seconds=self.seconds)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        theory = constants.get("theory", "")
        if theory == "none":
            return NOTHING
        return label_outputs(self.dims(theory), self.coordinates(len(number_features(constants))), self.may_be_nan)

    def compute(self, points: Sequence[ModelPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        first = points[0]
        sizes = {name: len(values) for name, values in self.coordinates(first.model.features).items()}
        dims = self.dims(first.theory)
        return predict_each(points, lambda point: self.predict(point, time), dims, sizes | {"time": len(time)})


class EndSystem(System):
    """A system of the contrastive unit with words, claims and figures of the system "contrastive"."""

    time = WORDS["time"]
    size = "dimension"
    limit = "limit of infinite dimension"
    components = "features"
    claims, figures = ContrastiveSystem.claims, ContrastiveSystem.figures
