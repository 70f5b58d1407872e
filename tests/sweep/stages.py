"""Helpers that the tests of whole runs share."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from distributed import Client
from numpy.typing import NDArray

from clhd.sweep.plan.blocks import chunk_counts, chunk_region
from clhd.sweep.run.run_stage import StageReport, run_stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.store import Store
from clhd.sweep.store.zarr_format import encode_chunk, read_chunks


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


def overwrite(store: Store, name: str, values: NDArray[Any]) -> None:
    """Write other values of a variable with right trailers, as if they had been computed."""
    document = store.files.metadata.arrays[name]
    chunks = read_chunks(document)
    for index in np.ndindex(*chunk_counts(values.shape, chunks)):
        part = values[chunk_region(index, values.shape, chunks)]
        store.files.write_chunk(name, index, encode_chunk(part, document))
