"""The figure of C4: the learnability threshold by kurtosis, what a cut would make of it, and the phase diagram."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from clhd.core.statistics import NORMAL_95
from clhd.core.text import format_number
from clhd.figures.series import draw_means, shift_series, split_series
from clhd.figures.style import INK, MUTED, PAGE, letter_panels, make_figure, pick_looks
from clhd.sweep.plan.refine import fill_between
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learnability import CUT, measure_rates

_MOMENT = "second_moment"
_DIVERGING = "RdBu_r"


def plot_learnability(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C4 from the summaries by role and its entry in claims.json; return it with a caption."""
    evidence = claim["evidence"]
    figure = make_figure(PAGE, 4.8)
    panels = figure.subplots(2, 2)
    _plot_rates(panels[0, 0], summaries["growth"].dataset)
    _plot_thresholds(panels[0, 1], evidence, float(claim["thresholds"]["tolerance"]))
    _plot_cut(panels[1, 0], summaries["cut"].dataset, evidence)
    _plot_phases(figure, panels[1, 1], summaries["phase"], evidence)
    letter_panels(panels.flat)
    return figure, _caption(summaries, claim)


def _plot_rates(axes: Axes, growth: xr.Dataset) -> None:
    """Measured rates by second moment, and theory's, which no kurtosis changes."""
    kurtosis, moment = growth["kurtosis"].values, growth[_MOMENT].values
    rates, errors = measure_rates(growth, "kurtosis")
    exact = growth["growth_rate_theory"].isel(feature=0).transpose("kurtosis", _MOMENT).values
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.plot(moment, exact[0], color=INK, label="theory, every kurtosis")
    shifts = shift_series(len(kurtosis), 0.1 * float(moment[1] - moment[0]))
    for k, look in enumerate(pick_looks(len(kurtosis), ordered=True)):
        look |= {"elinewidth": 0.8, "label": f"SGD, kurtosis {format_number(kurtosis[k])}"}
        axes.errorbar(moment + shifts[k], rates[k], NORMAL_95 * errors[k], **look)
    axes.set(xlabel="second moment $m$", ylabel="growth rate of a small overlap, per time")
    axes.legend(loc="upper left")


def _plot_thresholds(axes: Axes, evidence: Mapping[str, Any], tolerance: float) -> None:
    """Zero of the rates by kurtosis, of SGD and, with the same estimator, of the ODE."""
    kurtosis, exact = evidence["kurtosis"], evidence["threshold_by_theory"]
    axes.axhspan(exact[0] - tolerance, exact[0] + tolerance, color=MUTED, alpha=0.2, linewidth=0, label="tolerance")
    axes.axhline(exact[0], color=INK, label="theory")
    of_ode = [limit + error for limit, error in zip(exact, evidence["systematic_error_of_the_estimator"], strict=True)]
    axes.plot(kurtosis, of_ode, color=INK, marker="_", linestyle="", markersize=9, label="ODE, rate of that overlap")
    looks = pick_looks(len(kurtosis), ordered=True)
    for k, estimate in enumerate(evidence["threshold_by_sgd"]):
        value = estimate["value"]
        if value is not None:
            bars, label = [[value - estimate["low"]], [estimate["high"] - value]], "SGD, 95 %" if k == 0 else None
            axes.errorbar([kurtosis[k] + 0.12], [value], bars, **looks[k], label=label)
    axes.set(xlabel="kurtosis", ylabel="learnability threshold $m^*$", xticks=kurtosis)
    axes.set(xlim=(0.4, kurtosis[-1] + 0.6), ylim=(exact[0] - 1.5 * tolerance, exact[0] + 2.6 * tolerance))
    axes.legend(loc="upper left", ncols=2)


def _plot_cut(axes: Axes, cut: xr.Dataset, evidence: Mapping[str, Any]) -> None:
    """Cosine similarity at a late time by second moment, and the cut."""
    largest = cut.sel(dimension=cut["dimension"].max()).isel(time=-1, feature=0)
    axes.axhline(CUT, color=MUTED, linewidth=0.8, linestyle="--")
    axes.axvline(evidence["threshold_by_theory"][0], color=INK, linewidth=0.8)
    axes.annotate(
        "threshold",
        (evidence["threshold_by_theory"][0], 0.93),
        (-3, 0),
        textcoords="offset points",
        ha="right",
        fontsize=7,
    )
    places = evidence["second_moment_at_which_cosine_similarity_passes_one_half"]["by_sgd"]
    for (kurtosis, point, look), place in zip(split_series(largest, "kurtosis", ordered=True), places, strict=True):
        axes.plot(point[_MOMENT], point["cosine_similarity_theory"], color=look["color"])
        look |= {"elinewidth": 0.8, "label": f"kurtosis {format_number(kurtosis)}"}
        draw_means(axes, point[_MOMENT], point, "cosine_similarity", **look)
        if place is not None:
            axes.plot([place, place], [-0.03, CUT], color=look["color"], linestyle=":", linewidth=0.9)
    when = format_number(float(cut["time"][-1]))
    axes.set(xlabel="second moment $m$", ylabel=f"mean cosine similarity at time {when}", ylim=(-0.03, 1.0))
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.86), borderaxespad=0.1, handlelength=1.0)


def _plot_phases(figure: Figure, axes: Axes, summary: Summary, evidence: Mapping[str, Any]) -> None:
    """Measured rates as colour, theory's border as a line, SGD's as points."""
    phase = summary.dataset
    moment, rate = phase[_MOMENT].values, phase["learning_rate"].values
    measured, _ = measure_rates(phase, "learning_rate")
    if refine := summary.experiment.get("refine"):
        measured = fill_between(measured, (0, 1), refine["rounds"])
    # White is zero, which is the border, for any two ends.
    norm = TwoSlopeNorm(0.0, min(float(np.nanmin(measured)), -1e-6), max(float(np.nanmax(measured)), 1e-6))
    axes.pcolormesh(moment, rate, measured, cmap=_DIVERGING, norm=norm, shading="nearest", rasterized=True)
    border = evidence["border_by_learning_rate"]
    limits = axes.get_xlim(), axes.get_ylim()
    axes.plot([np.nan if value is None else value for value in border["by_theory"]], rate, color=INK, linewidth=1.2)
    for position, estimate in zip(border["learning_rate"], border["by_sgd"], strict=True):
        value = estimate["value"]
        if value is not None:
            bars = [[value - estimate["low"]], [estimate["high"] - value]]
            axes.errorbar([value], [position], xerr=bars, color=INK, marker="o", markerfacecolor="white", linestyle="")
    axes.set(xlabel="second moment $m$", ylabel=r"learning rate $\eta$", xlim=limits[0], ylim=limits[1])
    axes.spines[["top", "right"]].set_visible(True)
    bar = figure.colorbar(ScalarMappable(norm, _DIVERGING), ax=axes, pad=0.02)
    bar.set_label("growth rate, per time")


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    evidence, growth, phase = claim["evidence"], summaries["growth"], summaries["phase"]
    largest = max(
        (abs(error) for error in evidence["systematic_error_of_the_estimator"] if error is not None), default=0
    )
    cut = evidence["second_moment_at_which_cosine_similarity_passes_one_half"]
    kurtosis, of_cut = ([format_number(value) for value in entry["kurtosis"]] for entry in (evidence, cut))
    border = evidence["border_by_learning_rate"]
    places = zip(border["learning_rate"], border["by_sgd"], strict=True)
    unknown = [format_number(rate) for rate, estimate in places if estimate["value"] is None]
    open_ = f"; at {', '.join(unknown)} the rates leave their slope open" if unknown else ""
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']}. (a) Rate at which a small overlap grows under SGD "
        f"({format_number(growth.replicas)} runs at dimension {_constant(growth, 'dimension')}, from the "
        f"uninformative state with an overlap of {_constant(growth, 'initial_overlap')}, over time "
        f"{format_number(growth.last_time)}), bars of 95 %, and theory. (b) Its zero, with bootstrap "
        f"intervals of 95 %: {_list(kurtosis, evidence['threshold_by_sgd'])}; theory: "
        f"{format_number(evidence['threshold_by_theory'][0])} at each. That the overlap is small, not zero, shifts the "
        f"estimate by {largest:.1g} at most, by theory, against a tolerance (grey) of "
        f"{format_number(claim['thresholds']['tolerance'])}. Judged are the differences from theory and between "
        "kurtoses, by wider intervals, which hold together at 95 % (Bonferroni). (c) Why no cut decides: the second "
        f"moment at which the cosine similarity passes {CUT:g} at time {format_number(cut['time'])} (dimension "
        f"{format_number(cut['dimension'])}; lines: the ODE) depends on the kurtosis: {_list(of_cut, cut['by_sgd'])}. "
        "Whether a feature begins to grow is one thing, how far it gets another. (d) Measured growth rate by second "
        f"moment and learning rate at dimension {_constant(phase, 'dimension')} (colour), its zero (circles, with "
        f"intervals of 95 %{open_}), and theory's border (line).\n"
    )


def _constant(summary: Summary, name: str) -> str:
    return format_number(summary.experiment["constants"][name])


def _list(kurtosis: list[str], estimates: list[Any]) -> str:
    """Numbers by kurtosis, with their intervals if they have some."""
    texts = []
    for name, estimate in zip(kurtosis, estimates, strict=True):
        value = estimate["value"] if isinstance(estimate, dict) else estimate
        text = "not known" if value is None else f"{value:.4f}"
        if value is not None and isinstance(estimate, dict):
            text += f" ({estimate['low']:.4f} to {estimate['high']:.4f})"
        texts.append(f"{text} at kurtosis {name}")
    return ", ".join(texts)
