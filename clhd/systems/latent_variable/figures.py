"""Two figures: the three mechanisms in time with the error of gradient descent, and the phase diagram by width."""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.claims.verdict import Estimate
from clhd.core.text import format_number
from clhd.figures.caption import compose_caption
from clhd.figures.roles import need_axes
from clhd.figures.series import split_series
from clhd.figures.style import INK, MARKERS, MUTED, PAGE, letter_panels, make_figure, pick_colours
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.latent_variable.claims import measure_error, measure_exponents


def plot_mechanisms(summary: Summary) -> tuple[Figure, str]:
    """Draw alignment and norms in time by target, and the error of gradient descent by step."""
    need_axes(summary, "initial_alignment", "cross_moment", "step_size")
    dataset = summary.dataset.sortby(["initial_alignment", "step_size"])
    figure = make_figure(PAGE, 2.5)
    panels = figure.subplots(1, 3)
    inner = dataset.sel(initial_alignment=(abs(dataset["initial_alignment"]) < 1))
    middle = inner.isel(initial_alignment=-1, step_size=-1)
    for target, point, look in split_series(middle, "cross_moment", ordered=False):
        scales = {"alignment": 1.0, "norm_product": float(point["norm_product_theory"][0])}
        for axes, (name, scale) in zip(panels, scales.items(), strict=False):
            axes.plot(point["time"], point[f"{name}_theory"] / scale, color=look["color"], label=format_number(target))
            axes.plot(point["time"], point[f"{name}_mean"] / scale, "o", color=look["color"], markerfacecolor="white")
    panels[0].set(xlabel="time $t$", ylabel=r"alignment $\zeta$")
    panels[1].set(xlabel="time $t$", ylabel=r"$|u||w|$, relative to the start")
    response = format_number(float(middle["response_theory"].isel(cross_moment=0, time=0)))
    panels[1].legend(title=rf"$b$, with $f_0$ = {response}", loc="best")
    _plot_errors(panels[2], measure_error(dataset))
    letter_panels(panels)
    step = format_number(float(middle["step_size"]))
    start = format_number(float(middle["initial_alignment"]))
    # Without z-scores: from the same start, theory and simulation differ by the bias of the step alone.
    return figure, compose_caption(
        summary,
        f"Left, middle: cosine of the layers' weights and product of their norms from alignment {start}, by the closed "
        f"form (lines) and by gradient descent with step {step} (markers). Right: largest distance of the response "
        "from its closed form, relative to it, for all starts that move; dashed: first order.",
        with_agreement=False,
    )


def _plot_errors(axes: Axes, error: xr.DataArray) -> None:
    """The error of each start against the step; starts that do not move have none."""
    steps = error["step_size"].values
    for _, curves, look in split_series(error.where(error > 1e-12), "cross_moment", ordered=False):
        axes.plot(steps, curves.transpose("step_size", ...), color=look["color"], linewidth=0.8)
    guide = 1.3 * steps / steps[-1] * float(error.max())
    axes.plot(steps, guide, "--", color=MUTED, linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="largest error of $f$")
    axes.set_xticks(steps, [f"1/{format_number(round(1 / step))}" for step in steps])
    axes.minorticks_off()


def plot_phases(summary: Summary) -> tuple[Figure, str]:
    """Draw the change of the kernel and the alignment against the width, and measured against predicted exponents."""
    need_axes(summary, "scaling", "network_width")
    dataset = summary.dataset.sortby("network_width")
    dataset = dataset.isel(scaling=np.argsort(dataset["phase_index_theory"].values[:, 0], kind="stable"))
    index, alignment = (dataset[f"{name}_index_theory"].values[:, 0] for name in ("phase", "alignment"))
    levels, place = np.unique(index, return_inverse=True)
    shades = pick_colours(len(levels), ordered=True)
    markers = np.where(np.isclose(index, alignment), *MARKERS[:2])  # balanced layers, unbalanced
    looks: list[Any] = [
        {"color": shades[k], "marker": marker, "markerfacecolor": "white", "linestyle": ""}
        for k, marker in zip(place, markers, strict=True)
    ]
    figure = make_figure(PAGE, 2.7)
    panels = figure.subplots(1, 3)
    width = dataset["network_width"].values
    for k, look in enumerate(looks):
        point = dataset.isel(scaling=k)
        panels[0].plot(width, 10 ** point["log_kernel_change_theory"], color=look["color"])
        panels[0].plot(width, 10 ** point["log_kernel_change_mean"], **look)
        panels[1].plot(width, point["alignment_theory"][..., -1], color=look["color"])
        panels[1].plot(width, point["alignment_mean"][..., -1], **look)
    panels[0].set(ylabel=r"change of the kernel $|K_\infty/K_0 - 1|$", yscale="log")
    panels[1].set(ylabel=r"alignment $\zeta$ at the end", ylim=(-0.03, 1.03))
    for axes in panels[:2]:
        axes.set(xscale="log", xlabel="width $d$")
    _plot_exponents(panels[2], measure_exponents(dataset), looks)
    handles = [
        Line2D([], [], color=shade, label=format_number(level)) for level, shade in zip(levels, shades, strict=True)
    ]
    figure.legend(handles=handles, title="phase index $e$", loc="outside right center")
    handles = [
        Line2D([], [], marker=marker, color=INK, markerfacecolor="white", linestyle="", label=label)
        for marker, label in zip(MARKERS, ("balanced layers", "unbalanced"), strict=False)
    ]
    panels[2].legend(handles=handles, loc="upper left")
    letter_panels(panels)
    # Without z-scores: from the same start, theory and simulation differ by the bias of the step alone.
    return figure, compose_caption(
        summary,
        "Left: geometric mean of the relative change of the tangent kernel, by the closed form (lines) and by gradient "
        "descent from the same random starts (markers). Middle: cosine of the layers' weights at the end. Right: "
        "exponent of the kernel's change in the width, measured from the smallest to the largest, against the "
        "predicted one; bars: 95 % for all together.",
        with_agreement=False,
    )


def _plot_exponents(axes: Axes, found: list[tuple[float, float, Estimate]], looks: list[Any]) -> None:
    """Measured against predicted exponents, with the diagonal."""
    for (_, predicted, measured), look in zip(found, looks, strict=True):
        bars = [[measured.value - measured.low], [measured.high - measured.value]]
        axes.errorbar(predicted, measured.value, bars, **look)
    ends = [min(predicted for _, predicted, _ in found) - 0.3, max(predicted for _, predicted, _ in found) + 0.3]
    axes.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=0)
    axes.set(xlabel="predicted exponent", ylabel="measured exponent")
