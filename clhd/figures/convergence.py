"""Convergence with the size parameter n: how far means are from the theory, and how wide runs scatter around them.

| panel | points | lines |
|---|---|---|
| bias | abs(mean - theory), hollow where 2 standard errors reach zero | fitted power law c n^a |
| spread | standard deviation over the replicas | its prediction; without a prediction, the fitted power law |

A bias of order 1/n has a = -1; a system predicts the spread as fluctuation / sqrt(n), which has a = -1/2. Fits weigh
each point by its error; the bias is fitted with its sign, so that points within their error of zero do not bend the
slope.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.core.arrays import FloatArray
from clhd.core.statistics import Slope, fit_power_law
from clhd.core.text import format_number, format_place, join_words, label_axis
from clhd.figures.caption import capitalise, compose_caption, warn_incomplete
from clhd.figures.lines import plot_lines
from clhd.figures.roles import describe_fixed, thin
from clhd.figures.style import MUTED, PAGE, make_figure, pick_colours, pick_markers
from clhd.sweep.results.summary_reader import Summary

_MOST_TIMES = 4
_STATISTICS = ("mean", "theory", "standard_deviation", "standard_error", "theory_standard_deviation")


def plot_convergence(summary: Summary) -> tuple[Figure, str]:
    """Draw bias and spread against the size, at a few times.

    Returns
    -------
    (figure, caption)
        Those of `clhd.figures.lines` where there are no two sizes to compare, or neither bias nor spread.
    """
    titles = ["bias"] * summary.has("theory") + ["spread"] * summary.has("standard_deviation")
    if summary.size not in summary.axes or not titles:
        return plot_lines(summary)
    sizes = summary.get("mean").sizes
    fixed = {axis: sizes[axis] // 2 for axis in summary.axes if axis != summary.size}
    found = xr.Dataset({name: summary.get(name).isel(fixed) for name in _STATISTICS})
    counts = summary.count("ok")
    runs = counts.isel({axis: k for axis, k in fixed.items() if axis in counts.dims}).values
    size = found[summary.size].values.astype(float)
    points = [found.isel(time=k) for k in _choose_times(found)] if summary.has_times else [found]
    figure = make_figure(PAGE, 3.1)
    panels = dict(zip(titles, figure.subplots(1, len(titles), squeeze=False)[0], strict=True))
    slopes: dict[str, list[str]] = {"bias": [], "spread": []}
    handles = []
    looks = zip(points, pick_colours(len(points), ordered=True), pick_markers(len(points)), strict=True)
    for k, (point, colour, marker) in enumerate(looks):
        label = format_place(point["time"], point["time"].item()) if summary.has_times else "simulation"
        handles.append(Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=label))
        drawn: dict[str, Slope | None] = {}
        if "bias" in panels:
            near = size * 1.06 ** (k - (len(points) - 1) / 2)  # side by side: bars must not hide each other
            drawn["bias"] = _plot_bias(panels["bias"], point, size, near, colour, marker)
        if "spread" in panels:
            drawn["spread"] = _plot_spread(panels["spread"], point, size, runs, colour, marker)
        when = f" at {_name_time(point)}" if summary.has_times else ""
        for title, slope in drawn.items():
            slopes[title] += [f"{slope}{when}"] if slope is not None else []
    _label(panels, summary, found, handles)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    warn_incomplete(figure, summary)
    sentences = [*_describe(summary, titles, slopes), describe_fixed(summary, fixed)]
    return figure, compose_caption(summary, " ".join(sentence for sentence in sentences if sentence))


def _choose_times(found: xr.Dataset) -> list[int]:
    """Positions of a few times, without the start: there, nothing converges."""
    spread = found["standard_deviation"]
    is_moving = (spread.isnull() | (spread > 0)).any([dim for dim in spread.dims if dim != "time"])
    moving = np.flatnonzero(is_moving.values & (found["time"].values > 0))
    return [int(moving[k]) for k in thin(len(moving), _MOST_TIMES)] or [found.sizes["time"] - 1]


def _name_time(point: xr.Dataset) -> str:
    words = point["time"].attrs
    return f"{words.get('symbol') or words.get('long_name', 'time')} = {format_number(point['time'].item())}"


def _plot_bias(panel: Axes, point: xr.Dataset, size: FloatArray, near: FloatArray, colour: Any, marker: str) -> Any:
    """Draw the distance of the means from the theory, and the fitted power law, which is returned."""
    bias, error = (point["mean"] - point["theory"]).values, point["standard_error"].values
    width = np.nan_to_num(2 * error)  # the error of one run is not known
    height = np.abs(bias)
    lower = np.minimum(width, 0.999 * height)  # a bar that reaches zero goes to the foot of the panel
    for chosen, face in ((height > width, colour), (height <= width, "white")):
        if chosen.any():
            panel.errorbar(
                near[chosen],
                height[chosen],
                np.array([lower[chosen], width[chosen]]),
                fmt=marker,
                color=colour,
                markerfacecolor=face,
                markeredgewidth=0.7,
                elinewidth=0.7,
            )
    slope = fit_power_law(size, bias, error)
    if slope is not None:
        panel.plot(size, np.abs(slope.values), color=colour, linestyle="--", linewidth=0.8)
    return slope


def _plot_spread(panel: Axes, point: xr.Dataset, size: FloatArray, runs: Any, colour: Any, marker: str) -> Any:
    """Draw the spread of the runs with its prediction, or with the fitted power law, which is returned."""
    spread, predicted = point["standard_deviation"].values, point["theory_standard_deviation"].values
    width = spread / np.sqrt(2.0 * (np.maximum(runs, 2) - 1))
    panel.errorbar(size, spread, 2 * width, fmt=marker, color=colour, markeredgewidth=0, elinewidth=0.7)
    slope = fit_power_law(size, spread, width)
    if np.isfinite(predicted).any():
        panel.plot(size, predicted, color=colour, linewidth=0.9)
    elif slope is not None:
        panel.plot(size, slope.values, color=colour, linestyle="--", linewidth=0.8)
    return slope


def _label(panels: dict[str, Axes], summary: Summary, found: xr.Dataset, handles: list[Any]) -> None:
    symbol = label_axis(found["mean"].attrs | {"long_name": summary.long_name}, summary.quantity)
    for panel in panels.values():
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(label_axis(found[summary.size].attrs, summary.size))
    if "spread" in panels:
        panels["spread"].set_ylabel(f"standard deviation of {symbol}")
    if "bias" in panels:
        panels["bias"].set_ylabel(f"|mean \N{MINUS SIGN} theory| of {symbol}")
        _limit_bias(panels["bias"])
    if any(line.get_linestyle() == "--" for panel in panels.values() for line in panel.lines):
        handles.append(Line2D([], [], color=MUTED, linestyle="--", linewidth=0.8, label="fit"))
    if summary.has("theory_standard_deviation"):
        handles.append(Line2D([], [], color=MUTED, linewidth=0.9, label="theory"))


def _limit_bias(panel: Axes) -> None:
    """Choose the scale by the points, not by bars that reach zero or by the far end of a fit."""
    containers: list[Any] = list(panel.containers)
    heights = [np.asarray(container.lines[0].get_ydata(), np.float64) for container in containers]
    height = np.concatenate(heights or [np.ones(1)])
    height = height[np.isfinite(height) & (height > 0)]
    if height.size:
        panel.set_ylim(0.4 * height.min(), 5 * height.max())


def _describe(summary: Summary, titles: list[str], slopes: dict[str, list[str]]) -> list[str]:
    """A sentence on each panel."""
    bias = f"distance of the mean {summary.long_name} from the {summary.limit}"
    if summary.has("standard_error"):
        bias += ", bars of 2 standard errors, hollow where they reach zero"
        if slopes["bias"]:
            bias += f"; dashed: fitted power laws, with exponents {join_words(slopes['bias'])}"
            bias += " (\N{MINUS SIGN}1 for a bias of order 1/n)"
        else:
            bias += "; too close to zero to fit a power law"
    spread = "standard deviation over the runs, bars of 2 standard errors"
    if summary.has("theory_standard_deviation"):
        spread += "; lines: the fluctuation theory"
    if slopes["spread"]:
        expected = " (theory: \N{MINUS SIGN}0.5)" if summary.has("theory_standard_deviation") else ""
        spread += f"; fitted exponents {join_words(slopes['spread'])}{expected}"
    texts = [{"bias": bias, "spread": spread}[title] for title in titles]
    if len(texts) == 1:
        return [f"{capitalise(texts[0])}."]
    return [f"{side}: {text}." for side, text in zip(("Left", "Right"), texts, strict=True)]
