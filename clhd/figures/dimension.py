"""Convergence with the dimension: how far means are from the limit, and how wide runs scatter around them.

| panel | points | lines |
|---|---|---|
| bias | abs(mean - theory), hollow where 2 standard errors reach zero | fitted power law c n^a |
| spread | standard deviation over the replicas | the fluctuation theory; without one, the fitted power law |

Theory says a = -1 for the bias and a = -1/2 for the spread. Fits weigh each point by its error; the bias is fitted with
its sign, so that points that are not told from zero do not bend the slope.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from clhd.core.power_law import Slope, fit_power_law
from clhd.core.text import format_number, join_words, label_axis
from clhd.figures.caption import compose_caption, describe_incomplete
from clhd.figures.lines import plot_lines
from clhd.figures.roles import describe_fixed, thin
from clhd.figures.style import ALARM, MUTED, PAGE, make_figure, pick_colours, pick_markers
from clhd.sweep.results.summary_reader import Summary

_SIZE = "dimension"
_MOST_TIMES = 4
FloatArray = NDArray[np.float64]


def plot_dimension(summary: Summary) -> tuple[Figure, str]:
    """Draw bias and spread against the dimension, at a few times.

    Returns
    -------
    (figure, caption)
        Those of `clhd.figures.lines` where there are no two dimensions to compare.
    """
    if _SIZE not in summary.axes:
        return plot_lines(summary)
    sizes = summary.get("mean").sizes
    fixed = {axis: sizes[axis] // 2 for axis in summary.axes if axis != _SIZE}
    mean, theory, deviation, error, predicted = (
        summary.get(name).isel(fixed).transpose("time", _SIZE)
        for name in ("mean", "theory", "standard_deviation", "standard_error", "theory_standard_deviation")
    )
    # At the start all runs are where the theory is, or the start is random: nothing converges.
    moving = [k for k in range(mean.sizes["time"]) if bool((deviation[k] > 0).any()) and float(mean["time"][k]) > 0]
    moving = [moving[k] for k in thin(len(moving), _MOST_TIMES)] if moving else [mean.sizes["time"] - 1]
    has_bias = summary.has("theory")
    figure = make_figure(PAGE, 3.1)
    panels = figure.subplots(1, 2 if has_bias else 1, squeeze=False)[0]
    size = mean[_SIZE].values.astype(float)
    runs = np.maximum(summary.count("ok").isel({k: v for k, v in fixed.items() if k != "feature"}).values, 2)
    colours, markers = pick_colours(len(moving), ordered=True), pick_markers(len(moving))
    slopes: dict[str, list[str]] = {"bias": [], "spread": []}
    handles = []
    for position, (k, colour, marker) in enumerate(zip(moving, colours, markers, strict=True)):
        when = f"t = {format_number(float(mean['time'][k]))}"
        handles.append(Line2D([], [], color=colour, marker=marker, markeredgewidth=0, label=f"${when}$"))
        near = size * 1.06 ** (position - (len(moving) - 1) / 2)  # side by side, so that bars are told apart
        if has_bias:
            bias, width = (mean - theory)[k].values, error[k].values
            slope = fit_power_law(size, bias, width)
            _draw_bias(panels[0], near, bias, 2 * width, colour, marker)
            if slope is not None:
                panels[0].plot(size, np.abs(slope.values), color=colour, linestyle="--", linewidth=0.8)
                slopes["bias"].append(f"{slope} at {when}")
        spread = deviation[k].values
        width = spread / np.sqrt(2.0 * (runs - 1))
        slope = fit_power_law(size, spread, width)
        if slope is not None:
            slopes["spread"].append(f"{slope} at {when}")
        _draw_spread(panels[-1], size, spread, 2 * width, predicted[k].values, slope, colour, marker)
    _finish(panels, summary, mean, handles, has_bias=has_bias)
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    note = describe_incomplete(summary)
    if note:
        figure.suptitle(note, color=ALARM)
    return figure, compose_caption(
        summary, _describe(summary, slopes, describe_fixed(summary, fixed), has_bias=has_bias)
    )


def _draw_bias(panel: Axes, size: FloatArray, bias: FloatArray, width: FloatArray, colour: Any, marker: str) -> None:
    height = np.abs(bias)
    lower = np.minimum(width, 0.999 * height)  # a bar that reaches zero goes to the foot of the panel
    told = height > width
    for chosen, face in ((told, colour), (~told, "white")):
        if chosen.any():
            panel.errorbar(
                size[chosen],
                height[chosen],
                np.array([lower[chosen], width[chosen]]),
                fmt=marker,
                color=colour,
                markerfacecolor=face,
                markeredgewidth=0.7,
                elinewidth=0.7,
            )


def _draw_spread(
    panel: Axes,
    size: FloatArray,
    spread: FloatArray,
    width: FloatArray,
    predicted: FloatArray,
    slope: Slope | None,
    colour: Any,
    marker: str,
) -> None:
    panel.errorbar(size, spread, width, fmt=marker, color=colour, markeredgewidth=0, elinewidth=0.7)
    if np.isfinite(predicted).any():
        panel.plot(size, predicted, color=colour, linewidth=0.9)
    elif slope is not None:
        panel.plot(size, slope.values, color=colour, linestyle="--", linewidth=0.8)


def _finish(panels: Any, summary: Summary, mean: xr.DataArray, handles: list[Any], *, has_bias: bool) -> None:
    symbol = label_axis(mean.attrs | {"long_name": summary.long_name}, summary.quantity)
    for panel in panels:
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(label_axis(mean[_SIZE].attrs, _SIZE))
    panels[-1].set_ylabel(f"standard deviation of {symbol}")
    if has_bias:
        panels[0].set_ylabel(f"|mean \N{MINUS SIGN} theory| of {symbol}")
        _limit_bias(panels[0])
    if any(line.get_linestyle() == "--" for panel in panels for line in panel.lines):
        handles.append(Line2D([], [], color=MUTED, linestyle="--", linewidth=0.8, label="fit"))
    if summary.has("theory_standard_deviation"):
        handles.append(Line2D([], [], color=MUTED, linewidth=0.9, label="theory"))


def _limit_bias(panel: Axes) -> None:
    """A scale for the points: neither the feet of bars that reach zero nor the far end of a fit stretches it."""
    containers: list[Any] = list(panel.containers)
    heights = [np.asarray(container.lines[0].get_ydata(), np.float64) for container in containers]
    height = np.concatenate(heights or [np.ones(1)])
    height = height[np.isfinite(height) & (height > 0)]
    if height.size:
        panel.set_ylim(0.4 * height.min(), 5 * height.max())


def _describe(summary: Summary, slopes: dict[str, list[str]], fixed: str, *, has_bias: bool) -> str:
    text = ""
    if has_bias:
        text += (
            f"Left: distance of the mean {summary.long_name} from the limit of infinite dimension, bars of 2 standard "
            "errors, hollow where they reach zero; dashed: fitted power laws"
        )
        if slopes["bias"]:
            text += f", with exponents {join_words(slopes['bias'])} (theory: \N{MINUS SIGN}1)"
        else:
            text = text.replace("; dashed: fitted power laws", "; too close to zero to fit a power law")
        text += ". Right: s" if has_bias else ""
    text += f"{'' if has_bias else 'S'}tandard deviation over the runs, bars of 2 standard errors"
    if summary.has("theory_standard_deviation"):
        text += "; lines: the fluctuation theory"
    if slopes["spread"]:
        text += f"; fitted exponents {join_words(slopes['spread'])} (theory: \N{MINUS SIGN}0.5)"
    return f"{text}. {f'All at {fixed}.' if fixed else ''}".strip()
