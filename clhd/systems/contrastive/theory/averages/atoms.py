"""Atoms of the latents for the sums of the drift: c and -c are folded, and very many atoms are interpolated along m.

For an odd or even h the averages at m and -m agree up to a sign, so one average serves c and -c. Products of
quadrature rules (continuous laws) have thousands of atoms, but their averages depend only on the number m = c . q:
beyond a few hundred atoms they are computed at nodes on the line of m and interpolated.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| c | ``values`` | (atom, feature) | of a latent |
| P(c), P(-c) | ``weights``, ``mirror_weights`` | (atom,) | probability |
| m | ``means`` | (atom,) | of a pre-activation |
"""

import math
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import kernel
from clhd.systems.contrastive.model.activations import ERF, TANH
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.averages.pair_averages import PairRule

# Atoms of a product of quadrature rules that contribute less are dropped; their sum stays below 1e-10.
_MIN_WEIGHT = 1e-14
# Nodes and step of the interpolation along m for very many atoms: 1e-11 without noise, less with it.
_LINE_NODES, _LINE_STEP = 12, 0.045
_BEFORE = _LINE_NODES // 2 - 1  # nodes before the cell of an atom


class FoldedAtoms(NamedTuple):
    """Atoms of the latents; c and -c are one entry where h is odd or even.

    Attributes
    ----------
    values : array of shape (atom, feature)
        c, one of each pair.
    weights, mirror_weights : arrays of shape (atom,)
        Probability of c and of -c; the second is 0 if -c is not an atom, or is an entry of its own.
    """

    values: FloatArray
    weights: FloatArray
    mirror_weights: FloatArray


def fold_atoms(model: ContrastiveModel) -> FoldedAtoms:
    """Return the atoms of the latents of `model`, folded if its activation is odd or even."""
    values, weights = model.latent_atoms()
    if not all(law.is_discrete for law in model.latents):  # the corners of a product of rules contribute nothing
        kept = weights * (1 + (values**2).sum(axis=1)) ** 2 > _MIN_WEIGHT
        values, weights = values[kept], weights[kept]
    if model.unit.parity == 0:
        return FoldedAtoms(values, weights, np.zeros(len(weights)))
    folded: dict[tuple[float, ...], list[float]] = {}
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mirror = folded.get(tuple(-c for c in value))
        if mirror is not None:
            mirror[1] += weight
        else:  # atoms are equal where a latent has second moment 0
            folded.setdefault(tuple(value), [0.0, 0.0])[0] += weight
    shares = np.array(list(folded.values()))
    return FoldedAtoms(np.array(list(folded)), shares[:, 0].copy(), shares[:, 1].copy())


@kernel
def place_nodes(rule: PairRule, means: FloatArray, squared_norm: float) -> tuple[FloatArray, float]:
    """Return the means at which pair averages are needed for all atoms, and their step; 0 if they are the atoms' own.

    Interpolation is by polynomials through twelve nodes. The noise that both views share smooths the averages along m,
    so the step grows with it.
    """
    low, high = means.min(), means.max()
    shared_variance = 0.5 * squared_norm * (rule.noise_variance + rule.noise_covariance)
    step = _LINE_STEP * math.sqrt(1.0 + 4.0 * max(shared_variance, 0.0))
    cells = int((high - low) / step) + 1
    if rule.activation not in (TANH, ERF) or 2 * (cells + _LINE_NODES) > len(means):
        return means, 0.0
    return low + step * (np.arange(cells + _LINE_NODES) - _BEFORE), step


@kernel
def interpolate_atoms(line: FloatArray, step: float, means: FloatArray) -> FloatArray:
    """Return the pair averages of all atoms, (atom, pair), from `line` at the nodes, (node, pair); error 1e-11."""
    averages, weights, low = np.zeros((len(means), line.shape[1])), np.empty(_LINE_NODES), means.min()
    for atom in range(len(means)):
        position = (means[atom] - low) / step
        first = int(position)  # first node of the stencil; the cell begins at the node first + before
        _lagrange_weights(position - first + _BEFORE, weights)
        row = averages[atom]
        for k in range(_LINE_NODES):
            source, weight = line[first + k], weights[k]
            for pair in range(len(row)):
                row[pair] += weight * source[pair]
    return averages


@kernel
def _lagrange_weights(x: float, weights: FloatArray) -> None:
    """Write the weights of the interpolating polynomial through the nodes 0, 1, ... at the point `x`."""
    nodes = len(weights)
    before, after = 1.0, 1.0
    for k in range(nodes):  # product of (x - j) / (k - j) over j < k ...
        weights[k] = before
        before *= (x - k) / (k + 1)
    for k in range(nodes - 1, -1, -1):  # ... and over j > k
        weights[k] *= after
        after *= (x - k) / (k - nodes)
