"""The diffusion matrix B of the order parameters, which drives their Gaussian fluctuations, for polynomial losses.

B is the limit of n^2 Cov[change of X = (q, r) in one step of SGD] at large dimension n. With c_v the latent and
e_v ~ N(0, r K) the noise in z_v = c_v . q + e_v,

    B = Cov[(eta u, psi)] + eta^2 D (I - q q' / r) on the overlaps,
    u = sum_v Delta_v (c_v + e_v q / r),   omega = sum_v Delta_v z_v,   d = sum_uv K_uv Delta_u Delta_v,   D = E d,
    psi = 2 eta omega + eta^2 d.

The noise enters u only along q: u = sum_v Delta_v b_v + omega q / r with b_v = c_v - (c_v . q) q / r ("offset" below).
So B needs the averages of products of two of s = Delta_1 + Delta_2, Delta_3, omega, psi, weighted with 1, b, b b'. On
the sphere a rescaling follows the step: B -> P B P' with P = [I, -q / 2], and the last row and column are 0.

Averages are taken over latent atoms (or fewer points on the line of c . q) x nodes of the pair's noise x nodes of the
negative's pre-activation.

| activation | rule | largest error of B, relative to its largest element |
|---|---|---|
| tanh, erf | trapezoid rule in sum and difference of the two noises | 4e-7 |
| linear, polynomial | Gauss-Hermite nodes, as many as the degree needs | rounding |
| relu | Gauss-Legendre on panels that end at the kinks | 1e-7, with the spectral loss 2e-6 |

| symbol | name | shape | unit or scale |
|---|---|---|---|
| s, Delta_3, omega, psi | ``sums``: averages of their products | (moment of c_1, product, moment of c_3) | |
| B | ``diffusion_matrix`` | (p + 1, p + 1) | of n (q, r)^2 per unit of time |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import RELU, activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import LOSSES, forces
from clhd.systems.contrastive.theory.diffusion.batch_diffusion import batch_diffusion, check_atoms
from clhd.systems.contrastive.theory.diffusion.diffusion_nodes import (
    negative_nodes,
    project_latents,
    relu_pair_nodes,
    smooth_pair_nodes,
)

_SUMS = 14


def check_diffusion(model: ContrastiveModel) -> None:
    """Raise ClhdError if the matrix B of a model of one unit is not known."""
    if model.loss == "covariance":
        check_atoms(model)
        return
    if model.background != "isotropic":
        raise InputError(
            f"background = {model.background!r}: must be 'isotropic' for the fluctuations of loss = {model.loss!r}; "
            "only those of loss = 'covariance' are known for both"
        )
    if model.loss_terms.degree == 0:
        known = ", ".join(["covariance", *(name for name, loss in LOSSES.items() if loss.degree > 0)])
        raise InputError(f"loss = {model.loss!r}: fluctuations are known for polynomial losses only ({known})")


def diffusion_matrix(model: ContrastiveModel, overlap: FloatArray, squared_norm: float) -> FloatArray:
    """Return the matrix B at one state.

    Parameters
    ----------
    model : ContrastiveModel
        Laws of noise and features do not matter: all have the limit of Gaussian ones.
    overlap : array of shape (feature,)
        q.
    squared_norm : float
        r >= 0; taken as 1 on the sphere.

    Returns
    -------
    array of shape (feature + 1, feature + 1)
        Symmetric, scale n (q, r)^2 per unit of time; on the sphere the last row and column are 0.

    Raises
    ------
    ClhdError
        If the loss is not a polynomial of the outputs of three views, or of a batch (`batch_diffusion.py`), or has
        three views and the orthogonal background, or the latents of a batch have too many atoms.
    """
    check_diffusion(model)
    r = 1.0 if model.is_sphere else max(float(squared_norm), 0.0)
    q = np.asarray(overlap, dtype=np.float64)
    if model.loss == "covariance":
        return _on_sphere(batch_diffusion(model, q, r), q) if model.is_sphere else batch_diffusion(model, q, r)
    direction = q / r if r > 0 else np.zeros_like(q)
    deviation = math.sqrt(r * model.noise_variance)
    latents = project_latents(model, q, direction, deviation)
    negative_z, negative_moments = negative_nodes(model, latents, deviation)
    sums = np.zeros((1 + len(q) + len(q) ** 2, _SUMS, 1 + len(q) + len(q) ** 2))
    shared = None if model.unit.code == RELU else smooth_pair_nodes(model, r)
    for mean, moments in zip(latents.means, latents.moments, strict=True):
        nodes = shared or relu_pair_nodes(mean, deviation, _correlation(model))
        lanes = np.zeros((_SUMS, len(negative_z)))
        _sum_over_pairs(
            model.loss_terms.code,
            model.unit.code,
            model.unit.coefficient_array,
            mean + nodes.first,
            mean + nodes.second,
            nodes.weights,
            negative_z,
            model.noise_variance,
            model.noise_covariance,
            model.learning_rate,
            lanes,
        )
        sums += moments[:, None, None] * (lanes @ negative_moments)
    matrix = _assemble(sums, q, direction, model.learning_rate)
    return _on_sphere(matrix, q) if model.is_sphere else matrix


def _on_sphere(matrix: FloatArray, q: FloatArray) -> FloatArray:
    """Return B after the rescaling that follows each step."""
    projection = np.vstack([np.eye(len(q)), -0.5 * q]).T
    matrix[:-1, :-1] = projection @ matrix @ projection.T
    matrix[-1, :] = matrix[:, -1] = 0.0
    return matrix


def _correlation(model: ContrastiveModel) -> float:
    """Return the correlation of the noise of the two views; without noise it does not matter and is 0."""
    return model.noise_covariance / model.noise_variance if model.noise_variance > 0 else 0.0


def _assemble(sums: FloatArray, overlap: FloatArray, direction: FloatArray, eta: float) -> FloatArray:
    """Return B before any rescaling, from the averages E[moment of c_1 x product of scalars x moment of c_3]."""
    p = len(direction)
    one, b, bb = 0, slice(1, 1 + p), slice(1 + p, None)
    s, s_s, s_n, s_w, s_psi, n, n_n, n_w, n_psi, w, w_w, w_psi, psi, psi_psi = range(_SUMS)
    mean_u = sums[b, s, one] + sums[one, n, b] + sums[one, w, one] * direction
    mean_psi = sums[one, psi, one]
    cross = sums[b, s_n, b] + np.outer(sums[b, s_w, one] + sums[one, n_w, b], direction)
    square = (sums[bb, s_s, one] + sums[one, n_n, bb]).reshape(p, p)
    square += cross + cross.T + sums[one, w_w, one] * np.outer(direction, direction)
    u_psi = sums[b, s_psi, one] + sums[one, n_psi, b] + sums[one, w_psi, one] * direction
    gradient_variance = (mean_psi - 2 * eta * sums[one, w, one]) / eta**2
    matrix = np.empty((p + 1, p + 1))
    matrix[:p, :p] = square - np.outer(mean_u, mean_u) + gradient_variance * (np.eye(p) - np.outer(overlap, direction))
    matrix[:p, :p] *= eta**2
    matrix[:p, p] = matrix[p, :p] = eta * (u_psi - mean_u * mean_psi)
    matrix[p, p] = sums[one, psi_psi, one] - mean_psi**2
    return matrix


@kernel
def _sum_over_pairs(
    loss: int,
    activation: int,
    coefficients: FloatArray,
    first: FloatArray,
    second: FloatArray,
    weights: FloatArray,
    negative: FloatArray,
    noise_variance: float,
    noise_covariance: float,
    eta: float,
    sums: FloatArray,
) -> None:
    """Add the weighted products of s, Delta_3, omega, psi to `sums` of shape (14, node of the negative).

    Parameters
    ----------
    first, second, weights : arrays of shape (node of the pair,)
        Pre-activations z_1, z_2 and their weights.
    negative : array of shape (node of the negative,)
        Pre-activations z_3: the lanes of the loss kernel.
    """
    lanes = len(negative)
    pair_h, pair_d = np.empty((2, len(first))), np.empty((2, len(first)))
    activate(activation, coefficients, first, pair_h[0], pair_d[0])
    activate(activation, coefficients, second, pair_h[1], pair_d[1])
    h, d, delta = np.empty((3, lanes)), np.empty((3, lanes)), np.empty((3, lanes))
    temperature = np.ones(lanes)  # polynomial losses ignore it
    activate(activation, coefficients, negative, h[2], d[2])
    for node in range(len(first)):
        h[0, :], h[1, :] = pair_h[0, node], pair_h[1, node]
        d[0, :], d[1, :] = pair_d[0, node], pair_d[1, node]
        forces(loss, temperature, h, d, delta)
        _add_products(
            first[node], second[node], weights[node], negative, noise_variance, noise_covariance, eta, delta, sums
        )


@kernel
def _add_products(
    z1: float,
    z2: float,
    weight: float,
    negative: FloatArray,
    noise_variance: float,
    noise_covariance: float,
    eta: float,
    delta: FloatArray,
    sums: FloatArray,
) -> None:
    """Add the products at one node of the pair; rows in the order that `_assemble` reads."""
    delta1, delta2, delta3 = delta[0], delta[1], delta[2]
    s, s_s, s_n, s_w, s_psi = sums[0], sums[1], sums[2], sums[3], sums[4]
    n, n_n, n_w, n_psi = sums[5], sums[6], sums[7], sums[8]
    w, w_w, w_psi, psi, psi_psi = sums[9], sums[10], sums[11], sums[12], sums[13]
    for i in range(len(negative)):
        x, y, t = delta1[i], delta2[i], delta3[i]
        both = x + y
        omega = x * z1 + y * z2 + t * negative[i]
        d = noise_variance * (x * x + y * y + t * t) + 2.0 * noise_covariance * x * y
        shift = 2.0 * eta * omega + eta * eta * d
        s[i] += weight * both
        s_s[i] += weight * both * both
        s_n[i] += weight * both * t
        s_w[i] += weight * both * omega
        s_psi[i] += weight * both * shift
        n[i] += weight * t
        n_n[i] += weight * t * t
        n_w[i] += weight * t * omega
        n_psi[i] += weight * t * shift
        w[i] += weight * omega
        w_w[i] += weight * omega * omega
        w_psi[i] += weight * omega * shift
        psi[i] += weight * shift
        psi_psi[i] += weight * shift * shift
