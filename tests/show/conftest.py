"""An experiment of the toy system, run and summarised, and a summary of 10,000 points that is made up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import clhd.systems.registry
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from tests.clients import open_threads

EXPERIMENT = """\
system: toy
description: Heights of <script>alert(1)</script> & others
axes:
  slope: [-1, 0, 7, 8]
  pair: {together: {size: [4, 16], work: [0.1, 0.2]}}
times: [0, 1, 2]
replicas: 4
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an experiment `first` that is run: runs diverge at slope -1, the theory fails at slope 7."""
    folder = tmp_path_factory.mktemp("show")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
        Path("first.yaml").write_text(EXPERIMENT, encoding="utf-8")
        with open_threads(1) as client:
            run_experiment("first.yaml", client)
        yield folder


def make_large() -> tuple[Summary, Experiment]:
    """A summary of 100 x 100 points, whose mean is slope + size, and its experiment."""
    table: dict[str, Any] = {
        "name": "large",
        "system": "toy",
        "axes": {"slope": list(range(100)), "size": list(range(1, 101))},
        "times": [0],
        "replicas": 4,
    }
    experiment = parse_experiment(table, "large.yaml", check=False)
    slope, size = np.arange(100.0), np.arange(1.0, 101.0)
    mean = slope[:, None] + size
    counts = np.zeros((100, 100, 2), int)
    counts[..., 0] = 4
    dataset = xr.Dataset(
        {
            "height_mean": (("slope", "size"), mean, {"long_name": "mean of the height", "units": "m"}),
            "height_standard_error": (("slope", "size"), np.full_like(mean, 0.5)),
            "height_theory": (("slope",), slope),
            "height_z_score": (("slope", "size"), 2 * size + 0 * mean),
            "replica_count": (("slope", "size", "status"), counts),
        },
        {"slope": slope, "size": size, "status": ["ok", "failed"]},
        {"experiment": experiment.resolved()},
    )
    return Summary(dataset), experiment


@pytest.fixture(name="large")
def large_results() -> tuple[Summary, Experiment]:
    return make_large()
