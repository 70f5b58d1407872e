"""What the scheme does near the saddle, measured: exponents, attraction region, its normal, escape.

The set of starts that the scheme drives to the saddle is measured through products of step matrices. It is never
measured by iterating a start and looking whether it converges: rounding pushes every such start off the region.

| output | how it is measured |
|---|---|
| exponents | log growth per step, by repeated QR of the product, after the first quarter of the steps |
| attraction region | the directions that shrink by more than e^5 in the steps that count |
| normal | the rows l <- l M(k), from the last step back to the first: they converge to what the region lacks |
| common region | what the rows of the scheme begun at 30 successive step indices lack together |
| escape | the iteration itself, from starts that are 1e-6 off the region of plain gradient descent |
"""

from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray, pad
from clhd.systems.saddle.model import Saddle, draw_frame, point_upwards

STILL = 5.0  # a direction whose length changes by less than a factor e^5 neither shrinks nor grows
STARTS = 30  # step indices at which the scheme begins, for the common region
LARGEST_RANKED = 12  # dimension beyond which the rank of the normals is below rounding
RANK_CUT = 1e-12  # of singular values: next to the smallest, 1e-9 at n = 12, and to rounding, 1e-15
_RESOLVED = 35.0  # the rows have converged to rounding: e^-35 = 6e-16
_OFF, _ESCAPED = 1e-6, -1.0
_SPREAD, _LONGEST = 1e4, 32  # largest ratio of lengths between two QRs, and largest number of steps


def simulate_saddle(saddle: Saddle, steps: int, room: int, random: np.random.Generator) -> dict[str, Any]:
    """Return the outputs of `SaddleSystem`; those with one entry for each axis are NaN behind the last of `room`."""
    exponents, counted = measure_exponents(saddle, steps, draw_frame(random, saddle.dimension, saddle.dimension))
    is_attracted = exponents * counted < -STILL
    stalled = int((np.abs(exponents * counted) <= STILL).sum())
    n, m = saddle.dimension, saddle.negative
    normal, common = np.full(n, np.nan), np.nan
    rows = draw_frame(random, n, m)
    if stalled == 0 and (exponents[m - 1] - exponents[m]) * steps > _RESOLVED:
        normals = measure_normals(saddle, steps, rows)
        common = n - np.linalg.matrix_rank(normals.reshape(-1, n), rtol=RANK_CUT) if n <= LARGEST_RANKED else np.nan
        normal = point_upwards(normals[0, 0]) if m == 1 else normal
    return {
        "attraction_dimension": is_attracted.sum(),
        "stalled_directions": stalled,
        "common_dimension": common,
        "largest_exponent": exponents[0],
        "slowest_contraction": max(exponents[is_attracted], default=np.nan),
        "lyapunov_exponent": pad(exponents, room),
        "normal_vector": pad(normal, room),
        "escape_step": measure_escape(saddle, steps, random),
    }


def measure_exponents(saddle: Saddle, steps: int, frame: FloatArray) -> tuple[FloatArray, int]:
    """Return the exponents per step, largest first, and the number of steps that they rest on."""
    sums, counted, length = np.zeros(saddle.dimension), 0, _block_length(saddle.step_size)
    for start in range(0, steps, length):
        stop = min(start + length, steps)
        for matrix in saddle.step_matrices(start, stop):
            frame = matrix @ frame
        frame, triangle = np.linalg.qr(frame)
        if start >= steps // 4:
            sums += np.log(np.abs(np.diag(triangle)))
            counted += stop - start
    return np.sort(sums / counted)[::-1], counted


def measure_normals(saddle: Saddle, steps: int, rows: FloatArray) -> FloatArray:
    """Return unit rows that vanish on the attraction region, of the scheme begun at each of `STARTS` step indices.

    Returns
    -------
    array of shape (STARTS, m, n)
        Orthonormal rows, by the index at which the scheme begins, from `first_step` on. They have converged if `steps`
        is large enough; `rows` has the columns to begin with, shape (n, m).
    """
    found, length = np.empty((STARTS, saddle.negative, saddle.dimension)), _block_length(saddle.step_size)
    for stop in range(steps, 0, -length):
        start = max(stop - length, 0)
        for k, matrix in zip(range(stop - 1, start - 1, -1), saddle.step_matrices(start, stop)[::-1], strict=True):
            rows = matrix.T @ rows
            if k < STARTS:
                found[k] = np.linalg.qr(rows)[0].T
        rows = np.linalg.qr(rows)[0]
    return found


def measure_escape(saddle: Saddle, steps: int, random: np.random.Generator) -> float:
    """Return the first step with f < -1, from a start next to gradient descent's region; NaN if there is none.

    The start is a random unit vector of the positive eigenspace of H and 1e-6 times one of the negative eigenspace.
    """
    _, vectors = np.linalg.eigh(saddle.hessian)
    negative, positive = vectors[:, : saddle.negative], vectors[:, saddle.negative :]
    x = positive @ draw_frame(random, saddle.dimension - saddle.negative, 1)[:, 0]
    x = x + _OFF * negative @ draw_frame(random, saddle.negative, 1)[:, 0]
    for start in range(0, steps, _LONGEST):
        stop = min(start + _LONGEST, steps)
        for k, matrix in enumerate(saddle.step_matrices(start, stop), start):
            x = matrix @ x
            if x @ saddle.hessian @ x / 2 < _ESCAPED:
                return float(k + 1)
    return np.nan


def _block_length(step_size: float) -> int:
    """Steps between two QRs: lengths grow and shrink by at most 1 + eta and 1 - eta in each."""
    return int(np.clip(np.log(_SPREAD) / np.log((1 + step_size) / (1 - step_size)), 1, _LONGEST))
