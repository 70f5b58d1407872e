"""The figure of C7: what the correlation of the augmentation noise does, and through what.

A row for each of two cases: steady similarity by SGD and ODE, with the correlation in both, in the drift and in the
gradient variance alone; the gradient variance; the gain over independent noise by switch. Below, maps over base noise,
rate, batch and background, a row for each kind of unit: the gain over independent noise, over no augmentation noise,
and the part of the gain that the gradient variance alone gives.
"""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from clhd.core.text import format_number
from clhd.figures.series import draw_means, shift_series
from clhd.figures.style import CATEGORIES, FAINT, INK, MARKERS, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.correlation import gains_by_switch
from clhd.systems.contrastive.claims.where import BASE, read_places

_SWITCHES = {"both": "both", "drift": "drift alone", "gradient_variance": "$D$ alone"}
_COLOURS = dict(zip(_SWITCHES, (INK, CATEGORIES[0], CATEGORIES[1]), strict=True))
_STYLES = dict(zip(_SWITCHES, ("-", "--", ":"), strict=True))
_RHO = r"correlation $\rho$"
_RATE = "learning_rate"
_MAPS = {
    "gain": "$S(-1) - S(0)$",
    "over_none": "$S(-1) - S$ without noise",
    "part": "part of the gain by $D$ alone",
}


def plot_correlation(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C7 from the summaries by role and its entry in claims.json; return it with a caption."""
    cases = summaries["cases"].dataset.isel(feature=0)
    names = [str(case) for case in cases["case"].values]
    places = [read_places(summaries["map"]), read_places(summaries["three_views"]).expand_dims(batch=[0])]
    units = places[0]["case"].values
    height = 1.25 * len(units) + 0.6
    figure = make_figure(PAGE, 1.8 * len(names) + height)
    rows = figure.add_gridspec(len(names) + 1, 1, height_ratios=[1.8] * len(names) + [height])
    letters: list[Axes] = []
    for k, name in enumerate(names):
        row = figure.add_subfigure(rows[k])
        row.suptitle(describe_case(name), x=0.01, ha="left", weight="bold")
        panels = row.subplots(1, 3)
        _plot_similarity(panels[0], cases.sel(case=name))
        _plot_variance(panels[1], cases.sel(case=name))
        _plot_gains(panels[2], cases.sel(case=name))
        if k == 0:
            # There is room on the line of the title.
            row.legend(*panels[0].get_legend_handles_labels(), loc="upper right", ncols=5, borderaxespad=0.2)
        letters += list(panels)
    table = xr.concat([part[list(_MAPS)] for part in places], "batch")
    letters += _plot_maps(figure.add_subfigure(rows[-1]), table, claim["thresholds"]["least_part"])
    letter_panels(letters)
    return figure, _caption(summaries, claim)


def describe_case(name: str) -> str:
    """Return the label of a joint axis for people, such as ``linear, sphere``: words, and a decay if it is not 0."""
    words = []
    for entry in name.split(", "):
        parameter, _, value = entry.partition("=")
        if parameter == "weight_decay":
            words += [f"weight decay {value}"] if float(value) else []
        elif value != "none":
            words.append(value or parameter)
    return ", ".join(words)


def _plot_similarity(axes: Axes, case: xr.Dataset) -> None:
    """Lines by switch, and SGD at each dimension."""
    end = case.isel(time=-1)
    theory = end["cosine_similarity_theory"].isel(dimension=-1)
    correlation = end["noise_correlation"].values
    for switch, label in _SWITCHES.items():
        line = theory.sel(correlation_acts_on=switch)
        axes.plot(correlation, line, color=_COLOURS[switch], linestyle=_STYLES[switch], label=f"ODE, {label}", zorder=1)
    shifts = shift_series(end.sizes["dimension"], 0.04)
    for k, n in enumerate(end["dimension"].values):
        look: Any = {"color": CATEGORIES[2 + k % 3], "marker": MARKERS[k], "linestyle": ""}
        label = f"SGD, $n$ = {format_number(n)}"
        draw_means(axes, correlation + shifts[k], end.sel(dimension=n), "cosine_similarity", **look, label=label)
    axes.set(xlabel=_RHO, ylabel="steady similarity $S$", xticks=[-1, 0, 1])


def _plot_variance(axes: Axes, case: xr.Dataset) -> None:
    """D at the start, which is one state, and at the end of each correlation."""
    variance = case["gradient_variance_theory"].sel(correlation_acts_on="both")
    rises = bool(variance[-1, -1] > variance[0, -1])
    lines = sorted([(0, "same state", "--"), (-1, "steady state", "-")], key=lambda line: -float(variance[0, line[0]]))
    for is_upper, (index, label, style) in zip((True, False), lines, strict=True):
        line = variance.isel(time=index)
        axes.plot(line["noise_correlation"], line, color=INK, linestyle=style, marker="o")
        # Off the lines: above the upper line and below the lower line, on the side from which they fall away.
        axes.annotate(
            label,
            (0, float(line.sel(noise_correlation=0))),
            (-4, 4) if is_upper and rises else (4, 4) if is_upper else (4, -4) if rises else (-4, -4),
            textcoords="offset points",
            ha="right" if is_upper == rises else "left",
            va="bottom" if is_upper else "top",
            fontsize=7,
        )
    axes.set(xlabel=_RHO, ylabel="gradient variance $D$", xticks=[-1, 0, 1])


def _plot_gains(axes: Axes, case: xr.Dataset) -> None:
    """The gain over independent noise, by switch."""
    gains = gains_by_switch(case["cosine_similarity_theory"].isel(dimension=-1, time=-1))
    for k, switch in enumerate(_SWITCHES):
        gain = gains[switch]
        axes.bar(k, gain, width=0.6, color=_COLOURS[switch])
        is_below = round(gain, 4) < 0  # a zero stands above the axis, whatever rounding leaves of it
        axes.annotate(
            f"{gain:z.4f}".replace("-", "\N{MINUS SIGN}"),
            (k, gain),
            (0, -2 if is_below else 2),
            textcoords="offset points",
            ha="center",
            va="top" if is_below else "bottom",
            fontsize=7,
        )
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.margins(y=0.18)
    axes.set_xticks(range(len(_SWITCHES)), list(_SWITCHES.values()))
    axes.set_ylabel("gain $S(-1) - S(0)$")


def _plot_maps(figure: SubFigure, places: xr.Dataset, least_part: float) -> list[Axes]:
    """A row for each unit: columns are backgrounds with base noises, rows batches with rates; return the first row."""
    units = places["case"].values
    panels = figure.subplots(len(units), len(_MAPS), sharex=True, sharey=True, squeeze=False)
    for k, (name, label) in enumerate(_MAPS.items()):
        values = places[name].transpose("case", "batch", _RATE, "background", BASE)
        # A few places next to the end of learnability would take all of the colours.
        limit = 1.0 if name == "part" else float(np.nanquantile(np.abs(values), 0.95))
        for axes, unit in zip(panels[:, k], units, strict=True):
            table = values.sel(case=unit).values
            table = table.reshape(table.shape[0] * table.shape[1], -1)
            axes.set_facecolor(FAINT)
            image = axes.imshow(
                np.ma.masked_invalid(table), aspect="auto", cmap=mpl.colormaps["RdBu"], vmin=-limit, vmax=limit
            )
            if name == "part":
                axes.plot(
                    *np.argwhere(table > least_part).T[::-1], marker=".", color="white", linestyle="", markersize=3
                )
            _rule_lines(axes, values)
        panels[0, k].set_title(label)
        figure.colorbar(image, ax=panels[:, k], location="bottom", extend="both", pad=0.01, aspect=25, shrink=0.9)
    for axes, unit in zip(panels[:, 0], units, strict=True):
        axes.set_ylabel(describe_case(str(unit)))
    _label_ticks(panels, places)
    return list(panels[0])


def _rule_lines(axes: Axes, values: xr.DataArray) -> None:
    """Lines between batches and between backgrounds."""
    for k in range(1, values.sizes["batch"]):
        axes.axhline(k * values.sizes[_RATE] - 0.5, color=INK, linewidth=0.6)
    for k in range(1, values.sizes["background"]):
        axes.axvline(k * values.sizes[BASE] - 0.5, color=INK, linewidth=0.6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _label_ticks(panels: Any, places: xr.Dataset) -> None:
    rates, bases = places.sizes[_RATE], places[BASE].values
    batches = [f"$B$ = {batch}" if batch else "3 views" for batch in places["batch"].values.tolist()]
    panels[0, 0].set_yticks([(k + 0.5) * rates - 0.5 for k in range(len(batches))], batches)
    labels = [format_number(base) for _ in places["background"].values for base in bases]
    for k in range(len(_MAPS)):
        panels[-1, k].set_xticks(range(len(labels)), labels, fontsize=5.5)
        panels[-1, k].set_xlabel("base noise: " + ", then ".join(map(str, places["background"].values)), fontsize=7)


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    ordering, mechanism = claim["parts"]
    found, split = claim["evidence"]["letters_model"], claim["evidence"]["by_size_of_the_augmentation_noise"]
    drawn, part = claim["evidence"]["sgd_at_drawn_places"], format_number(claim["thresholds"]["least_part"])
    beyond = "; ".join(
        f"{name.replace('_', ' ')} {_percent(counts, 'better_than_independent')} and "
        f"{_percent(counts, 'by_gradient_variance')}"
        for name, counts in split.items()
    )
    rates = ", ".join(format_number(rate) for rate in summaries["map"].dataset[_RATE].values)
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']} (it does better somewhere: {ordering['verdict']}; "
        f"by the variance of the gradient: {mechanism['verdict']}). Above, a row for each of two cases. Left: steady "
        f"cosine similarity, mean of {summaries['cases'].replicas} runs of SGD with 95 % intervals, and ODE, in which "
        "the correlation enters drift and gradient variance, or one of them alone. Middle: the gradient variance, at "
        "one state and at the steady state of each correlation. Right: what correlation \N{MINUS SIGN}1 gains over "
        "independent noise, by switch. Below, by theory, maps of that gain, of the change against no augmentation "
        f"noise, and of the part of the gain that the gradient variance alone gives (dots: more than {part}; grey: no "
        f"gain); colours of changes end at 95 % of their sizes. In each block of a batch, rows are "
        f"learning rates {rates}, from above. Of the {found['places_that_learn']} places with orthogonal background "
        "and a nonlinear unit that learn something, correlation \N{MINUS SIGN}1 does "
        f"better than independent noise at {_percent(found, 'better_than_independent')}, than no augmentation noise at "
        f"{_percent(found, 'better_than_none')}; at {_percent(found, 'by_gradient_variance')} the gradient variance "
        f"alone gives the larger part of the gain. By the variance of the augmentation noise: {beyond}. SGD follows "
        f"the ODE at {drawn['places']['holds']} of {sum(drawn['places'].values())} drawn places.\n"
    )


def _percent(counts: Mapping[str, Any], statement: str) -> str:
    share = counts[statement]["value"]
    return "an unknown share" if share is None else f"{100 * share:.1f} %"
