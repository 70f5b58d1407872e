"""Helpers that the tests of whole runs share."""

from pathlib import Path
from typing import Any

import xarray as xr
from distributed import Client

from clhd.sweep.run.run_stage import StageReport, run_stage
from clhd.sweep.spec.experiment import Experiment


def simulate(experiment: Experiment, results: Path, client: Client, **options: Any) -> StageReport:
    report = run_stage(experiment, "simulation", results, client=client, **options)
    assert report is not None
    return report


def heights(results: Path) -> xr.DataArray:
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        return opened["height"].load()


def assert_same_bits(first: xr.DataArray, second: xr.DataArray) -> None:
    assert first.dims == second.dims
    assert first.values.tobytes() == second.values.tobytes()
