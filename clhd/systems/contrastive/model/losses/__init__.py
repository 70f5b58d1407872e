"""Losses: each is one file with its forces (for the simulation) and its averages (for the theory).

The losses of `LOSSES` act on a positive pair and one view of each negative; the covariance loss acts on a batch of
pairs.

Kernels receive a loss as its code and branch on it outside their loops. A new loss is one file here, one entry in
`LOSSES`, one branch in `forces`, and one in `combine` if its averages factorise over the samples, else in
`differentiate_forces`.
"""

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.losses import bilinear, covariance_averages, infonce, spectral
from clhd.systems.contrastive.model.losses.base import Loss
from clhd.systems.contrastive.model.losses.covariance import DECORRELATIONS

__all__ = [
    "BATCH_LOSSES",
    "DECORRELATIONS",
    "LOSSES",
    "LOSS_NAMES",
    "Loss",
    "combine",
    "differentiate_forces",
    "forces",
]


BILINEAR, SPECTRAL, INFONCE, COVARIANCE, UNCENTRED_COVARIANCE = range(5)
LOSSES = {
    "bilinear": Loss(code=BILINEAR, degree=bilinear.DEGREE, pairs=bilinear.PAIRS),
    "spectral": Loss(code=SPECTRAL, degree=spectral.DEGREE, pairs=spectral.PAIRS),
    "infonce": Loss(code=INFONCE, degree=infonce.DEGREE, pairs=()),
}
# The covariance loss is one of a batch of pairs, so its forces have a kernel of their own.
LOSS_NAMES = (*LOSSES, "covariance")
# Its averages for one unit, by whether it is centred.
BATCH_LOSSES = {
    True: Loss(code=COVARIANCE, degree=covariance_averages.DEGREE, pairs=covariance_averages.PAIRS),
    False: Loss(code=UNCENTRED_COVARIANCE, degree=covariance_averages.DEGREE, pairs=covariance_averages.PAIRS),
}


@kernel
def forces(code: int, temperature: FloatArray, h: FloatArray, d: FloatArray, delta: FloatArray) -> None:
    """Write the forces Delta_v = -dL/dz_v to `delta`.

    Parameters
    ----------
    code : int
        Code of the loss.
    temperature : array of shape (lanes,)
        T of infonce; other losses ignore it.
    h, d, delta : arrays of shape (view, lanes)
        Outputs h(z_v), derivatives h'(z_v), and the result.
    """
    if code == BILINEAR:
        bilinear.forces(h, d, delta)
    elif code == SPECTRAL:
        spectral.forces(h, d, delta)
    else:
        infonce.forces(temperature, h, d, delta)


@kernel
def combine(
    code: int,
    batch: int,
    noise_variance: float,
    noise_covariance: float,
    mean: FloatArray,
    moment: FloatArray,
    g: FloatArray,
) -> tuple[float, float]:
    """Write g and return ``(A, D)`` from the pair averages of a loss that factorises.

    Parameters
    ----------
    code : int
        Code of the loss.
    batch : int
        B of the covariance loss; other losses ignore it.
    noise_variance, noise_covariance : float
        s2 and kappa; A and D are linear in them.
    mean : array of shape (pair,)
        Averages of the loss's pairs over the latent: sum_c weight(c) E[f(z_1) g(z_2) | c].
    moment : array of shape (feature, pair)
        The same averages with the factor c_j under the sum.
    g : array of shape (feature,)
        Receives the drift along the features.
    """
    if code == BILINEAR:
        return bilinear.combine(noise_variance, noise_covariance, mean, moment, g)
    if code == SPECTRAL:
        return spectral.combine(noise_variance, noise_covariance, mean, moment, g)
    centred = code == COVARIANCE
    return covariance_averages.combine(centred, batch, noise_variance, noise_covariance, mean, moment, g)


@kernel
def differentiate_forces(
    code: int,
    temperature: FloatArray,
    noise_variance: float,
    noise_covariance: float,
    h: FloatArray,
    d: FloatArray,
    s: FloatArray,
    sums: FloatArray,
) -> None:
    """Write sum_uv K_uv dDelta_v/dz_u, Stein's integrand of A, to `sums`, for a loss that does not factorise.

    Parameters
    ----------
    code : int
        Ignored: only infonce needs this kernel.
    temperature : array of shape (lanes,)
        T.
    noise_variance, noise_covariance : float
        s2 and kappa.
    h, d, s : arrays of shape (view, lanes)
        Outputs h(z_v) and their first and second derivatives.
    sums : array of shape (lanes,)
    """
    infonce.differentiate_forces(temperature, noise_variance, noise_covariance, h, d, s, sums)
