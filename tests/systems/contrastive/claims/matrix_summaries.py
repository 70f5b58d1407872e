"""Made-up summaries for the matrix, of two cases, in which everything holds unless a test changes it."""

import numpy as np
import xarray as xr

from clhd.sweep.results.summary_reader import Summary

STATUS = ["not_run", "ok", "diverged", "not_converged", "failed"]
RUNS = 256
ERROR = 0.001
CASES = {
    "loss": ["bilinear", "infonce"],
    "activation": ["tanh", "relu"],
    "constraint": ["none", "sphere"],
    "weight_decay": [0.6, 0.0],
    "learning_rate": [0.5, 0.5],
}
VARIANCE, CORRELATION = [0.0, 0.5, 0.5, 0.5], [0.0, -1.0, 0.0, 1.0]


def make_summary(name, dataset, **constants):
    experiment = {"name": name, "replicas": RUNS, "seed": 1, "constants": constants}
    return Summary(dataset.assign_attrs(experiment=experiment, code="1"))


def _count(*shape, diverged=0):
    counts = np.zeros((*shape, len(STATUS)), int)
    counts[..., 1], counts[..., 2] = RUNS - diverged, diverged
    return counts


def _case(k):
    return {name: ("case", values[k : k + 1]) for name, values in CASES.items()}


def make_steady(*, similarity, deviation, dimension, case=0, diverged=0, averaging_error=0.0, overlap=None):
    """Cosine similarity by noise; the theory is less by the deviation at the last noise and the last time."""
    mean = np.broadcast_to(np.array(similarity)[None, :, None, None], (1, 4, 4, 1)).copy()
    mean[:, :, -2] -= 0.002  # not quite at rest
    theory = mean.copy()
    theory[0, -1, -1] -= deviation
    dims = ("case", "noise", "time", "feature")
    dataset = xr.Dataset(
        {
            "cosine_similarity_mean": (dims, mean),
            "cosine_similarity_standard_error": (dims, np.full(mean.shape, ERROR)),
            "cosine_similarity_theory": (dims, theory),
            "overlap_mean": (dims, mean if overlap is None else np.full(mean.shape, overlap)),
            "squared_norm_theory": (dims[:3], np.ones(mean.shape[:3])),
            "averaging_error_theory": (dims[:3], np.full(mean.shape[:3], averaging_error)),
            "replica_count": (("case", "noise", "status"), _count(1, 4, diverged=diverged)),
        },
        {
            **_case(case),
            "augmentation_noise_variance": ("noise", VARIANCE),
            "noise_correlation": ("noise", CORRELATION),
            "time": [0.0, 5.0, 25.0, 30.0],
            "status": STATUS,
        },
    )
    return make_summary("steady", dataset, dimension=dimension)


def make_growth(rates, change):
    """Growth rates of shape (kurtosis, second moment), and SGD's change of the overlap, of the same shape."""
    rate = np.array(rates)[None, ..., None]
    overlap = np.stack([np.full((2, 2), 0.05), 0.05 + np.array(change)], axis=-1)[None, ..., None]
    dims = ("case", "kurtosis", "second_moment")
    dataset = xr.Dataset(
        {
            "growth_rate_theory": ((*dims, "feature"), rate),
            "overlap_mean": ((*dims, "time", "feature"), overlap),
            "overlap_standard_error": ((*dims, "time", "feature"), np.full(overlap.shape, ERROR)),
            "replica_count": ((*dims, "status"), _count(1, 2, 2)),
        },
        {**_case(0), "kurtosis": [1.0, 8.0], "second_moment": [0.1, 1.5], "status": STATUS},
    )
    return make_summary("growth", dataset)


def make_pure(eigenvalue):
    dims = ("case", "kurtosis", "feature")
    values = np.repeat(np.array(eigenvalue)[None, :, None], 2, axis=2)
    dataset = xr.Dataset(
        {"pure_eigenvalue_theory": (dims, values), "growth_rate_theory": (dims, np.full(values.shape, 0.5))},
        {**_case(0), "kurtosis": [1.0, 4.0]},
    )
    return make_summary("pure", dataset)


def make_switch(gain, averaging_error=0.0):
    """Gains from correlation 0 to -1 by both, drift and gradient variance."""
    values = 0.8 + np.stack([np.array(gain), np.zeros(3)])[None, ..., None, None] + np.zeros((2, 1))
    dims = ("case", "noise_correlation", "correlation_acts_on", "time")
    dataset = xr.Dataset(
        {
            "cosine_similarity_theory": ((*dims, "feature"), values),
            "squared_norm_theory": (dims, np.ones(values.shape[:-1])),
            "averaging_error_theory": (dims, np.full(values.shape[:-1], averaging_error)),
        },
        {
            **_case(0),
            "noise_correlation": [-1.0, 0.0],
            "correlation_acts_on": ["both", "drift", "gradient_variance"],
            "time": [25.0, 30.0],
        },
    )
    return make_summary("switch", dataset)


def make_universality(difference, ratio, control=(0.0, 0.0)):
    """The projected chain, and in the full engine the control and a law, whose means are more, by dimension."""
    mean = np.full((3, 2), 0.6)
    mean[1] += np.array(control)
    mean[2] += np.array(difference)
    deviation = np.array([[1.0, 1.0], [1.0, 1.0], [ratio, ratio]]) * ERROR * 16
    dims = ("variant", "dimension", "time", "feature")

    def spread_out(values):
        return np.repeat(values[..., None], 2, axis=2)[..., None]

    dataset = xr.Dataset(
        {
            "cosine_similarity_mean": (dims, spread_out(mean)),
            "cosine_similarity_standard_deviation": (dims, spread_out(deviation)),
            "cosine_similarity_standard_error": (dims, spread_out(np.full((3, 2), ERROR))),
            "replica_count": (("variant", "dimension", "status"), _count(3, 2)),
        },
        {
            "engine": ("variant", ["projected", "full", "full"]),
            "noise_law": ("variant", ["gaussian", "gaussian", "rademacher"]),
            "feature_law": ("variant", ["gaussian", "gaussian", "gaussian"]),
            "dimension": [100, 1000],
            "time": [0.0, 6.0],
            "status": STATUS,
        },
    )
    return make_summary("universality", dataset)


def make_summaries(
    *,
    similarity=(0.9, 0.8, 0.7, 0.6),
    deviation=0.0,
    larger=0.0,
    diverged=0,
    averaging_error=0.0,
    switch_error=0.0,
    overlap=None,
    rates=((-0.1, 0.5), (-0.1, 0.5)),
    change=((-0.02, 0.3), (-0.02, 0.2)),
    eigenvalue=(-0.2, 0.1),
    gain=(0.02, 0.005, 0.015),
    difference=(0.02, 0.002),
    ratio=1.0,
    control=(0.0, 0.0),
):
    """All roles; the second case is in the simulated role alone."""
    steady = {"similarity": similarity, "averaging_error": averaging_error, "diverged": diverged, "overlap": overlap}
    return {
        "steady": make_steady(**steady, deviation=deviation, dimension=1000),
        "larger": make_steady(**steady, deviation=larger, dimension=10000),
        "growth": make_growth(rates, change),
        "pure": make_pure(eigenvalue),
        "switch": make_switch(gain, switch_error),
        "simulated": make_steady(similarity=similarity, deviation=0.0, dimension=1000, case=1),
        "universality": make_universality(difference, ratio, control),
    }
