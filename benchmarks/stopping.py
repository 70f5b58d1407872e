"""What stopping at a target does to intervals, and how many replicas it saves. Prints tables, as Markdown.

| measurement | question |
|---|---|
| coverage | how many nominal 95 % intervals (Student's t) hold the mean, if the error decides when to stop |
| grid | how many replicas the default grid takes to a target, against one number for all points |

Both ask the functions that a run asks. Targets of synthetic points are spread so that they stop in every round.

    python -m benchmarks.stopping [coverage] [grid]
"""

import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.spec.experiment import read_experiment
from clhd.sweep.spec.rounds import Sampling
from clhd.sweep.store.store import Store
from clhd.sweep.store.wanted import find_counts, find_errors, read_means

_GRID = Path(__file__).parents[1] / "config" / "experiments" / "grid.yaml"
_QUANTITY, _TARGETS, _MOST_ON_GRID = "cosine_similarity", (0.015, 0.005), 16384
_POINTS, _STARTS, _MOST, _SEED = 2000, (8, 12, 16, 64, 256, 512), 4096, 14
FloatArray = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], FloatArray]
# Laws of mean 0 and variance 1; the last has the value 3 in one of ten replicas.
_LAWS: dict[str, Draw] = {
    "normal": lambda random, shape: random.normal(size=shape),
    "exponential": lambda random, shape: random.exponential(size=shape) - 1,
    "rare value": lambda random, shape: (random.random(shape) < 0.1) / 0.3 - 1 / 3,
}


def stop_points(start: int, draw: Draw, random: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, standard error and number of replicas of each synthetic point, when it stops."""
    expected = np.exp(random.uniform(np.log(start), np.log(_MOST / 4), _POINTS))
    targets = 1 / np.sqrt(expected)
    mean, error, used = np.zeros(_POINTS), np.zeros(_POINTS), np.zeros(_POINTS)
    moments: list[FloatArray] = [np.empty((0, _POINTS))] * 3
    goes_on, before = np.ones(_POINTS, dtype=bool), 0
    for count in Sampling(start, _MOST, {"x": 1.0}).counts:
        new = draw(random, (count - before, _POINTS))
        middle = new.mean(axis=0)
        parts = (np.full(_POINTS, float(len(new))), middle, ((new - middle) ** 2).sum(axis=0))
        moments = [np.vstack([old, part]) for old, part in zip(moments, parts, strict=True)]
        found = find_errors(moments)
        stops = goes_on & ((found <= targets) | (count == _MOST))
        mean[stops] = (moments[0] * moments[1]).sum(axis=0)[stops] / count
        error[stops], used[stops] = found[stops], count
        goes_on, before = goes_on & ~stops, count
    return mean, error, used


def measure_coverage() -> Iterator[str]:
    """Yield the lines of the table of coverage: with targets, and with as many replicas fixed beforehand."""
    yield "| law | first round | intervals that hold the mean | with a fixed number | reported / true error |"
    yield "|---|---|---|---|---|"
    for law, draw in _LAWS.items():
        for start in _STARTS:
            random = np.random.default_rng([_SEED, start])
            mean, error, used = stop_points(start, draw, random)
            share = _find_coverage(mean, error, used)
            samples = [draw(random, (int(count), 1)) for count in used]
            middle = np.array([sample.mean() for sample in samples])
            errors = np.array([sample.std(ddof=1) for sample in samples]) / np.sqrt(used)
            plain = _find_coverage(middle, errors, used)
            told = error.mean() / math.sqrt((mean**2).mean())
            yield f"| {law} | {start} | {share:.1%} | {plain:.1%} | {told:.2f} |"


def _find_coverage(mean: FloatArray, error: FloatArray, used: FloatArray) -> float:
    """The share of intervals that hold the mean 0."""
    return float((np.abs(mean) <= student.ppf(0.975, used - 1) * error).mean())


def measure_grid() -> Iterator[str]:
    """Yield the lines of the table of the default grid; each target goes on from the one before."""
    yield "| target | worst error | replicas of a point | all | fixed number for that error | ratio | of time |"
    yield "|---|---|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as folder:
        for target in _TARGETS:
            yield _measure_target(target, Path(folder))


def _measure_target(target: float, folder: Path) -> str:
    """The line of one target; the time is that of predicted costs."""
    experiment = read_experiment(_GRID)
    sampling = Sampling(experiment.sampling.start, _MOST_ON_GRID, {_QUANTITY: target}, experiment.times[-1])
    experiment = experiment.model_copy(update={"sampling": sampling})
    run_stage(experiment, "simulation", folder)
    store = Store(folder / experiment.name / "simulation.zarr")
    counts = find_counts(store, experiment)
    error = read_means(store, _QUANTITY, (len(experiment.times) - 1, 0), counts=counts).error
    costs = np.vectorize(lambda cost: cost.seconds)(Stage(experiment, "simulation").costs)
    deviation, worst = error * np.sqrt(counts.entries), error.max()
    fixed = math.ceil(float((deviation / worst).max()) ** 2)
    spent = int(counts.entries.sum())
    return (
        f"| {target} | {worst:.5f} | {counts.entries.min()} to {counts.entries.max()} | {spent} | {fixed} "
        f"| {fixed * error.size / spent:.1f} | {fixed * costs.sum() / (counts.entries * costs).sum():.1f} |"
    )


def main(chosen: list[str]) -> None:
    """Print the tables of the chosen measurements."""
    measurements = {"coverage": measure_coverage, "grid": measure_grid}
    for name in chosen or measurements:
        for line in measurements[name]():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main(sys.argv[1:])
