"""The second race: the ODE of the order parameters, its right-hand side as one writes it down from the theory.

For tanh, the bilinear loss and symmetric latents E h = 0, and with h_v = tanh z_v for the two views of one sample

    g_j = 2 E[h_1' h_2 c_j],    A = 2 E[h_1' h_2 (z_1 - m)] / r,
    D = 2 s2 (E[h_1'^2 h_2^2] + E[h^2] E[h'^2]) + 2 kappa E[h_1 h_1' h_2 h_2'],
    dq/dt = eta (g + A q - lam q),    dr/dt = 2 eta (g . q + A r - lam r) + eta^2 D.

The averages are sums over a grid: the atoms of c, and a trapezoid rule in the sum u and the difference v of the two
noises, z = m + alpha u +- beta v. All integrands are even, so one of c and -c and half of v suffice.

| symbol | name | shape |
|---|---|---|
| c, u, v, weight | latent, nodes, weights of the grid | (point, 2), (point,) |
| y | state: q_1, q_2, r | (3,) |
"""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint

FloatArray = NDArray[np.float64]

LATENTS = (ThreePoint(second_moment=1.5, kurtosis=2.0), ThreePoint(second_moment=1.5, kurtosis=1.5))
MODEL = ContrastiveModel(latents=LATENTS, learning_rate=0.5, weight_decay=0.6)
ETA, LAM, S2, KAPPA = 0.5, 0.6, 1.0, 0.5
UNTIL, RTOL, ATOL = 50.0, 1e-8, 1e-10
ALPHA2, BETA2 = (S2 + KAPPA) / 2, (S2 - KAPPA) / 2
_STEP, _HALF = 0.35, 18  # the error of the velocity is 1e-9, the tails beyond 6.3 included


def make_grid() -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return c, u, v and weight."""
    nodes = _STEP * np.arange(-_HALF, _HALF + 1)
    density = np.exp(-0.5 * nodes**2)
    density /= density.sum()
    points = []
    (a, p), (b, q) = (law.atoms() for law in LATENTS)
    for (c1, w1), (c2, w2) in product(zip(a, p, strict=True), zip(b, q, strict=True)):
        if (c1, c2) < (0.0, 0.0):
            continue  # its mirror image counts twice
        fold = 1.0 if c1 == c2 == 0.0 else 2.0
        for (u, wu), (v, wv) in product(zip(nodes, density, strict=True), zip(nodes, density, strict=True)):
            if v >= 0.0:
                points.append((c1, c2, u, v, fold * (2.0 if v > 0.0 else 1.0) * w1 * w2 * wu * wv))
    grid = np.array(points)
    return grid[:, :2].copy(), grid[:, 2].copy(), grid[:, 3].copy(), grid[:, 4].copy()


def spread_starts(count: int) -> FloatArray:
    """Return starts on a sunflower pattern in the disc of radius 0.9, squared norm 1; shape (count, 3)."""
    k = np.arange(count)
    radius, angle = 0.9 * np.sqrt((k + 0.5) / count), k * math.pi * (3 - math.sqrt(5))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(count)])
