"""Tables of the pair averages, for drift terms of thousands of trajectories at one noise setting.

Given activation, s2 and kappa, the averages of an atom depend only on its mean m and on r. They are tabulated once and
interpolated by 8 x 8-point polynomials. The vector of pairs is contiguous and padded, so that vector instructions run
along it. The steps are refined until the error between the nodes, *measured* against the direct rule, is within the
tolerance.

The noise smooths the averages over a width that grows with sqrt r, so the grid is uniform in x and y,

    sqrt(r s2) = w sinh y,      m = x sqrt(1 + r nu^2 / w^2),      nu^2 = (s2 + kappa) / 2,

where r nu^2 is the variance of the noise that both views share, which alone smooths in m. The averages are even in y.
Because |q|^2 <= r, all m of a trajectory obey |m| <= C sqrt r, C = the largest |c|.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| E[f g] | ``PairTable.values`` | (x, y, pair padded to a multiple of 8) | of the pair |
| x | node of the scaled mean, step ``x_step`` | | of a pre-activation |
| y | node of the stretched root of r, step ``y_step`` | | |
| C | ``slope`` | | of a latent vector |
| w / sqrt(s2), w / nu | ``root_scale``, ``mean_scale`` | | of a weight |
"""

import math
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.kernels import inlined, kernel
from clhd.systems.contrastive.theory.averages.atoms import FoldedAtoms
from clhd.systems.contrastive.theory.averages.pair_averages import PairRule, average_atoms
from clhd.systems.contrastive.theory.averages.stencil import LANES, STENCIL, add_stencil

_BEFORE = STENCIL // 2 - 1  # nodes of a stencil before the cell that it interpolates
# w: half the distance over which tanh varies. s2 has a floor: at s2 = 0 the map to y is singular.
_WIDTH, _MIN_NOISE = 0.5, 0.05
# First steps of the refinement, with errors of about 1e-10.
_X_STEP, _Y_STEP = 0.028, 0.035
_MAX_BYTES = 256 * 2**20


class PairTable(NamedTuple):
    """A table in the form that kernels take.

    Attributes
    ----------
    values : array of shape (x, y, padded pair)
        Pair averages; 0 outside the wedge. Shape (0, 0, 0): no table.
    signs : array of shape (padded pair,)
        As in `PairRule`; all 0 if m of both signs are tabulated.
    x_first, x_step, y_first, y_step : float
        First node and step of both axes.
    root_scale, mean_scale : float
        w / sqrt(s2) and w / nu (infinite if nu = 0).
    slope : float
        C.
    root_last : float
        Largest sqrt r of the table.
    error : float
        Largest error found between the nodes.
    """

    values: FloatArray
    signs: FloatArray
    x_first: float
    x_step: float
    y_first: float
    y_step: float
    root_scale: float
    mean_scale: float
    slope: float
    root_last: float
    error: float


def no_table() -> PairTable:
    """Return the empty table, with which kernels use the direct rule."""
    return PairTable(np.empty((0, 0, 0)), np.empty(0), 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)


def build_table(rule: PairRule, slope: float, root_last: float, tolerance: float) -> PairTable | None:
    """Tabulate the pair averages for all |m| <= slope sqrt r, sqrt r <= root_last.

    Parameters
    ----------
    rule : PairRule
        Rule for a smooth activation.
    slope : float
        C, the largest norm of a latent vector.
    root_last : float
        Largest sqrt r.
    tolerance : float
        Largest allowed error of a pair average between the nodes.

    Returns
    -------
    PairTable or None
        None if no table of reasonable size reaches the tolerance.
    """
    x_step, y_step = _X_STEP, _Y_STEP
    for _ in range(6):
        table = _empty_table(rule, slope, root_last, x_step, y_step)
        if table is None:
            return None
        _fill_table(rule, table)
        x_error, y_error = _measure_error(rule, table)
        if x_error + y_error <= tolerance:
            return table._replace(error=x_error + y_error)
        # The error falls as step^8; aim at a fifth of the tolerance on each axis whose error is larger.
        x_step *= min(1.0, (0.2 * tolerance / max(x_error, 0.2 * tolerance)) ** (1 / STENCIL))
        y_step *= min(1.0, (0.2 * tolerance / max(y_error, 0.2 * tolerance)) ** (1 / STENCIL))
    return None


def _empty_table(rule: PairRule, slope: float, root_last: float, x_step: float, y_step: float) -> PairTable | None:
    """Return a table of zeros with spare cells at all ends, x < 0 only if no parity gives it; None if too large."""
    shared_noise = math.sqrt(max(0.5 * (rule.noise_variance + rule.noise_covariance), 0.0))
    root_scale = _WIDTH / max(math.sqrt(rule.noise_variance), _MIN_NOISE)
    mean_scale = _WIDTH / shared_noise if shared_noise > 0 else math.inf
    pairs = len(rule.pairs)
    padded = -(-pairs // LANES) * LANES
    x_last = math.ceil(slope * root_last / math.hypot(1.0, root_last / mean_scale) / x_step) + STENCIL
    x_first = -_BEFORE if np.all(rule.signs != 0) else -x_last
    y_nodes = _BEFORE + math.ceil(math.asinh(root_last / root_scale) / y_step) + STENCIL
    if 8 * padded * (x_last - x_first) * y_nodes > _MAX_BYTES:
        return None
    signs = np.zeros(padded)
    signs[:pairs] = rule.signs
    return PairTable(
        values=np.zeros((x_last - x_first + 1, y_nodes, padded)),
        signs=signs,
        x_first=x_first * x_step,
        x_step=x_step,
        y_first=-_BEFORE * y_step,
        y_step=y_step,
        root_scale=root_scale,
        mean_scale=mean_scale,
        slope=slope,
        root_last=root_last,
        error=0.0,
    )


def _fill_table(rule: PairRule, table: PairTable) -> None:
    """Compute all nodes that a stencil inside the wedge |m| <= C sqrt r can touch."""
    pairs = len(rule.pairs)
    x: FloatArray = table.x_first + table.x_step * np.arange(len(table.values), dtype=np.float64)
    for j in range(_BEFORE, table.values.shape[1]):
        y = table.y_first + table.y_step * j
        root, outer = (table.root_scale * math.sinh(y + cells * table.y_step) for cells in (0, STENCIL))
        reach = table.slope * outer / math.hypot(1.0, outer / table.mean_scale) + STENCIL * table.x_step
        inside = np.flatnonzero(np.abs(x) <= reach)
        averages = np.empty((len(inside), pairs))
        means = x[inside] * math.hypot(1.0, root / table.mean_scale)
        average_atoms(rule, means, root**2, averages)
        table.values[inside, j, :pairs] = averages
    table.values[:, :_BEFORE] = table.values[:, 2 * _BEFORE : _BEFORE : -1]  # even in y


def _measure_error(rule: PairRule, table: PairTable) -> tuple[float, float]:
    """Return the largest error half way between nodes of x (at nodes of y), and half way between nodes of y."""
    last = int(math.asinh(table.root_last / table.root_scale) / table.y_step)
    # Most points are at small x and y, where the derivatives are largest.
    cells = np.unique(np.concatenate([np.arange(min(last, 4)), np.linspace(0, max(last - 1, 0), 10).astype(int)]))
    errors = [0.0, 0.0]
    for cell in cells:
        for axis, (x_shift, y_shift) in enumerate(((0.5, 0.0), (0.0, 0.5))):
            y = table.y_step * (cell + y_shift)
            root = table.root_scale * math.sinh(y)
            stretch = math.hypot(1.0, root / table.mean_scale)
            steps = int(table.slope * root / stretch / table.x_step) + 1
            chosen = np.unique(np.concatenate([np.arange(min(steps, 24)), np.linspace(0, steps - 1, 24).astype(int)]))
            means = table.x_step * (chosen + x_shift) * stretch
            direct, read = np.empty((len(means), len(rule.pairs))), read_table(table, means, root)
            average_atoms(rule, means, root**2, direct)
            errors[axis] = max(errors[axis], float(np.abs(read[:, : len(rule.pairs)] - direct).max()))
    return errors[0], errors[1]


class TableWork(NamedTuple):
    """Work space for the interpolation weights of x and y, both of shape (STENCIL,)."""

    x_weights: FloatArray
    y_weights: FloatArray


# 1 / prod_(j != k) (k - j) over the nodes 0 ... 7.
_NODE_FACTORS = np.array([(-1.0) ** (7 - k) / (math.factorial(k) * math.factorial(7 - k)) for k in range(STENCIL)])


@inlined
def locate(x: float, first: float, step: float, weights: FloatArray) -> int:
    """Return the first node of the stencil around `x`, and write its Lagrange interpolation weights to `weights`."""
    position = (x - first) / step
    start = max(int(position) - _BEFORE, 0)  # rounding may put x = 0 just below its node, the stencil off the table
    position -= start
    before, after = 1.0, 1.0
    for k in range(STENCIL):
        weights[k] = before * _NODE_FACTORS[k]
        before *= position - k
    for k in range(STENCIL - 1, -1, -1):
        weights[k] *= after
        after *= position - k
    return start


@inlined
def add_from_table(
    table: PairTable, means: FloatArray, shares: FloatArray, root: float, work: TableWork, sums: FloatArray
) -> bool:
    """Add shares[., atom] times the pair averages of every atom to `sums`; return False if one is off the table.

    Parameters
    ----------
    table : PairTable
    means : array of shape (atom,)
        m of every atom.
    shares : array of shape (2, atom, row, padded pair)
        Factors from `atom_shares`: at m >= 0, and at m < 0 for averages read at -m.
    root : float
        sqrt r.
    work : TableWork
    sums : array of shape (row, padded pair)
    """
    if not root <= table.root_last:
        return False
    ratio = root / table.mean_scale
    contraction = 1.0 / math.sqrt(1.0 + ratio * ratio)
    reach = table.slope * root * contraction + table.x_step
    has_parity = table.x_first > -STENCIL * table.x_step
    j = locate(math.asinh(root / table.root_scale), table.y_first, table.y_step, work.y_weights)
    for atom in range(len(means)):
        x = means[atom] * contraction
        if not abs(x) <= reach:
            return False
        side = 1 if x < 0.0 and has_parity else 0
        i = locate(-x if side == 1 else x, table.x_first, table.x_step, work.x_weights)
        for block in range(table.values.shape[2] // LANES):
            add_stencil(table.values, i, j, work.x_weights, work.y_weights, block, shares[side, atom], sums)  # type: ignore[call-arg]
    return True


def atom_shares(table: PairTable, atoms: FoldedAtoms) -> FloatArray:
    """Return the factors of each atom's averages in the latent mean (row 0) and first moments (row 1 + feature).

    Returns
    -------
    array of shape (2, atom, 1 + feature, padded pair)
        For averages read at m, and (with the parity of the pairs) for averages read at -m.
    """
    weights, mirrors = atoms.weights[:, None, None], atoms.mirror_weights[:, None, None]
    factors = np.concatenate([np.ones((len(atoms.values), 1)), atoms.values], axis=1)[:, :, None]
    signs = np.where(np.arange(factors.shape[1]) == 0, 1.0, -1.0)[:, None]  # the moments are odd in c
    shares = factors * (weights + signs * mirrors * table.signs)
    return np.ascontiguousarray(np.stack([shares, shares * table.signs]))


def read_table(table: PairTable, means: FloatArray, root: float) -> FloatArray:
    """Return the pair averages (atom, padded pair) of all means at sqrt r = `root`, NaN off the table."""
    averages = np.zeros((len(means), 1, len(table.signs)))
    shares = np.ones((2, 1, 1, len(table.signs)))
    shares[1] *= table.signs
    _read_means(table, np.ascontiguousarray(means), shares, root, averages)
    return averages[:, 0]


@kernel
def _read_means(table: PairTable, means: FloatArray, shares: FloatArray, root: float, averages: FloatArray) -> None:
    """Read one mean after the other, each into its own row of `averages`."""
    work = TableWork(np.empty(STENCIL), np.empty(STENCIL))
    for k in range(len(means)):
        if not add_from_table(table, means[k : k + 1], shares, root, work, averages[k]):
            averages[k] = np.nan
