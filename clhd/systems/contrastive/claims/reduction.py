"""C2: under L2 the McKean-Vlasov equation reduces to closed ODEs for overlap and squared norm.

Both are integrated from the same start. The equation's own error, of its weight axis, is of second order in the cell's
width; the reduction is true if that error is all there is between them. For each learning rate, and for overlap and
squared norm, with the error the largest difference over all times:

| part | measured | holds |
|---|---|---|
| order | minus the slope of log(error) against log(cells) | in a range around 2 |
| agreement | error on the finest axis | below a bound |

If the order is not the same on all axes, the errors follow no power law: the interval of the slope comes from the
scatter of the errors around a straight line, and it is wide if they do not follow one. Nothing here is random.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.verdict import UPPER_TAIL, Estimate, all_hold, below, within
from clhd.core.arrays import FloatArray
from clhd.core.lazy import special, xr

PARAMETERS = ("overlap", "squared_norm")


def judge_reduction(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C2 from the equation on several weight axes, and the ODE."""
    dataset = summaries["refinement"].dataset
    errors = {name: measure_errors(dataset, name) for name in PARAMETERS}
    cells = errors[PARAMETERS[0]]["cells"].values.astype(float)
    orders, finest, limits = {}, {}, {}
    for name, error in errors.items():
        for rate in error["learning_rate"].values:
            place = f"{name}, learning_rate {rate:g}"
            values = error.sel(learning_rate=rate).values
            orders[place] = fit_order(cells, values)
            finest[place] = Estimate.exact(values[-1])
            limits[place] = _extrapolate(dataset.sel(learning_rate=rate), name)
    parts = {
        "order": all_hold(within(order, thresholds["order_range"]) for order in orders.values()),
        "agreement": all_hold(below(error, thresholds["largest_error"]) for error in finest.values()),
    }
    evidence: dict[str, Any] = {
        "orders": orders,
        "cells": cells.astype(int),
        "learning_rate": dataset["learning_rate"].values,
        "largest_difference_by_learning_rate_and_cells": {name: error.values for name, error in errors.items()},
        "difference_on_finest_axis": {place: error.value for place, error in finest.items()},
        "difference_extrapolated_to_infinitely_many_cells": limits,
    }
    return Judgement.of_all(parts, evidence)


def measure_errors(dataset: xr.Dataset, name: str) -> xr.DataArray:
    """Return the largest difference between equation and ODE over all times, by learning_rate and (ascending) cells."""
    difference = abs(dataset[f"{name}_theory"] - dataset[f"{name}_ode_theory"])
    others = [dim for dim in difference.dims if dim not in ("learning_rate", "cells")]
    return difference.max(others, skipna=False).sortby("cells").transpose("learning_rate", "cells")


def fit_order(cells: FloatArray, error: FloatArray) -> Estimate:
    """Return minus the slope of log(error) against log(cells), with the interval of a line's fit.

    Parameters
    ----------
    cells, error : arrays of shape (axis,)
        Of the same axes in the same order.

    Returns
    -------
    Estimate
        Without unit; NaN without three axes, or where an error is not above 0.
    """
    if len(cells) < 3 or not np.all(np.isfinite(error) & (error > 0)):
        return Estimate.exact(np.nan)
    (xx, xy), (_, yy) = np.cov(np.log(cells), np.log(error), bias=True)
    with np.errstate(invalid="ignore"):  # a constant error has no correlation
        correlation = np.clip(xy / np.sqrt(xx * yy), -1.0, 1.0)
    degrees, order = len(cells) - 2, -float(xy / xx)
    # As scipy.stats.linregress, to the last bit; that takes half a second to import.
    half = float(special.stdtrit(degrees, UPPER_TAIL) * np.sqrt((1 - correlation**2) * yy / xx / degrees))
    return Estimate(order, order - half, order + half)


def _extrapolate(dataset: xr.Dataset, name: str) -> float:
    """Largest difference from the ODE once the error of second order is extrapolated away, by the two finest axes."""
    ordered = dataset.sortby("cells")
    ratio = float(ordered["cells"][-1] / ordered["cells"][-2]) ** 2
    coarse, fine = (ordered[f"{name}_theory"].isel(cells=k) for k in (-2, -1))
    limit = fine + (fine - coarse) / (ratio - 1)
    return float(abs(limit - ordered[f"{name}_ode_theory"].isel(cells=-1, missing_dims="ignore")).max(skipna=False))


REDUCTION = Claim(
    statement="Under L2 regularisation the McKean-Vlasov equation reduces to closed ordinary differential equations of "
    "overlap and squared norm.",
    experiments={"refinement": "overlap and squared norm by both equations, by learning rate and cells"},
    thresholds={
        "order_range": "orders of the difference, in the cell's width, that count as second order",
        "largest_error": "difference on the finest axis, of overlap and of squared norm, that must not be reached",
    },
    judge=judge_reduction,
    figure="clhd.systems.contrastive.figures.reduction:plot_reduction",
)
