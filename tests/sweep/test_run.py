"""One experiment from end to end: its results and its ledger."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from clhd.errors import ClhdError
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.results.inspect import explain_points, format_points, replay_point, verify_share
from clhd.sweep.results.open_results import BoundStore
from clhd.sweep.results.state import find_unfinished
from clhd.sweep.results.status import describe_status, format_status
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import parse_experiment
from clhd.sweep.spec.grid import Grid
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.metadata import decode_attributes
from tests.sweep.conftest import MakeExperiment
from tests.sweep.stages import simulate
from tests.sweep.toy import LOG, ToySimulation, ToyTheory


def test_an_experiment_gives_a_simulation_a_theory_and_a_summary(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    tree = run_experiment(toy(), client, results=results)
    height = tree["simulation"]["height"]
    assert height.dims == ("slope", "size", "replica", "time", "feature")
    assert height.shape == (4, 2, 4, 3, 1)
    assert tree["theory"]["height"].dims == ("slope", "time", "feature")
    summary = tree["summary"]
    np.testing.assert_allclose(summary["height_mean"], height.mean("replica"), rtol=1e-14)
    error = height.std("replica", ddof=1) / 2
    np.testing.assert_allclose(summary["height_standard_error"], error, rtol=1e-12)
    np.testing.assert_allclose(
        summary["height_quantile"].transpose("quantile", ...), height.quantile([0.05, 0.25, 0.5, 0.75, 0.95], "replica")
    )
    np.testing.assert_array_equal(summary["height_theory"].sel(size=4), tree["theory"]["height"])
    np.testing.assert_allclose(summary["height_theory_standard_deviation"].sel(size=16), 0.25)
    z_score = (summary["height_mean"] - summary["height_theory"]) / summary["height_standard_error"]
    np.testing.assert_allclose(summary["height_z_score"], z_score)
    assert summary["replica_count"].sel(status="ok").values.tolist() == [[4, 4]] * 4
    assert height["slope"].attrs["units"] == "m/s"


def test_the_size_of_a_predicted_spread_may_be_a_default(toy: MakeExperiment, results: Path, client: Client) -> None:
    summary = run_experiment(toy(axes={"slope": [0, 1]}), client, results=results)["summary"]
    np.testing.assert_array_equal(summary["height_theory_standard_deviation"], 1.0)  # of the toy, size = 1


def test_what_only_the_theory_knows_is_in_the_summary_along_the_axes_of_the_theory(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    axes = {"lift": [0, 5], "slope": [0, 1, 2], "size": [4, 16]}
    summary = run_experiment(toy(axes=axes), client, results=results)["summary"].to_dataset()
    assert summary["height_mean"].dims == ("slope", "size", "time", "feature")
    assert summary["height_theory"].dims == ("lift", "slope", "size", "time", "feature")
    assert summary["height_z_score"].dims == summary["height_theory"].dims
    assert summary["steepness_theory"].dims == ("lift", "slope")
    assert summary["steepness_theory"].sel(lift=0).values.tolist() == [0, 1, 2]
    lifted = (summary["height_theory"].sel(lift=5) - summary["height_theory"].sel(lift=0)).values
    np.testing.assert_allclose(lifted, 5)
    score = (summary["height_mean"] - summary["height_theory"].sel(lift=5)) / summary["height_standard_error"]
    np.testing.assert_allclose(summary["height_z_score"].sel(lift=5), score)


def test_an_experiment_may_be_theory_alone(toy: MakeExperiment, results: Path, client: Client) -> None:
    experiment = toy(constants={"simulation": "none"}, axes={"slope": [0, 1, 2]}, replicas=None)
    before = describe_status(experiment, results)
    assert not before["complete"]
    assert before["theory"]["not_run"] == 3
    tree = run_experiment(experiment, client, results=results)
    assert set(tree.children) == {"theory", "summary"}
    assert LOG.calls == 0
    np.testing.assert_array_equal(tree["summary"]["height_theory"].isel(time=1, feature=0), [0, 1, 2])
    summary = read_summary(results / "toy" / "summary.zarr")
    assert (summary.points, summary.replicas, summary.totals) == (3, 0, {})
    assert find_unfinished(experiment, results) == []
    report = describe_status(experiment, results)
    assert report["complete"]
    assert "simulation" not in format_status([report])
    for look in (
        lambda: explain_points(experiment, results, {"slope": "1"}),
        lambda: replay_point(experiment, results, {"slope": "1"}),
        lambda: verify_share(experiment, results, 1.0),
    ):
        with pytest.raises(ClhdError, match="toy: has no simulation; why, replay and verify look at simulated points"):
            look()


def test_each_of_several_points_gets_one_line_whatever_its_error_says() -> None:
    answers = [{"place": f"slope={slope}", "failed": 2, "errors": ["ValueError: one\ntwo"]} for slope in (1, 2)]
    assert format_points(answers) == "slope=1: 2 failed; ValueError: one\nslope=2: 2 failed; ValueError: one"


def test_why_looks_at_no_more_points_than_it_names(
    toy: MakeExperiment, client: Client, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = toy(axes={"slope": list(range(50)), "size": [1, 2, 4]})
    run_experiment(experiment, client, results=results)
    described, describe = list[tuple[int, ...]](), Grid.describe
    monkeypatch.setattr(Grid, "describe", lambda grid, index: described.append(index) or describe(grid, index))
    lines = format_points(explain_points(experiment, results, {})).splitlines()
    assert (len(lines), lines[-1]) == (101, "... and 50 more points; name more axes")
    assert len(described) == 100


def test_an_experiment_must_leave_something_to_compute(toy: MakeExperiment) -> None:
    constants = {"simulation": "none", "theory": "none", "initial_overlap": 0.1}
    with pytest.raises(ClhdError, match="neither a simulation nor a theory"):
        check_experiment(toy(system="contrastive", constants=constants, axes={}, replicas=None))


def test_the_stores_open_without_a_warning(toy: MakeExperiment, results: Path, client: Client) -> None:
    run_experiment(
        toy(axes={"both": {"together": {"slope": [1, 2], "colour": ["red", "blue"]}}}), client, results=results
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("simulation", "theory", "summary"):
            with xr.open_zarr(str(results / "toy" / f"{name}.zarr")) as opened:
                assert opened["slope"].dims == ("both",)
                assert opened["both"].values.tolist() == ["slope=1, colour=red", "slope=2, colour=blue"]


def test_a_summary_is_read_as_xarray_would_read_it(toy: MakeExperiment, results: Path, client: Client) -> None:
    both = {"together": {"slope": [1, 2], "colour": ["red", "blue"]}}
    until = {"start": 4, "most": 64, "until": {"height": 0.06}}  # its summary holds a truth value for each point
    run_experiment(toy(axes={"both": both, "size": [4, 16]}, replicas=until), client, results=results)
    path = results / "toy" / "summary.zarr"
    expected = BoundStore(ChunkFiles(path, check_summary(path))).open_dataset().load()
    found = read_summary(path).dataset
    xr.testing.assert_identical(found, expected.assign_attrs(decode_attributes(expected.attrs)))
    assert (list(found.variables), list(found.sizes)) == (list(expected.variables), list(expected.sizes))
    assert {name: values.dtype for name, values in found.variables.items()} == {
        name: values.dtype for name, values in expected.variables.items()
    }
    assert (found["colour"].dims, found["until_reached"].dtype) == (("both",), bool)


def test_a_summary_says_how_many_replicas_it_rests_on(toy: MakeExperiment, results: Path, client: Client) -> None:
    LOG.broken.add(2.0)
    summary = run_experiment(toy(axes={"slope": [-1, 1, 2, 7]}), client, results=results)["summary"]
    counts = summary["replica_count"]
    assert counts.sel(status="diverged").values.tolist() == [4, 0, 0, 0]
    assert counts.sel(status="failed").values.tolist() == [0, 0, 4, 0]
    assert np.isnan(summary["height_mean"].sel(slope=[-1, 2])).all()
    assert np.isfinite(summary["height_mean"].sel(slope=[1, 7])).all()
    assert summary["theory_status"].values.tolist() == [1, 1, 1, 3]
    assert np.isnan(summary["height_theory"].sel(slope=7)).all()


def test_every_point_of_both_stages_is_made_once_to_check_it_and_not_again_to_plan_it(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[tuple[Any, ...]] = []
    for half in (ToySimulation, ToyTheory):

        def count(self: Any, point: Any, time: Any, find: Any = half.cost) -> Any:
            costs.append((find.__qualname__, point))
            return find(self, point, time)

        monkeypatch.setattr(half, "cost", count)
    checked = check_experiment(toy())
    assert len(set(costs)) == len(costs) == 8 + 4
    for kind in ("simulation", "theory"):
        run_stage(toy(), kind, results, client=client, checked=checked)
    larger = toy(replicas=6)
    costs.clear()
    run_stage(larger, "simulation", results, client=client, checked=check_experiment(larger))
    assert len(costs) == 8 + 4


def test_processes_and_threads_one_worker_and_two_give_the_same_bits(
    results: Path, tmp_path: Path, client: Client
) -> None:
    table = {
        "system": "contrastive",
        "name": "toy",
        "constants": {"weight_decay": 0.6, "initial_cosine_similarity": 0.4, "theory": "none"},
        "axes": {"second_moment": [1.0, 1.5], "dimension": [20, 50]},
        "times": [1, 2],
        "replicas": 3,
    }
    experiment = parse_experiment(table)
    with open_client(Cluster(workers=2)) as processes:
        run_experiment(experiment, processes, results=results)
    run_experiment(experiment, client, results=tmp_path / "threads")
    for path in sorted((results / "toy" / "simulation.zarr" / "overlap" / "c").rglob("*")):
        other = tmp_path / "threads" / path.relative_to(results)
        assert path.is_dir() or path.read_bytes() == other.read_bytes()


def test_the_status_of_a_range_of_whole_numbers_is_found_without_its_system(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    axes = {"slope": [0, 1], "size": {"start": 4, "stop": 9, "count": 3}}
    run_experiment(toy(axes=axes), client, results=results)
    table = {"system": "toy", "name": "toy", "axes": axes, "times": [0, 1, 2], "replicas": 4, "seed": 3}
    unchecked = parse_experiment(table, check=False)
    assert describe_status(unchecked, results)["simulation"]["ok"] == 24
    assert describe_status(unchecked, results)["complete"]


def test_whatever_is_killed_a_store_opens_by_its_gathered_metadata(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, gathered = Path.replace, []

    def watch(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        if target == results / "toy" / "simulation.zarr" / "zarr.json":
            gathered.append("consolidated_metadata" in json.loads(target.read_bytes()))
        return moved

    monkeypatch.setattr(Path, "replace", watch)
    simulate(toy(), results, client)
    assert gathered == [True, True], "at the start and the end of a run, and at no moment without them"
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        assert json.loads(opened.attrs["runs"])[0]["computed"] == 32


def test_a_result_tells_where_it_came_from(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    simulate(toy(replicas=5), results, client)
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        first, second = json.loads(opened.attrs["runs"])
        assert opened["run"].sel(replica=[0, 3, 4]).values[0, 0].tolist() == [0, 0, 1]
        assert parse_experiment(json.loads(opened.attrs["experiment"])) == toy(replicas=5)
    assert (first["computed"], second["computed"]) == (32, 8)
    assert {"started", "code", "host", "dependencies", "seconds"} <= set(second)
