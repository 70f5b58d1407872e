"""Made-up summaries for C3, in which everything holds unless a test changes it."""

import numpy as np
import xarray as xr

from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.convergence import QUANTITIES

SMALL = [30, 55, 100, 180, 300, 550, 1000]
LARGE = [1000, 3000, 10000, 30000, 100000]
STATUS = ["not_run", "ok", "diverged", "not_converged", "failed"]
THRESHOLDS = {
    "bias_exponent_range": (-1.25, -0.75),
    "spread_exponent_range": (-0.55, -0.45),
    "spread_ratio_range": (0.9, 1.1),
}


def make_summaries(*, bias=-1.0, extra=0.0, runs=2**18, spread=-0.5, size=1.0, large_runs=512):
    """Bias 0.2 n^bias, and an extra at n = 30; spread of size * 0.45 n^spread where theory says 0.45 n^(-1/2)."""
    small, large = np.array(SMALL, float), np.array(LARGE, float)
    distance = -0.2 * small**bias - extra * (small == 30)
    return {
        "bias": _make("bias", small, distance, 0.45 * small**-0.5, runs),
        "spread": _make(
            "spread", large, 0 * large, size * 0.45 * large[0] ** (-0.5 - spread) * large**spread, large_runs
        ),
        "weak_start": _make("dimension", large, 0 * large, 0.45 * large**-0.5, 256),
    }


def _make(name, size, bias, deviation, runs):
    # Noise of fixed seed and of the size that the errors say: a bias on the curve would be too good.
    noise = np.random.default_rng(5).standard_normal((len(QUANTITIES), len(size)))
    variables = {}
    for quantity, scatter in zip(QUANTITIES, noise, strict=True):
        error = deviation / np.sqrt(runs)
        for statistic, values in {
            "mean": 0.6 + bias + error * scatter,
            "theory": 0.6 + 0 * size,
            "standard_error": error,
            "standard_deviation": deviation * (1 + scatter / np.sqrt(2 * runs)),
            "theory_standard_deviation": 0.45 * size**-0.5,
        }.items():
            of_time = np.stack([0 * values, values, values], axis=1)  # at the start there is neither bias nor spread
            has_feature = quantity != "squared_norm"
            dims = ("dimension", "time", "feature") if has_feature else ("dimension", "time")
            variables[f"{quantity}_{statistic}"] = (dims, of_time[..., None] if has_feature else of_time)
    counts = np.zeros((len(size), len(STATUS)), int)
    counts[:, 1] = runs
    axes = {"dimension": size.astype(int), "time": [0.0, 1.0, 3.0], "feature": [1], "status": STATUS}
    dataset = xr.Dataset(variables | {"replica_count": (("dimension", "status"), counts)}, axes)
    return Summary(
        dataset.assign_attrs(experiment={"name": name, "replicas": runs, "seed": 1, "constants": {}}, code="1")
    )
