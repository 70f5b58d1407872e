"""The figure of C7: what the correlation of the augmentation noise does, and through what.

A row for each case: steady similarity by SGD and ODE, with the correlation in both, in the drift and in the gradient
variance alone; the gradient variance; the gain over independent noise by switch. Below, the map of the ordering.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clhd.claims.verdict import NORMAL_95
from clhd.core.text import format_number
from clhd.figures.style import CATEGORIES, INK, MARKERS, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.correlation import CORRELATIONS, falls_on_map, gains_by_switch
from clhd.systems.contrastive.claims.learned import learned_similarity
from clhd.systems.contrastive.figures.place_map import draw_place_maps

_SWITCHES = {"both": "both", "drift": "drift alone", "gradient_variance": "$D$ alone"}
_COLOURS = dict(zip(_SWITCHES, (INK, CATEGORIES[0], CATEGORIES[1]), strict=True))
_STYLES = dict(zip(_SWITCHES, ("-", "--", ":"), strict=True))
_RHO = r"correlation $\rho$"
_VARIANCE = "augmentation_noise_variance"


def plot_correlation(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C7 from the summaries by role and its entry in claims.json; return it with a caption."""
    cases = summaries["cases"].dataset.isel(feature=0)
    names = [str(case) for case in cases["case"].values]
    figure = make_figure(PAGE, 1.9 * len(names) + 2.2)
    rows = figure.add_gridspec(len(names) + 1, 1, height_ratios=[1.0] * len(names) + [1.1])
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
    letters += _plot_map(figure.add_subfigure(rows[-1]), summaries["map"].dataset, claim["thresholds"])
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
    for k, n in enumerate(end["dimension"].values):
        point = end.sel(dimension=n)
        axes.errorbar(
            correlation + 0.04 * (k - (case.sizes["dimension"] - 1) / 2),  # side by side
            point["cosine_similarity_mean"],
            NORMAL_95 * point["cosine_similarity_standard_error"],
            color=CATEGORIES[2 + k % 3],
            marker=MARKERS[k],
            linestyle="",
            label=f"SGD, n = {format_number(n)}",
        )
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
        axes.annotate(
            f"{gain:z.4f}".replace("-", "\N{MINUS SIGN}"),
            (k, gain),
            (0, 2 if gain >= 0 else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if gain >= 0 else "top",
            fontsize=7,
        )
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.margins(y=0.18)
    axes.set_xticks(range(len(_SWITCHES)), list(_SWITCHES.values()))
    axes.set_ylabel("gain $S(-1) - S(0)$")


def _plot_map(figure: Any, theory: xr.Dataset, thresholds: Mapping[str, Any]) -> list[Axes]:
    """The gain over the map at the largest variance; left of a line the noise of two views is anticorrelated."""
    theory = theory.sel(noise_correlation=CORRELATIONS)
    variance = float(theory[_VARIANCE].max())
    falls = falls_on_map(theory, thresholds["least_change"]).sel({_VARIANCE: variance}, drop=True)
    similarity = learned_similarity(theory.sel({_VARIANCE: variance}, drop=True))
    gain = similarity.sel(noise_correlation=-1, drop=True) - similarity.sel(noise_correlation=0, drop=True)
    panels = draw_place_maps(figure, gain, falls, f"gain $S(-1) - S(0)$,\n$s_a^2$ = {format_number(variance)}")
    for axes in panels:
        axes.axvline(np.sum(falls["base_noise_variance"].values < variance) - 0.5, color=INK, linewidth=1.2)
    return panels


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    ordering, mechanism = claim["parts"]
    on_map, apart = ordering["evidence"]["map"], ordering["evidence"]["map_without_anticorrelated_views"]
    better, of_map = ordering["evidence"]["better_than_no_augmentation_noise"], mechanism["evidence"]["map"]
    verdicts = "; ".join(
        f"{describe_case(case)}: {entry['verdict']}" for case, entry in mechanism["evidence"]["cases"].items()
    )
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']} (ordering: {ordering['verdict']}; mechanism: "
        f"{mechanism['verdict']}). A row for each case. Left: steady cosine similarity, mean of "
        f"{summaries['cases'].replicas} runs of SGD with 95 % intervals, and ODE, in which the correlation enters "
        "drift and gradient variance, or one of them alone. Middle: the gradient variance, at one state and at the "
        "steady state of each correlation. Right: what correlation \N{MINUS SIGN}1 gains over independent noise, by "
        f"switch. The mechanism by case: {verdicts}. Below: that gain over a map; left of the line the noise of the "
        "two views is anticorrelated at correlation \N{MINUS SIGN}1. A cross marks a place where the similarity does "
        "not fall from correlation \N{MINUS SIGN}1 to 0 and on to 1, a dash one where nothing is learned, and a "
        f"question mark one that is not known ({on_map['places_unknown']}). With any variance, it falls at "
        f"{_count(on_map)} places, and at {_count(apart)} of those where the noise of the views is not anticorrelated. "
        f"Noise of correlation \N{MINUS SIGN}1 does better than no augmentation noise at {better['count']} of "
        f"{better['points']} points. With the largest variance, the gradient variance alone gives the larger part of "
        f"the gain at {of_map['mechanism_holds']} of {of_map['places_with_gain']} places that gain.\n"
    )


def _count(found: Mapping[str, Any]) -> str:
    total = found["places_with_something_learned"]
    return f"{total - len(found['exceptions'])} of {total}"
