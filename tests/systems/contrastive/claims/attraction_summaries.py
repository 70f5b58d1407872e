"""Made-up summaries for C5, in which everything holds unless a test changes it."""

import numpy as np
import xarray as xr

from clhd.sweep.results.summary_reader import Summary

KURTOSIS = [1.0, 1.5, 2.0, 2.5]
DIMENSION = [100, 1000]
OUTCOMES = ["feature_1", "feature_2", "none", "undecided"]
RUNS = 10240


def make_summary(name, dataset, **constants):
    experiment = {"name": name, "replicas": RUNS, "seed": 1, "constants": constants}
    return Summary(dataset.assign_attrs(experiment=experiment, code="1"))


def make_summaries(
    *,
    share=(0.5, 0.54, 0.61, 1.0),
    undecided=0.0,
    growth=(0.72, 0.72),
    area=(0.5, 0.53, 0.61, 1.0),
    pure_eigenvalue=(-0.3, -0.31, -0.32),
):
    """All roles but the portrait; the limit's shares are 0.5, 0.535, 0.608 and 1."""
    ode = np.array([0.5, 0.535, 0.608, 1.0])
    shares = np.broadcast_to(np.array(share), (2, 4)).T
    by_outcome = np.stack(
        [shares * (1 - undecided), (1 - shares) * (1 - undecided), 0 * shares, 0 * shares + undecided], axis=-1
    )
    predicted = np.stack([ode, 1 - ode, 0 * ode, 0 * ode], axis=-1)
    counts = np.zeros((4, 2, 5), int)
    counts[..., 1] = RUNS
    pure = np.column_stack([np.full(4, -0.35), [-0.35, -0.15, -0.02, 0.08]])
    axes = {"kurtosis_2": KURTOSIS, "outcome": OUTCOMES, "feature": [1, 2]}
    theory = {
        "area_theory": (("kurtosis_2", "outcome"), predicted * 0 + np.array(area)[:, None] * [1, 0, 0, 0]),
        "growth_rate_theory": (("kurtosis_2", "feature"), np.tile(growth, (4, 1))),
        "pure_eigenvalue_theory": (("kurtosis_2", "feature"), pure),
        "theory_status": ("kurtosis_2", np.ones(4, int)),
    }
    grid = ("kurtosis_2", "dimension")
    selection = xr.Dataset(
        {
            **theory,
            "probability_mean": ((*grid, "outcome"), by_outcome),
            "probability_theory": ((*grid, "outcome"), np.repeat(predicted[:, None], 2, axis=1)),
            "replica_count": ((*grid, "status"), counts),
        },
        axes | {"dimension": DIMENSION, "status": ["not_run", "ok", "diverged", "not_converged", "failed"]},
    )
    limit = xr.Dataset(theory | {"probability_theory": (("kurtosis_2", "outcome"), predicted)}, axes)
    unequal = xr.Dataset(
        {
            "probability_mean": (("dimension", "outcome"), np.array([[0.63, 0.37, 0, 0], [0.7, 0.3, 0, 0]])),
            "probability_theory": (
                ("dimension", "initial_radius", "outcome"),
                np.tile([[0.7, 0.3, 0, 0], [0.6, 0.4, 0, 0]], (2, 1, 1)),
            ),
            "replica_count": (("dimension", "status"), np.tile([0, RUNS, 0, 0, 0], (2, 1))),
        },
        {"dimension": DIMENSION, "initial_radius": [0.0447, 0.1414], "outcome": OUTCOMES, "status": selection.status},
    )
    return {
        "selection": make_summary("selection", selection, kurtosis_1=1.0),
        "orthogonal": make_summary(
            "selection_orthogonal", selection.isel(kurtosis_2=[2], dimension=[1]).copy(deep=True)
        ),
        "limit": make_summary("selection_limit", limit),
        "unequal": make_summary("selection_unequal", unequal),
        "stability": _make_stability("pure_stability", pure_eigenvalue),
        "expanding": _make_stability("pure_stability_cubic", [0.9, 0.3, -0.3]),
        "laws": make_summary(
            "pure_stability_laws",
            xr.Dataset(
                {"pure_eigenvalue_theory": (("latent", "feature"), np.repeat([[0.0], [0.13], [-0.12]], 2, axis=1))},
                {"latent": ["gaussian", "laplace", "uniform"], "feature": [1, 2]},
            ),
        ),
    }


def _make_stability(name, eigenvalue):
    values = np.repeat(np.array(eigenvalue)[:, None], 2, axis=1)
    dataset = xr.Dataset(
        {
            "pure_eigenvalue_theory": (("kurtosis", "feature"), values),
            "growth_rate_theory": (("kurtosis", "feature"), 0 * values + 0.72),
            "theory_status": ("kurtosis", [1, 1, 1]),
        },
        {"kurtosis": [1.0, 2.0, 3.0], "feature": [1, 2]},
    )
    return make_summary(name, dataset)
