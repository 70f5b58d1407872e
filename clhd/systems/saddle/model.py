"""The quadratic saddle and Laplacian smoothing: what simulation and theory share.

| symbol | name | shape, unit |
|---|---|---|
| n | dimension | axes of the space |
| H | hessian | (n, n), norm 1; f(x) = x'Hx / 2 |
| m | negative | negative eigenvalues of H |
| eta | step_size | 1 / norm of H; 0 < eta < 1 |
| sigma(k) | strength | of the smoothing at step k |
| A | | I - sigma L, L the periodic second difference |
| M(k) | step matrix | I - eta A^-1 H: one step is x <- M(k) x |
"""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from clhd.core.arrays import FloatArray

_SCHEME = ("step_size", "schedule", "smoothing", "ratio_constant", "growth_power", "first_step")
SCHEDULES = ("gradient_descent", "fixed", "ratio", "alternating", "power")
_SMALLEST_EIGENVALUE = 0.5  # of a random Hessian, in absolute value: far enough from a flat direction


@dataclass(frozen=True, kw_only=True)
class Saddle:
    """One saddle with its scheme: a symmetric Hessian of norm 1, and parameters of `SaddleSystem`."""

    hessian: FloatArray
    is_canonical: bool
    negative: int
    step_size: float
    schedule: str
    smoothing: float
    ratio_constant: float
    growth_power: float
    first_step: int

    @property
    def dimension(self) -> int:
        """Axes of the space."""
        return len(self.hessian)

    @property
    def is_constant(self) -> bool:
        """True if all steps are the same linear map."""
        return (
            self.smoothing == 0
            or self.schedule in {"gradient_descent", "fixed"}
            or (self.schedule == "ratio" and self.ratio_constant == 1)
            or (self.schedule == "power" and self.growth_power == 0)
        )

    def strengths(self, start: int, stop: int) -> FloatArray:
        """Return sigma(k) for the steps start, ..., stop - 1, of which step 0 has k = first_step."""
        k = self.first_step + np.arange(start, stop, dtype=np.float64)
        if self.schedule == "gradient_descent":
            return np.zeros_like(k)
        if self.schedule == "ratio":
            return self.smoothing * (k + 1) / (k + self.ratio_constant)
        if self.schedule == "alternating":
            return np.where(k % 2 == 0, self.smoothing, 0.0)
        return self.smoothing * (k + 1) ** (self.growth_power if self.schedule == "power" else 0.0)

    def step_matrices(self, start: int, stop: int) -> FloatArray:
        """Return M(k) for these steps; shape (stop - start, n, n)."""
        return self.matrices_of(self.strengths(start, stop))

    def matrices_of(self, strengths: FloatArray) -> FloatArray:
        """Return M for each strength sigma; shape (strengths, n, n)."""
        return np.eye(self.dimension) - self.step_size * (invert_smoothing(strengths, self.dimension) @ self.hessian)


def invert_smoothing(strengths: FloatArray, dimension: int) -> FloatArray:
    """Return A^-1 for each strength sigma; shape (strengths, n, n).

    A is circulant with eigenvalues 1 + 4 sigma sin^2(pi j / n), so its inverse is a sum of n cosines.
    """
    j = np.arange(dimension)
    eigenvalues = 1 + 4 * strengths[:, None] * np.sin(np.pi * j / dimension) ** 2
    columns = (1 / eigenvalues) @ np.cos(2 * np.pi * (np.outer(j, j) % dimension) / dimension) / dimension
    inverse: FloatArray = columns[:, (j[:, None] - j) % dimension]
    return inverse


def make_saddle(values: SimpleNamespace, random: np.random.Generator) -> Saddle:
    """Return the saddle of one run; `random` is only used for a random Hessian, so that theory and run share it."""
    n, negative = values.dimension, values.negative_eigenvalues
    if values.hessian == "canonical":
        hessian = np.diag(np.append(np.ones(n - 1), -1.0))
    else:
        size = random.uniform(_SMALLEST_EIGENVALUE, 1.0, size=n)
        eigenvalues = np.where(np.arange(n) < negative, -size, size) / size.max()
        basis = draw_frame(random, n, n)
        hessian = (basis * eigenvalues) @ basis.T
        hessian = (hessian + hessian.T) / 2
    scheme = {name: getattr(values, name) for name in _SCHEME}
    return Saddle(hessian=hessian, is_canonical=values.hessian == "canonical", negative=negative, **scheme)


def draw_frame(random: np.random.Generator, rows: int, columns: int) -> FloatArray:
    """Return random orthonormal columns of uniform direction, shape (rows, columns)."""
    frame, triangle = np.linalg.qr(random.normal(size=(rows, columns)))
    signed: FloatArray = frame * np.sign(np.diag(triangle))
    return signed


def point_upwards(vector: FloatArray) -> FloatArray:
    """Return a unit vector whose last entry is not negative: its sign means nothing."""
    return vector if vector[-1] >= 0 else -vector
