"""A reader whose results are replaced reads the old content, or gets an error that says so."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from clhd.errors import ClhdError
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.summary import write_summary
from clhd.sweep.run.run_stage import set_aside
from clhd.sweep.run_experiment import run_experiment
from tests.sweep.conftest import MakeExperiment
from tests.sweep.stages import simulate

FIRST = {"slope": [0, 4], "size": [4]}
LARGER = {"slope": [0, 1, 2, 4], "size": [4]}
LARGEST = {"slope": [0, 1, 2, 3, 4], "size": [4]}
REPLACED = "was replaced or moved while it was open; open it again"


def test_a_tree_that_is_open_while_its_store_grows_keeps_its_values(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(axes=FIRST), client, results=results)
    folder = results / "toy"
    right = open_results(folder).to_dict()
    before = {name: part.load().copy(deep=True) for name, part in right.items()}
    trees = {"open_results": open_results(folder), "open_datatree": xr.open_datatree(str(folder))}
    plain = {name: xr.open_zarr(str(folder / f"{name}.zarr")) for name in ("simulation", "theory", "summary")}
    run_experiment(toy(axes=LARGER), client, results=results)
    assert open_results(folder)["simulation"].sizes["slope"] == 4
    for tree in trees.values():
        for name, part in tree.children.items():
            xr.testing.assert_equal(part.to_dataset().load(), before[f"/{name}"])
    for name, dataset in plain.items():
        xr.testing.assert_equal(dataset.load(), before[f"/{name}"])


@pytest.mark.parametrize("part", ["simulation", "summary"])
def test_what_was_replaced_twice_since_it_was_opened_says_so(
    toy: MakeExperiment, results: Path, client: Client, part: str
) -> None:
    run_experiment(toy(axes=FIRST), client, results=results)
    tree, name = open_results(results / "toy"), "height" if part == "simulation" else "height_mean"
    run_experiment(toy(axes=LARGER), client, results=results)
    run_experiment(toy(axes=LARGEST), client, results=results)
    with pytest.raises(ClhdError, match=f"{part}.zarr: {REPLACED}"):
        tree[part][name].load()


def test_what_was_moved_aside_since_it_was_opened_says_so(toy: MakeExperiment, results: Path, client: Client) -> None:
    run_experiment(toy(axes=FIRST), client, results=results)
    tree, plain = open_results(results / "toy"), xr.open_zarr(str(results / "toy" / "simulation.zarr"))
    set_aside([Stage(toy(axes=FIRST), "simulation")], results)
    with pytest.raises(ClhdError, match=f"simulation.zarr: {REPLACED}"):
        tree["simulation"]["height"].load()
    simulate(toy(axes=FIRST, seed=77), results, client)
    with pytest.raises(ClhdError, match=f"simulation.zarr: {REPLACED}"):
        tree["simulation"]["height"].load()
    assert np.isnan(plain["height"].load()).all(), "no values, rather than those of another seed"


def test_a_summary_of_another_experiment_is_not_taken_for_its_own(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(axes=FIRST), client, results=results)
    tree = open_results(results / "toy")
    run_experiment(toy(axes=FIRST, seed=5), client, results=results / "other")
    files = (results / "toy" / "summary.zarr" / "height_mean").rglob("*")
    chunk = next(file for file in files if file.is_file() and file.name != "zarr.json")
    shutil.copyfile(results / "other" / chunk.relative_to(results), chunk)
    with pytest.raises(ClhdError, match="is damaged, or another file stands in its place; `clhd summarise FILE`"):
        tree["summary"]["height_mean"].load()
    write_summary(toy(axes=FIRST), results)
    open_results(results / "toy")["summary"].to_dataset().load()
