"""Selection probability: the feature that a unit learns from an uninformative start.

Random initial weights w ~ N(0, r I) have overlaps of order n^(-1/2): the start is uninformative, and chance decides. By
SGD, runs start there at finite n; by the ODE, trajectories start on a small sphere |q| = radius sqrt(r), in directions
that fill it evenly. Every run ends in one outcome:

| outcome | rule at the end |
|---|---|
| feature_j | abs(S_j) > 0.5, all rivals below 0.3, squared norm above 1e-3 |
| none | all abs(S_j) below 0.3, or squared norm below 1e-3 (collapsed: S alone would mislead) |
| undecided | everything else, divergence included |

Two units end in one of `SHARINGS`, by the same rules for each unit:

| outcome | rule at the end |
|---|---|
| same, each | both units have the same feature, or different ones |
| one, none | one unit has a feature and the other none, or neither has one |
| undecided | everything else |

Their ODE starts at all directions of the initial law: (Q / sqrt r, R_12 / r) has 2 p + 1 independent normal numbers of
variance 1 / n, so its direction is uniform, and its length is the radius.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.checks import parse_choice, parse_count, parse_number, parse_threads
from clhd.core.lazy import qmc, xr
from clhd.core.statistics import wilson_interval
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import Variable, labelled
from clhd.systems.contrastive.simulation.point import Point
from clhd.systems.contrastive.simulation.sgd import simulate_points, split_values
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.states.threshold import uninformative_state
from clhd.systems.contrastive.theory.units.pair_flow import check_pair, follow_pairs

WINNER, RIVAL, COLLAPSED = 0.5, 0.3, 1e-3
_RADIUS = 0.01
SHARINGS = ("same", "each", "one", "none", "undecided")


def selection_probability(
    model: ContrastiveModel,
    *,
    method: str = "ode",
    time: float,
    replicas: int = 1000,
    dimension: int | None = None,
    squared_norm: float | None = None,
    radius: float = _RADIUS,
    seed: int = 0,
    threads: int | None = None,
) -> xr.Dataset:
    """Return the probability that each feature is selected from an uninformative random start.

    Of two units it returns the probabilities that both take the same feature, that each takes one of its own, that one
    takes a feature or that none does.

    Parameters
    ----------
    model : ContrastiveModel
        With one unit, or two (see `find_fixed_points` for which).
    method : str
        "sgd": the projected chain at `dimension`; "ode": the limit, from a small sphere.
    time : float
        When a run ends, in steps per dimension.
    replicas : int
        Random starts. With "ode" a start of two units takes one to two seconds: 16 to 64 are usual.
    dimension : int, optional
        n, needed for "sgd" and only there.
    squared_norm : float, optional
        r of the start; by default that of the uninformative state of one unit if it is positive and finite, else 1.
    radius : float
        Of the small sphere of "ode", 0 < radius <= 1: |q| = radius sqrt(r); of two units (Q / sqrt r, R_12 / r).
    seed : int
        Of the random starts, and of the streams of SGD.
    threads : int, optional
        Number of threads, by default one per core; results do not depend on it. With "ode" two units take one.

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
    _check_method(model, method, dimension)
    end = parse_number("time", time, above=0)
    count = parse_count("replicas", replicas, minimum=1)
    parse_count("seed", seed, minimum=0)
    workers = parse_threads(threads)
    norm = _starting_norm(model) if squared_norm is None else parse_number("squared_norm", squared_norm, above=0)
    if method == "sgd":
        point = Point(model=model, dimension=dimension or 0, overlap=None, squared_norm=norm, seed=seed)
        states = simulate_points([point], [end], range(count), threads=workers)[0, :, -1]
        overlap, last_norm, _ = split_values(states, model.units)
    else:
        share = parse_number("radius", radius, above=0, maximum=1)
        if model.units == 1:
            overlap, last_norm = _follow_one(model, norm, share, end, count, seed, workers)
        else:
            overlap, last_norm = _follow_pair(model, norm, share, end, count, seed)
    names, runs = _count_outcomes(overlap, last_norm)
    variables: dict[str, Variable] = {"probability": (("outcome",), runs / count), "runs": (("outcome",), runs)}
    if method == "sgd":
        _, lower, upper = wilson_interval(runs, count)
        variables |= {"probability_lower": (("outcome",), lower), "probability_upper": (("outcome",), upper)}
    attributes: dict[Hashable, object] = {
        "model": model.canonical(),
        "method": method,
        "time": end,
        "squared_norm": norm,
        "seed": seed,
    }
    attributes |= {"dimension": dimension} if method == "sgd" else {"radius": radius}
    return labelled(variables, {"outcome": names}, attributes)


def _check_method(model: ContrastiveModel, method: str, dimension: int | None) -> None:
    """Raise ClhdError if the method, or its theory, is not there for the model."""
    check_model(model)
    parse_choice("method", method, ("ode", "sgd"))
    if model.units > 2:
        raise InputError(f"units = {model.units}: must be 1 or 2, because the outcome of more units has no name yet")
    if model.units == 2 and method == "ode":
        check_pair(model)
    if (dimension is None) == (method == "sgd"):
        need = "must be given with" if method == "sgd" else "is only for"
        raise InputError(f"dimension = {dimension!r}: {need} method = 'sgd'")


def _count_outcomes(overlap: FloatArray, squared_norm: FloatArray) -> tuple[list[str], IntArray]:
    """Return the names of the outcomes, and how many runs end in each; two units have a Gram matrix as squared norm."""
    if squared_norm.ndim == 1:
        names, outcomes = name_outcomes(overlap.shape[-1]), classify_outcomes(overlap, squared_norm)
    else:
        names, outcomes = list(SHARINGS), classify_sharing(overlap, squared_norm)
    return names, np.bincount(outcomes, minlength=len(names))


def _draw_directions(dimensions: int, count: int, seed: int) -> FloatArray:
    """Return directions, shape (count, dimensions).

    Quasi-random directions fill the sphere evenly: a share then has an error of order 1 / count, and no interval,
    because Wilson's is that of independent starts.
    """
    engine = qmc.Halton(dimensions, rng=seed)
    directions = np.asarray(qmc.MultivariateNormalQMC(np.zeros(dimensions), engine=engine).random(count))
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _follow_one(
    model: ContrastiveModel, norm: float, radius: float, end: float, count: int, seed: int, threads: int
) -> tuple[FloatArray, FloatArray]:
    """Return overlap and squared norm of one unit at the end of the ODE, by start."""
    starts = radius * np.sqrt(norm) * _draw_directions(model.features, count, seed)
    last = integrate_ode(model, overlap=starts, squared_norm=norm, time=[end], threads=threads).isel(time=-1)
    return last.overlap.values, last.squared_norm.values


def _follow_pair(
    model: ContrastiveModel, norm: float, radius: float, end: float, count: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return overlaps and Gram matrices of two units at the end of the ODE, by start."""
    starts = radius * _draw_directions(2 * model.features + 1, count, seed)
    overlap = np.sqrt(norm) * starts[:, :-1].reshape(count, 2, model.features)
    cross = norm * starts[:, -1]
    gram = np.stack([np.full(count, norm), cross, cross, np.full(count, norm)], axis=-1).reshape(count, 2, 2)
    return follow_pairs(model, overlap, gram, end)


def predict_sharing(
    model: ContrastiveModel, overlap: FloatArray | None, squared_norm: float, time: float, starts: int
) -> FloatArray:
    """Return the shares of the outcomes of two units by the ODE, in the order of `SHARINGS`.

    Parameters
    ----------
    model : ContrastiveModel
        With two units.
    overlap : array of shape (unit, feature), or None
        Initial overlap; None for random weights, by starts of radius 0.01.
    squared_norm : float
        Of each unit at the start.
    time : float
        When the ODE ends.
    starts : int
        Number of starts of random weights.
    """
    if overlap is None:
        ends = _follow_pair(model, squared_norm, _RADIUS, time, starts, 0)
    else:
        gram = overlap @ overlap.T
        gram[[0, 1], [0, 1]] = squared_norm
        ends = follow_pairs(model, overlap[None], gram[None], time)
    outcomes = classify_sharing(*ends)
    return np.bincount(outcomes, minlength=len(SHARINGS)) / len(outcomes)


def _starting_norm(model: ContrastiveModel) -> float:
    """The squared norm of the uninformative state of one unit where it is positive and finite, else 1."""
    alone = replace(model, units=1, decorrelation=0.0)
    norm = 1.0 if model.is_sphere else float(uninformative_state(alone).squared_norm)
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


def classify_sharing(overlap: FloatArray, gram: FloatArray) -> IntArray:
    """Return which features two units have, as places in `SHARINGS`.

    Parameters
    ----------
    overlap, gram : arrays of shape (..., unit, feature) and (..., unit, unit)
        At the end; NaN where the run has diverged.

    Returns
    -------
    array of shape (...)
    """
    features = overlap.shape[-1]
    norms = np.diagonal(gram, axis1=-2, axis2=-1)
    owned = classify_outcomes(overlap.reshape(-1, features), norms.ravel()).reshape(norms.shape)
    first, second = owned[..., 0], owned[..., 1]
    has = owned < features
    rules = {
        "undecided": (owned > features).any(axis=-1),
        "same": has.all(axis=-1) & (first == second),
        "each": has.all(axis=-1),
        "one": has.any(axis=-1),
    }
    return np.select(list(rules.values()), [SHARINGS.index(name) for name in rules], SHARINGS.index("none"))
