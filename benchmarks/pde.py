"""Speed of the McKean-Vlasov equation of one model to T = 30, and its error against the ODE under L2, one core."""

import math
import time
from typing import Any

import numpy as np

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.weights.pde import solve_pde

ROUNDS = 5
TIMES = np.linspace(0.0, 30.0, 31)
REACH = 2.0


def rows() -> list[dict[str, Any]]:
    """Measure, and return the rows of the table.

    Returns
    -------
    list of dict
        what (text), measured and reference (models per second and core: here, and as wanted), reach (text), ratio
        (measured / reference).
    """
    table = []
    for law in ("rademacher", "gaussian"):
        model = ContrastiveModel(
            latents=(ThreePoint(second_moment=1.5, kurtosis=2.0),), weight_decay=0.6, feature_law=law
        )
        exact = integrate_ode(model, overlap=0.3, time=TIMES)
        data = solve_pde(model, TIMES, overlap=0.3)  # compiles
        error = max(float(abs(data[name] - exact[name]).max()) for name in ("overlap", "squared_norm"))
        best = math.inf
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            solve_pde(model, TIMES, overlap=0.3)
            best = min(best, time.perf_counter() - begin)
        table.append(
            {
                "what": f"PDE to T = 30 per second and core, {law} feature, error {error:.0e}",
                "reach": f"<= {REACH:g} s, error <= 1e-4",
                "measured": 1 / best,
                "reference": 1 / REACH,
                "ratio": REACH / best,
            }
        )
    return table
