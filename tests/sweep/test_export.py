"""Every part of the results can be exported as it is opened: netCDF, CSV, pandas."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.run_experiment import run_experiment
from tests.sweep.conftest import MakeExperiment

PARTS = ("simulation", "theory", "summary")


@pytest.fixture
def tree(toy: MakeExperiment, results: Path) -> xr.DataTree:
    return run_experiment(toy(constants={"work": 1e-4}), results=results, cluster=Cluster(workers=1))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("opener", ["open_results", "open_datatree", "open_zarr"])
def test_a_part_comes_back_from_netcdf(tree: xr.DataTree, results: Path, part: str, opener: str) -> None:
    folder = results / "toy"
    openers = {
        "open_results": tree[part].to_dataset,
        "open_datatree": xr.open_datatree(str(folder))[part].to_dataset,
        "open_zarr": lambda: xr.open_zarr(str(folder / f"{part}.zarr")),
    }
    dataset = openers[opener]().load()
    assert dataset.data_vars
    dataset.to_netcdf(results / "part.nc")
    with xr.open_dataset(results / "part.nc") as again:
        assert set(again.variables) == set(dataset.variables)
        for name, variable in dataset.variables.items():
            assert again[name].dims == variable.dims
            is_text = variable.dtype.kind in "OUT"
            np.testing.assert_array_equal(again[name].astype(variable.dtype) if is_text else again[name], variable)
        assert {key: value for key, value in again.attrs.items() if isinstance(value, str)} == {
            key: value for key, value in dataset.attrs.items() if isinstance(value, str)
        }


def test_all_results_or_a_part_as_it_was_opened_come_back_from_one_file(tree: xr.DataTree, results: Path) -> None:
    pytest.importorskip("h5netcdf", reason="the extra netcdf is not installed")
    tree.to_netcdf(results / "all.nc")
    tree["summary"].to_netcdf(results / "summary.nc")
    with xr.open_datatree(results / "all.nc", engine="h5netcdf") as again:
        assert set(again.children) == set(PARTS)
        for part in PARTS:
            height = "height_mean" if part == "summary" else "height"
            xr.testing.assert_identical(again[part][height].load(), tree[part][height].load())
            assert again[part].attrs.keys() == tree[part].attrs.keys()
    with xr.open_dataset(results / "summary.nc", engine="h5netcdf") as summary:
        xr.testing.assert_identical(summary["height_mean"].load(), tree["summary"]["height_mean"].load())


@pytest.mark.parametrize("part", PARTS)
def test_a_part_comes_back_from_csv(tree: xr.DataTree, results: Path, part: str) -> None:
    name = "height_mean" if part == "summary" else "height"
    values = tree[part].to_dataset()[name]
    values.to_dataframe().to_csv(results / "part.csv")
    again = pd.read_csv(results / "part.csv")
    np.testing.assert_array_equal(again[name], values.values.ravel())
    assert {"slope", "time", "feature"} <= set(again.columns)
