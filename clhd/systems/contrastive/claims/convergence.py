"""C3: SGD converges to the ODE.

| part | measured | expected |
|---|---|---|
| bias exponent | a of c n^a, fitted to the mean's distance from the ODE, from the smallest n from which it fits | -1 |
| spread exponent | a of c n^a, fitted to the standard deviation over the runs, where n is large | -1/2 |
| spread ratio | that standard deviation over the fluctuation theory's, averaged over the same n | 1 |

All parts are asked of overlap, squared norm and cosine similarity at the last time, the bias from every start that the
experiment has. At the smallest n, very many runs
resolve terms beyond the order 1/n (runs that fall back to the uninformative state), and the interval of a fit through
them would mean nothing. So the smallest dimensions are left out until chi-square accepts the power law (p >= 0.05), the
usual rule of finite-size scaling. The data choose where the fit starts. So the interval of the exponent is widened as
if the fits from all possible starts were judged: then it holds, whichever of them is chosen. The intervals of all parts
and quantities hold together at 95 % (Bonferroni).

A next order in the fit, c n^a (1 + d / n), does not help: a and d trade against each other along a curved valley. Small
n, a start at a small cosine similarity and earlier times are evidence only. So that all is shown, the evidence has the
exponents of every start at every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.verdict import Estimate, all_hold, within
from clhd.core.arrays import FloatArray
from clhd.core.lazy import special, xr
from clhd.core.statistics import fit_power_law

QUANTITIES = ("overlap", "squared_norm", "cosine_similarity")
_SIZE, _START = "dimension", "initial_squared_norm"
_FEWEST = 4  # fewest dimensions of a fit
_TOLD_APART = 2.0  # standard errors by which a bias must differ from zero
_JUDGED = 3 * len(QUANTITIES)  # intervals that are judged together if there is one start
_LEVEL = 0.05  # least p value of chi-square of an accepted fit


@dataclass(frozen=True)
class BiasFit:
    """A power law c n^a, fitted from the smallest dimension upwards from which one fits.

    Parameters
    ----------
    exponent : Estimate
        NaN if there is none. Its interval holds together with those of all other parts, wherever the fit starts.
    smallest : int
        The dimension from which it fits; 0 if there is none.
    chi_square : float
        For each degree of freedom.
    values : array of shape (n,)
        At all dimensions.
    """

    exponent: Estimate
    smallest: int
    chi_square: float
    values: FloatArray


def judge_convergence(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C3 from the bias at small dimensions and the spread at large ones."""
    starts, spread = list_starts(summaries["bias"].dataset), summaries["spread"].dataset
    small = match_spread(summaries)
    among = len(QUANTITIES) * (len(starts) + 2)
    fits = {start: {name: fit_bias(part, name, among=among) for name in QUANTITIES} for start, part in starts.items()}
    exponents = {name: fit_spread(spread, name, among=among) for name in QUANTITIES}
    ratios = {name: _pool_ratios(spread, name, among) for name in QUANTITIES}
    parts = {
        "bias_exponent": all_hold(
            within(fit.exponent, thresholds["bias_exponent_range"]) for found in fits.values() for fit in found.values()
        ),
        "spread_exponent": all_hold(
            within(exponent, thresholds["spread_exponent_range"]) for exponent in exponents.values()
        ),
        "spread_ratio": all_hold(within(ratio, thresholds["spread_ratio_range"]) for ratio in ratios.values()),
    }
    evidence: dict[str, Any] = {
        "bias_time": float(summaries["bias"].dataset["time"][-1]),
        "bias": {start: _describe_fits(starts[start], found) for start, found in fits.items()},
        "bias_dimensions": summaries["bias"].dataset[_SIZE].values,
        "spread_time": float(spread["time"][-1]),
        "spread_exponent": exponents,
        "spread_ratio": ratios,
        "spread_dimensions": spread[_SIZE].values,
        "spread_exponent_at_earlier_times": {
            f"{float(spread['time'][k]):g}": {name: fit_spread(spread, name, k) for name in QUANTITIES}
            for k in range(1, spread.sizes["time"] - 1)
        },
        "spread_ratio_at_small_dimensions": {
            name: dict(zip(small[_SIZE].values.tolist(), spread_ratios(small, name)[0].tolist(), strict=True))
            for name in QUANTITIES
        },
        "from_a_small_cosine_similarity": _describe_weak_start(summaries["weak_start"].dataset),
    }
    return Judgement.of_all(parts, evidence)


def list_starts(bias: xr.Dataset) -> dict[str, xr.Dataset]:
    """Return the part of each start, by its name; starts differ in the squared norm, if at all."""
    if _START not in bias.dims:
        return {"only": bias}
    return {f"squared norm {norm:g}": bias.sel({_START: norm}, drop=True) for norm in bias[_START].values}


def match_spread(summaries: Summaries) -> xr.Dataset:
    """Return the small dimensions of the experiment of bias from the start of the spread's, to the spread's time."""
    bias, spread = summaries["bias"].dataset, summaries["spread"]
    bias = bias.sel(time=bias["time"] <= spread.dataset["time"][-1])
    if _START not in bias.dims:
        return bias
    return bias.sel({_START: float(spread.experiment["constants"].get(_START, 1))}, method="nearest", drop=True)


def _describe_fits(start: xr.Dataset, fits: Mapping[str, BiasFit]) -> dict[str, Any]:
    """The fits of one start at the last time, and the exponents at the earlier ones."""
    return {
        "exponent": {name: fit.exponent for name, fit in fits.items()},
        "fitted_from_dimension": {name: fit.smallest for name, fit in fits.items()},
        "chi_square_per_degree": {name: fit.chi_square for name, fit in fits.items()},
        "exponent_at_earlier_times": {
            f"{float(start['time'][k]):g}": {name: fit_bias(start, name, k).exponent for name in QUANTITIES}
            for k in range(1, start.sizes["time"] - 1)
        },
    }


def fit_bias(dataset: xr.Dataset, quantity: str, time: int = -1, *, among: int = _JUDGED) -> BiasFit:
    """Fit a power law to the signed distance of the mean from the ODE.

    Parameters
    ----------
    dataset : xarray.Dataset
        A summary with dims dimension, time and, of the features' quantities, feature, of which the first is taken.
    quantity : str
        One of `QUANTITIES`, none of which has a unit.
    time : int, optional
        Position of the output time.
    among : int, optional
        How many intervals, this one included, are to hold together.

    Returns
    -------
    BiasFit
        NaN if no four dimensions, three of them told from zero, lie on a power law.
    """
    size = dataset[_SIZE].values.astype(float)
    bias = select(dataset, f"{quantity}_mean", time) - select(dataset, f"{quantity}_theory", time)
    error = select(dataset, f"{quantity}_standard_error", time)
    starts = len(size) - _FEWEST + 1
    for first in range(starts):
        x, y, e = size[first:], bias[first:], error[first:]
        slope = fit_power_law(x, y, e)
        if slope is None or np.count_nonzero(np.abs(y) > _TOLD_APART * e) < _FEWEST - 1:
            continue
        degrees = len(x) - 2
        total = float(np.sum(((y - slope.values) / e) ** 2))
        if special.chdtrc(degrees, total) >= _LEVEL:
            values = slope.values[0] * (size / x[0]) ** slope.exponent
            exponent = Estimate.with_error(slope.exponent, slope.error, among=among * starts)
            return BiasFit(exponent, int(x[0]), total / degrees, values)
    return BiasFit(Estimate.exact(np.nan), 0, np.nan, np.full_like(size, np.nan))


def fit_spread(dataset: xr.Dataset, quantity: str, time: int = -1, *, among: int = 1) -> Estimate:
    """The exponent of the standard deviation over the runs; NaN if the points do not fix it.

    Its interval holds together with those of `among` - 1 others.
    """
    spread = select(dataset, f"{quantity}_standard_deviation", time)
    slope = fit_power_law(dataset[_SIZE].values.astype(float), spread, spread * _relative_error(dataset))
    return Estimate.exact(np.nan) if slope is None else Estimate.with_error(slope.exponent, slope.error, among=among)


def spread_ratios(dataset: xr.Dataset, quantity: str, time: int = -1) -> tuple[FloatArray, FloatArray]:
    """Return the measured over the predicted standard deviation at each dimension.

    Parameters
    ----------
    dataset : xarray.Dataset
        A summary with dims dimension and time.
    quantity : str
        One of `QUANTITIES`.
    time : int, optional
        Position of the output time.

    Returns
    -------
    (ratios, standard errors), each of shape (dimension,)
    """
    predicted = select(dataset, f"{quantity}_theory_standard_deviation", time)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = select(dataset, f"{quantity}_standard_deviation", time) / predicted
    return ratio, ratio * _relative_error(dataset)


def select(dataset: xr.Dataset, name: str, time: int) -> FloatArray:
    """A variable along the dimension, at one time, of the first feature."""
    chosen = dataset[name].isel(time=time).isel(feature=0, missing_dims="ignore")
    return np.asarray(chosen.broadcast_like(dataset[_SIZE]).transpose(_SIZE).values, np.float64)


def _relative_error(dataset: xr.Dataset) -> FloatArray:
    """The relative standard error of a standard deviation over normal runs."""
    runs = dataset["replica_count"].sel(status="ok").values
    return np.asarray(1 / np.sqrt(2.0 * np.maximum(runs - 1, 1)), np.float64)


def _pool_ratios(dataset: xr.Dataset, quantity: str, among: int) -> Estimate:
    """The mean of the ratios of independent points."""
    ratio, error = spread_ratios(dataset, quantity)
    return Estimate.with_error(ratio.mean(), float(np.sqrt(np.sum(error**2)) / len(ratio)), among=among)


def _describe_weak_start(dataset: xr.Dataset) -> dict[str, Any]:
    """The spread by dimension from a small cosine similarity, where the fluctuations of the start decide its size."""
    ratio, _ = spread_ratios(dataset, "cosine_similarity")
    return {
        "dimension": dataset[_SIZE].values,
        "spread_ratio": ratio,
        "spread_exponent": fit_spread(dataset, "cosine_similarity"),
        "spread_exponent_from_dimension_1000": fit_spread(dataset.sel({_SIZE: slice(1000, None)}), "cosine_similarity"),
    }


CONVERGENCE = Claim(
    statement="Online SGD converges to the ODE: its mean differs from it by order 1/n, and its runs scatter around it "
    "by order n^(-1/2), as much as the fluctuation theory says.",
    experiments={
        "bias": "means of very many runs by dimension, at small dimensions, with the fluctuation theory",
        "spread": "runs by dimension, at large dimensions, with the fluctuation theory",
        "weak_start": "the same from a small cosine similarity",
    },
    thresholds={
        "bias_exponent_range": "exponents of the bias that count as -1",
        "spread_exponent_range": "exponents of the spread that count as -1/2",
        "spread_ratio_range": "ratios of measured to predicted spread that count as 1",
    },
    judge=judge_convergence,
    figure="clhd.systems.contrastive.figures.convergence:plot_convergence",
)
