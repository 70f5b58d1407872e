"""The figure of the attractors: clusters of the ends of SGD beside stable fixed points, and clusters in time."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from clhd.core.text import format_number
from clhd.figures.caption import compose_caption
from clhd.figures.roles import need_axes
from clhd.figures.series import shift_series, split_series
from clhd.figures.style import COLUMN, INK, MUTED, PAGE, letter_panels, make_figure, pick_colours, pick_markers
from clhd.sweep.results.summary_reader import Summary


def plot_attractors(summary: Summary) -> tuple[Figure, str]:
    """Draw the number of clusters of each case beside the theory, and with several times their course."""
    need_axes(summary, "case", "dimension", "cluster_method")
    dataset = summary.dataset.sortby("dimension")
    # Few attractors first.
    counts = dataset["attractors_theory"].isel(time=-1, cluster_method=0)
    order = counts.max([dim for dim in counts.dims if dim != "case"]).values
    dataset = dataset.isel(case=np.argsort(order, kind="stable"))
    has_course = dataset.sizes["time"] > 1
    figure = make_figure(PAGE if has_course else COLUMN, 2.8)
    panels = figure.subplots(1, 1 + has_course, squeeze=False)[0]
    _plot_counts(panels[0], dataset)
    if has_course:
        _plot_course(panels[1], dataset)
        letter_panels(panels)
    return figure, _compose_caption(summary, has_course=has_course)


def _plot_counts(axes: Axes, dataset: xr.Dataset) -> None:
    """The counts of all cases at the last time: theory as bars, each method and dimension beside each other."""
    last = dataset.isel(time=-1)
    methods, sizes = last["cluster_method"].values.tolist(), last["dimension"].values
    place = np.arange(last.sizes["case"], dtype=float)
    theory = last["attractors_theory"].isel(cluster_method=0)
    theory = theory.isel(dimension=-1) if "dimension" in theory.dims else theory
    axes.hlines(theory, place - 0.38, place + 0.38, color=INK, linewidth=1.2, label="stable fixed points")
    colours = pick_colours(len(methods), ordered=False)
    markers = pick_markers(len(methods) * len(sizes))
    shifts = np.linspace(-0.27, 0.27, len(markers))
    for k, (m, n) in enumerate(np.ndindex(len(methods), len(sizes))):
        mean = last["attractors_mean"].isel(cluster_method=m, dimension=n)
        label = f"{methods[m]}, $n$ = {format_number(sizes[n])}"
        axes.plot(place + shifts[k], mean, markers[k], color=colours[m], markerfacecolor="white", label=label)
    axes.set_xticks(place, [_name_case(last.isel(case=int(k))) for k in place])
    axes.set(xlabel="second moment; kurtoses", ylabel="attractors", ylim=(0, None))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="best")


def _plot_course(axes: Axes, dataset: xr.Dataset) -> None:
    """The counts by the first method, at the largest dimension, against time; dotted: stable fixed points."""
    point = dataset.isel(dimension=-1, cluster_method=0)
    # Cases with one count lie on each other: each is drawn a little off.
    series = zip(split_series(point, "case", ordered=False), shift_series(point.sizes["case"], 0.06), strict=True)
    for (_, case, look), shift in series:
        look |= {"linestyle": "-", "markerfacecolor": "white", "label": _name_case(case).replace("\n", "; ")}
        axes.plot(case["time"], case["attractors_mean"] + shift, **look)
    for level in np.unique(point["attractors_theory"].values):
        axes.axhline(level, color=MUTED, linestyle=":", linewidth=0.8, zorder=0)
    highest = float(point["attractors_mean"].max())
    axes.set(
        xlabel="time $t$", xscale="log", ylim=(0, 1.3 * highest), ylabel=f"clusters by {point['cluster_method'].item()}"
    )
    axes.set_xticks(point["time"].values, [format_number(time) for time in point["time"].values])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper right", title="second moment; kurtoses", ncols=2)


def _name_case(point: xr.Dataset) -> str:
    """The second moment and the kurtoses of a case, as far as they vary."""
    names = sorted(str(name) for name in point.coords if str(name).startswith("kurtosis"))
    kurtoses = ", ".join(format_number(float(point[name])) for name in names)
    moment = format_number(float(point["second_moment"])) if "second_moment" in point.coords else ""
    return "\n".join(part for part in (moment, kurtoses) if part)


def _compose_caption(summary: Summary, *, has_course: bool) -> str:
    size = summary.experiment.get("constants", {}).get("cloud_size", 1000)
    course = (
        " Right: clusters against time at the largest dimension, by second moment and kurtoses; curves are shifted "
        "against each other; dotted: stable fixed points."
    )
    what = (
        f"Number of clusters in clouds of {format_number(size)} ends of SGD, by method and dimension (markers), and of "
        f"stable fixed points with their images under sign changes (lines).{course if has_course else ''}"
    )
    return compose_caption(summary, what, with_agreement=False)
