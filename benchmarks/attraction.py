"""Speed of attraction regions and selection probabilities: seconds, beside the bound of each.

The example of docs/theory.md: tanh, two features of second moment 1.5, kurtosis 1 and 2. The map has 200 x 200 starts
and follows each until it has arrived; its reference is the same starts as one batch up to time 200, without symmetries
and without an early end. Selection by SGD has 10 000 runs at n = 1000 up to time 30; its reference is the 30 s on two
cores that it may take.
"""

import math
import time
from typing import Any

import numpy as np

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.sweeps.outcomes import selection_probability
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.states.regions import attraction_region
from clhd.systems.contrastive.theory.states.separatrix import measure_regions

_GRID, _RUNS, _ROUNDS, _ALLOWED = np.linspace(-1, 1, 200), 10_000, 3, 30.0


def _make_model() -> ContrastiveModel:
    return ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5, kurtosis=1.0), ThreePoint(second_moment=1.5, kurtosis=2.0)),
        learning_rate=0.3,
        weight_decay=0.6,
        base_noise_variance=0.25,
        augmentation_noise_variance=0.25,
        noise_correlation=-1.0,
    )


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (seconds), reach (text), ratio (reference / measured, in this run).
    """
    model = _make_model()
    attraction_region(model, cosine_similarity_1=_GRID[::10], cosine_similarity_2=_GRID[::10])  # compiles
    selection_probability(model, method="sgd", dimension=100, time=1, replicas=256)
    first, second = np.meshgrid(_GRID, _GRID, indexing="ij")
    inside = first**2 + second**2 <= 1
    starts = np.column_stack([first[inside], second[inside]])
    region, plain, border, selection = (math.inf,) * 4
    for _ in range(_ROUNDS):
        marks = [time.perf_counter()]
        attraction_region(model, cosine_similarity_1=_GRID, cosine_similarity_2=_GRID)
        marks.append(time.perf_counter())
        integrate_ode(model, overlap=starts, squared_norm=1.0, time=[200.0])
        marks.append(time.perf_counter())
        measure_regions(model)
        marks.append(time.perf_counter())
        selection_probability(model, method="sgd", dimension=1000, time=30, replicas=_RUNS, threads=2)
        marks.append(time.perf_counter())
        taken = np.diff(marks)
        region, plain = min(region, taken[0]), min(plain, taken[1])
        border, selection = min(border, taken[2]), min(selection, taken[3])
    return [
        {
            "what": "attraction map of 200 x 200 starts, s on one core, against a plain batch to time 200",
            "reach": "<= 15 s",
            "measured": region,
            "reference": plain,
            "ratio": plain / region,
        },
        {
            "what": "separatrix to 1e-10 on its arcs, shares and areas, s on one core, against the same map",
            "reach": "<= the map",
            "measured": border,
            "reference": region,
            "ratio": region / border,
        },
        {
            "what": "selection of 10 000 runs, n = 1000, T = 30, p = 2, s on two cores, against what it may take",
            "reach": "<= 30 s",
            "measured": selection,
            "reference": _ALLOWED,
            "ratio": _ALLOWED / selection,
        },
    ]
