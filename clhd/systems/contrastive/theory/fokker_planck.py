"""One implicit step of the Fokker-Planck equation of a weight, and the limiter that keeps extrapolations positive.

For every feature value the density rho of w obeys, with coefficients that are frozen over the step,

    d_t rho = -d_w J,      J = F(w) rho - d rho',      F(w) = a + c w - k sign w.

Between the centres of two cells, a distance l apart, the flux is that of the stationary solution with constant F,

    J = (d / l) [ B(-x) rho_left - B(x) rho_right ],     x = (1 / d) * integral of F between the centres,
    B(x) = x / (exp x - 1),

exponential fitting after D. L. Scharfetter and H. K. Gummel, *Large-signal analysis of a silicon Read diode oscillator*
(1969), and J. S. Chang and G. Cooper, *A practical difference scheme for Fokker-Planck equations* (1970). It is of
second order, it turns into upwind differences where d is small, and since x takes the integral of F, the kink included,
the stationary density is exact at the centres. In terms of masses it is a Markov chain that jumps between neighbouring
cells, so an implicit Euler step of any length keeps mass and sign.

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
from numpy.typing import NDArray

from clhd.core.kernels import kernel

FloatArray = NDArray[np.float64]

# Cells with less keep the masses of the positive method: the extrapolation would carry rounding outwards.
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
    """Masses after one implicit Euler step, and by how much it has missed them; parameters as in the module's head.

    Returns
    -------
    (masses, mass_error) : array of shape (atom, cell), float
        Normalised, and the largest deviation of a row's sum from 1 that this has made good.

    Elimination without subtractions, after W. K. Grassmann, M. I. Taksar and D. P. Heyman, *Regenerative analysis and
    steady state distributions for Markov chains* (1985): each mass is right to its last digits, far tails included.
    """
    atoms, cells = masses.shape
    result = np.empty_like(masses)
    up, down = np.empty(cells), np.empty(cells)  # probability to jump, up from i and down from i, times the step
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
        row /= reached  # 1 but for rounding, which would add up over many steps
    return result, mass_error


@kernel
def limit_masses(low: FloatArray, high: FloatArray) -> FloatArray:
    """The masses `high`, except where they are negative: there as near to them as positive `low` allows.

    `high` - `low` is written as fluxes over the edges, and what leaves a cell is cut to what `low` has in it (the
    positivity part of S. T. Zalesak, *Fully multidimensional flux-corrected transport algorithms for fluids*, 1979).
    Mass is kept, and nothing changes but next to cells that would be negative.
    """
    atoms, cells = low.shape
    result = np.empty_like(low)
    flux, share = np.empty(cells + 1), np.empty(cells)
    for atom in range(atoms):
        flux[0], flux[cells] = 0.0, 0.0
        top = np.argmax(low[atom])  # summed from both ends: rounding of the bulk must not move the tails
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
