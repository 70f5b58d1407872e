"""Eigenvalues of the Jacobian of the ODE of two units at a state of rest.

Inside (R - Q Q' positive definite) the Jacobian is that of (Q, R), by central differences. Where one combination w_b of
the units is 0, the ODE does not continue beyond the state in all directions. But a small w_b moves (Q_b, R_ab) in
proportion to it and R_bb as its square, so there are three blocks of eigenvalues:

| block | moves |
|---|---|
| (Q_a, R_aa) | of Q_a and R_aa, with w_b = 0 |
| (Q_b, R_ab) | of w_b along each feature and along w_a; on the sphere of its part across w_a, with R_ab = 0 |
| R_bb | of w_b outside the features and the units |

| symbol | name | shape |
|---|---|---|
| w_a, w_b | rows of ``rotation`` times the units | (2, unit) |
| Q, R | ``overlap``, ``gram`` | (unit, feature), (unit, unit) |
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.theory.units.units_flow import GramFlow

ComplexArray = NDArray[np.complex128]
# Step of central differences, and length of a small w_b as a share of w_a.
_STEP, _SMALL = 1e-5, 1e-4


def eigenvalues_inside(
    flow: GramFlow, overlap: FloatArray, gram: FloatArray, free: Sequence[int] | None = None
) -> ComplexArray:
    """Return the eigenvalues at a state with R - Q Q' positive definite.

    Parameters
    ----------
    flow : GramFlow
        Of two units.
    overlap, gram : arrays of shape (2, feature), (2, 2)
    free : sequence of int, optional
        Places of (Q, upper triangle of R) that may move: on the sphere all but the squared norms. By default all.
    """
    state = flow.pack(overlap, gram)
    places = list(range(len(state)) if free is None else free)

    def velocity(moves: FloatArray) -> FloatArray:
        moved = state.copy()
        moved[places] += moves
        return flow.velocity(moved)[places]

    return _eigenvalues(_differentiate(velocity, len(places)))


def eigenvalues_at_zero(flow: GramFlow, overlap: FloatArray, gram: FloatArray, rotation: FloatArray) -> ComplexArray:
    """Return the eigenvalues at a state where w_b, the second row of `rotation` times the units, is 0.

    Parameters
    ----------
    flow : GramFlow
        Of two units.
    overlap, gram : arrays of shape (2, feature), (2, 2)
    rotation : array of shape (2, 2)
        Orthogonal.
    """
    p, is_sphere = flow.features, flow.model.is_sphere
    q_a, r_a = (rotation @ overlap)[0], float((rotation @ gram @ rotation.T)[0, 0])
    velocity = partial(_turned_velocity, flow, rotation)

    def joint(moves: FloatArray) -> FloatArray:
        moved_q, moved_r = velocity(q_a + moves[:p], r_a + (0.0 if is_sphere else moves[p]), 0 * q_a, 0.0, 0.0)
        return moved_q[0] if is_sphere else np.append(moved_q[0], moved_r[0, 0])

    def apart(q_b: FloatArray, r_ab: float, r_bb: float) -> FloatArray:
        """Return the velocity of (Q_b, R_ab) by a small w_b, from w_b and -w_b."""
        ends = [velocity(q_a, r_a - is_sphere * r_bb, s * q_b, s * r_ab, r_bb) for s in (1.0, -1.0)]
        moved_q, moved_r = (0.5 * (ends[0][k] - ends[1][k]) for k in range(2))
        return moved_q[1] if is_sphere else np.append(moved_q[1], moved_r[0, 1])

    size = _SMALL * (np.sqrt(r_a) if r_a > 0 else 1.0)
    moves = _moves(q_a, r_a, is_sphere=is_sphere)
    rates = np.array([apart(size * q_b, size * r_ab, size**2 * r_bb) / size for q_b, r_ab, r_bb in moves]).T
    outside = velocity(q_a, r_a - is_sphere * size**2, 0 * q_a, 0.0, size**2)[1][1, 1] / size**2
    if r_a == 0:  # both units are 0: their overlaps have the same rates, and so have all three products
        own = _eigenvalues(rates[:p])
        return np.concatenate([own, own, np.full(3, outside)])
    places = np.array([np.append(q_b, r_ab)[: len(rates)] for q_b, r_ab, _ in moves]).T
    blocks = (_differentiate(joint, p + (not is_sphere)), rates @ np.linalg.inv(places))
    return np.concatenate([*(_eigenvalues(block) for block in blocks), [outside]])


def _turned_velocity(
    flow: GramFlow, rotation: FloatArray, q_a: FloatArray, r_aa: float, q_b: FloatArray, r_ab: float, r_bb: float
) -> tuple[FloatArray, FloatArray]:
    """Return the velocities of the overlaps and of the Gram matrix of (w_a, w_b)."""
    turned = np.array([[r_aa, r_ab], [r_ab, r_bb]])
    state = flow.pack(rotation.T @ np.array([q_a, q_b]), rotation.T @ turned @ rotation)
    overlap, gram = flow.unpack(flow.velocity(state))
    return rotation @ overlap, rotation @ gram @ rotation.T


def _moves(q_a: FloatArray, r_a: float, *, is_sphere: bool) -> list[tuple[FloatArray, float, float]]:
    """Return (Q_b, R_ab, R_bb) for w_b of length 1 along each feature and along w_a; on the sphere across w_a."""
    axes = np.eye(len(q_a))
    if r_a == 0:
        return [(axis, 0.0, 1.0) for axis in axes]
    if is_sphere:
        return [(axis - q_a * q / r_a, 0.0, 1 - q**2 / r_a) for axis, q in zip(axes, q_a.tolist(), strict=True)]
    root = float(np.sqrt(r_a))
    return [*((axis, q, 1.0) for axis, q in zip(axes, q_a.tolist(), strict=True)), (q_a / root, root, 1.0)]


def _differentiate(function: Callable[[FloatArray], FloatArray], size: int) -> FloatArray:
    """Return the matrix of central differences of a function of `size` moves."""
    steps = _STEP * np.eye(size)
    return np.array([(function(step) - function(-step)) / (2 * _STEP) for step in steps]).T


def _eigenvalues(matrix: FloatArray) -> ComplexArray:
    return np.linalg.eigvals(matrix).astype(np.complex128)
