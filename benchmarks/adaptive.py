"""What refinement saves, and whether it finds what the whole fine grid shows. Prints a table, as Markdown.

| measurement | question | answer that is known |
|---|---|---|
| threshold by theory | second moment at which a small overlap grows, by learning rate | `learnability_threshold` |
| threshold by SGD | the same, from the mean overlap of runs at n = 10^4 | `learnability_threshold` |
| attraction map | where each start of two features ends | the map of the whole fine grid |

Both thresholds go through a run as any experiment does. The map asks the rule that chooses points, with labels of the
whole map; there is no store. Starts outside the disc have a label of their own, so that the rim is a border too.

The last column compares with the whole fine grid: points, and replicas where there are some. Of these, the whole grid
gives each point as many as the points inside the widest interval have. Its own widest interval may be another one:
`whole` estimates it by the replicas of a point, on lines with normal noise, of the size and the slope that SGD has on
both sides of the threshold at some learning rates.

    python -m benchmarks.adaptive [theory] [sgd] [map] [whole]

The run by theory also draws docs/figures/refined_points.png.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from clhd.figures.border import plot_border
from clhd.figures.style import use_style
from clhd.sweep.cluster.place import Cluster
from clhd.sweep.plan.refine import LABEL_MARGIN, choose_points, fill_between, find_labels
from clhd.sweep.results.border import find_crossings
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import parse_experiment
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.simulation.sgd import simulate_sgd
from clhd.systems.contrastive.theory.states.regions import NO_SUCH_START, attraction_region
from clhd.systems.contrastive.theory.states.threshold import learnability_threshold, uninformative_state

_CONSTANTS = {
    "loss": "covariance",
    "batch": 2,
    "background": "orthogonal",
    "kurtosis": 3,
    "weight_decay": 0.6,
    "base_noise_variance": 0.5,
    "augmentation_noise_variance": 0.5,
    "initial_squared_norm": "uninformative",
    "initial_overlap": 0.02,
}
_ALONG, _ROUNDS = ["second_moment", "learning_rate"], 4
_AXES = {
    "second_moment": {"start": 0.3, "stop": 1.5, "count": 10},
    "learning_rate": {"start": 0.1, "stop": 1.3, "count": 10},
}
# Of the threshold by SGD. `clhd plan` predicts 0.7 ms of one core for a replica: with 900 points, as by theory, 40 s to
# 5 min. It took 3437 points and 14 min of one core, for noise splits more cells than the border crosses.
_DIMENSION, _TIME, _REPLICAS = 10_000, 4, {"start": 64, "most": 512}
_PICTURE = Path(__file__).parents[1] / "docs" / "figures" / "refined_points.png"
_MAP_ROUNDS, _MAP_COUNT = 5, 12
# Of the whole grid: lines and points of each, replicas, draws, and how far from the threshold the noise is measured.
_LINES, _WHOLE_REPLICAS, _DRAWS, _AROUND = 145, (64, 128, 192, 256, 352, 384, 512), 40, 0.15
FloatArray = NDArray[np.float64]
Row = tuple[str, str, str, str]


def _make_model(rate: float, second_moment: float = 1.0) -> ContrastiveModel:
    return ContrastiveModel(
        latents=(ThreePoint(second_moment=second_moment, kurtosis=3.0),),
        loss="covariance",
        batch=2,
        background="orthogonal",
        learning_rate=rate,
        weight_decay=0.6,
        base_noise_variance=0.5,
        augmentation_noise_variance=0.5,
    )


def find_thresholds(rates: FloatArray) -> FloatArray:
    """Return the learnability threshold at each learning rate."""
    return np.array([float(learnability_threshold(_make_model(rate)).squeeze()) for rate in rates.tolist()])


def measure_threshold(name: str, constants: dict[str, Any], times: list[float], replicas: Any, **refine: Any) -> Row:
    """Measure one threshold: how many of its intervals hold the known one, and how many points it took."""
    table = {
        "system": "contrastive",
        "name": name,
        "constants": _CONSTANTS | constants,
        "axes": _AXES,
        "refine": {"along": _ALONG, "rounds": _ROUNDS, **refine},
        "times": times,
        "seed": 14,
    } | ({"replicas": replicas} if replicas else {})
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run_experiment(parse_experiment(table), cluster=Cluster(workers=2), results=folder)
        with xr.open_zarr(str(Path(folder, name, "summary.zarr"))) as opened:
            summary = opened.load()
        if not replicas:
            draw_points(Path(folder, name, "summary.zarr"))
    exact = find_thresholds(summary["learning_rate"].values)
    low, high = summary["border_low"].values, summary["border_high"].values
    inside = ((low <= exact[:, None]) & (exact[:, None] <= high)).any(axis=1)
    width, found = np.nanmax(high - low), np.isfinite(low).sum()
    chosen = summary["refinement_round"].values >= 0
    print(f"{name}: {time.process_time() - begin:.0f} s of this process", file=sys.stderr)
    return (
        name.replace("_", " "),
        f"{inside.sum()} of {len(exact)} learning rates",
        f"{found} crossings, widest interval {width:.4f}",
        f"{chosen.sum()} of {chosen.size} points, {chosen.mean():.1%}" + (_compare(summary) if replicas else ""),
    )


def _compare(summary: xr.Dataset) -> str:
    """How many replicas were used, against the whole grid with as many at each point as in the widest interval."""
    used = summary["replica_count"].sel(status="ok").transpose(*_ALONG)
    widths = (summary["border_high"] - summary["border_low"]).values
    line, crossing = np.unravel_index(np.nanargmax(widths), widths.shape)
    low, high = (float(summary[f"border_{end}"].values[line, crossing]) for end in ("low", "high"))
    places = summary[_ALONG[0]].values
    each = int(used.values[(low <= places) & (places <= high), line].max())
    spent, whole = int(used.sum()), each * used.size
    return f"; {spent} of {used.size} x {each} replicas, {spent / whole:.1%}"


def measure_whole() -> Row:
    """Estimate the widest interval of the whole fine grid of the threshold by SGD, by its replicas at each point."""
    rates = np.linspace(_AXES["learning_rate"]["start"], _AXES["learning_rate"]["stop"], 5)
    lines = np.linspace(rates[0], rates[-1], _LINES)
    exact = np.interp(lines, rates, find_thresholds(rates))
    noise = np.interp(lines, rates, [_find_noise(*place) for place in zip(rates, find_thresholds(rates), strict=True)])
    places = np.linspace(_AXES["second_moment"]["start"], _AXES["second_moment"]["stop"], _LINES)
    random, found = np.random.default_rng(14), []
    for replicas in _WHOLE_REPLICAS:
        widest = []
        for _ in range(_DRAWS):
            errors = noise[:, None] / np.sqrt(replicas) * np.ones(_LINES)
            values = places - exact[:, None] + errors * random.normal(size=errors.shape)
            crossings = [find_crossings(places, *line, 0.0, 2) for line in zip(values, errors, strict=True)]
            widest.append(max(high - low for line in crossings for _, low, high in line))
        found.append(f"{np.median(widest):.3f} with {replicas}")
    return ("widest interval of the whole grid", "; ".join(found), f"median of {_DRAWS} draws", f"{_LINES} x {_LINES}")


def _find_noise(rate: float, threshold: float) -> float:
    """The deviation of the overlap of one replica, over its slope in the second moment, around the threshold."""
    means, deviations = [], []
    for moment in (threshold - _AROUND, threshold + _AROUND):
        model = _make_model(rate, moment)
        norm = float(uninformative_state(model).squared_norm)
        run = {"overlap": [_CONSTANTS["initial_overlap"]], "squared_norm": norm, "time": [0, _TIME]}
        sgd = simulate_sgd(model, dimension=_DIMENSION, replicas=256, seed=14, **run)
        ends = sgd["overlap"].isel(time=-1).values.ravel()
        means.append(ends.mean())
        deviations.append(ends.std(ddof=1))
    return float(np.mean(deviations) / (means[1] - means[0]) * 2 * _AROUND)


def draw_points(summary: Path) -> None:
    """Draw the picture of docs/adaptive.md."""
    with use_style():
        figure, _ = plot_border(read_summary(summary))
        figure.savefig(_PICTURE, dpi=200)


def measure_map() -> Row:
    """Measure the attraction map: the labels that differ, once the cells that were left alone are filled."""
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5, kurtosis=1.0), ThreePoint(second_moment=1.5, kurtosis=2.0)),
        learning_rate=0.3,
        weight_decay=0.6,
        base_noise_variance=0.25,
        augmentation_noise_variance=0.25,
        noise_correlation=-1.0,
    )
    places = np.linspace(-1, 1, (_MAP_COUNT - 1) * 2**_MAP_ROUNDS + 1)
    whole = attraction_region(model, cosine_similarity_1=places, cosine_similarity_2=places)
    labels = whole["attractor"].values.astype(float)
    inside, known = labels != NO_SUCH_START, np.ones(labels.shape, dtype=bool)
    choice = choose_points(find_labels(labels), known, (0, 1), _MAP_ROUNDS, margin=LABEL_MARGIN)
    filled = fill_between(np.where(choice.wanted, labels, np.nan), (0, 1), _MAP_ROUNDS, is_label=True)
    wrong = int((filled != labels).sum())
    return (
        "attraction map",
        f"{wrong} of {labels.size} labels differ",
        f"{len(np.unique(labels[inside]))} labels, and one outside the disc",
        f"{choice.wanted.sum()} of {labels.size} points, {choice.wanted.mean():.1%}",
    )


def main(chosen: list[str]) -> None:
    """Print the rows of the chosen measurements."""
    measurements: dict[str, Callable[[], Row]] = {
        "map": measure_map,
        "whole": measure_whole,
        "theory": lambda: measure_threshold(
            "threshold_by_theory", {"simulation": "none"}, [0], 0, quantity="growth_rate_theory", level=0
        ),
        "sgd": lambda: measure_threshold(
            "threshold_by_sgd",
            {"dimension": _DIMENSION},
            [0, _TIME],
            _REPLICAS,
            quantity="overlap_mean",
            select={"time": _TIME},
            level=0.02,
        ),
    }
    print("| what | answer | detail | points |\n|---|---|---|---|")
    for name in chosen or measurements:
        print(f"| {' | '.join(measurements[name]())} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
