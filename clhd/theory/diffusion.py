"""The noise of the order parameters: the matrix B of their Gaussian fluctuations, for any loss with one negative.

B is the limit of n^2 Cov[change of X = (q, r) in one step of SGD] at large dimension n. With c_v the latent and
e_v ~ N(0, r K) the noise in z_v = c_v . q + e_v,

    B = Cov[(eta u, psi)] + eta^2 D (I - q q' / r) on the overlaps,
    u = sum_v Delta_v (c_v + e_v q / r),   omega = sum_v Delta_v z_v,   d = sum_uv K_uv Delta_u Delta_v,   D = E d,
    psi = 2 eta omega + eta^2 d.

The noise enters u only along q: u = sum_v Delta_v b_v + omega q / r with b_v = c_v - (c_v . q) q / r ("offset" below).
So B needs the averages of products of two of s = Delta_1 + Delta_2, Delta_3, omega, psi, weighted with 1, b, b b'. On
the sphere the step is followed by a rescaling: B -> P B P' with P = [I, -q / 2], and nothing is left of the last row.

Average: latent atoms (or as few points on the line of c . q as serve) x nodes of the pair's noise x nodes of the
negative's pre-activation.

| activation | rule | largest error of B, relative to its largest element |
|---|---|---|
| tanh, erf | trapezoid rule in sum and difference of the two noises | 4e-7 |
| linear, polynomial | Gauss-Hermite nodes, as many as the degree asks for | rounding |
| relu | Gauss-Legendre on panels that end at the kinks | 1e-7 |

| symbol | name | shape | unit or scale |
|---|---|---|---|
| a = c . q | ``means`` | (atom,) | of a pre-activation |
| 1, b, b b' | ``moments`` | (atom, 1 + p + p^2), times the weight | of the latents |
| B | ``diffusion_matrix`` | (p + 1, p + 1) | of n (q, r)^2 per unit of time |
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clhd.errors import ClhdError
from clhd.model.activations import ERF, LINEAR, POLYNOMIAL, RELU, activate
from clhd.model.compiled import kernel
from clhd.model.contrastive import ContrastiveModel
from clhd.model.losses import forces

FloatArray = NDArray[np.float64]

# Beyond this many standard deviations the noise is left out: exp(-6.5^2 / 2) = 7e-10.
_RADIUS = 6.5
# -log of the error of the trapezoid rule before the factor of its poles; measured: see the table above.
_DIGITS = 36.0
# Atoms of the latents that weigh less are left out.
_LEAST_WEIGHT = 1e-13
_PANEL_NODES, _PANEL_WEIGHTS = np.polynomial.legendre.leggauss(16)
_SUMS = 14


class _Latents(NamedTuple):
    """Points on the line of c . q, with the latent's weight, first and second moments there."""

    means: FloatArray
    moments: FloatArray


class _PairNodes(NamedTuple):
    """Noise of the two views of a pair: values and weights, of shape (node,); for relu they depend on the mean."""

    first: FloatArray
    second: FloatArray
    weights: FloatArray


def diffusion_matrix(model: ContrastiveModel, overlap: FloatArray, squared_norm: float) -> FloatArray:
    """The matrix B at one state.

    Parameters
    ----------
    model : ContrastiveModel
        With Gaussian noise; other laws of noise and features have the same limit.
    overlap : array of shape (feature,)
        q.
    squared_norm : float
        r >= 0; taken as 1 on the sphere.

    Returns
    -------
    array of shape (feature + 1, feature + 1)
        Symmetric; on the sphere the last row and column are 0.

    Raises
    ------
    ClhdError
        If the loss has more than one negative: its product rule would be too large.
    """
    if model.loss_terms.views != 3:
        raise ClhdError(f"loss = {model.loss!r}: fluctuations are known for losses with one negative only")
    r = 1.0 if model.is_sphere else max(float(squared_norm), 0.0)
    q = np.asarray(overlap, dtype=np.float64)
    direction = q / r if r > 0 else np.zeros_like(q)
    deviation = math.sqrt(r * model.noise_variance)
    latents = _project_latents(model, q, direction, deviation)
    negative_z, negative_moments = _negative_nodes(model, latents, deviation)
    sums = np.zeros((1 + len(q) + len(q) ** 2, _SUMS, 1 + len(q) + len(q) ** 2))
    shared = None if model.unit.code == RELU else _smooth_pair_nodes(model, r)
    for mean, moments in zip(latents.means, latents.moments, strict=True):
        nodes = shared or _relu_pair_nodes(mean, deviation, _correlation(model))
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
    if model.is_sphere:
        projection = np.vstack([np.eye(len(q)), -0.5 * q]).T
        matrix[:-1, :-1] = projection @ matrix @ projection.T
        matrix[-1, :] = matrix[:, -1] = 0.0
    return matrix


def _correlation(model: ContrastiveModel) -> float:
    """Correlation of the noise of the two views; any number will do without noise."""
    return model.noise_covariance / model.noise_variance if model.noise_variance > 0 else 0.0


def _assemble(sums: FloatArray, overlap: FloatArray, direction: FloatArray, eta: float) -> FloatArray:
    """B, before any rescaling, from the averages E[moment of c_1 x product of scalars x moment of c_3]."""
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


def _project_latents(model: ContrastiveModel, overlap: FloatArray, direction: FloatArray, deviation: float) -> _Latents:
    """The latents on the line of a = c . q, carried over to fewer points where the atoms are many.

    All averages given c are smooth functions of a, times 1, b or b b'; Lagrange's weights carry the moments over.
    """
    values, weights = model.latent_atoms()
    means = values @ overlap
    offsets = values - np.outer(means, direction)
    products = offsets[:, :, None] * offsets[:, None, :]
    moments = weights[:, None] * np.hstack([np.ones((len(means), 1)), offsets, products.reshape(len(means), -1)])
    reach = 0.5 * np.ptp(means)
    if reach <= 1e-14 * (1.0 + np.abs(means).max()):
        return _Latents(means[:1], moments.sum(axis=0, keepdims=True))
    if model.unit.code in (LINEAR, POLYNOMIAL):
        return _project_on_gauss_nodes(means, weights, moments, 8 * _degree(model) - 3)
    kept = weights > _LEAST_WEIGHT
    width = deviation if model.unit.code == RELU else max(deviation, 0.6)  # the pole of tanh is at i pi / 2
    return _project_on_chebyshev_nodes(means[kept], moments[kept], 14 + 7 * reach / width if width > 0 else math.inf)


def _project_on_chebyshev_nodes(means: FloatArray, moments: FloatArray, count: float) -> _Latents:
    """For bounded functions, which hardly change within 1/7 of the width that `count` is made of."""
    if len(means) <= count:
        return _Latents(means, moments)
    angles = math.pi * (np.arange(int(count)) + 0.5) / int(count)
    middle, reach = 0.5 * (means.max() + means.min()), 0.5 * np.ptp(means)
    # Discrete orthogonality: L_k(x) = (2 / K) sum_l' T_l(x_k) T_l(x), the term l = 0 halved.
    orders = np.arange(len(angles))
    at_nodes = np.cos(np.outer(angles, orders))
    at_nodes[:, 0] *= 0.5
    at_atoms = np.cos(np.outer(orders, np.arccos(np.clip((means - middle) / reach, -1.0, 1.0))))
    return _Latents(middle + reach * np.cos(angles), (2.0 / len(angles)) * at_nodes @ (at_atoms @ moments))


def _project_on_gauss_nodes(means: FloatArray, weights: FloatArray, moments: FloatArray, count: int) -> _Latents:
    """For polynomials of degree below `count`, exactly: Gauss nodes of the law of a, by the method of Lanczos.

    A polynomial is huge where the law has almost no weight: nodes on the whole interval would lose all digits.
    """
    if len(means) <= count:
        return _Latents(means, moments)
    roots = np.sqrt(weights)
    basis = np.zeros((count, len(means)))
    basis[0] = roots / np.linalg.norm(roots)
    for order in range(1, count):
        vector = means * basis[order - 1]
        for _ in range(2):  # twice is enough to keep the basis orthogonal
            vector -= basis[:order].T @ (basis[:order] @ vector)
        size = np.linalg.norm(vector)
        if size <= 1e-12 * np.abs(means).max():  # as many distinct means as nodes: nothing is left
            basis = basis[:order]
            break
        basis[order] = vector / size
    nodes, vectors = np.linalg.eigh((basis * means) @ basis.T)
    return _Latents(nodes, vectors[0][:, None] * (vectors.T @ (basis / roots @ moments)))


def _degree(model: ContrastiveModel) -> int:
    """Degree of a linear or polynomial activation."""
    return max(1, len(model.unit.coefficients) - 1)


def _normal_rule(model: ContrastiveModel, width: float) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of a standard normal coordinate u in which the pre-activations vary as width * u."""
    if width == 0.0:
        return np.zeros(1), np.ones(1)
    if model.unit.code in (LINEAR, POLYNOMIAL):
        # psi^2 has four forces of degree 2 degree - 1, which N nodes integrate if 8 degree - 4 < 2 N.
        nodes, weights = np.polynomial.hermite_e.hermegauss(4 * _degree(model))
        return nodes, weights / weights.sum()
    step = _trapezoid_step(model.unit.code, width)
    nodes = step * np.arange(-int(_RADIUS / step), int(_RADIUS / step) + 1)
    return nodes, step / math.sqrt(2 * math.pi) * np.exp(-0.5 * nodes**2)


def _trapezoid_step(activation: int, width: float) -> float:
    """Step of the trapezoid rule, from Poisson summation as in `clhd.theory.averages.trapezoid_step`.

    Four forces together grow as eight factors h or h' do; the accuracy wanted is that of a covariance.
    """
    if activation == ERF:
        return math.pi * math.sqrt(2.0 / (_DIGITS * (1.0 + 8.0 * width * width)))
    pole = 0.5 * math.pi / width
    if 0.5 * pole * pole > _DIGITS:
        return math.pi * math.sqrt(2.0 / _DIGITS)
    return 2.0 * math.pi * pole / (_DIGITS + 0.5 * pole * pole)


def _smooth_pair_nodes(model: ContrastiveModel, squared_norm: float) -> _PairNodes:
    """Nodes alpha u +- beta v of the noise of a pair: sum and difference of the two are independent."""
    alpha = math.sqrt(max(0.5 * squared_norm * (model.noise_variance + model.noise_covariance), 0.0))
    beta = math.sqrt(max(0.5 * squared_norm * (model.noise_variance - model.noise_covariance), 0.0))
    (u, u_weights), (v, v_weights) = _normal_rule(model, alpha), _normal_rule(model, beta)
    u_grid, v_grid = np.meshgrid(u, v, indexing="ij")
    weights = np.outer(u_weights, v_weights)
    if model.unit.code in (LINEAR, POLYNOMIAL):
        kept = np.full(weights.shape, fill_value=True)
    else:
        kept = u_grid**2 + v_grid**2 <= _RADIUS**2
    sums, differences = alpha * u_grid[kept], beta * v_grid[kept]
    return _PairNodes(sums + differences, sums - differences, weights[kept])


def _relu_pair_nodes(mean: float, deviation: float, correlation: float) -> _PairNodes:
    """Nodes of the noise of a pair for relu: both coordinates are split where a pre-activation is 0.

    e_1 = deviation x, e_2 = deviation (correlation x + spread t). After the average over t, which is split where
    z_2 = 0, what is left is smooth in x on the scale spread / correlation around the x whose z_2 is 0 on average.
    """
    if deviation == 0.0:
        return _PairNodes(np.zeros(1), np.zeros(1), np.ones(1))
    spread = math.sqrt(max(1.0 - correlation**2, 0.0))
    kink = -mean / deviation
    cuts = [kink]
    if correlation != 0.0:
        crossing, width = kink / correlation, spread / abs(correlation)
        cuts += [crossing + width * k for k in (-4.0, 0.0, 4.0)]
    x, x_weights = _split_normal_rule(cuts)
    if spread == 0.0:
        return _PairNodes(deviation * x, deviation * correlation * x, x_weights)
    first, second, weights = [], [], []
    for node, weight in zip(x, x_weights, strict=True):
        t, t_weights = _split_normal_rule([(kink - correlation * node) / spread])
        first.append(np.full(len(t), deviation * node))
        second.append(deviation * (correlation * node + spread * t))
        weights.append(weight * t_weights)
    return _PairNodes(np.concatenate(first), np.concatenate(second), np.concatenate(weights))


def _split_normal_rule(cuts: list[float]) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights of the standard normal law on panels between the `cuts`."""
    inner = [cut for cut in cuts if abs(cut) < _RADIUS]
    nodes, weights = _panels(np.unique([-_RADIUS, -2.2, 2.2, _RADIUS, *inner]))
    return nodes, weights * np.exp(-0.5 * nodes**2) / math.sqrt(2 * math.pi)


def _panels(edges: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Gauss-Legendre nodes and weights on the panels between the `edges`."""
    half = 0.5 * np.diff(edges)
    nodes = edges[:-1, None] + half[:, None] * (1.0 + _PANEL_NODES)
    return nodes.ravel(), (half[:, None] * _PANEL_WEIGHTS).ravel()


def _negative_nodes(model: ContrastiveModel, latents: _Latents, deviation: float) -> tuple[FloatArray, FloatArray]:
    """Pre-activations z_3 of the negative, shape (node,), and the latent's moments there, (node, 1 + p + p^2).

    The law of z_3 is a mixture of a normal density per atom: either its density on one common set of nodes, or,
    where that is not more, every atom's own rule.
    """
    means, moments = latents
    smallest, largest = means.min() - _RADIUS * deviation, means.max() + _RADIUS * deviation
    common: tuple[FloatArray, FloatArray] | None = None
    if model.unit.code == RELU:
        own = _split_normal_rule([0.0])[0] if deviation > 0 else np.zeros(1)
        if deviation > 0:
            sides = [(smallest, min(largest, 0.0)), (max(smallest, 0.0), largest)]
            edges = [np.linspace(a, b, 1 + math.ceil((b - a) / (3.0 * deviation))) for a, b in sides if b > a]
            common = _panels(np.unique(np.concatenate(edges)))
    else:
        own, own_weights = _normal_rule(model, deviation)
        if deviation > 0 and model.unit.code not in (LINEAR, POLYNOMIAL):
            step = deviation * _trapezoid_step(model.unit.code, deviation)
            nodes = np.arange(smallest, largest + step, step)
            common = nodes, np.full(len(nodes), step)
    if common is not None and len(common[0]) < len(own) * len(means):
        z, z_weights = common
        density = np.exp(-0.5 * ((z[:, None] - means) / deviation) ** 2) / (math.sqrt(2 * math.pi) * deviation)
        return z, (z_weights[:, None] * density) @ moments
    rules = []
    for mean in means:
        if model.unit.code == RELU and deviation > 0:
            own, own_weights = _split_normal_rule([-mean / deviation])
        elif model.unit.code == RELU:
            own, own_weights = np.zeros(1), np.ones(1)
        rules.append((own, own_weights))
    z = np.concatenate([mean + deviation * nodes for mean, (nodes, _) in zip(means, rules, strict=True)])
    return z, np.concatenate([np.outer(w, m) for m, (_, w) in zip(moments, rules, strict=True)])


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
    activate(activation, coefficients, negative, h[2], d[2])
    for node in range(len(first)):
        h[0, :], h[1, :] = pair_h[0, node], pair_h[1, node]
        d[0, :], d[1, :] = pair_d[0, node], pair_d[1, node]
        forces(loss, h, d, delta)
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
