"""CyRK's pysolve_ivp with the right-hand side as a numba loop."""

import numpy as np
from CyRK import pysolve_ivp

from benchmarks.race.ode_problem import ATOL, RTOL, UNTIL, FloatArray
from benchmarks.race.ode_scipy import WEIGHT, C, U, V, write_velocity


def velocity(out: FloatArray, _: float, y: FloatArray) -> None:
    """The numba loop, as CyRK calls it."""
    write_velocity(out, y, C, U, V, WEIGHT)


def solve(starts: FloatArray) -> FloatArray:
    """Integrate one start after the other."""
    ends = []
    for start in starts:
        solution = pysolve_ivp(
            velocity,
            (0.0, UNTIL),
            start,
            method="DOP853",
            t_eval=np.array([UNTIL]),
            rtol=RTOL,
            atol=ATOL,
            pass_dy_as_arg=True,
        )
        ends.append(solution.y[:, -1])
    return np.array(ends)


SINGLE = {"CyRK DOP853, right-hand side in numba": solve}
