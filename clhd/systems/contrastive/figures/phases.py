"""The phase diagram of one feature in learning rate and noise, and the best correlation of the augmentation noise."""

from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from clhd.core.arrays import FloatArray
from clhd.core.text import format_number, format_place
from clhd.figures.caption import compose_caption
from clhd.figures.style import COLUMN, INK, MUTED, PAGE, letter_panels, make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learned import learned_similarity

_NOISE, _RATE, _START = "base_noise_variance", "learning_rate", "initial_cosine_similarity"
_REGIONS = {
    "collapsed": "#d9d9d9",
    "uninformative": "#f7f2e0",
    "both": "#c9e3d8",
    "informative": "#cfe0f1",
    "diverging": "#f3d3c6",
}
_END_OF_BRANCH = "end of the informative branch"
_LABELS = {"both": "informative or uninformative"}
_MARKS = {
    "collapsed": ("v", "#222222"),
    "uninformative": ("o", "white"),
    "informative": ("o", "#0072b2"),
    "diverged": ("X", "#d55e00"),
}


def plot_phases(summary: Summary) -> tuple[Figure, str]:
    """Draw the regions of the theory with the phases in which SGD ends, one panel for each value of a third axis.

    The summary is of the system "phases", with the axes ``base_noise_variance`` and ``learning_rate`` and one more.
    """
    data = summary.dataset
    others = [dim for dim in data["phase_border_theory"].dims if dim not in {_NOISE, _RATE, "phase_border_name"}]
    axis = str(others[0]) if others else "case"
    data = data if others else data.expand_dims(axis)
    values = data[axis].values if others else [0]
    figure = make_figure(PAGE if others else COLUMN, 3.1)
    panels = figure.subplots(1, len(values), sharey=True, squeeze=False)[0]
    agree = total = 0
    shown: set[str] = set()  # what the legend explains
    for axes, (k, value) in zip(panels, enumerate(values), strict=True):
        panel = data.isel({axis: k})
        shown |= _fill_regions(axes, panel["phase_border_theory"].squeeze(), data[_RATE].values)
        here, cases, marks = _mark_lattice(axes, panel)
        agree, total, shown = agree + here, total + cases, shown | marks
        if others:
            axes.set_title(format_place(data[axis], value))
        axes.set_xlabel("variance of the base noise $s_b^2$")
    panels[0].set_ylabel(r"learning rate $\eta$")
    if others:
        letter_panels(panels)
    figure.legend(handles=_list_handles(shown), loc="outside lower center", ncols=4 if others else 2)
    what = (
        "Regions: which states of rest of the ODE are stable; thick line: the analytic threshold at which the "
        "uninformative state loses its stability; dashed: the end of the informative branch where it lies beyond the "
        "threshold. Lines and regions are interpolated between the values of the noise that have markers. Markers: "
        "the phase in which most runs of SGD end, left half from a small overlap, right half from a large one. That "
        "phase is stable by the theory in "
        f"{agree} of {total} cases."
    )
    return figure, compose_caption(summary, what, with_agreement=False)


def classify_rate(border: xr.DataArray, rate: Any) -> Any:
    """Return the region of each learning rate, by the borders at one value of the noise.

    Parameters
    ----------
    border : DataArray (phase_border_name)
        From the system "phases"; NaN where there is no end.
    rate : array
    """
    ends = {
        str(name): float(value) for name, value in zip(border["phase_border_name"].values, border.values, strict=True)
    }
    collapsed, threshold = ends["collapsed"], _or_infinite(ends["threshold"])
    uninformative, informative = _or_infinite(ends["uninformative"]), _or_infinite(ends["informative"])
    is_uninformative = (rate > max(threshold, collapsed)) & (rate < uninformative)
    is_informative = rate < informative
    region = np.where(is_informative & is_uninformative, "both", "diverging").astype(object)
    region[is_informative & ~is_uninformative] = "informative"
    region[~is_informative & is_uninformative] = "uninformative"
    region[(rate < collapsed) & ~is_informative] = "collapsed"
    return region


def _or_infinite(value: float) -> float:
    return np.inf if np.isnan(value) else value


def _fill_regions(axes: Axes, border: xr.DataArray, lattice: FloatArray) -> set[str]:
    """Colour the regions of a logarithmic axis of rates, with borders interpolated between values of the noise.

    Returns the names of the regions and lines that can be seen.
    """
    noise = border[_NOISE].values
    fine, rates = np.linspace(noise[0], noise[-1], 481), np.geomspace(lattice[0] / 1.4, lattice[-1] * 1.4, 481)
    # In an inverse hyperbolic sine: a border is a smooth curve on the logarithmic axis, and may end at the rate 0. The
    # informative branch by how far it reaches beyond the threshold: so the lines do not cross between two values.
    lowest = float(lattice[0])
    heights = xr.apply_ufunc(np.arcsinh, border.fillna(1e3 * lattice[-1]) / lowest)
    threshold = (heights["phase_border_name"] == "informative") * heights.sel(phase_border_name="threshold", drop=True)
    beside, below = (
        part.interp({_NOISE: fine}, method=_choose_method(noise)) for part in (heights - threshold, threshold)
    )
    filled = lowest * xr.apply_ufunc(np.sinh, beside + below)
    codes = np.empty((len(rates), len(fine)))
    names = list(_REGIONS)
    for k in range(len(fine)):
        region = classify_rate(filled.isel({_NOISE: k}), rates)
        codes[:, k] = [names.index(name) for name in region]
    for k, name in enumerate(names):
        axes.contourf(fine, rates, codes == k, [0.5, 1.5], colors=[_REGIONS[name]])
    start, end = (filled.sel(phase_border_name=name).values for name in ("threshold", "informative"))
    axes.plot(fine, np.where(start > 0, start, np.nan), color=INK, linewidth=1.4)
    beyond = np.where((end > start * 1.005) & (end > 0), end, np.nan)
    axes.plot(fine, beyond, color=INK, linewidth=1.0, linestyle="--")
    axes.set(xlim=(fine[0], fine[-1]), ylim=(rates[0], rates[-1]), yscale="log")
    seen = {names[int(code)] for code in np.unique(codes)}
    return seen | ({_END_OF_BRANCH} if np.isfinite(beyond).any() else set())


def _choose_method(noise: FloatArray) -> Literal["pchip", "linear"]:
    """Return the method of interpolation: without overshoots, and smooth where there are enough values."""
    return "pchip" if len(noise) > 2 else "linear"


def _mark_lattice(axes: Axes, panel: xr.Dataset) -> tuple[int, int, set[str]]:
    """Mark the phases in which most runs end, by start; return how many the theory allows, of how many, and which."""
    share = panel["phase_share_mean"].squeeze()
    phases = [str(name) for name in share["end_phase"].values]
    ends = share.argmax("end_phase").transpose(_NOISE, _RATE, _START)
    allowed = {"both": {"informative", "uninformative"}, "diverging": {"diverged"}}
    agree = 0
    marks = set()
    for i, noise in enumerate(ends[_NOISE].values):
        border = panel["phase_border_theory"].sel({_NOISE: noise}).squeeze()
        for j, rate in enumerate(ends[_RATE].values):
            names = [phases[k] for k in ends.values[i, j]]
            region = str(classify_rate(border, np.array([rate]))[0])
            agree += sum(name in allowed.get(region, {region}) for name in names)
            _mark(axes, noise, rate, names)
            marks |= {f"SGD: {name}" for name in names}
    return agree, ends.size, marks


def _mark(axes: Axes, noise: float, rate: float, names: list[str]) -> None:
    """Draw the phases of the two starts: as the halves of one circle, or beside each other."""
    look: Any = {"markersize": 4.2, "color": INK, "markeredgewidth": 0.5, "linestyle": "", "clip_on": False}
    markers, faces = zip(*[_MARKS[name] for name in names], strict=True)
    if markers[0] == markers[-1]:
        halves: Any = {} if faces[0] == faces[-1] else {"fillstyle": "left", "markerfacecoloralt": faces[-1]}
        axes.plot(noise, rate, markers[0], markerfacecolor=faces[0], **look, **halves)
        return
    width = 0.012 * float(np.diff(axes.get_xlim())[0])
    for shift, marker, face in zip((-width, width), markers, faces, strict=True):
        axes.plot(noise + shift, rate, marker, markerfacecolor=face, **look)


def _list_handles(shown: set[str]) -> list[Any]:
    """The entries of the legend, of the regions, marks and lines that are shown."""
    regions = [
        Patch(facecolor=colour, edgecolor=MUTED, label=_LABELS.get(k, k))
        for k, colour in _REGIONS.items()
        if k in shown
    ]
    look: Any = {"color": INK, "linestyle": "", "markersize": 4.2}
    marks = [
        Line2D([], [], marker=marker, markerfacecolor=face, label=f"SGD: {phase}", **look)
        for phase, (marker, face) in _MARKS.items()
        if f"SGD: {phase}" in shown
    ]
    lines = [Line2D([], [], color=INK, linewidth=1.4, label="threshold")]
    if _END_OF_BRANCH in shown:
        lines.append(Line2D([], [], color=INK, linewidth=1.0, linestyle="--", label=_END_OF_BRANCH))
    return [*regions, *marks, *lines]


# Correlations up to here count as -1.
_END = -0.999


def find_best_correlation(similarity: xr.DataArray) -> xr.DataArray:
    """Return the correlation of the largest similarity, by a parabola through the best value and its neighbours.

    Parameters
    ----------
    similarity : DataArray (noise_correlation, ...)
        At rest, on evenly spaced correlations; NaN where nothing is learned.
    """
    values = similarity.transpose("noise_correlation", ...)
    correlation = values["noise_correlation"].values
    step, filled = correlation[1] - correlation[0], values.fillna(-np.inf)
    best = filled.argmax("noise_correlation")
    inner = best.clip(1, len(correlation) - 2)
    low, middle, high = (filled.isel(noise_correlation=inner + k).drop_vars("noise_correlation") for k in (-1, 0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        shift = (0.5 * (low - high) / (low - 2 * middle + high)).clip(-0.5, 0.5)
    between = (best == inner) & np.isfinite(shift)
    found: xr.DataArray = best.copy(data=correlation[best.values]) + (step * shift).where(between, 0.0)
    return found.where((values > 0).any("noise_correlation"))


def plot_best_correlation(summary: Summary) -> tuple[Figure, str]:
    """Draw what the best correlation gains, over base and augmentation noise, by batch and learning rate.

    The summary is of the system "contrastive", with the axes ``noise_correlation``, ``base_noise_variance``,
    ``augmentation_noise_variance``, ``learning_rate`` and ``batch``.
    """
    similarity = learned_similarity(summary.dataset).squeeze()
    best = find_best_correlation(similarity).transpose("batch", _RATE, "augmentation_noise_variance", _NOISE)
    gain = similarity.max("noise_correlation") - similarity.sel(noise_correlation=0)
    gain = gain.transpose(*best.dims)
    places = [(b, rate) for b in best["batch"].values for rate in best[_RATE].values]
    figure = make_figure(PAGE, 2.3)
    panels = figure.subplots(1, len(places), sharey=True, squeeze=False)[0]
    highest = float(gain.max())
    image = ScalarMappable(Normalize(0, highest), "cividis")
    for axes, (batch, rate) in zip(panels, places, strict=True):
        here = {"batch": batch, _RATE: rate}
        gains = gain.where(np.isfinite(best)).sel(here).values
        axes.imshow(gains, origin="lower", aspect="auto", cmap=image.cmap, norm=image.norm)
        found = best.sel(here).values
        for i, j in np.ndindex(found.shape):
            value = float(found[i, j])
            text = "\N{EN DASH}" if np.isnan(value) else f"{gains[i, j]:.3f}"
            if value > _END:
                text += f"\n{value:.2f}".replace("-", "\N{MINUS SIGN}")
            colour = INK if np.isnan(value) or gains[i, j] > 0.5 * highest else "white"
            axes.text(j, i, text, ha="center", va="center", fontsize=5, color=colour)
        axes.set_title(rf"$B$ = {batch}, $\eta$ = {format_number(rate)}")
        axes.set_xticks(range(best.sizes[_NOISE]), [format_number(v) for v in best[_NOISE].values])
        axes.set_yticks(
            range(best.sizes["augmentation_noise_variance"]),
            [format_number(v) for v in best["augmentation_noise_variance"].values],
        )
        axes.set_xlabel("base noise $s_b^2$")
    panels[0].set_ylabel("augmentation noise $s_a^2$")
    figure.colorbar(image, ax=panels, pad=0.01, aspect=14).set_label(r"gain over $\rho = 0$")
    known = best.values[np.isfinite(best.values)]
    ends = int(np.sum(known <= _END))
    what = (
        "What the best correlation of the augmentation noise adds to the steady cosine similarity at correlation 0, by "
        "the ODE (number, colour). A dash: nothing is learned. The best correlation is \N{MINUS SIGN}1 at "
        f"{ends} of {len(known)} places; at the others it stands below the gain."
    )
    name = summary.name
    caption = f"**{summary.experiment.get('description', name)}.** {what}\n"
    return figure, caption
