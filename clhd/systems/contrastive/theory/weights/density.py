"""`DensityFlow` solves the McKean-Vlasov equation of the law of a weight given its feature values.

    d_t rho = -d_w [ eta (g . xi + A w - lam w - lam1 sign w) rho ] + (eta^2 D / 2) d_w^2 rho,    on the sphere with
    g . q + A + eta D / 2 for lam,      q = sum over xi of P(xi) xi int w rho dw,      r = the same of w^2.

A step is computed as one, two and three implicit Euler steps (`fokker_planck.py`), each with the g, A, D of its
beginning, and extrapolated to third order in time (harmonic sequence: P. Deuflhard, *Recent progress in extrapolation
methods for ordinary differential equations*, 1985). The difference to the second order, weighted with 1 + w^2 / r (the
larger of r now and at the start), is the error that controls the step. The result of three small steps is positive; it
limits the extrapolation where that is negative.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| xi, P(xi) | ``values``, ``probabilities`` | (atom, feature), (atom,) | |
| rho | ``masses`` | (atom, cell) | probability given xi |
| q, r | state | (feature + 1,) | |
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.weights.feature_law import feature_atoms
from clhd.systems.contrastive.theory.weights.fokker_planck import limit_masses, step_masses
from clhd.systems.contrastive.theory.weights.weight_grid import WeightGrid, gaussian_masses, make_grid, pad_cells
from clhd.systems.declarations import NotConvergedError

# The grid begins with this many standard deviations; a Gaussian has 4e-17 of its mass beyond. It grows when an
# outermost cell holds more than the second number.
_DEVIATIONS = 8.5
_EDGE_MASS = 1e-13
# Least standard deviation for which the grid is made, in units of sqrt r.
_MIN_DEVIATION = 0.1
_FIRST_STEP, _MIN_STEP, _MAX_GROWTH, _SAFETY = 1e-3, 1e-12, 3.0, 0.85
# Steps of one solution, rejected ones included, after which it is given up: some minutes with 800 cells.
_MAX_STEPS = 20_000
# Relative growth of the squared norm in the shortest step, above which a solution ends in finite time.
_BLOW_UP = 1e-6


@dataclass(frozen=True)
class DensityPath:
    """The law of the weights at the output times.

    Attributes
    ----------
    grid : WeightGrid
        The last grid, which contains all earlier ones.
    values, probabilities : arrays of shape (atom, feature) and (atom,)
        Feature values of a coordinate and their probabilities.
    masses : array of shape (time, atom, cell)
        Probability of each cell given the feature values; NaN from a divergence on.
    outcome : array of shape (time, feature + 2)
        Overlaps, squared norm, gradient variance; NaN from a divergence on.
    mass_error : array of shape (time,)
        Largest deviation from 1 so far of the mass given the feature values, after a linear step and before
        normalisation; NaN from a divergence on.
    """

    grid: WeightGrid
    values: FloatArray
    probabilities: FloatArray
    masses: FloatArray
    outcome: FloatArray
    mass_error: FloatArray


class DensityFlow:
    """The law of the weights of one model, at one time.

    Parameters
    ----------
    model : ContrastiveModel
    state : array of shape (feature + 1,)
        Overlap and squared norm of the start; w given xi is then Gaussian with mean q . xi and variance r - |q|^2.
    cells : int
        Number of cells of the grid at the start.
    tolerance : float
        Allowed error of one step.
    """

    def __init__(self, model: ContrastiveModel, state: FloatArray, *, cells: int, tolerance: float) -> None:
        self.model = model
        # g, A and D do not depend on the regulariser, and Flow refuses an L1 penalty.
        self._flow = Flow(replace(model, l1_penalty=0.0))
        self.values, self.probabilities = feature_atoms(model)
        overlap, norm = state[:-1], float(state[-1])
        rest = norm - float(overlap @ overlap)
        means, deviation = self.values @ overlap, math.sqrt(max(rest, 0.0))
        unit = norm if norm > 0 else 1.0
        reach = float(np.abs(means).max()) + _DEVIATIONS * max(deviation, _MIN_DEVIATION * math.sqrt(unit))
        self.grid = make_grid(unit, reach, cells)
        self._unit = unit
        self.masses = gaussian_masses(self.grid, means, deviation)
        self.tolerance = tolerance
        self.mass_error = 0.0
        self._step = _FIRST_STEP
        self._steps_left = _MAX_STEPS

    def state(self, masses: FloatArray) -> tuple[FloatArray, float]:
        """Return overlap and squared norm of a law of the weights."""
        weighted = self.probabilities[:, None] * masses
        return self.values.T @ (weighted @ self.grid.centres), float((weighted @ self.grid.centres**2).sum())

    def gradient_variance(self) -> float:
        """Return D at this time."""
        overlap, norm = self.state(self.masses)
        return self._flow.terms(overlap, 1.0 if self.model.is_sphere else norm)[2]

    def advance(self, duration: float) -> bool:
        """Advance by `duration`; return False if the solution diverges before its end, and must not be used further.

        Raises
        ------
        NotConvergedError
            If the steps become too short although nothing diverges, or there are too many.
        """
        done = 0.0
        with np.errstate(all="ignore"):  # a divergence overflows before it is detected
            while done < duration:
                self._steps_left -= 1
                if self._steps_left < 0:
                    raise NotConvergedError(
                        f"the density was given up after {_MAX_STEPS} steps: its rates are too high"
                    )
                rest = duration - done
                is_last = self._step >= rest
                step = rest if is_last else self._step
                result, error, mass_error = self._try(step)
                factor = _SAFETY * (self.tolerance / max(error, 1e-300)) ** (1 / 3) if math.isfinite(error) else 0.0
                if error <= self.tolerance:
                    if result[:, [0, -1]].max() > _EDGE_MASS:
                        self.grid = self.grid.extended()
                        self.masses = pad_cells(self.masses, self.grid.half)
                        continue
                    self.masses, self.mass_error = result, max(self.mass_error, mass_error)
                    if not self.state(result)[1] <= DIVERGENCE_LIMIT:
                        return False
                    done = duration if is_last else done + step
                if not is_last or factor < 1.0:  # a step cut short at an output time must not make the next one longer
                    self._step = step * min(max(factor, 0.2), _MAX_GROWTH)
                if self._step < _MIN_STEP:
                    self._check_divergence()
                    return False
        return True

    def _check_divergence(self) -> None:
        """Raise NotConvergedError unless the norm grows so fast that the solution is about to end."""
        pulls, growth, _, diffusion = self._coefficients(self.masses)
        overlap_rate = float((self.probabilities * pulls) @ (self.masses @ self.grid.centres))
        rate = 2 * (overlap_rate + diffusion) / max(self.state(self.masses)[1], 1e-300) + 2 * growth
        if not rate * _MIN_STEP > _BLOW_UP:
            raise NotConvergedError("the steps of the density become too short: no tolerance is met")

    def _try(self, step: float) -> tuple[FloatArray, float, float]:
        """Return the masses after one step, its error, and the largest mass error of the linear systems."""
        first = self._coefficients(self.masses)
        results, mass_error = [], 0.0
        for count in (1, 2, 3):
            masses, coefficients = self.masses, first
            for k in range(count):
                if k > 0:
                    coefficients = self._coefficients(masses)
                pulls, growth, shrinkage, diffusion = coefficients
                if not math.isfinite(growth + diffusion):
                    return masses, math.inf, mass_error
                masses, step_mass_error = step_masses(
                    masses, self.grid.centres, self.grid.widths, pulls, growth, shrinkage, diffusion, step / count
                )
                mass_error = max(mass_error, step_mass_error)
            results.append(masses)
        one, two, three = results
        norm = max(self.state(three)[1], self._unit)
        difference = np.abs(0.5 * one - 2.0 * two + 1.5 * three)
        error = self.probabilities @ (difference @ (1.0 + self.grid.centres**2 / norm))
        return limit_masses(three, 0.5 * one - 4.0 * two + 4.5 * three), float(error), mass_error

    def _coefficients(self, masses: FloatArray) -> tuple[FloatArray, float, float, float]:
        """Return the pulls, growth, shrinkage and diffusion that `step_masses` takes."""
        model, (overlap, norm) = self.model, self.state(masses)
        eta = model.learning_rate
        g, alignment, variance = self._flow.terms(overlap, 1.0 if model.is_sphere else norm)
        decay = g @ overlap + alignment + 0.5 * eta * variance if model.is_sphere else model.weight_decay
        return (
            eta * (self.values @ g),
            float(eta * (alignment - decay)),
            eta * model.l1_penalty,
            max(0.5 * eta**2 * variance, 0.0),
        )


def integrate_density(
    model: ContrastiveModel, state: FloatArray, times: FloatArray, *, cells: int, tolerance: float
) -> DensityPath:
    """Return the law of the weights at `times`, from the Gaussian start of `DensityFlow`, with its parameters."""
    flow = DensityFlow(model, state, cells=cells, tolerance=tolerance)
    outcome, mass_error = np.full((len(times), model.features + 2), np.nan), np.full(len(times), np.nan)
    laws: list[FloatArray] = []
    now = 0.0
    for i, time in enumerate(times.tolist()):
        if not flow.advance(time - now):
            break
        now = time
        outcome[i, :-2], outcome[i, -2] = flow.state(flow.masses)
        outcome[i, -1], mass_error[i] = flow.gradient_variance(), flow.mass_error
        laws.append(flow.masses)
    masses = np.full((len(times), len(flow.values), 2 * flow.grid.half), np.nan)
    for i, law in enumerate(laws):
        masses[i] = pad_cells(law, flow.grid.half)
    return DensityPath(flow.grid, flow.values, flow.probabilities, masses, outcome, mass_error)
