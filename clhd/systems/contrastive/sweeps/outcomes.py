"""Selection probability: the feature that a unit learns from an uninformative start.

Random initial weights w ~ N(0, r I) have overlaps of order n^(-1/2): the start is uninformative, and chance decides. By
SGD, runs start there at finite n; by the ODE, trajectories start on a small sphere |q| = radius sqrt(r), in directions
that fill it evenly. Every run ends in one outcome:

| outcome | rule at the end |
|---|---|
| feature_j | abs(S_j) > 0.5, all rivals below 0.3, squared norm above 1e-3 |
| none | all abs(S_j) below 0.3, or squared norm below 1e-3 (collapsed: S alone would mislead) |
| undecided | everything else, divergence included |
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.checks import parse_choice, parse_count, parse_number
from clhd.core.lazy import qmc, xr
from clhd.core.statistics import wilson_interval
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.labels import Variable, labelled
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points
from clhd.systems.contrastive.theory.ode import integrate_ode
from clhd.systems.contrastive.theory.threshold import uninformative_state

WINNER, RIVAL, COLLAPSED = 0.5, 0.3, 1e-3


def selection_probability(
    model: ContrastiveModel,
    *,
    method: str = "ode",
    time: float,
    replicas: int = 1000,
    dimension: int | None = None,
    squared_norm: float | None = None,
    radius: float = 0.01,
    seed: int = 0,
    threads: int | None = None,
) -> xr.Dataset:
    """Return the probability that each feature is selected from an uninformative random start.

    Parameters
    ----------
    model : ContrastiveModel
    method : str
        "sgd": the projected chain at `dimension`; "ode": the limit, from a small sphere.
    time : float
        When a run ends, in steps per dimension.
    replicas : int
        Random starts.
    dimension : int, optional
        n, needed for "sgd" and only there.
    squared_norm : float, optional
        r of the start; by default that of the uninformative state if it is positive and finite, else 1.
    radius : float
        Of the small sphere of "ode": |q| = radius sqrt(r), 0 < radius < 1.
    seed : int
        Of the random starts, and of the streams of SGD.
    threads : int, optional
        For "sgd", by default one per core.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | probability | outcome | share of the runs |
    | probability_lower, probability_upper | outcome | 95 % Wilson interval, of "sgd" only |
    | runs | outcome | number of runs |

    Raises
    ------
    ClhdError
        If a value is not allowed.
    """
    parse_choice("method", method, ("ode", "sgd"))
    if model.units > 1:
        raise InputError(f"units = {model.units}: must be 1, because the outcome of several units has no name yet")
    end = parse_number("time", time, above=0)
    count = parse_count("replicas", replicas, minimum=1)
    parse_count("seed", seed, minimum=0)
    if (dimension is None) == (method == "sgd"):
        need = "must be given with" if method == "sgd" else "is only for"
        raise InputError(f"dimension = {dimension!r}: {need} method = 'sgd'")
    norm = _starting_norm(model) if squared_norm is None else parse_number("squared_norm", squared_norm, above=0)
    if method == "sgd":
        point = Point(model=model, dimension=dimension or 0, overlap=None, squared_norm=norm, seed=seed)
        states = simulate_points([point], [end], range(count), threads=threads)[0, :, -1]
        overlap, last_norm = states[:, :-1], states[:, -1]
    else:
        length = parse_number("radius", radius, above=0, maximum=1) * np.sqrt(norm)
        # Quasi-random directions fill the sphere evenly: the share then has an error of order 1 / replicas, and no
        # interval, because Wilson's is that of independent starts.
        mean = np.zeros(model.features)
        directions = qmc.MultivariateNormalQMC(mean, engine=qmc.Halton(model.features, rng=seed)).random(count)
        starts = length * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        last = integrate_ode(model, overlap=starts, squared_norm=norm, time=[end]).isel(time=-1)
        overlap, last_norm = last.overlap.values, last.squared_norm.values
    runs = np.bincount(classify_outcomes(overlap, last_norm), minlength=model.features + 2)
    shares: dict[str, Variable] = {"probability": (("outcome",), runs / count)}
    if method == "sgd":
        _, lower, upper = wilson_interval(runs, count)
        shares |= {"probability_lower": (("outcome",), lower), "probability_upper": (("outcome",), upper)}
    attributes: dict[Hashable, object] = {
        "model": model.canonical(),
        "method": method,
        "time": end,
        "squared_norm": norm,
        "seed": seed,
    }
    attributes |= {"dimension": dimension} if method == "sgd" else {"radius": radius}
    return labelled(
        {**shares, "runs": (("outcome",), runs)},
        {"outcome": name_outcomes(model.features)},
        attributes,
    )


def _starting_norm(model: ContrastiveModel) -> float:
    """The squared norm of the uninformative state where it is positive and finite, else 1."""
    norm = 1.0 if model.is_sphere else float(uninformative_state(model).squared_norm)
    return norm if 0 < norm < np.inf else 1.0


def name_outcomes(features: int) -> list[str]:
    """Return the names of the outcomes, in the order of `classify_outcomes`."""
    return [*(f"feature_{j + 1}" for j in range(features)), "none", "undecided"]


def classify_outcomes(overlap: FloatArray, squared_norm: FloatArray) -> IntArray:
    """Return the outcome of each run, by the rules at the head of this module.

    Parameters
    ----------
    overlap, squared_norm : arrays of shape (runs, feature) and (runs,)
        At the end; NaN where the run has diverged.

    Returns
    -------
    array of shape (runs,)
        0 .. p - 1 for the features, p for none, p + 1 for undecided.
    """
    features = overlap.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        similarity = np.abs(overlap) / np.sqrt(squared_norm)[:, None]
        low = similarity < RIVAL
        none = np.all(low, axis=1) | (squared_norm < COLLAPSED)
    outcome = np.full(len(overlap), features + 1)
    for j in range(features):
        outcome[(similarity[:, j] > WINNER) & np.all(np.delete(low, j, axis=1), axis=1)] = j
    outcome[none] = features
    return outcome
