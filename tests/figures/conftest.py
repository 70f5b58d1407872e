"""Summaries that are made up, so that every number on a figure is known."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.store.create import write_dataset
from clhd.systems.contrastive.model.labels import WORDS

MakeSummary = Callable[..., Summary]
STATUSES = ("not_run", "ok", "diverged", "not_converged", "failed")
COORDINATES: dict[str, dict[str, str]] = {
    "dimension": {"long_name": "dimension", "symbol": "n", "units": "1"},
    "kurtosis": {"long_name": "kurtosis", "symbol": "k", "units": "1"},
    "second_moment": {"long_name": "second moment", "symbol": "m", "units": "1"},
    "noise_correlation": {"long_name": "noise correlation", "symbol": "rho", "units": "1"},
    "augmentation_noise_variance": {"long_name": "augmentation noise variance", "symbol": "s_a^2", "units": "1"},
    "time": WORDS["time"],
    "feature": WORDS["feature"],
}
REPLICAS = 16
DECLARATION: dict[str, Any] = {
    "title": "made up",
    "time": WORDS["time"],
    "size": "dimension",
    "limit": "limit of infinite dimension",
    "quantity": "cosine_similarity",
    "components": "features",
    "equations": "",
    "sources": [],
    "source": "",
    "simulates": True,
    "predicts": True,
    "per_replica": False,
    "parameters": {},
    "distributions": {},
    "may_be_nan": [],
}


@pytest.fixture
def make_summary() -> MakeSummary:
    """A summary whose theory is 0.1 at each time + 0.01 per position along each axis, whose mean is 0.02 above."""

    def make(
        axes: dict[str, Sequence[Any]],
        *,
        name: str = "made_up",
        figure: str = "",
        times: Sequence[float] = (0.0, 5.0, 10.0),
        system: str = "contrastive",
        replicas: int = REPLICAS,
        features: int = 1,
        theory: bool = True,
        failed: dict[str, int] | None = None,
        diverged: dict[str, int] | None = None,
        **declared: Any,
    ) -> Summary:
        shape = tuple(len(values) for values in axes.values())
        full = (*shape, len(times), features)
        dims = (*axes, "time", "feature")
        limit = 0.1 + 0.01 * np.indices(full).sum(axis=0)
        counts = np.zeros((*shape, len(STATUSES)), np.int32)
        counts[..., 1] = replicas
        mean = limit + 0.02
        error = np.full(full, 0.01 if replicas > 1 else np.nan)
        for status, place in ((4, failed), (2, diverged)):
            if place is not None:
                position = tuple(place[axis] for axis in axes)
                counts[position] = 0
                counts[(*position, status)] = replicas
                mean[position] = error[position] = np.nan
        words = WORDS["cosine_similarity"]
        variables: dict[str, Any] = {
            "cosine_similarity_mean": (dims, mean, words | {"long_name": "mean of the cosine similarity"}),
            "cosine_similarity_standard_error": (dims, error, words),
            "cosine_similarity_standard_deviation": (dims, 4 * error, words),
            "cosine_similarity_quantile": (
                (*dims, "quantile"),
                np.stack([mean + offset for offset in (-0.05, 0.0, 0.05)], axis=-1),
                words,
            ),
            "replica_count": ((*axes, "status"), counts),
        }
        if theory:
            variables |= {
                "cosine_similarity_theory": (dims, limit, words),
                "cosine_similarity_theory_standard_deviation": (dims, np.full(full, 0.03), words),
                "cosine_similarity_z_score": (dims, (mean - limit) / error, words),
            }
        coordinates = {name: (name, np.asarray(values), COORDINATES.get(name, {})) for name, values in axes.items()}
        coordinates |= {
            "time": ("time", np.asarray(times, dtype=float), COORDINATES["time"]),
            "feature": ("feature", np.arange(1, features + 1), COORDINATES["feature"]),
            "quantile": ("quantile", np.array([0.05, 0.5, 0.95])),
            "status": ("status", np.array(STATUSES, dtype=np.dtypes.StringDType())),
        }
        experiment = {
            "name": name,
            "system": system,
            "description": "Made up",
            "times": list(times),
            "axes": {axis: list(values) for axis, values in axes.items()},
            "replicas": replicas,
            "seed": 7,
            "figure": figure,
        }
        attributes = {"experiment": experiment, "code": "0.1.0", "created": "2020-01-01T00:00:00Z"}
        dataset = xr.Dataset(variables, coordinates, attributes | {"declaration": DECLARATION | declared})
        has_time = declared.get("time", True) is not None
        return Summary(dataset if has_time else dataset.isel(time=-1, drop=True))

    return make


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[Summary], Path]:
    """Write a summary as the sweep does."""

    def store(summary: Summary) -> Path:
        path = tmp_path / "summary.zarr"
        write_dataset(summary.dataset, path)
        return path

    return store
