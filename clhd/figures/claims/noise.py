"""The figure of C6: steady similarity against the variance of independent noise, and the map of what it loses."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clhd.analysis.learned import falls_along, learned_similarity
from clhd.analysis.noise import VARIANCE
from clhd.analysis.verdict import NORMAL_95
from clhd.figures.style import ALARM, FAINT, INK, MARKERS, MUTED, PAGE, make_figure, pick_colours
from clhd.figures.words import format_number
from clhd.sweep.reading import Summary

_MAP_AXES = ("base_noise_variance", "second_moment")


def plot_noise(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C6.

    Parameters
    ----------
    summaries : mapping of role to Summary
    claim : mapping
        The entry of claims.json.

    Returns
    -------
    (figure, caption)
    """
    similarity = learned_similarity(summaries["map"].dataset.sel(noise_correlation=0))
    rates = similarity["learning_rate"].values
    figure = make_figure(PAGE, 4.3)
    rows = figure.add_gridspec(2, 1, height_ratios=[1.25, 1.0])
    upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    left, right = upper.subplots(1, 2)
    setting = summaries["setting"].dataset.sel(noise_correlation=0)
    _plot_setting(left, setting)
    _plot_deviation(right, setting)
    panels = lower.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    change = (similarity.isel({VARIANCE: -1}, drop=True) - similarity.isel({VARIANCE: 0}, drop=True)).where(
        (similarity != 0).any(VARIANCE)
    )
    falls = falls_along(similarity, VARIANCE, claim["thresholds"]["least_change"])
    limit = float(np.nanmax(np.abs(change)))
    for axes, rate in zip(panels, rates, strict=True):
        image = draw_map(axes, change.sel(learning_rate=rate), falls.sel(learning_rate=rate), limit)
        axes.set_title(rf"$\eta$ = {format_number(rate)}")
    panels[0].set_ylabel("second moment $m$")
    lower.supxlabel("variance of the base noise $s_b^2$", fontsize=8)
    bar = lower.colorbar(image, ax=list(panels), pad=0.02, aspect=12)
    bar.set_label(f"$S$ with noise of variance\n{format_number(similarity[VARIANCE][-1])} minus $S$ without")
    for axes, letter in zip((left, right, *panels), "abcdefgh", strict=False):
        axes.text(-0.02, 1.03, letter, transform=axes.transAxes, weight="bold", ha="right", va="bottom")
    return figure, _caption(summaries, claim)


def _plot_setting(axes: Axes, setting: xr.Dataset) -> None:
    """Similarity by SGD at each dimension, with intervals of the mean, over the theory."""
    end = setting.isel(time=-1, feature=0)
    theory = end["cosine_similarity_theory"].isel(dimension=-1)
    axes.plot(theory[VARIANCE], theory, color=INK, label="ODE", zorder=1)
    dimensions = end["dimension"].values
    width = 0.012 * float(np.ptp(end[VARIANCE].values))
    for k, (n, colour) in enumerate(zip(dimensions, pick_colours(len(dimensions), ordered=True), strict=True)):
        point = end.sel(dimension=n)
        axes.errorbar(
            point[VARIANCE] + width * (k - (len(dimensions) - 1) / 2),  # side by side
            point["cosine_similarity_mean"],
            NORMAL_95 * point["cosine_similarity_standard_error"],
            color=colour,
            marker=MARKERS[k],
            linestyle="",
            label=f"SGD, n = {format_number(n)}",
        )
    axes.set(xlabel="variance of the augmentation noise $s_a^2$", ylabel="steady cosine similarity $S$")
    axes.legend(loc="lower left")


def _plot_deviation(axes: Axes, setting: xr.Dataset) -> None:
    """SGD minus the theory, which the left panel cannot resolve."""
    end = setting.isel(time=-1, feature=0)
    axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
    dimensions = end["dimension"].values
    width = 0.012 * float(np.ptp(end[VARIANCE].values))
    for k, (n, colour) in enumerate(zip(dimensions, pick_colours(len(dimensions), ordered=True), strict=True)):
        point = end.sel(dimension=n)
        axes.errorbar(
            point[VARIANCE] + width * (k - (len(dimensions) - 1) / 2),
            1e3 * (point["cosine_similarity_mean"] - point["cosine_similarity_theory"]),
            1e3 * NORMAL_95 * point["cosine_similarity_standard_error"],
            color=colour,
            marker=MARKERS[k],
            linestyle="",
        )
    axes.set(xlabel="variance of the augmentation noise $s_a^2$", ylabel=r"SGD minus ODE, $10^{-3}$", yscale="symlog")


def draw_map(axes: Axes, change: xr.DataArray, falls: xr.DataArray, limit: float) -> Any:
    """One cell for each place, of equal size: the change as colour, exceptions and unknown ones marked."""
    horizontal, vertical = _MAP_AXES
    change, falls = change.transpose(vertical, horizontal), falls.transpose(vertical, horizontal)
    axes.set_facecolor(FAINT)
    image = axes.imshow(
        np.ma.masked_invalid(change.values),
        origin="lower",
        aspect="auto",
        cmap=mpl.colormaps["RdBu"],
        vmin=-limit,
        vmax=limit,
    )
    for i, j in np.ndindex(falls.shape):
        value = float(falls.values[i, j])
        if value == 0:
            axes.plot(j, i, marker="X", color=ALARM, markeredgecolor="white", markeredgewidth=0.6, markersize=7)
        elif np.isnan(value):
            axes.text(j, i, "?", ha="center", va="center", color=INK, fontsize=7)
        elif value < 0:
            axes.text(j, i, "\N{EN DASH}", ha="center", va="center", color=MUTED, fontsize=7)
    for axis, name in ((axes.xaxis, horizontal), (axes.yaxis, vertical)):
        values = falls[name].values
        axis.set_ticks(range(len(values)), [format_number(value) for value in values])
        axis.set_tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """What is to be seen, and the numbers of the verdict."""
    evidence = claim["evidence"]
    found, setting = evidence["map"], summaries["setting"]
    fell = found["places_with_something_learned"] - len(found["exceptions"])
    lost = len(evidence["learned_without_noise_only"])
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']}. "
        f"Above: the steady cosine similarity with independent augmentation noise, mean of {setting.replicas} runs of "
        "SGD with 95 % intervals, and the limit of infinite dimension; beside it their difference, which shrinks with "
        "the dimension. Below: what noise of the largest variance changes, by theory, at each place of a map; it falls at "
        f"every step of the variance at {fell} of {found['places_with_something_learned']} places where something is "
        f"learned. A cross marks a place where it does not, a dash one where nothing is learned, and a question mark one "
        f"that has not come to rest ({found['places_not_at_rest']}). At {lost} places the noise lets nothing be learned, "
        "which counts as a similarity of 0.\n"
    )
