"""Figures of the saddle: dimensions, exponents and escape by schedule; contraction that fades."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clhd.core.text import format_number
from clhd.figures.caption import compose_caption, describe_verdict
from clhd.figures.roles import assign_roles, describe_fixed, name_axis
from clhd.figures.series import draw_means, shift_series, split_series
from clhd.figures.style import COLUMN, INK, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.saddle.claims import measure_fading

_SHIFT = 0.12  # between the points of two schedules, side by side


def plot_saddle(summary: Summary) -> tuple[Figure, str]:
    """Draw dimensions against n, exponents at one n, and the escape from next to gradient descent's region."""
    roles = assign_roles(summary, ("dimension", "schedule"), roles=2)
    dataset = summary.dataset.isel(roles.fixed).squeeze(drop=True)
    axis, places = roles.x, dataset[roles.x].values
    figure = make_figure(PAGE, 2.6)
    panels = figure.subplots(1, 3)
    series = list(split_series(dataset, roles.colour, ordered=False))
    for (value, group, look), shift in zip(series, shift_series(len(series), _SHIFT), strict=True):
        point, shifted = group.isel({axis: len(places) // 2}), places + shift
        panels[0].plot(shifted, group["attraction_dimension_mean"], **look)
        panels[0].plot(shifted, group["common_dimension_mean"], **look, markerfacecolor="white")
        rank, label = point["growth_rank"], str(summary.name if value is None else value).replace("_", " ")
        panels[1].plot(rank, point["lyapunov_exponent_theory"], color=look["color"], linewidth=0.8)
        panels[1].plot(rank + shift, point["lyapunov_exponent_mean"], **look, label=label)
        draw_means(panels[2], shifted, group, "escape_step", errors=2, **look)
    if axis == "dimension":
        panels[0].plot(places, places - 1, color=INK, linewidth=0.6, zorder=0)
        panels[0].plot(places, (places - 1) // 2, color=INK, linewidth=0.6, linestyle="--", zorder=0)
    panels[1].axhline(0, color=MUTED, linewidth=0.6)
    middle = format_number(places[len(places) // 2])
    panels[0].set(xlabel=name_axis(dataset, axis), ylabel="dimension of the region")
    panels[1].set(xlabel="exponent, by size", ylabel="growth per step (log)", title=f"{axis} {middle}")
    panels[2].set(xlabel=name_axis(dataset, axis), ylabel="steps to escape", ylim=(0, None))
    for panel in panels:
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panels[1].legend(loc="upper right")
    letter_panels(panels)
    what = (
        "a: directions that shrink to the saddle (filled), and starts that are attracted from whichever of 30 step "
        "indices the scheme begins at (open); the lines are n - 1 and floor((n - 1)/2). b: exponents of the product "
        "of steps (marks) and of the limit (lines). c: first step with f < -1, from starts 1e-6 off the region of "
        f"gradient descent, with 2 standard errors. {describe_fixed(summary, roles.fixed)}"
    )
    return figure, compose_caption(summary, what)


def plot_stalling(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw how much the directions shrink in a run, against its length, by the power with which the smoothing grows."""
    summary = summaries["growing"]
    growing, n = summary.dataset, int(summary.experiment["constants"]["dimension"])
    rates = -growing["lyapunov_exponent_mean"].sel(growth_rank=slice(2, n - 1)).mean("growth_rank")
    fading, steps = measure_fading(growing, n), growing["descent_steps"].values
    figure = make_figure(COLUMN, 2.6)
    axes = figure.subplots()
    for power, rate, look in split_series(rates.squeeze(drop=True), "growth_power", ordered=True):
        label = f"$p$ = {format_number(power)}, fitted {format_number(float(fading.sel(growth_power=power)))}"
        axes.plot(steps, rate, **look, label=label)
        axes.plot(steps, float(rate[0]) * (steps / steps[0]) ** -power, color=look["color"], linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="steps $K$", ylabel="mean contraction per step")
    axes.set_xticks(steps, [format_number(float(count)) for count in steps])
    axes.minorticks_off()
    axes.set_ylim(float(rates.min()) / 300)
    axes.legend(loc="lower left", ncols=2, columnspacing=0.8)
    left = ", ".join(format_number(float(value)) for value in np.atleast_1d(claim["evidence"]["stalled_directions"]))
    return figure, (
        f"{describe_verdict(claim)} Contraction per step in the last three quarters of "
        f"K steps, averaged over the directions except the unstable one and the mean, at n = {n}; the lines fall as "
        f"K^-p from the first point. Directions that stall in the longest run, by p: {left}.\n"
    )
