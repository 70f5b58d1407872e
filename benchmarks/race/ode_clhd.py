"""clhd's integrator of many starts, with the building of its table."""

import numpy as np

from benchmarks.race.ode_problem import ATOL, MODEL, RTOL, UNTIL, FloatArray
from clhd.systems.contrastive.theory.flow.batch import BatchIntegrator
from clhd.systems.contrastive.theory.flow.drift import Flow


def solve(starts: FloatArray) -> FloatArray:
    """Integrate all starts."""
    integrator = BatchIntegrator(Flow(MODEL), rtol=RTOL, atol=ATOL)
    return integrator.integrate(starts, np.array([UNTIL]))[:, 0, :3]


WHOLE = {"clhd": solve}
