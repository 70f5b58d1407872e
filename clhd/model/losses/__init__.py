"""Losses: each is one file with its forces (for the simulation) and its averages (for the theory).

Kernels receive a loss as its code and branch on it outside their loops. A new loss is one file beside
`bilinear.py`, one entry in `LOSSES` and one branch in each of the two kernels below.
"""

import numpy as np
from numpy.typing import NDArray

from clhd.model.compiled import kernel
from clhd.model.losses import bilinear
from clhd.model.losses.base import Loss

__all__ = ["LOSSES", "Loss", "combine", "forces"]

FloatArray = NDArray[np.float64]

BILINEAR = 0
LOSSES = {"bilinear": Loss(code=BILINEAR, views=bilinear.VIEWS, pairs=bilinear.PAIRS)}


@kernel
def forces(code: int, h: FloatArray, d: FloatArray, delta: FloatArray) -> None:
    """Write the forces Delta_v = -dL/dz_v to `delta`.

    Parameters
    ----------
    code : int
        The loss.
    h, d, delta : arrays of shape (view, lanes)
        Outputs h(z_v), derivatives h'(z_v), and the result.
    """
    bilinear.forces(h, d, delta)


@kernel
def combine(
    code: int,
    noise_variance: float,
    noise_covariance: float,
    mean: FloatArray,
    moment: FloatArray,
    g: FloatArray,
) -> tuple[float, float]:
    """Drift terms from the pair averages of a loss: write g of shape (feature,) and return ``(A, D)``.

    Parameters
    ----------
    code : int
        The loss.
    noise_variance, noise_covariance : float
        s2 and kappa.
    mean : array of shape (pair,)
        Averages of the loss's pairs over the latent: sum_c weight(c) E[f(z_1) g(z_2) | c].
    moment : array of shape (feature, pair)
        The same averages with the factor c_j under the sum.
    g : array of shape (feature,)
        Receives the drift along the features.
    """
    return bilinear.combine(noise_variance, noise_covariance, mean, moment, g)
