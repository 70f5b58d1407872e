"""diffrax: Dopri8 under vmap over the starts, compiled, double precision."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.race.ode_problem import (
    ALPHA2,
    ATOL,
    BETA2,
    ETA,
    KAPPA,
    LAM,
    RTOL,
    S2,
    UNTIL,
    FloatArray,
    make_grid,
)

jax.config.update("jax_enable_x64", True)
C, U, V, WEIGHT = (jnp.asarray(part) for part in make_grid())


def velocity(_t: jax.Array, y: jax.Array, _: None) -> jax.Array:
    """The right-hand side."""
    q, r = y[:2], y[2]
    noise, own = jnp.sqrt(ALPHA2 * r) * U, jnp.sqrt(BETA2 * r) * V
    mean = C @ q
    h1, h2 = jnp.tanh(mean + noise + own), jnp.tanh(mean + noise - own)
    d1, d2 = 1 - h1**2, 1 - h2**2
    a, b = d1 * h2, d2 * h1
    g = (WEIGHT * (a + b)) @ C
    alignment = WEIGHT @ (a * (noise + own) + b * (noise - own)) / r
    square, slope = WEIGHT @ (h1**2 + h2**2) / 2, WEIGHT @ (d1**2 + d2**2) / 2
    variance = S2 * (WEIGHT @ (a**2 + b**2) + 2 * square * slope) + 2 * KAPPA * (WEIGHT @ (a * b))
    growth = alignment - LAM
    return jnp.append(ETA * (g + growth * q), 2 * ETA * (g @ q + growth * r) + ETA**2 * variance)


@jax.jit
@jax.vmap
def _integrate(start: jax.Array) -> jax.Array:
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Dopri8(),
        0.0,
        UNTIL,
        None,
        start,
        stepsize_controller=diffrax.PIDController(rtol=RTOL, atol=ATOL),
        adjoint=diffrax.DirectAdjoint() if hasattr(diffrax, "DirectAdjoint") else diffrax.RecursiveCheckpointAdjoint(),
        max_steps=4096,
    )
    return solution.ys[-1]


def solve(starts: FloatArray) -> FloatArray:
    """Integrate all starts at once."""
    return np.asarray(_integrate(jnp.asarray(starts)))


BATCHED = {"diffrax Dopri8, vmap": solve}
