"""Tables of the drift terms of one feature with the orthogonal background, for thousands of trajectories.

There the covariance of the noise of the pre-activations depends on q as well as on r, so a table of pair averages would
have three variables. For one feature the drift terms themselves depend on two, and there are only three of them. They
are smooth functions of the Cartesian coordinates

    q = w sinh x,      b = sqrt(r - q^2) = w sinh y,        w = 1,

because the noise of z has the covariance s_b b^2 + s_a (q^2 + b^2) Ka: even in b, and for a symmetric latent or an odd
or even h g is odd and A, D are even in q. There is no edge at |S| = 1, where b = 0. The table is interpolated as those
of pair averages, and its steps are refined until the error *measured* between the nodes is within the tolerance.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| g - A_b q, A, D | ``PairTable.values`` | (x, y, 8) | in this order; the rest is 0 |
| x, y | nodes of steps ``x_step``, ``y_step`` | | |
"""

import math

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import inlined, kernel
from clhd.systems.contrastive.theory.averages.stencil import LANES, STENCIL, add_stencil
from clhd.systems.contrastive.theory.averages.tables import PairTable, TableWork, locate
from clhd.systems.contrastive.theory.flow.drift import Flow

TERMS = 3
_BEFORE = STENCIL // 2 - 1  # nodes of a stencil before the cell that it interpolates
_STEP = 0.05
_ODD = np.array([-1.0, 1.0, 1.0])  # signs of g, A, D when q changes its sign
_MAX_NODES = 100_000


def build_drift_table(flow: Flow, root_last: float, tolerance: float) -> PairTable | None:
    """Tabulate g, A and D of a flow of one feature for all states with sqrt r <= root_last.

    Returns
    -------
    PairTable or None
        With ``values`` of shape (x, y, 8); None if no table of reasonable size reaches the tolerance.
    """
    is_mirrored = flow.model.has_symmetric_latents or flow.model.unit.parity != 0
    step, reach = _STEP, math.asinh(root_last)
    for _ in range(6):
        nodes = math.ceil(reach / step) + STENCIL
        x_first = -_BEFORE if is_mirrored else -nodes
        if (nodes - x_first) * nodes > _MAX_NODES:
            return None
        table = PairTable(
            values=np.zeros((nodes - x_first + 1, nodes + _BEFORE + 1, LANES)),
            signs=np.append(_ODD if is_mirrored else np.zeros(TERMS), np.zeros(LANES - TERMS)),
            x_first=x_first * step,
            x_step=step,
            y_first=-_BEFORE * step,
            y_step=step,
            root_scale=1.0,
            mean_scale=math.inf,
            slope=1.0,
            root_last=root_last,
            error=0.0,
        )
        _fill(flow, table, is_mirrored=is_mirrored)
        error = _measure_error(flow, table)
        if error <= tolerance:
            return table._replace(error=error)
        step *= (0.2 * tolerance / error) ** (1 / STENCIL)
    return None


def _terms(flow: Flow, q: float, b: float) -> FloatArray:
    g, alignment, variance = flow.terms(np.array([q]), q * q + b * b)
    return np.array([g[0], alignment, variance])


def _fill(flow: Flow, table: PairTable, *, is_mirrored: bool) -> None:
    """Compute all nodes that a stencil inside the disc q^2 + b^2 <= root_last^2 can touch."""
    values = table.values
    outer = table.root_last * math.exp((STENCIL // 2 + 1) * table.x_step) + (STENCIL // 2 + 1) * table.x_step
    for i in range(_BEFORE if is_mirrored else 0, values.shape[0]):
        q = math.sinh(table.x_first + i * table.x_step)
        for j in range(_BEFORE, values.shape[1]):
            b = math.sinh(table.y_first + j * table.y_step)
            if math.hypot(q, b) > outer:
                break
            values[i, j, :TERMS] = _terms(flow, q, b)
    values[:, :_BEFORE] = values[:, 2 * _BEFORE : _BEFORE : -1]  # even in b
    if is_mirrored:
        values[:_BEFORE, :, :TERMS] = values[2 * _BEFORE : _BEFORE : -1, :, :TERMS] * _ODD


def _measure_error(flow: Flow, table: PairTable) -> float:
    """Return the largest error in the middle of cells, among cells on rays through the disc."""
    cells, error = int(math.asinh(table.root_last) / table.x_step), 0.0
    chosen = np.unique(np.concatenate([np.arange(min(cells, 4)), np.linspace(0, max(cells - 1, 0), 10).astype(int)]))
    g = np.empty(1)
    work, sums, shares = TableWork(np.empty(STENCIL), np.empty(STENCIL)), np.zeros((1, LANES)), np.ones((1, LANES))
    for i in chosen:
        for j in chosen:
            q, b = math.sinh((i + 0.5) * table.x_step), math.sinh((j + 0.5) * table.y_step)
            if math.hypot(q, b) <= table.root_last:
                _, alignment, variance = _read(table, q, q * q + b * b, work, shares, sums, g)
                found = np.array([g[0], alignment, variance])
                error = max(error, float(np.abs(found - _terms(flow, q, b)).max()))
    return error


@inlined
def read_drift(
    table: PairTable,
    overlap: float,
    squared_norm: float,
    work: TableWork,
    shares: FloatArray,
    sums: FloatArray,
    g: FloatArray,
) -> tuple[bool, float, float]:
    """Write the effective g and return ``(is_inside, A, D)``; `shares` holds ones, `sums` is work space: (1, 8)."""
    if not squared_norm <= table.root_last * table.root_last:
        return False, 0.0, 0.0
    has_parity = table.x_first > -STENCIL * table.x_step
    side = -1.0 if overlap < 0.0 and has_parity else 1.0
    rest = math.sqrt(max(squared_norm - overlap * overlap, 0.0))
    i = locate(math.asinh(side * overlap), table.x_first, table.x_step, work.x_weights)
    j = locate(math.asinh(rest), table.y_first, table.y_step, work.y_weights)
    if i + STENCIL > table.values.shape[0]:
        return False, 0.0, 0.0
    sums[:] = 0.0
    for block in range(table.values.shape[2] // LANES):
        add_stencil(table.values, i, j, work.x_weights, work.y_weights, block, shares, sums)  # type: ignore[call-arg]
    g[0] = side * sums[0, 0]
    return True, sums[0, 1], sums[0, 2]


@kernel
def _read(
    table: PairTable,
    overlap: float,
    squared_norm: float,
    work: TableWork,
    shares: FloatArray,
    sums: FloatArray,
    g: FloatArray,
) -> tuple[bool, float, float]:
    """The same, to be called from Python."""
    return read_drift(table, overlap, squared_norm, work, shares, sums, g)
