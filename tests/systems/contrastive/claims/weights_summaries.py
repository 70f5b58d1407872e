"""Made-up summaries for C1 and C2, in which everything holds unless a test changes it."""

import numpy as np
import xarray as xr
from scipy.special import ndtr

from clhd.sweep.results.summary_reader import Summary

OVERLAP, WIDTH = 0.5, 0.6  # mean of the weights where the feature value is 1, and their standard deviation
PENALTIES, TIMES = [0.0, 0.3], [0.0, 1.0, 3.0]
STATUS = ["not_run", "ok", "diverged", "not_converged", "failed"]
FRACTION = 0.2


def make_summary(name, dataset, **constants):
    experiment = {"name": name, "replicas": 16, "seed": 1, "constants": constants}
    return Summary(dataset.assign_attrs(experiment=experiment, code="1"))


def make_law(signs, weight, *, overlap=OVERLAP):
    """Normal distribution functions, of shape (signs, weights)."""
    return ndtr((weight - overlap * np.array(signs)[:, None]) / WIDTH)


def make_distances(dimensions, *, exponent=-0.5, scale=1.0, error=0.02, missing=False):
    """Distances of one experiment, `scale` times that of 50 independent draws at dimension 100."""
    weight, signs = np.linspace(-4, 4, 401), [-1, 1]
    law = make_law(signs, weight)
    of_draws = np.trapezoid(np.sqrt(2 / (np.pi * 50) * law * (1 - law)), weight).mean()
    shape = (len(PENALTIES), len(dimensions), len(TIMES))
    n = np.array(dimensions, float)[:, None]
    distance = np.broadcast_to(scale * of_draws * (n / 100) ** exponent, shape)[..., None] * np.ones(2)
    if missing:
        distance = distance * np.nan
    dims = ("l1_penalty", "dimension", "time")
    spread = np.broadcast_to(0.5 / np.sqrt(n), shape).copy()
    dataset = xr.Dataset(
        {
            "distribution_distance_mean": ((*dims, "feature_sign"), distance),
            "distribution_distance_standard_error": ((*dims, "feature_sign"), error * distance),
            "distribution_theory": ((*dims, "feature_sign", "weight_edge"), np.broadcast_to(law, (*shape, *law.shape))),
            "distribution_mean": ((*dims, "feature_sign", "weight_edge"), np.broadcast_to(law, (*shape, *law.shape))),
            "overlap_theory": ((*dims, "feature"), np.full((*shape, 1), OVERLAP)),
            "overlap_standard_deviation": ((*dims, "feature"), spread[..., None].copy()),
            "squared_norm_theory": (dims, np.full(shape, OVERLAP**2 + WIDTH**2)),
            "squared_norm_standard_deviation": (dims, spread),
            "replica_count": (("l1_penalty", "dimension", "status"), np.tile([0, 16, 0, 0, 0], (*shape[:2], 1))),
        },
        {
            "l1_penalty": PENALTIES,
            "dimension": dimensions,
            "time": TIMES,
            "feature_sign": signs,
            "feature": [1],
            "weight_edge": weight,
            "status": STATUS,
        },
    )
    return make_summary("distances", dataset)


def make_support(*, overlap=1.5, sgd_overlap=1.5, error=0.002):
    """Weights of a sparse feature, of means -overlap, 0, overlap; SGD's may be others. Errors: of 1 / error^2 draws."""
    weight, signs, dimensions = np.linspace(-4, 4, 401), [-1, 0, 1], [100, 1000]
    shape = (len(PENALTIES), len(dimensions), len(TIMES))
    dims = ("l1_penalty", "dimension", "time")
    theory, sgd = (
        np.broadcast_to(make_law(signs, weight, overlap=q), (*shape, 3, 401)) for q in (overlap, sgd_overlap)
    )
    dataset = xr.Dataset(
        {
            "distribution_theory": ((*dims, "feature_sign", "weight_edge"), theory),
            "distribution_mean": ((*dims, "feature_sign", "weight_edge"), sgd),
            "distribution_standard_error": ((*dims, "feature_sign", "weight_edge"), error * np.sqrt(sgd * (1 - sgd))),
            "squared_norm_mean": (dims, np.ones(shape)),
            "squared_norm_theory": (dims, np.ones(shape)),
            "replica_count": (("l1_penalty", "dimension", "status"), np.tile([0, 16, 0, 0, 0], (*shape[:2], 1))),
        },
        {
            "l1_penalty": PENALTIES,
            "dimension": dimensions,
            "time": TIMES,
            "feature_sign": signs,
            "weight_edge": weight,
            "status": STATUS,
        },
    )
    return make_summary("support", dataset, feature_law="sparse", feature_fraction=FRACTION)


def make_weights_summaries(*, support=None, **distances):
    """All roles of C1."""
    return {
        "small": make_distances([100, 300, 1000, 3000], **distances),
        "large": make_distances([10_000], **distances),
        "support": make_support(**(support or {})),
    }


def make_refinement(*, order=2.0, size=1.0, floor=0.0, cells=(100, 200, 400, 800, 1600), missing=False):
    """The role of C2: differences of size (cells / 100)^-order 1e-3, plus a floor that no refinement lowers."""
    time, rates = np.linspace(0, 10, 11), [0.25, 0.5]
    counts = np.array(cells, float)
    ode = np.broadcast_to(1 - np.exp(-time), (len(rates), len(cells), len(time)))
    error = np.broadcast_to((1e-3 * size * (counts / 100) ** -order + floor)[:, None], ode.shape) * (time > 0)
    pde = ode + (np.nan if missing else error)
    dims = ("learning_rate", "cells", "time")
    dataset = xr.Dataset(
        {
            "overlap_theory": ((*dims, "feature"), pde[..., None]),
            "overlap_ode_theory": ((*dims, "feature"), ode[..., None]),
            "squared_norm_theory": (dims, pde),
            "squared_norm_ode_theory": (dims, ode),
            "theory_status": (dims[:2], np.ones(ode.shape[:2], int)),
        },
        {"learning_rate": rates, "cells": list(cells), "time": time, "feature": [1]},
    )
    return {"refinement": make_summary("refinement", dataset)}
