"""The figure of C6: steady similarity against the variance of independent noise, and the map of what it loses."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from clhd.core.statistics import NORMAL_95
from clhd.core.text import format_number
from clhd.figures.series import draw_means, shift_series, split_series
from clhd.figures.style import FAINT, INK, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learned import falls_along, learned_similarity
from clhd.systems.contrastive.claims.noise import VARIANCE

_HORIZONTAL, _VERTICAL, _PANEL = "base_noise_variance", "second_moment", "learning_rate"
_DARK = 0.55  # share of the colour range beyond which text is white
_MANY = 6  # most values along an axis for which cells have room for numbers


def plot_noise(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C6 from the summaries by role and its entry in claims.json; return it with a caption."""
    similarity = learned_similarity(summaries["map"].dataset)
    figure = make_figure(PAGE, 4.3)
    rows = figure.add_gridspec(2, 1, height_ratios=[1.25, 1.0])
    upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    left, right = upper.subplots(1, 2)
    setting = summaries["setting"].dataset.sel(noise_correlation=0)
    _plot_setting(left, setting)
    _plot_deviation(right, setting)
    without, with_noise = (similarity.isel({VARIANCE: k}, drop=True) for k in (0, -1))
    panels = _draw_place_maps(
        lower,
        with_noise - without,
        falls_along(similarity, VARIANCE, claim["thresholds"]["least_change"]),
        f"$S$ with noise of variance\n{format_number(similarity[VARIANCE][-1])} minus $S$ without",
    )
    letter_panels((left, right, *panels))
    return figure, _caption(summaries, claim)


def _draw_place_maps(figure: SubFigure, change: xr.DataArray, falls: xr.DataArray, label: str) -> list[Axes]:
    """Draw a change over second moment and base noise, a panel for each learning rate, with a colour bar; return them.

    Cells have one size for any spacing of the values. A cross marks an exception, a dash a place where nothing is
    learned, a question mark a place that is not known; `falls` is that of `falls_along`.
    """
    change = change.where(falls >= 0)
    limit = float(np.nanmax(np.abs(change)))
    rates = change[_PANEL].values
    panels = list(figure.subplots(1, len(rates), sharey=True, squeeze=False)[0])
    for axes, rate in zip(panels, rates, strict=True):
        here = {_PANEL: rate}
        image = _draw_panel(axes, change.sel(here), falls.sel(here), limit)
        axes.set_title(rf"$\eta$ = {format_number(rate)}")
    panels[0].set_ylabel("second moment $m$")
    figure.supxlabel("variance of the base noise $s_b^2$", fontsize=8)
    figure.colorbar(image, ax=panels, pad=0.02, aspect=12).set_label(label)
    return panels


def _draw_panel(axes: Axes, change: xr.DataArray, falls: xr.DataArray, limit: float) -> Any:
    change, falls = change.transpose(_VERTICAL, _HORIZONTAL), falls.transpose(_VERTICAL, _HORIZONTAL)
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
        value, colour = float(change.values[i, j]), INK
        if np.isfinite(value) and abs(value) > _DARK * limit:
            colour = "white"
        mark = _mark(float(falls.values[i, j]), value, is_small=max(falls.shape) > _MANY)
        weight = "bold" if mark.startswith("\N{MULTIPLICATION SIGN}") else "normal"
        axes.text(
            j,
            i,
            mark,
            ha="center",
            va="center",
            fontsize=5.5,
            weight=weight,
            color=MUTED if falls.values[i, j] < 0 else colour,
        )
    for axis, name in ((axes.xaxis, _HORIZONTAL), (axes.yaxis, _VERTICAL)):
        values = falls[name].values
        axis.set_ticks(range(len(values)), [format_number(value) for value in values])
        axis.set_tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image


def _mark(falls: float, change: float, *, is_small: bool) -> str:
    """The text of a cell: the change, with a cross above it at an exception."""
    if np.isnan(falls):
        return "?"
    if falls < 0:
        return "\N{EN DASH}"
    cross = "\N{MULTIPLICATION SIGN}" if falls == 0 else ""
    # Three decimals, without the zero before the point: more do not fit.
    return (
        cross
        if is_small
        else f"{cross}\n" * bool(cross) + f"{change:+.3f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")
    )


def _plot_setting(axes: Axes, setting: xr.Dataset) -> None:
    """Similarity by SGD at each dimension, with intervals of the mean, over the theory."""
    end = setting.isel(time=-1, feature=0)
    theory = end["cosine_similarity_theory"].isel(dimension=-1)
    axes.plot(theory[VARIANCE], theory, color=INK, label="ODE", zorder=1)
    width = 0.012 * float(np.ptp(end[VARIANCE].values))
    shifts = shift_series(end.sizes["dimension"], width)
    for (n, point, look), shift in zip(split_series(end, "dimension", ordered=True), shifts, strict=True):
        label = f"SGD, $n$ = {format_number(n)}"
        draw_means(axes, point[VARIANCE] + shift, point, "cosine_similarity", **look, label=label)
    axes.set(xlabel="variance of the augmentation noise $s_a^2$", ylabel="steady cosine similarity $S$")
    axes.legend(loc="lower left")


def _plot_deviation(axes: Axes, setting: xr.Dataset) -> None:
    """SGD minus the theory, which the left panel cannot resolve."""
    end = setting.isel(time=-1, feature=0)
    axes.axhline(0, color=INK, linewidth=0.8, zorder=1)
    width = 0.012 * float(np.ptp(end[VARIANCE].values))
    shifts = shift_series(end.sizes["dimension"], width)
    for (_, point, look), shift in zip(split_series(end, "dimension", ordered=True), shifts, strict=True):
        difference = point["cosine_similarity_mean"] - point["cosine_similarity_theory"]
        error = NORMAL_95 * point["cosine_similarity_standard_error"]
        axes.errorbar(point[VARIANCE] + shift, 1e3 * difference, 1e3 * error, **look)
    axes.set(xlabel="variance of the augmentation noise $s_a^2$", ylabel=r"SGD minus ODE, $10^{-3}$", yscale="symlog")


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    evidence = claim["evidence"]
    found, setting = evidence["map"], summaries["setting"]
    fell = found["places_with_something_learned"] - len(found["exceptions"])
    lost = len(evidence["learned_without_noise_only"])
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']}. "
        f"Above: the steady cosine similarity with independent augmentation noise, mean of {setting.replicas} runs of "
        "SGD with 95 % intervals, and the limit of infinite dimension; beside it their difference, by dimension. "
        "Below: what noise of the largest variance changes, by theory, at each place of a map; the "
        f"similarity falls at every step of the variance at {fell} of {found['places_with_something_learned']} places "
        "where something is learned. A cross marks a place where it does not, a dash one where nothing is learned, and "
        f"a question mark one that is not known ({found['places_unknown']}). At {lost} places the noise "
        "lets nothing be learned, which counts as a similarity of 0.\n"
    )
