"""The figures of escape from the uninformative state and of the selection of the weaker feature, by dimension."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from clhd.core.statistics import NORMAL_95, fit_power_law
from clhd.core.text import format_number
from clhd.figures.caption import compose_caption
from clhd.figures.series import draw_means, split_series
from clhd.figures.style import COLUMN, INK, MUTED, PAGE, letter_panels, make_figure, pick_looks
from clhd.sweep.results.summary_reader import Summary

_QUANTILES = (0.05, 0.5, 0.95)


def plot_escape(summary: Summary) -> tuple[Figure, str]:
    """Draw the time of escape against the dimension, and its distribution function.

    The summary is of the system "escape", with the axis ``dimension`` alone.
    """
    data = summary.dataset.squeeze()
    size = data["dimension"].values.astype(float)
    rate = float(data["growth_rate_theory"].values.ravel()[0])
    mean, error = data["escape_time_mean"].values, data["escape_time_standard_error"].values
    (slope, _), covariance = np.polyfit(np.log(size), mean, 1, w=1 / error, cov="unscaled")
    half = NORMAL_95 * float(np.sqrt(covariance[0, 0]))
    figure = make_figure(PAGE, 2.9)
    first, second = figure.subplots(1, 2)
    _plot_times(first, data, size, rate)
    largest = _plot_distribution(second, data, size, rate)
    letter_panels([first, second])
    what = (
        f"(a) Time at which abs(S) passes the level {_level(summary)}, from random weights. Points: mean, with bars of "
        "95 %, and the 5, 50 and 95 % quantiles of the runs; lines: leading order at large dimension, nothing fitted. "
        f"The means have the slope {slope:.3f} (95 %: {slope - half:.3f} to {slope + half:.3f}) in ln n; theory: 1 / "
        f"(2 gamma) = {0.5 / rate:.3f}, with the growth rate {rate:.4g}. (b) Share of the runs that have escaped, "
        "against the time less ln n / (2 gamma), with the law of the theory (line): ln abs(Z) / gamma for a normal Z, "
        f"shifted. The largest distance of the shares from the theory at the same n: {largest}."
    )
    return figure, compose_caption(summary, what)


def _level(summary: Summary) -> str:
    return format_number(summary.experiment["constants"].get("escape_level", 0.5))


def _plot_times(axes: Axes, data: Any, size: NDArray[np.float64], rate: float) -> None:
    """Means and quantiles by dimension."""
    time, share = data["time"].values, data["escaped_share_theory"].transpose("dimension", "time").values
    for level, look in zip(_QUANTILES, pick_looks(len(_QUANTILES), ordered=False), strict=True):
        theory = [float(np.interp(level, row, time)) for row in share]
        axes.plot(size, theory, color=look["color"], linewidth=0.9)
        seen = data["escape_time_quantile"].sel(quantile=level)
        axes.plot(size, seen, **look, label=f"{100 * level:.0f} % quantile")
    axes.plot(size, data["escape_time_theory"], color=INK)
    draw_means(axes, size, data, "escape_time", color=INK, marker="D", linestyle="", label="mean, 95 %")
    axes.plot([], [], color=MUTED, label="theory")
    axes.set(xscale="log", xlabel="dimension $n$", ylabel="escape time $T$, steps per dimension")
    axes.legend(loc="upper left")


def _plot_distribution(axes: Axes, data: Any, size: NDArray[np.float64], rate: float) -> str:
    """Distribution functions, shifted onto each other; return the largest distances by dimension."""
    time = data["time"].values
    distances = []
    for k, (n, row, look) in enumerate(split_series(data, "dimension", ordered=True)):
        shifted = time - np.log(n) / (2 * rate)
        near = (row["escaped_share_theory"].values > 1e-3) & (row["escaped_share_theory"].values < 1 - 1e-3)
        seen = slice(k, None, len(size))  # points of different n stand beside each other
        points = row["escaped_share_mean"].values[near][seen]
        axes.plot(shifted[near][seen], points, **look, label=f"$10^{{{np.log10(n):.0f}}}$")
        gap = float(np.abs(row["escaped_share_mean"] - row["escaped_share_theory"]).max())
        distances.append(f"{gap:.3f} (n = {format_number(n)})")
        if k == len(size) - 1:
            axes.plot(shifted, row["escaped_share_theory"], color=INK, label="theory", zorder=1)
            axes.set_xlim(shifted[near][0] - 0.3, shifted[near][-1] + 0.3)
    axes.set(xlabel=r"$T - \ln n\,/\,2\gamma$, steps per dimension", ylabel="share of the runs that have escaped")
    axes.legend(loc="lower right", title="dimension $n$")
    return ", ".join(distances)


def plot_rare_selection(summary: Summary) -> tuple[Figure, str]:
    """Draw the probability of the weaker feature against the dimension, by its second moment.

    The summary is of the system "rare_selection", with the axes ``second_moment_2`` and ``dimension``.
    """
    data = summary.dataset
    size = data["dimension"].values.astype(float)
    figure = make_figure(COLUMN, 2.9)
    axes = figure.subplots()
    sentences = []
    for moment, part, look in split_series(data, "second_moment_2", ordered=False):
        row = part.sel(outcome="feature_2")
        rates = part["growth_rate_theory"].isel(dimension=0).values
        exponent = -(rates[0] / rates[1] - 1) / 2
        share, error = row["probability_mean"].values, row["probability_standard_error"].values
        axes.plot(size, row["probability_theory"], color=look["color"])
        label = f"$m_2$ = {format_number(moment)}: $n^{{{exponent:.3f}}}$".replace("-", "\N{MINUS SIGN}")
        draw_means(axes, size, row, "probability", **look, label=label)
        slope = fit_power_law(size, share, error)
        seen = "not measured"
        if slope is not None:
            ends = [slope.exponent - NORMAL_95 * slope.error, slope.exponent + NORMAL_95 * slope.error]
            seen = f"{slope.exponent:.3f} (95 %: {ends[0]:.3f} to {ends[1]:.3f})"
        of_theory = fit_power_law(size, row["probability_theory"].values, error)
        same = "" if of_theory is None else f", and {of_theory.exponent:.3f} by the same fit to the theory"
        sentences.append(f"m_2 = {format_number(moment)}: {seen}{same}; at infinite n {exponent:.3f}")
    axes.set(xscale="log", yscale="log", xlabel="dimension $n$", ylabel="share that selects the weaker feature")
    axes.legend(loc="lower left")
    what = (
        "Share of the runs from random weights that select the weaker of two features, bars of 95 %. Lines: leading "
        "order at large dimension, prefactor included, nothing fitted; it tends to a power law with the exponent "
        f"-(gamma_1 / gamma_2 - 1) / 2 of the legend. Fitted exponents: {'; '.join(sentences)}."
    )
    return figure, compose_caption(summary, what)
