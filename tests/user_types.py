"""The types that a user of clhd sees: `make check` fails if one changes. The file is not run."""

from pathlib import Path
from typing import assert_type

import xarray as xr

import clhd


def use_models() -> None:
    model = clhd.ContrastiveModel(latents=[clhd.ThreePoint(second_moment=1.5, kurtosis=2.0)], learning_rate=0.3)
    assert_type(model, clhd.ContrastiveModel)
    assert_type(clhd.integrate_ode(model, overlap=[0.3], squared_norm=1.0, time=[0, 10]), xr.Dataset)
    assert_type(clhd.find_fixed_points(model), xr.Dataset)
    assert_type(clhd.learnability_threshold(model), xr.DataArray)


def use_experiments() -> None:
    experiment = clhd.read_experiment("first.yaml")
    assert_type(experiment.name, str)
    assert_type(experiment.times, tuple[float, ...])
    assert_type(clhd.run_experiment(experiment, results=Path("results")), xr.DataTree)
    assert_type(clhd.open_results("results/first"), xr.DataTree)


def catch_errors() -> None:
    try:
        clhd.read_experiment("none.yaml")
    except clhd.ClhdError as error:
        assert_type(str(error), str)
