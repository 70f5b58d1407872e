"""Speed of the further systems, in processor time of one core: seconds of jobs whose bounds were fixed beforehand.

`python -m benchmarks.systems` prints these rows alone; `make bench` has them at its end.
"""

import math
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from clhd.core.clusters import METHODS, count_clusters
from clhd.systems.latent_variable.theory import solve_modes
from clhd.systems.one_layer.model import make_patterns, make_probabilities
from clhd.systems.one_layer.theory import enumerate_optima
from clhd.systems.registry import find_system

ROUNDS = 3


def _simulate(name: str, end: float = 0.0, **others: Any) -> Callable[[], Any]:
    """A job: one run of a system, at its defaults but for some parameters."""
    system = find_system(name)
    defaults = {parameter: declared.default for parameter, declared in system.parameters.items()}
    values = SimpleNamespace(**(defaults | others))
    return lambda: system.simulate(values, np.array([end]), np.random.default_rng(1))


def _list_jobs() -> Iterator[tuple[str, float, Callable[[], Any]]]:
    """What is measured, its bound in seconds, and the job."""
    layer = {"pattern_count": 6, "layer_units": 1000}
    yield "one_layer: 1000 starts, M = 6, c = 0", 3, _simulate("one_layer", **layer)
    yield "one_layer: 1000 starts, M = 6, c = 0.5 (kinks)", 3, _simulate("one_layer", **layer, pattern_overlap=0.5)
    patterns, probabilities = make_patterns(8, 0.5), make_probabilities(8, 3.0)
    yield "one_layer: enumeration, M = 8", 1, lambda: enumerate_optima(patterns, probabilities)
    yield "two_layers: 5000 iterations, P = 5, beta = 5", 5, _simulate("two_layers", 5000.0)
    plus, minus, drive, when = np.random.default_rng(0).random((4, 100_000))
    yield "latent_variable: 10^5 closed forms", 0.1, lambda: solve_modes(plus, minus, drive, 1.0, when)
    yield "saddle: n = 12, 4000 steps", 0.3, _simulate("saddle", dimension=12)
    centres = np.repeat([(1, 0), (-1, 0), (0, 1), (0, -1)], 250, axis=0)
    cloud = centres + 0.05 * np.random.default_rng(0).standard_normal((1000, 2))
    for method in METHODS:
        yield f"clustering 1000 points, {method}", 0.15, lambda method=method: count_clusters(cloud, method=method)  # type: ignore[misc]


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (seconds of processor time: here, and at most), reach (text), ratio
        (reference / measured).
    """
    table = []
    for what, bound, job in _list_jobs():
        job()  # compiles, imports
        best = math.inf
        for _ in range(ROUNDS):
            begin = time.process_time()
            job()
            best = min(best, time.process_time() - begin)
        row = {"what": f"{what}, seconds", "measured": best, "reference": bound, "ratio": bound / best}
        table.append(row | {"reach": f"<= {bound:g}"})
    return table


if __name__ == "__main__":
    for row in rows():
        print(f"| {row['what']} | {row['measured']:.3g} | {row['reach']} |", flush=True)
