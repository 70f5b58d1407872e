"""Saddles and summaries for the tests of the saddle."""

from types import SimpleNamespace

import numpy as np
import xarray as xr

from clhd.sweep.results.summary_reader import Summary
from clhd.systems.saddle import SaddleSystem
from clhd.systems.saddle.model import make_saddle

SCHEDULES = ["alternating", "fixed", "gradient_descent", "ratio"]
STATUS = ["not_run", "ok", "diverged", "not_converged", "failed"]


def make_values(**changes):
    return SimpleNamespace(**{name: p.default for name, p in SaddleSystem.parameters.items()} | changes)


def make(seed=1, **changes):
    """A saddle and the random numbers that are left."""
    random = np.random.default_rng(seed)
    return make_saddle(make_values(**changes), random), random


def summarise(variables, coordinates, constants=None):
    """A summary of made-up numbers, every run of which is ok."""
    grid = [name for name in coordinates if name != "growth_rank"]
    counts = np.zeros([len(coordinates[name]) for name in grid] + [5], int)
    counts[..., 1] = 4
    data = xr.Dataset(variables | {"replica_count": ([*grid, "status"], counts)}, coordinates | {"status": STATUS})
    experiment = {"name": "saddle", "system": "saddle", "constants": constants or {}, "replicas": 4, "seed": 1}
    return Summary(data.assign_attrs(experiment=experiment, code="1", created="2020"))
