"""Made-up summaries for C4, in which everything holds unless a test changes it."""

import numpy as np
import xarray as xr

from clhd.sweep.results.summary_reader import Summary

KURTOSIS = [1.0, 3.0, 8.0]
MOMENT = np.linspace(0.26, 0.5, 7)
RATES = [0.2, 0.5, 0.8]
THRESHOLD, SLOPE, START, DURATION = 0.38, 0.4, 0.02, 2.0
TOLERANCES = {"tolerance": 0.01}
STATUS = ["not_run", "ok", "diverged", "not_converged", "failed"]


def make_summaries(*, shifts=(0.0, 0.0, 0.0), slope=SLOPE, error=2e-3, bias=0.0003, late=(0.59, 0.62, 0.79)):
    """SGD's thresholds lie at 0.38 + shifts; ``error`` is that of the log of the overlap."""
    thresholds = THRESHOLD + np.array(shifts)
    growth = _make_growth("kurtosis", KURTOSIS, thresholds, slope, error, bias)
    border = THRESHOLD + 0.2 * (np.array(RATES) - 0.5)
    phase = _make_growth("learning_rate", RATES, border, SLOPE, 2e-3, bias, theory=border)
    return {"growth": growth, "phase": phase, "cut": _make_cut(late)}


def _make_growth(axis, places, thresholds, slope, error, bias, theory=THRESHOLD):
    exact = np.broadcast_to(theory, len(places))[:, None]
    by_ode = SLOPE * (MOMENT - exact - bias)
    # Noise of fixed seed, half as large as the error says.
    scatter = 0.5 * error * np.random.default_rng(3).standard_normal(by_ode.shape)
    by_sgd = slope * (MOMENT - thresholds[:, None]) + scatter / DURATION

    def grow(rate):
        return START * np.exp(rate[..., None] * np.array([0.0, 1.0, DURATION]))[..., None]

    mean, dims = grow(by_sgd), (axis, "second_moment", "time", "feature")
    variables = {
        "overlap_mean": (dims, mean),
        "overlap_standard_error": (dims, error * mean * (np.arange(3) > 0)[:, None]),
        "overlap_theory": (dims, grow(by_ode)),
        "growth_rate_theory": ((axis, "second_moment", "feature"), (SLOPE * (MOMENT - exact))[..., None]),
    }
    return _wrap("growth", variables, {axis: places, "second_moment": MOMENT, "time": [0.0, 1.0, DURATION]})


def _make_cut(late):
    moment = np.linspace(0.1, 1.0, 19)
    similarity = 0.5 + 0.8 * (moment - np.array(late)[:, None])
    values = np.clip(similarity, 0, 1)[:, :, None, None, None] * np.array([0.1, 1.0])[:, None]
    dims = ("kurtosis", "second_moment", "dimension", "time", "feature")
    values = np.repeat(values, 2, axis=2)
    variables = {f"cosine_similarity_{name}": (dims, values) for name in ("mean", "standard_error")}
    variables["cosine_similarity_standard_error"] = (dims, 0 * values + 0.01)
    variables["cosine_similarity_theory"] = ((*dims[:2], *dims[3:]), values[:, :, 0])
    axes = {"kurtosis": KURTOSIS, "second_moment": moment, "dimension": [100, 1000], "time": [0.0, 40.0]}
    return _wrap("moments", variables, axes)


def _wrap(name, variables, axes):
    grid = tuple(axis for axis in axes if axis != "time")
    counts = np.zeros((*(len(axes[axis]) for axis in grid), len(STATUS)), int)
    counts[..., 1] = 4096
    variables |= {"replica_count": ((*grid, "status"), counts)}
    dataset = xr.Dataset(variables, axes | {"feature": [1], "status": STATUS})
    constants = {"dimension": 10000, "initial_overlap": START}
    experiment = {"name": name, "replicas": 4096, "seed": 1, "constants": constants}
    return Summary(dataset.assign_attrs(experiment=experiment, code="1"))
