"""One implicit step of the Fokker-Planck equation of a weight, and the limiter that keeps extrapolations positive.

For every feature value the density rho of w obeys, with coefficients that are constant over the step,

    d_t rho = -d_w J,      J = F(w) rho - d rho',      F(w) = a + c w - k sign w.

Between the centres of two cells, a distance l apart, J is the flux of the stationary solution with constant F,

    J = (d / l) [ B(-x) rho_left - B(x) rho_right ],     x = (1 / d) * integral of F between the centres,
    B(x) = x / (exp x - 1),

exponential fitting after D. L. Scharfetter and H. K. Gummel, *Large-signal analysis of a silicon Read diode oscillator*
(1969), and J. S. Chang and G. Cooper, *A practical difference scheme for Fokker-Planck equations* (1970). The scheme is
of second order and becomes upwind differences where d is small. Because x is the integral of F, kink included, the
stationary density is exact at the centres. The masses follow a Markov chain that jumps between neighbouring cells, so
an implicit Euler step of any length keeps the total mass and all signs.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| | ``masses`` | (atom, cell) | probability, each row of sum 1 |
| a | ``pulls`` | (atom,) | eta g . xi |
| c | ``growth`` | | eta (A - lam) |
| k | ``shrinkage`` | | eta lam1 |
| d | ``diffusion`` | | eta^2 D / 2 |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel

# Cells with less mass keep the result of the positive method: extrapolation would carry rounding errors outwards.
_NEGLIGIBLE = 1e-15


@kernel
def step_masses(
    masses: FloatArray,
    centres: FloatArray,
    widths: FloatArray,
    pulls: FloatArray,
    growth: float,
    shrinkage: float,
    diffusion: float,
    duration: float,
) -> tuple[FloatArray, float]:
    """Return the masses after one implicit Euler step, and the mass error before they are normalised.

    The parameters are those in the module's table, and `duration` is the length of the step.

    Returns
    -------
    (masses, mass_error) : array of shape (atom, cell), float
        Normalised masses, and the largest deviation from 1 of the sum of a row before normalisation.

    The elimination has no subtractions (W. K. Grassmann, M. I. Taksar and D. P. Heyman, *Regenerative analysis and
    steady state distributions for Markov chains*, 1985): each mass is right to its last digits, also in far tails.
    """
    atoms, cells = masses.shape
    result = np.empty_like(masses)
    up, down = np.empty(cells), np.empty(cells)  # jump rates from i, up and down, times the step
    pivot = np.empty(cells)
    mass_error = 0.0
    for atom in range(atoms):
        up[cells - 1], down[0] = 0.0, 0.0
        for i in range(cells - 1):
            low, high = centres[i], centres[i + 1]
            push = pulls[atom] * (high - low) + 0.5 * growth * (high - low) * (high + low)
            push -= shrinkage * (abs(high) - abs(low))
            exchange = diffusion
            if diffusion > 0.0 and push != 0.0:
                x = abs(push) / diffusion
                exchange = diffusion * x / math.expm1(x) if x < 700.0 else 0.0
            rate = duration / (high - low)
            up[i] = rate * (exchange + max(push, 0.0)) / widths[i]
            down[i + 1] = rate * (exchange + max(-push, 0.0)) / widths[i + 1]
        leak, carried = 1.0, 0.0
        row = result[atom]
        for i in range(cells):
            carried = masses[atom, i] + carried
            pivot[i] = leak + up[i]
            row[i] = carried / pivot[i]
            carried = up[i] * row[i]
            if i + 1 < cells:
                leak = 1.0 + down[i + 1] * (leak / pivot[i])
        reached = row[cells - 1]
        for i in range(cells - 2, -1, -1):
            row[i] += down[i + 1] * row[i + 1] / pivot[i]
            reached += row[i]
        mass_error = max(mass_error, abs(reached - 1.0))
        row /= reached  # removes rounding errors, which would add up over many steps
    return result, mass_error


@kernel
def limit_masses(low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the masses `high`, moved towards the positive masses `low` where they would be negative.

    `high` - `low` is written as fluxes over the edges, and the flux out of a cell is limited to its mass in `low` (the
    positivity part of S. T. Zalesak, *Fully multidimensional flux-corrected transport algorithms for fluids*, 1979).
    The total mass is kept, and only neighbours of cells that would be negative change.
    """
    atoms, cells = low.shape
    result = np.empty_like(low)
    flux, share = np.empty(cells + 1), np.empty(cells)
    for atom in range(atoms):
        flux[0], flux[cells] = 0.0, 0.0
        top = np.argmax(low[atom])  # sum from both ends, so that rounding errors of the bulk do not reach the tails
        for i in range(top):
            flux[i + 1] = flux[i] - (high[atom, i] - low[atom, i])
        for i in range(cells - 1, top, -1):
            flux[i] = flux[i + 1] + (high[atom, i] - low[atom, i])
        for i in range(cells):
            leaving = max(flux[i + 1], 0.0) + max(-flux[i], 0.0)
            share[i] = min(1.0, low[atom, i] / leaving) if leaving > 0.0 else 1.0
            share[i] = share[i] if low[atom, i] > _NEGLIGIBLE else 0.0
        for i in range(1, cells):
            flux[i] *= share[i - 1] if flux[i] > 0.0 else share[i]
        for i in range(cells):
            result[atom, i] = max(low[atom, i] + flux[i] - flux[i + 1], 0.0)
    return result
