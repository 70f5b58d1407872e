"""The figure of C5: phase portraits, selection probabilities and eigenvalues, by the kurtosis of one feature.

Above: portraits of the positive quadrant of cosine similarities (the others are mirror images) at the initial squared
norm. Below: selection probability and area; selection probability with unequal second moments; eigenvalues of pure
states.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clhd.core.arrays import FloatArray
from clhd.core.text import format_number
from clhd.figures.series import shift_series, split_series
from clhd.figures.style import CATEGORIES, INK, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.attraction import by_background, measure_share
from clhd.systems.contrastive.model.labels import KINDS
from clhd.systems.contrastive.model.latents import Gaussian, Laplace, Uniform

_FIRST, _SECOND, _EDGE = CATEGORIES[0], CATEGORIES[1], INK
_TINTS = ("#dcebf5", "#fbe6d8", "#ececec")  # regions of feature 1, of feature 2, of neither
_KIND_MARKERS = dict(zip(KINDS, ("s", "s", "o", "D"), strict=True))
_INNERMOST = 0.05


def plot_attraction(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    """Draw the figure of C5 from the summaries by role and its entry in claims.json; return it with a caption."""
    portraits = summaries["portrait"].dataset
    kurtoses = portraits["kurtosis_2"].values
    figure = make_figure(PAGE, 4.4)
    rows = figure.add_gridspec(2, 1, height_ratios=[1.0, 1.15])
    upper, lower = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    panels = upper.subplots(1, len(kurtoses), sharey=True, squeeze=False)[0]
    for axes, kurtosis in zip(panels, kurtoses, strict=True):
        _plot_portrait(axes, portraits.sel(kurtosis_2=kurtosis))
        axes.set_title(f"$k_2$ = {format_number(kurtosis)}")
        axes.set_xlabel("$S_1$", labelpad=1)
    panels[0].set_ylabel("$S_2$")
    upper.legend(handles=_portrait_handles(), loc="outside lower center", ncols=6, columnspacing=1.2)
    left, middle, right = lower.subplots(1, 3)
    _plot_selection(left, summaries["selection"].dataset, summaries["limit"].dataset)
    _plot_unequal(middle, summaries["unequal"].dataset)
    _plot_eigenvalues(right, summaries)
    letter_panels((*panels, left, middle, right))
    return figure, _caption(summaries, claim)


def _plot_portrait(axes: Axes, portrait: xr.Dataset) -> None:
    """Regions as tints, the flow, nullclines, separatrices, and fixed points by kind and stability."""
    inside = portrait["cosine_similarity_1"].values >= 0
    grid = portrait["cosine_similarity_1"].values[inside]
    velocity = portrait["velocity_theory"].values[inside][:, inside]
    region = _regions(portrait)[inside][:, inside]
    axes.pcolormesh(grid, grid, region.T, cmap=ListedColormap(_TINTS), vmin=0, vmax=2, rasterized=True)
    axes.streamplot(
        grid,
        grid,
        np.nan_to_num(velocity[..., 0].T),
        np.nan_to_num(velocity[..., 1].T),
        color=MUTED,
        density=0.7,
        linewidth=0.45,
        arrowsize=0.5,
    )
    for j, colour in enumerate((_FIRST, _SECOND)):
        axes.contour(grid[1:], grid[1:], velocity[1:, 1:, j].T, [0.0], colors=[colour], linewidths=0.9, linestyles="--")
    for curve in portrait["separatrix_theory"].values:
        is_here = np.all(curve >= -1e-3, axis=-1)
        if is_here.any():
            # A curve on arcs leaves the origin at the angle of its innermost point.
            path = curve[is_here]
            path = np.vstack([[0.0, 0.0], path]) if np.hypot(*path[0]) < _INNERMOST else path
            axes.plot(*path.T, color=_EDGE, linewidth=1.6, solid_capstyle="butt", zorder=3)
    _mark_states(axes, portrait)
    angle = np.linspace(0.0, np.pi / 2, 200)
    rim = axes.plot(np.cos(angle), np.sin(angle), color=INK, linewidth=0.6)[0]
    outside = np.vstack([np.column_stack([np.cos(angle), np.sin(angle)]), [[0, 1.2], [1.2, 1.2], [1.2, 0]]])
    axes.fill(*outside.T, color="white", zorder=2.5, linewidth=0)
    rim.set_zorder(2.6)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])


def _regions(portrait: xr.Dataset) -> np.ndarray[Any, Any]:
    """0 where a start flows to a state of feature 1, 1 for feature 2, 2 elsewhere; NaN outside the disc."""
    similarity = np.abs(portrait["state_cosine_similarity_theory"].values)
    winner = np.where(similarity[:, 0] > similarity[:, 1], 0.0, 1.0)
    is_stable = portrait["state_eigenvalue_theory"].values < 0
    attractor = portrait["attractor_theory"].values
    index = np.maximum(attractor, 0).astype(int)
    region = np.where((attractor >= 0) & is_stable[index], winner[index], 2.0)
    region[attractor == -2] = np.nan  # no such start
    return region


def _mark_states(axes: Axes, portrait: xr.Dataset) -> None:
    """Markers of the fixed points of the quadrant: filled if stable."""
    rows = zip(
        portrait["state_cosine_similarity_theory"].values,
        portrait["state_kind_theory"].values,
        portrait["state_eigenvalue_theory"].values,
        strict=True,
    )
    for similarity, kind, eigenvalue in rows:
        if np.isfinite(kind) and np.all(similarity >= -1e-9):
            axes.plot(
                *similarity,
                marker=_KIND_MARKERS[KINDS[int(kind)]],
                color=INK,
                markerfacecolor=INK if eigenvalue < 0 else "white",
                markersize=5,
                zorder=5,
                clip_on=False,
            )


def _portrait_handles() -> list[Line2D]:
    def marker(shape: str, label: str, *, filled: bool) -> Line2D:
        face = INK if filled else "white"
        return Line2D([], [], marker=shape, color=INK, markerfacecolor=face, linestyle="", markersize=5, label=label)

    return [
        Line2D([], [], color=_EDGE, linewidth=1.6, label="separatrix"),
        Line2D([], [], color=_FIRST, linewidth=0.9, linestyle="--", label=r"$\dot S_1 = 0$"),
        Line2D([], [], color=_SECOND, linewidth=0.9, linestyle="--", label=r"$\dot S_2 = 0$"),
        marker("o", "pure (filled: stable)", filled=True),
        marker("D", "mixed", filled=False),
        marker("s", "collapsed or uninformative", filled=False),
    ]


def _plot_selection(axes: Axes, selection: xr.Dataset, limit: xr.Dataset) -> None:
    """Selection probability by SGD with Wilson bars and by the ODE, and the area of the region."""
    fine = limit["kurtosis_2"].values
    axes.plot(fine, limit["probability_theory"].sel(outcome="feature_1"), color=INK, label="ODE, small start")
    axes.plot(fine, limit["area_theory"].sel(outcome="feature_1"), color=INK, linestyle=":", label="area of the region")
    shifts = shift_series(selection.sizes["dimension"], 0.025)
    for (n, part, look), shift in zip(split_series(selection, "dimension", ordered=True), shifts, strict=True):
        shares, bars = _measure_shares(part, "kurtosis_2")
        axes.errorbar(part["kurtosis_2"].values + shift, shares, bars, **look, label=f"SGD, $n$ = {format_number(n)}")
    axes.set(xlabel="kurtosis of feature 2", ylabel="share of feature 1", ylim=(0.47, 1.02))
    axes.legend(loc="upper left")


def _measure_shares(points: xr.Dataset, axis: str) -> tuple[FloatArray, FloatArray]:
    """Selection probabilities along an axis, as the judge has them, and their bars, below and above."""
    found = [measure_share(points.isel({axis: k})) for k in range(points.sizes[axis])]
    bars = [[share.value - share.low for share in found], [share.high - share.value for share in found]]
    # Rounding may put an end on the wrong side; a bar must not be negative.
    return np.array([share.value for share in found]), np.maximum(bars, 0)


def _plot_unequal(axes: Axes, unequal: xr.Dataset) -> None:
    """Share of the faster feature by dimension, over the theory for a start of the size of each dimension."""
    shares, bars = _measure_shares(unequal, "dimension")
    theory = unequal["probability_theory"].sel(outcome="feature_1").isel(dimension=0, missing_dims="ignore")
    # The cosine similarities of a random start have a root-mean-square size of sqrt(2 / n), of two features.
    axes.plot(2 / theory["initial_radius"].values ** 2, theory.values, color=INK, label="ODE, start of that size")
    axes.errorbar(unequal["dimension"].values, shares, bars, color=_FIRST, marker="o", linestyle="", label="SGD")
    axes.set(xscale="log", xlabel="dimension $n$", ylabel="share of the faster feature", ylim=(0.5, 0.8))
    axes.legend(loc="upper left")


def _plot_eigenvalues(axes: Axes, summaries: Mapping[str, Summary]) -> None:
    """Largest eigenvalue of pure states by kurtosis; the growth rate at the uninformative state beside it."""
    axes.axhline(0, color=MUTED, linewidth=0.6)
    text: Any = {"textcoords": "offset points", "fontsize": 7}
    for role, colour, label in (
        ("stability", _FIRST, "one learned,\ntanh"),
        ("expanding", _SECOND, "one learned,\n$z + z^3/10$"),
    ):
        found = by_background(summaries[role].dataset["pure_eigenvalue_theory"].isel(feature=0))
        for name, eigenvalue in found.items():
            axes.plot(eigenvalue["kurtosis"], eigenvalue, color=colour, linestyle=":" if name == "isotropic" else "-")
        axes.annotate(label, (float(eigenvalue["kurtosis"][-1]), float(eigenvalue[-1])), (4, 0), va="center", **text)
    growth = list(by_background(summaries["stability"].dataset["growth_rate_theory"].isel(feature=0)).values())[-1]
    axes.plot(growth["kurtosis"], growth, color=_FIRST, linestyle="--")
    axes.annotate("no feature learned, tanh", (2.4, float(growth[0])), (0, 2), va="bottom", **text)
    laws = summaries["laws"].dataset["pure_eigenvalue_theory"].isel(feature=0)
    for name, law, offset, side in (
        ("uniform", Uniform(second_moment=1.0), (4, -3), "left"),
        ("gaussian", Gaussian(second_moment=1.0), (9, 2), "left"),
        ("laplace", Laplace(second_moment=1.0), (0, -18), "center"),
    ):
        place = (law.moment(4) / law.moment(2) ** 2, float(laws.sel(latent=name)))
        axes.plot(*place, marker="o", color=_FIRST, markerfacecolor="white")
        axes.annotate(name.capitalize() if name != "uniform" else name, place, offset, ha=side, **text)
    axes.set(
        xlabel="kurtosis", ylabel="largest eigenvalue, per time", xlim=(0.8, 7.4), ylim=(-0.95, 1), xticks=range(1, 8)
    )


def _caption(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> str:
    """The caption: what the figure shows, and the numbers of the verdict."""
    regions, stability = claim["parts"]
    found, selection = stability["evidence"], summaries["selection"]
    by_background = {name: _name_number(value) for name, value in found["critical_kurtosis_tanh"].items()}
    critical = ", ".join(text + ("" if name == "only" else f" ({name})") for name, text in by_background.items())
    expanding = _name_number(found["critical_kurtosis_expanding_unit"])
    laws = ", ".join(f"{law} {_name_number(value)}" for law, value in found["eigenvalue_by_law"].items())
    verdicts = found["verdicts"]
    return (
        f"{claim['statement']} The numbers say: {claim['verdict']} (regions: {regions['verdict']}; local stability "
        f"unaffected at the uninformative state: {verdicts['uninformative']}, at informative states: "
        f"{verdicts['informative']}). "
        "Above: the plane of cosine similarities at the initial squared norm, for two features of equal second moment, "
        "the first with kurtosis 1, the second with kurtosis k_2. Tints are attraction regions; the thick line is the "
        "separatrix, the stable manifold of a saddle. Fixed points have squared norms of their own and are projected, "
        "so that nullclines of the plane need not cross at them. "
        f"Below left: share of {selection.replicas} runs of SGD that select feature 1, with Wilson's 95 % intervals, "
        "which runs that had not ended widen, and the limit; judged are wider intervals, which hold together at 95 % "
        "(Bonferroni). "
        "Below middle: share of runs that select the feature of the larger of two second moments, by dimension. "
        "Below right: largest eigenvalue of pure states by kurtosis (lines; dotted: isotropic background, as in the "
        f"other panels; full: orthogonal), whose sign changes for tanh at kurtosis {critical}, for an expanding unit "
        f"at {expanding}; the growth rate at the uninformative state (dashed); and "
        f"the eigenvalues of latents of other laws at their kurtosis (circles): {laws}.\n"
    )


def _name_number(value: float | None) -> str:
    return "unknown" if value is None else format_number(value)
