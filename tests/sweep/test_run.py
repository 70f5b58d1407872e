"""One experiment from end to end, and what must hold whatever happens on the way."""

import json
import shutil
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

import clhd.sweep.run
from clhd.errors import ClhdError
from clhd.sweep.check import check_experiment
from clhd.sweep.cluster import Cluster, open_client
from clhd.sweep.experiment import Experiment, parse_experiment
from clhd.sweep.inspect import explain_point, replay_point, verify_share
from clhd.sweep.progress import Progress
from clhd.sweep.reading import read_summary
from clhd.sweep.run import StageReport, run_experiment, run_stage
from clhd.sweep.status import describe_status, format_status
from clhd.sweep.store import Store
from clhd.sweep.unfinished import find_unfinished
from tests.sweep.conftest import MakeExperiment
from tests.sweep.toy import LOG, ToySystem


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
        lambda: explain_point(experiment, results, {"slope": "1"}),
        lambda: replay_point(experiment, results, {"slope": "1"}),
        lambda: verify_share(experiment, results, 1.0),
    ):
        with pytest.raises(ClhdError, match="toy: has no simulation; why, replay and verify look at simulated points"):
            look()


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


def test_a_second_run_computes_nothing(toy: MakeExperiment, results: Path, client: Client) -> None:
    assert simulate(toy(), results, client).computed == 32
    before = heights(results)
    calls = LOG.calls
    assert simulate(toy(), results, client).computed == 0
    assert LOG.calls == calls
    assert_same_bits(before, heights(results))


def test_an_interrupted_run_goes_on_where_it_was(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), tmp_path / "whole", client)
    LOG.simulated.clear()
    done = 0

    def stop_after_two(self: Progress, lanes: int, seconds: float) -> None:
        nonlocal done
        done += 1
        if done == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            simulate(toy(), results, client)
    while any(client.processing().values()):  # tasks in work end
        time.sleep(0.01)
    known = (Store(results / "toy" / "simulation.zarr").status() > 0).sum()
    assert known > 0
    report = simulate(toy(), results, client)
    assert report.is_complete
    assert report.computed <= 32 - 2
    assert_same_bits(heights(tmp_path / "whole"), heights(results))


@pytest.mark.parametrize(
    "changes",
    [
        {"axes": {"slope": [-1, 0, 0.5, 1, 2, 3, 9], "size": [4, 8, 16]}},
        {"replicas": 7},
        {"axes": {"slope": [0, 1, 2, 3, 4], "size": [1, 4, 16]}, "replicas": 5},
    ],
    ids=["axes", "replicas", "both"],
)
def test_growth_keeps_what_is_known_and_equals_the_whole(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client, changes: dict[str, Any]
) -> None:
    simulate(toy(), results, client)
    LOG.simulated.clear()
    report = simulate(toy(**changes), results, client)
    assert report.is_complete
    grown = heights(results)
    assert report.computed == grown.isel(time=0).size - 32
    assert sum(len(replicas) for _, replicas in LOG.simulated) == report.computed
    simulate(toy(**changes), tmp_path / "whole", client)
    assert_same_bits(grown, heights(tmp_path / "whole"))
    assert sorted(path.name for path in (results / "toy").iterdir()) == [
        ".simulation.lock",
        ".simulation.writing",
        "simulation.zarr",
    ]


def test_a_smaller_experiment_forgets_nothing_and_is_summarised_alone(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    run_experiment(toy(), client, results=results)
    small = toy(axes={"slope": [1, 3], "size": [16]}, replicas=3)
    tree = run_experiment(small, client, results=results)
    assert tree["simulation"]["height"].sizes["slope"] == 4
    summary = tree["summary"]
    assert summary["height_mean"].shape == (2, 1, 3, 1)
    expected = tree["simulation"]["height"].sel(slope=[1, 3], size=[16], replica=[0, 1, 2]).mean("replica")
    np.testing.assert_allclose(summary["height_mean"], expected)
    assert simulate(toy(), results, client).computed == 0


def test_a_failing_point_stops_no_other_and_is_tried_again(toy: MakeExperiment, results: Path, client: Client) -> None:
    LOG.broken.add(2.0)
    axes = {"slope": [-1, 0, 1, 2, 3], "size": [4, 16]}
    report = simulate(toy(axes=axes, constants={"seconds": 0.01}), results, client)
    assert report.counts == {"not_run": 0, "ok": 24, "diverged": 8, "not_converged": 0, "failed": 8}
    assert not report.is_complete
    with xr.open_zarr(str(results / "toy" / "simulation.zarr"), chunks=None) as opened:
        failed = opened.sel(slope=2, size=4, replica=0)
        assert failed["error_type"].item() == "ZeroDivisionError"
        assert failed["error_message"].item() == "the slope 2 is broken"
        assert failed["attempts"].item() == 1
    LOG.broken.clear()
    LOG.simulated.clear()
    report = simulate(toy(axes=axes, constants={"seconds": 0.01}), results, client)
    assert report.counts == {"not_run": 0, "ok": 32, "diverged": 8, "not_converged": 0, "failed": 0}
    assert report.computed == 8  # the divergences are results
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        assert opened["error_type"].sel(slope=2).values.tolist() == [[""] * 4] * 2
        assert opened["attempts"].max() == 2


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"constants": {"weight": 2.0}}, r"weight = 1, not 2; --fresh"),
        ({"seed": 4}, r"seed = 3, not 4"),
        ({"axes": {"slope": [0, 1]}}, r"the axes slope, size, not slope"),
    ],
)
def test_other_constants_are_refused(
    toy: MakeExperiment, results: Path, client: Client, changes: dict[str, Any], message: str
) -> None:
    simulate(toy(), results, client)
    before = heights(results)
    with pytest.raises(ClhdError, match=message):
        simulate(toy(**changes), results, client)
    assert_same_bits(before, heights(results))


def test_a_default_that_is_written_out_is_no_change(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    assert simulate(toy(constants={"colour": "red", "weight": 1}), results, client).computed == 0


def test_fresh_moves_the_old_store_aside(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    assert simulate(toy(seed=4), results, client, fresh=True).computed == 32
    (aside,) = (results / "toy").glob("simulation-until-*.zarr")
    assert Store(aside).attributes["experiment"]["seed"] == 3


def test_other_times_are_computed_again(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    assert simulate(toy(times=[0, 5]), results, client).computed == 32
    assert len(list((results / "toy").glob("simulation-until-*.zarr"))) == 1


def test_a_store_of_another_version_is_refused(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(toy(), results, client)
    monkeypatch.setattr(ToySystem, "kernel_version", 2)
    with pytest.raises(ClhdError, match="simulation version 1, and this code is version 2; --fresh"):
        simulate(toy(), results, client)


def test_a_second_run_at_the_same_time_is_refused(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    lock = results / "toy" / ".simulation.lock"
    program = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX);"
        'f.write(\'{"process": 123, "host": "elsewhere", "since": "noon"}\'); f.flush();'
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ClhdError, match="is being written by process 123 on elsewhere since noon"):
            simulate(toy(), results, client)
        holder.kill()
    assert simulate(toy(), results, client).computed == 0


def test_every_point_of_both_roads_is_made_once_to_check_it_and_not_again_to_plan_it(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs: list[tuple[Any, ...]] = []
    for find in (ToySystem.simulation_cost, ToySystem.theory_cost):

        def count(self: ToySystem, point: Any, time: Any, find: Any = find) -> Any:
            costs.append((find.__name__, point))
            return find(self, point, time)

        monkeypatch.setattr(ToySystem, find.__name__, count)
    checked = check_experiment(toy())
    assert len(set(costs)) == len(costs) == 8 + 4
    for kind in ("simulation", "theory"):
        run_stage(toy(), kind, results, client=client, checked=checked)
    larger = toy(replicas=6)
    costs.clear()
    run_stage(larger, "simulation", results, client=client, checked=check_experiment(larger))
    assert len(costs) == 8 + 4


@pytest.mark.parametrize("name", ["height", "status"])
def test_a_damaged_chunk_is_named_never_averaged_in_and_repaired(
    toy: MakeExperiment, results: Path, client: Client, name: str
) -> None:
    run_experiment(toy(), client, results=results)
    before = heights(results)
    path = sorted(file for file in (results / "toy" / "simulation.zarr" / name / "c").rglob("*") if file.is_file())[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ClhdError, match=rf"{path}: is damaged; recompute it with clhd run"):
        clhd.sweep.run.write_summary(toy(), results)
    report = simulate(toy(), results, client, repair=True)
    assert 0 < report.computed < 32
    assert_same_bits(before, heights(results))
    clhd.sweep.run.write_summary(toy(), results)


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


@pytest.mark.parametrize("is_grown_there", [True, False])
def test_a_growth_that_was_killed_between_its_renames_is_finished_or_undone(
    toy: MakeExperiment, results: Path, client: Client, is_grown_there: bool
) -> None:
    simulate(toy(), results, client)
    before = heights(results)
    folder = results / "toy"
    if is_grown_there:
        shutil.copytree(folder / "simulation.zarr", folder / ".simulation-grown.zarr")
    (folder / "simulation.zarr").rename(folder / ".simulation-outgrown.zarr")
    assert simulate(toy(), results, client).computed == 0
    assert_same_bits(before, heights(results))
    assert sorted(path.name for path in folder.iterdir()) == [
        ".simulation.lock",
        ".simulation.writing",
        "simulation.zarr",
    ]


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
        assert opened.attrs["runs"][0]["computed"] == 32


def test_a_result_tells_where_it_came_from(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(), results, client)
    simulate(toy(replicas=5), results, client)
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        first, second = opened.attrs["runs"]
        assert opened["run"].sel(replica=[0, 3, 4]).values[0, 0].tolist() == [0, 0, 1]
        assert parse_experiment(opened.attrs["experiment"]) == toy(replicas=5)
    assert (first["computed"], second["computed"]) == (32, 8)
    assert {"started", "code", "host", "dependencies", "seconds"} <= set(second)
