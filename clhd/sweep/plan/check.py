"""`check_experiment`: make every point of an experiment once, so that no run finds an impossible point later.

Reading the file finds a mistake in a single value. A mistake in a combination of values is found here: the impossible
points are counted, and the first one is named. The costs of the points, found on the way, are kept.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from clhd.errors import ClhdError, InputError
from clhd.sweep.plan.blocks import check_bytes, choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import KINDS, Experiment
from clhd.sweep.spec.yaml_file import ExperimentError
from clhd.systems.declarations import Cost, Value

# The most reasons for impossible points that are reported.
_MOST_MESSAGES = 3


def check_experiment(experiment: Experiment, source: str = "experiment") -> list[Stage]:
    """Check all points of both stages before anything is computed.

    Returns
    -------
    list of Stage
        The stages that have something to compute, with the costs of their points, in the order in which they run: of a
        refined experiment first the stage that decides.

    Raises
    ------
    ExperimentError
        With one line for each mistake, each starting with `source`.
    """
    try:
        stages = [stage for stage in (Stage(experiment, kind) for kind in KINDS) if stage.outputs.variables]
        if not stages:
            raise ExperimentError("constants: leave nothing to compute, neither a simulation nor a theory")
        _check_replicas(experiment, stages)
        for stage in stages:
            check_bytes(stage)
        _check_points(stages)
        for stage in stages:
            _check_coordinates(stage)
            choose_chunks(stage)  # raises if there are too many
    except ClhdError as error:
        raise ExperimentError("\n".join(f"{source}: {line}" for line in str(error).splitlines())) from None
    refine = experiment.refine
    return sorted(stages, key=lambda stage: refine is not None and stage.kind != refine.kind)


def _check_replicas(experiment: Experiment, stages: Sequence[Stage]) -> None:
    """Raise ExperimentError if a theory that predicts each replica is asked for what it cannot be compared with."""
    if not any(stage.half.per_replica for stage in stages if stage.kind == "theory"):
        return
    if not experiment.has_simulation:
        raise ExperimentError("constants: the theory predicts each replica, so the experiment needs a simulation")
    if experiment.keep == "moments":
        raise ExperimentError("keep = 'moments': the theory predicts each replica; keep: replicas")
    if experiment.sampling.is_open:
        key = "until" if experiment.sampling.until else "most"
        raise ExperimentError(f"replicas.{key}: the theory predicts each replica; give replicas as a number")


def _check_coordinates(stage: Stage) -> None:
    """Raise ExperimentError if a dim of the outputs has other coordinates at a point than the store will say.

    The store has one coordinate for all points. Along an axis on which it depends, the last point differs from the
    first.
    """
    for index in (tuple(0 for _ in stage.grid.shape), tuple(length - 1 for length in stage.grid.shape)):
        found = stage.half.outputs(stage.grid.values(index)).coordinates
        for dim, (values, _) in stage.outputs.coordinates.items():
            if dim not in found or not np.array_equal(np.asarray(found[dim][0]), np.asarray(values)):
                raise ExperimentError(
                    f"axes: the coordinates of {dim} are others at {stage.grid.describe(index)}, but the results have "
                    "one for all points; what they depend on must be a constant"
                )


def _check_points(stages: Sequence[Stage]) -> None:
    """Make every point of every stage once, and note its cost; raise ClhdError if some points are impossible.

    One pass serves both stages, and the axes that they do not share vary fastest: a system that remembers the model it
    has just made then makes it once for both stages, which halves the time.
    """
    axes = {axis.name: axis for stage in stages for axis in stage.grid.axes}
    known = [{axis.name for axis in stage.grid.axes} for stage in stages]
    order = sorted(axes, key=lambda name: not all(name in names for names in known))
    # For each stage: its check, the places of its axes in `order`, and the places of the axes that it lacks.
    visits = []
    for stage, names in zip(stages, known, strict=True):
        own = [order.index(axis.name) for axis in stage.grid.axes]
        visits.append((PointCheck(stage), own, [k for k, name in enumerate(order) if name not in names]))
    for place in product(*(range(len(axes[name])) for name in order)):
        for check, own, lacking in visits:
            if not any(place[k] for k in lacking):
                check.visit(tuple([place[k] for k in own]))
    for stage, (check, _, _) in zip(stages, visits, strict=True):  # both stages mostly have the same mistakes
        stage.__dict__["costs"] = check.finish()


def _count_cost(stage: Stage, values: dict[str, Value]) -> Cost:
    """Return the cost of a point; raise ClhdError if the numbers of the point exceed what can be computed with."""
    try:
        cost = stage.cost(stage.point(values))
    except ArithmeticError as error:
        raise InputError(f"its numbers are too large or too small to compute with: {error.args[-1]}") from error
    if not 0 <= cost.seconds < math.inf:
        raise InputError(f"its predicted cost is {cost.seconds:g} s: its numbers are too large or too small")
    return cost


class PointCheck:
    """Makes each point of a stage, in any order; notes its cost, and remembers the impossible points."""

    def __init__(self, stage: Stage) -> None:
        self._stage, self._grid = stage, stage.grid
        self._costs = np.empty(stage.grid.shape, dtype=object)  # takes a tenth of the memory of a dict
        self._known: dict[Cost, Cost] = {}  # few costs differ, and keeping each once saves memory
        # For each axis, the parameters that each position sets.
        self._settings = [[dict(zip(axis.parameters, v, strict=True)) for v in axis.values] for axis in stage.grid.axes]
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, tuple[tuple[int, ...], str]] = {}

    def visit(self, index: tuple[int, ...]) -> None:
        """Make one point."""
        values = dict(self._grid.constants)
        for settings, position in zip(self._settings, index, strict=True):
            values.update(settings[position])
        try:
            cost = _count_cost(self._stage, values)
            self._costs[index] = self._known.setdefault(cost, cost)
        except ClhdError as error:
            # Messages that differ only in the value are one reason.
            reason = str(error).partition(" = ")[0]
            self._counts[reason] += 1
            self._examples[reason] = min(self._examples.get(reason, (index, str(error))), (index, str(error)))

    def finish(self) -> NDArray[np.object_]:
        """Return all costs, in the shape of the grid.

        Raises ClhdError if points are impossible: one line for each reason, with the first point and their number.
        """
        first = sorted((*self._examples[reason], reason) for reason in self._counts)
        if first:
            raise InputError("\n".join(self._describe(*entry) for entry in first[:_MOST_MESSAGES]))
        return self._costs

    def _describe(self, place: tuple[int, ...], example: str, reason: str) -> str:
        if not self._grid.axes:
            return example
        count, size = self._counts[reason], self._grid.size
        many = "every point is" if count == size else f"{count} of {size} points {'is' if count == 1 else 'are'}"
        return f"axes: {many} impossible, the first at {self._grid.describe(place)}: {example}"
