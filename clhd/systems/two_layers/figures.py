"""The figures: specialisation over time, and the order in which locations are learned."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clhd.core.statistics import NORMAL_95
from clhd.figures.caption import compose_caption
from clhd.figures.style import CATEGORIES, INK, MARKERS, PAGE, letter_panels, make_figure, pick_colours
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.two_layers.data import DEPENDENCES
from clhd.systems.two_layers.simulation import COVERED, PASSED

_COLUMNS = 6  # panels that a page has room for


def _list_panels(data: xr.Dataset, dims: list[str]) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield the title and the data of each point of some axes; at most `_COLUMNS`."""
    shape = tuple(data.sizes[dim] for dim in dims)
    for place in list(np.ndindex(*shape))[:_COLUMNS]:
        at = dict(zip(dims, map(int, place), strict=True))
        yield "\n".join(f"{dim.replace('_', ' ')}: {data[dim].values[k]}" for dim, k in at.items()), data.isel(at)


def _describe_rest(data: xr.Dataset, dims: list[str]) -> str:
    """Return how many networks are not drawn, or nothing."""
    networks = int(np.prod([data.sizes[dim] for dim in dims]))
    return f" The first {_COLUMNS} of {networks} networks." if networks > _COLUMNS else ""


def plot_specialisation(summary: Summary) -> tuple[Figure, str]:
    """Draw matches above and covered tokens below, over time, a column for each size of the network."""
    axes = [axis for axis in summary.grid_axes if axis != "activation"]
    panels = list(_list_panels(summary.dataset, axes))
    figure = make_figure(PAGE, 3.6)
    rows = figure.subplots(2, len(panels), sharex=True, sharey="row", squeeze=False)
    for (title, data), upper, lower in zip(panels, rows[0], rows[1], strict=True):
        upper.set_title(title)
        for k, name in enumerate(np.atleast_1d(data["activation"].values)):
            of_one = data.sel(activation=name) if "activation" in data.dims else data
            for output, style, panel in (("chi_plus", "-", upper), ("chi_minus", ":", upper), ("covered", "-", lower)):
                _draw_mean(panel, of_one, output, k, style, str(name) if output == "covered" else "")
    rows[0, 0].set_ylabel("match of tokens\n(dotted: unused)")
    rows[1, 0].set_ylabel(f"share of tokens with\nmatch above {COVERED:g}")
    for panel in rows[1]:
        panel.set_xlabel("iterations")
    rows[1, 0].legend(loc="upper left")
    letter_panels(rows.flat)
    what = (
        "Above, the mean over used (lines) and unused (dotted) tokens of the largest weight of a token in a hidden "
        f"unit of length 1; below, the share of used tokens for which it is above {COVERED:g}. Bars: 95 % intervals of "
        "the mean."
    )
    return figure, compose_caption(summary, what + _describe_rest(summary.dataset, axes))


def _draw_mean(panel: Axes, data: xr.Dataset, output: str, k: int, style: str, label: str) -> None:
    """Draw the mean of an output over time, with intervals."""
    panel.errorbar(
        data["time"].values,
        data[f"{output}_mean"].values,
        NORMAL_95 * data[f"{output}_standard_error"].values,
        color=CATEGORIES[k],
        marker=MARKERS[k],
        linestyle=style,
        label=label or None,
    )


def plot_modulation(summary: Summary) -> tuple[Figure, str]:
    """Draw the match of each location over time, and the passage times against the dependence below."""
    data = summary.dataset
    panels = list(_list_panels(data, list(summary.grid_axes)))
    figure = make_figure(PAGE, 3.8)
    rows = figure.subplots(2, len(panels), sharex="row", sharey="row", squeeze=False)
    colours = pick_colours(len(DEPENDENCES), ordered=True)
    for (title, of_one), upper, lower in zip(panels, rows[0], rows[1], strict=True):
        upper.set_title(title)
        upper.axhline(PASSED, color=INK, linewidth=0.5)
        for k, (q, colour) in enumerate(zip(DEPENDENCES, colours, strict=True)):
            at = of_one.isel(token_location=k)
            upper.plot(at["time"], at["chi_plus_location_mean"], color=colour, label=f"q = {q:g}")
            time, error = float(at["passage_time_mean"]), float(at["passage_time_standard_error"])
            lower.errorbar(q, time, NORMAL_95 * error, color=colour, marker="o")
        order, error = float(of_one["order_correlation_mean"]), float(of_one["order_correlation_standard_error"])
        lower.text(
            0.97, 0.95, rf"$\rho = {order:.3f} \pm {error:.3f}$", ha="right", va="top", transform=lower.transAxes
        )
        upper.set_xlabel("iterations")
        lower.set_xlabel("dependence $q$")
    latest = float(data["passage_time_mean"].max())
    rows[1, 0].set_ylim(0, 1.35 * latest if latest > 0 else None)  # room for the text
    rows[0, 0].set_ylabel(r"match of tokens $\chi_+$")
    rows[1, 0].set_ylabel(f"iterations until\nthe match passes {PASSED:g}")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center")
    letter_panels(rows.flat)
    what = (
        "Above, the match of the tokens of each location, which depend on the pattern with probability q. Below, when "
        f"it passes {PASSED:g}: mean over the runs that pass, with 95 % intervals; no point where none does. rho: mean "
        "and standard error over runs of the rank correlation of passage time and q."
    )
    return figure, compose_caption(summary, what + _describe_rest(data, list(summary.grid_axes)))
