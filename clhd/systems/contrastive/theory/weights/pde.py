"""`solve_pde` solves the McKean-Vlasov equation of the weights in the limit of high dimension.

The solution is the law of a weight given the feature values xi of its coordinate, which determines the order
parameters. It is needed for the elastic net, where no ODE of the order parameters exists. `density.py` has the
equation and the method.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| rho | ``density`` | (time, feature_value, weight) | per unit of weight |
| xi | ``feature_values`` | (feature_value, feature) | |
| q, r | ``overlap``, ``squared_norm`` | (time, feature), (time,) | of w_i xi_i, of w_i^2 |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_count, parse_number, parse_times
from clhd.core.lazy import interpolate, xr
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import labelled
from clhd.systems.contrastive.model.state import cosine_similarity, parse_start
from clhd.systems.contrastive.theory.weights.density import DensityPath, integrate_density

CELLS, TOLERANCE = 800, 1e-6


def solve_pde(
    model: ContrastiveModel,
    time: Sequence[float] | FloatArray,
    *,
    overlap: Any,
    squared_norm: float = 1.0,
    cells: int = CELLS,
    tolerance: float = TOLERANCE,
) -> xr.Dataset:
    """Solve the McKean-Vlasov equation from time 0.

    At the start a weight given the feature values xi of its coordinate is Gaussian with mean q . xi and variance
    r - |q|^2. This is the limit of the simulation's start with ``initial="fixed"``, and for overlap 0 with "random".

    Parameters
    ----------
    model : ContrastiveModel
        Any model; the noise law does not matter in the limit.
    time : array-like of shape (time,)
        Output times, 0 or later and increasing; unit: steps per dimension.
    overlap : array-like of shape (feature,), or a number if there is one feature
        Initial overlap q; |q|^2 <= squared_norm.
    squared_norm : float
        Initial squared norm r >= 0; 1 on the sphere.
    cells : int
        Number of cells of the weight axis at the start, even and at least 20; cells are added if the law spreads.
        Errors fall with its square; with its first power where the drift over a cell exceeds eta^2 D / 2.
        A law that shrinks below a cell is not resolved: q, r and S are then those of its cells.
    tolerance : float
        Allowed error of one time step, 1e-10 ... 1e-2: misplaced mass, weighted with 1 + w^2 / r.

    Returns
    -------
    xarray.Dataset
        With one feature ``feature_value`` is xi, with several an index from 0.

        | variable | dims | unit | meaning |
        |---|---|---|---|
        | density | time, feature_value, weight | 1 | of the weight given the feature values, mean over a cell |
        | overlap | time, feature | 1 | q |
        | squared_norm | time | 1 | r |
        | cosine_similarity | time, feature | 1 | q / sqrt r, NaN at r = 0 |
        | gradient_variance | time | 1 | D |
        | mass_error | time | 1 | largest deviation from 1 so far of the mass given feature values, after one step |
        | cell_width | weight | 1 | width of a cell |
        | feature_values | feature_value, feature | 1 | xi |
        | feature_probability | feature_value | 1 | probability of xi |
        | diverged | | | true if r passed 1e8 or ceased to exist; values are NaN from then on |

    Raises
    ------
    ClhdError
        If an argument has the wrong shape or range.
    """
    check_model(model)
    state, times = parse_start(model, overlap, squared_norm), parse_times(time)
    count = parse_count("cells", cells, minimum=20)
    if count % 2:
        raise InputError(f"cells = {cells!r}: must be an even number, so that weight 0 is an edge")
    tolerance = parse_number("tolerance", tolerance, minimum=1e-10, maximum=1e-2)
    return _label(integrate_density(model, state, times, cells=count, tolerance=tolerance), times)


def distribution_at(path: DensityPath, weights: FloatArray) -> FloatArray:
    """Return the distribution function P(w <= x | xi) at the `weights` x, shape (time, atom, weight).

    Cumulated masses are exact at the edges of the cells; between them a monotone cubic interpolates.
    """
    edges = path.grid.edges
    sums = np.concatenate([np.zeros((*path.masses.shape[:2], 1)), np.cumsum(path.masses, axis=-1)], axis=-1)
    inside = np.clip(weights, edges[0], edges[-1])
    result = np.full((*path.masses.shape[:2], len(weights)), np.nan)
    known = np.isfinite(path.outcome[:, -2])
    if known.any():
        result[known] = np.clip(interpolate.PchipInterpolator(edges, sums[known], axis=-1)(inside), 0.0, 1.0)
    return result


def _label(path: DensityPath, times: FloatArray) -> xr.Dataset:
    """Return a path as a dataset."""
    overlap, squared_norm, variance = path.outcome[:, :-2], path.outcome[:, -2], path.outcome[:, -1]
    features = path.values.shape[1]
    return labelled(
        {
            "density": (("time", "feature_value", "weight"), path.masses / path.grid.widths),
            "overlap": (("time", "feature"), overlap),
            "squared_norm": (("time",), squared_norm),
            "cosine_similarity": (("time", "feature"), cosine_similarity(overlap, squared_norm)),
            "gradient_variance": (("time",), variance),
            "mass_error": (("time",), path.mass_error),
            "cell_width": (("weight",), path.grid.widths),
            "feature_values": (("feature_value", "feature"), path.values),
            "feature_probability": (("feature_value",), path.probabilities),
            "diverged": ((), np.array(np.isnan(squared_norm[-1]))),
        },
        {
            "time": times,
            "feature": np.arange(1, features + 1),
            "feature_value": path.values[:, 0] if features == 1 else np.arange(len(path.values)),
            "weight": path.grid.centres,
        },
    )
