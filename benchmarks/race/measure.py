"""What the three races share: interleaved timing, the test for the same answer, a table of ratios."""

import importlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

STANDARD_ERRORS = 4.0
_PAUSE = 0.05  # seconds: the threads of another library may still be waiting in a loop for work


@dataclass
class Entry:
    """One line of a table.

    Attributes
    ----------
    name : str
        The competitor and its settings.
    seconds : float
        Best of all rounds, for one unit of the work.
    verdict : str
        How its answer compares; an entry with a wrong answer has no time.
    """

    name: str
    seconds: float = math.nan
    verdict: str = ""


def hold_to_one_core() -> None:
    """Let this process, and the libraries that it loads later, use one core only."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def load(module: str) -> ModuleType | None:
    """Return a module of competitors, or None if the library that it races is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def list_versions(names: Sequence[str]) -> str:
    """Return the installed versions; says which packages are absent."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join(found)


def time_interleaved(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least seconds of each way over the rounds; in each round every way runs once.

    Other work on the machine then slows all ways alike, and the least time is that of a quiet moment.
    """
    best = dict.fromkeys(ways, math.inf)
    for _ in range(rounds):
        for name, run in ways.items():
            time.sleep(_PAUSE)
            begin = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - begin)
    return best


def compare_samples(found: FloatArray, expected: FloatArray) -> str:
    """Return "same" if means and spreads agree within 4 standard errors, else what differs.

    Parameters
    ----------
    found, expected : arrays of shape (replicas, feature)
    """
    if not np.isfinite(found).all():
        return "not finite"
    scores = {}
    for name, of in (("mean", _mean_with_error), ("spread", _spread_with_error)):
        (a, error_a), (b, error_b) = of(found), of(expected)
        scores[name] = float(np.max(np.abs(a - b) / np.hypot(error_a, error_b)))
    worst = [f"{name} by {score:.1f} standard errors" for name, score in scores.items() if score > STANDARD_ERRORS]
    return "differs: " + ", ".join(worst) if worst else "same"


def _mean_with_error(sample: FloatArray) -> tuple[FloatArray, FloatArray]:
    return sample.mean(axis=0), sample.std(axis=0, ddof=1) / math.sqrt(len(sample))


def _spread_with_error(sample: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the standard deviation and its standard error, from the fourth moment."""
    deviations = sample - sample.mean(axis=0)
    variance, fourth = (deviations**2).mean(axis=0), (deviations**4).mean(axis=0)
    spread = np.sqrt(variance)
    return spread, np.sqrt(np.maximum(fourth - variance**2, 0.0) / len(sample)) / (2 * spread)
