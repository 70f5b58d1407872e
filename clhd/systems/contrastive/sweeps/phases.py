"""The system "phases": where one feature is learned, where not, and where the weights collapse or diverge.

The simulation says of each run in which phase it ends. The theory gives the borders as learning rates
(`theory.phases`), so it does not depend on the learning rate.

| output | dims | meaning |
|---|---|---|
| phase_share | end_phase | 1 in the phase of a run, else 0 (simulation only) |
| phase_border | phase_border_name | theory only: learning rate; NaN: no end |

| phase | rule at the last time |
|---|---|
| diverged | the squared norm has passed 1e8 |
| collapsed | squared norm below 1e-3 |
| informative | abs(S) > 0.2 |
| uninformative | everything else |
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSimulation, ContrastiveSystem, ContrastiveTheory
from clhd.systems.contrastive.sweeps.escape import THEORY
from clhd.systems.contrastive.sweeps.outcomes import COLLAPSED
from clhd.systems.contrastive.sweeps.outputs import NOTHING, label_outputs
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS
from clhd.systems.contrastive.theory.phases import find_phase_borders
from clhd.systems.declarations import Cost, FloatArray, Outputs, Parameter, Result, Status, Value
from clhd.systems.protocol import System

PHASES = ("collapsed", "uninformative", "informative", "diverged")
BORDERS = ("collapsed", "threshold", "uninformative", "informative")
INFORMATIVE = 0.2  # six times the |S| of random weights at n = 1000
_SECONDS = 0.5
_OF_STARTS = ("initial", "initial_squared_norm", "initial_cosine_similarity", "initial_overlap", "initial_overlaps")
_NOT_HERE = {"features", "units", "decorrelation", "decorrelation_function", "correlation_acts_on", "constraint"}
_NOT_IN_THEORY = {"learning_rate", *_OF_STARTS}
_OWN: dict[str, Parameter] = {
    "theory": replace(THEORY, default="borders", meaning="what is predicted", choices=("borders", "none")),
}
_SIMULATION, _THEORY = ContrastiveSimulation(), ContrastiveTheory()


@dataclass(frozen=True, kw_only=True)
class PhasesPoint:
    """A point of the theory."""

    model: ContrastiveModel


class PhasesSimulation:
    """The phase in which each run of SGD ends; see `clhd.systems.protocol.Half`."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> Point:
        return _SIMULATION.point({name: value for name, value in values.items() if name != "theory"}, seed)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("simulation", "sgd") == "none":
            return NOTHING
        return label_outputs({"phase_share": ("end_phase",)}, {"end_phase": PHASES})

    def cost(self, point: Point, time: FloatArray) -> Cost:
        return _SIMULATION.cost(point, time)

    def compute(self, points: Sequence[Point], time: FloatArray, replicas: Sequence[int]) -> Result:
        last = simulate_points(points, time[-1:], replicas, threads=1)[:, :, 0]
        overlap, norm = last[..., 0], last[..., 1]
        with np.errstate(invalid="ignore"):
            phase = np.where(overlap**2 > INFORMATIVE**2 * norm, 2, 1)
            phase = np.where(norm < COLLAPSED, 0, phase)
        phase = np.where(np.isnan(norm), 3, phase)
        return Result(
            values={"phase_share": np.eye(len(PHASES))[phase]}, status=np.full(phase.shape, Status.OK, np.int8)
        )


class PhasesTheory:
    """The borders of the phases; see `clhd.systems.protocol.Half`."""

    version = 1
    per_replica = False

    def point(self, values: Mapping[str, Value], seed: int) -> PhasesPoint:
        model = _THEORY.point(
            {name: value for name, value in values.items() if name not in {"theory", *_OF_STARTS}}
            | {"initial": "random"},
            seed,
        ).model
        if not model.has_zero_mean_latents:
            raise InputError("latent, skewness: the latent must have mean zero for phases")
        return PhasesPoint(model=model)

    def outputs(self, constants: Mapping[str, Value]) -> Outputs:
        if constants.get("theory", "borders") == "none":
            return NOTHING
        return label_outputs(
            {"phase_border": ("phase_border_name",)}, {"phase_border_name": BORDERS}, may_be_nan=("phase_border",)
        )

    def cost(self, point: PhasesPoint, time: FloatArray) -> Cost:
        return Cost(seconds=_SECONDS)

    def compute(self, points: Sequence[PhasesPoint], time: FloatArray, replicas: Sequence[int]) -> Result:
        found = [find_phase_borders(point.model) for point in points]
        rates = np.array([[getattr(borders, name) for name in BORDERS] for borders in found])
        return Result(
            values={"phase_border": np.where(np.isfinite(rates), rates, np.nan)},
            status=np.full(len(points), Status.OK, np.int8),
        )


class PhasesSystem(System):
    """The phases of a unit that sees one feature, by SGD and by its states of rest."""

    title = "phases of the contrastive unit"
    parameters = {
        name: replace(parameter, in_theory=False) if name in _NOT_IN_THEORY else parameter
        for name, parameter in PARAMETERS.items()
        if name not in _NOT_HERE
    } | _OWN
    time = WORDS["time"]
    size = "dimension"
    limit = "limit of infinite dimension"
    quantity = "phase_share"
    claims, figures = ContrastiveSystem.claims, ContrastiveSystem.figures
    simulation = PhasesSimulation()
    theory = PhasesTheory()
