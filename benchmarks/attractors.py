"""Speed of counting the clusters of a cloud of 1000 points, on one core.

`python -m benchmarks.attractors` prints the rows.
"""

import math
import time
from typing import Any

import numpy as np

from clhd.core.clusters import METHODS, count_clusters

ROUNDS = 10


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table: what (text), measured (seconds), reach (text)."""
    centres = np.repeat([(1, 0), (-1, 0), (0, 1), (0, -1)], 250, axis=0)
    cloud = centres + 0.05 * np.random.default_rng(0).standard_normal((1000, 2))
    found = []
    for method in METHODS:
        count_clusters(cloud, method=method)  # imports
        seconds = math.inf
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            count_clusters(cloud, method=method)
            seconds = min(seconds, time.perf_counter() - begin)
        what = f"seconds of clustering 1000 points by {method}"
        found.append({"what": what, "measured": seconds, "reach": "<= 0.15"})
    return found


if __name__ == "__main__":
    for row in rows():
        print(f"| {row['what']} | {row['measured']:.3g} | {row['reach']} |")
