"""With keep: moments a store is small, and the summary, the ledger and the commands know as much as before."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client

from clhd.errors import ClhdError
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.plan.moments import count_runs, pool_blocks, reduce_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.inspect import explain_points, replay_point, verify_share
from clhd.sweep.results.statistics import compute_statistics
from clhd.sweep.results.status import describe_status
from clhd.sweep.run.needs import plan_stages
from clhd.sweep.run.run_stage import StageReport, run_stage, set_aside
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Result, Status
from tests.sweep.conftest import MakeExperiment
from tests.sweep.stages import overwrite
from tests.sweep.toy import LOG, ToySimulation

SMALL = {"slope": [-1, 1, 2], "size": [4]}


def simulate(experiment: Experiment, results: Path, client: Client) -> StageReport:
    report = run_stage(experiment, "simulation", results, client=client)
    assert report is not None
    return report


def read(results: Path) -> xr.Dataset:
    with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
        return opened[["height_count", "height_mean", "height_squares", "ok_count", "diverged_count"]].load()


def assert_same_bits(first: xr.Dataset, second: xr.Dataset) -> None:
    for name in first:
        assert first[name].values.tobytes() == second[name].values.tobytes(), name


def test_pooled_blocks_are_the_statistics_of_all_replicas() -> None:
    random = np.random.default_rng(5)
    values = 1e3 + random.normal(size=(2, 1024, 3))  # a mean far from zero shows cancellation
    values[0, 17, 1] = np.nan  # a quantity that an ok replica lacks
    values[1, :, 2] = np.nan
    status = random.choice([Status.OK, Status.DIVERGED], (2, 1024), p=[0.9, 0.1]).astype(np.int8)
    status[0, :256] = Status.DIVERGED
    status[1, 1:] = Status.DIVERGED
    result = reduce_blocks(Result(values={"x": values}, status=status), 256)
    assert result.status.tolist() == [[2, 1, 1, 1], [1, 2, 2, 2]]
    moments = [np.moveaxis(result.values[f"x_{name}"], 1, 0) for name in ("count", "mean", "squares")]
    expected = compute_statistics(np.moveaxis(np.where(status[..., None] == Status.OK, values, np.nan), 1, 0))
    for pooled, whole in zip(pool_blocks(*moments), expected[:3], strict=True):
        np.testing.assert_allclose(pooled, whole, rtol=1e-12)
    counts = count_runs(result.status, 256, result.values)
    assert counts == {
        "not_run": 0,
        "ok": (status == Status.OK).sum(),
        "diverged": (status == Status.DIVERGED).sum(),
        "not_converged": 0,
        "failed": 0,
    }


def test_a_summary_of_moments_is_that_of_the_replicas_but_for_quantiles(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client
) -> None:
    all_kept = run_experiment(toy(axes=SMALL, replicas=512), client, results=tmp_path / "all")["summary"].to_dataset()
    tree = run_experiment(toy(axes=SMALL, replicas=512, keep="moments"), client, results=results)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xr.open_zarr(str(results / "toy" / "summary.zarr")) as opened:
            summary = opened.load()
        with xr.open_zarr(str(results / "toy" / "simulation.zarr")) as opened:
            assert opened["height_mean"].dims == ("slope", "size", "replica_block", "time", "feature")
            assert opened.sizes["replica_block"] == 2
    assert set(all_kept.variables) - set(summary.variables) == {"height_quantile", "quantile"}
    assert tree["simulation"]["height_mean"].attrs["units"] == "m"
    for name in summary.variables:
        if summary[name].dtype.kind == "f":
            np.testing.assert_allclose(summary[name], all_kept[name], rtol=1e-9, atol=1e-12, err_msg=str(name))
        else:
            np.testing.assert_array_equal(summary[name], all_kept[name])
        assert summary[name].attrs == all_kept[name].attrs


def test_the_moments_of_the_model_are_those_of_its_replicas(results: Path, tmp_path: Path, client: Client) -> None:
    table = {
        "system": "contrastive",
        "name": "toy",
        "constants": {"weight_decay": 0.6, "initial_cosine_similarity": 0.4, "theory": "none"},
        "axes": {"second_moment": [1.0, 1.5], "dimension": [20, 50]},
        "times": [1, 2],
        "replicas": 512,
    }
    all_kept = run_experiment(parse_experiment(table), client, results=tmp_path)["summary"]
    summary = run_experiment(parse_experiment({**table, "keep": "moments"}), client, results=results)["summary"]
    for name in ("overlap", "squared_norm", "cosine_similarity"):
        for statistic in ("mean", "standard_deviation", "standard_error"):
            np.testing.assert_allclose(
                summary[f"{name}_{statistic}"], all_kept[f"{name}_{statistic}"], rtol=1e-10, atol=1e-14
            )


@pytest.mark.parametrize(
    "changes",
    [{"replicas": 768}, {"axes": {"slope": [-1, 0, 1, 2], "size": [1, 4]}, "replicas": 512}],
    ids=["replicas", "axes"],
)
def test_growth_computes_new_blocks_alone_and_keeps_the_bits_of_the_others(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client, changes: dict[str, object]
) -> None:
    simulate(toy(axes=SMALL, replicas=256, keep="moments"), results, client)
    before = read(results)
    LOG.simulated.clear()
    larger = toy(**{"axes": SMALL, **changes}, keep="moments")
    report = simulate(larger, results, client)
    grown = read(results)
    assert report.computed == 256 * (grown["ok_count"].size - 3)
    assert sum(len(replicas) for _, replicas in LOG.simulated) == report.computed
    assert sum(report.counts.values()) == 256 * grown["ok_count"].size
    assert_same_bits(grown.sel(slope=[-1, 1, 2], size=[4], replica_block=[0]), before)
    simulate(larger, tmp_path / "whole", client)
    assert_same_bits(grown, read(tmp_path / "whole"))
    LOG.simulated.clear()
    assert simulate(toy(axes=SMALL, replicas=256, keep="moments"), results, client).computed == 0


def test_counts_are_of_replicas_and_failed_blocks_are_tried_again(
    toy: MakeExperiment, results: Path, tmp_path: Path, client: Client
) -> None:
    experiment = toy(axes=SMALL, replicas=512, keep="moments")
    LOG.broken.add(2.0)
    report = simulate(experiment, results, client)
    assert report.counts == {"not_run": 0, "ok": 512, "diverged": 512, "not_converged": 0, "failed": 512}
    assert not report.is_complete
    state = describe_status(experiment, results)["simulation"]
    assert {name: state[name] for name in report.counts} == report.counts
    assert state["wanted"] == 1536
    larger = describe_status(toy(axes=SMALL, replicas=1024, keep="moments"), results)["simulation"]
    assert (larger["wanted"], larger["not_run"]) == (3072, 1536)
    summary = run_experiment(experiment, client, results=results)["summary"]
    assert summary["replica_count"].sel(status="failed").values.tolist() == [[0], [0], [512]]
    assert summary["replica_count"].sel(status="diverged").values.tolist() == [[512], [0], [0]]
    LOG.broken.clear()
    report = simulate(experiment, results, client)
    assert (report.computed, report.counts["ok"]) == (512, 1024)
    simulate(experiment, tmp_path / "whole", client)
    assert_same_bits(read(results), read(tmp_path / "whole"))


def test_means_leave_out_a_block_that_is_counted_as_failed(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = ToySimulation.compute

    def fail(system: ToySimulation, points: Any, time: Any, replicas: Sequence[int]) -> Result:
        errors = {(0, list(replicas).index(300)): ValueError("one of 256")} if 300 in replicas else {}
        return replace(compute(system, points, time, replicas), errors=errors)

    monkeypatch.setattr(ToySimulation, "compute", fail)
    experiment = toy(axes={"slope": [1]}, keep="moments", replicas=512)
    summary = run_experiment(experiment, client, results=results)["summary"].load()
    assert summary["replica_count"].sel(slope=1, status=["ok", "failed"]).values.tolist() == [256, 256]
    first_block = read(results)["height_mean"].isel(replica_block=0)
    np.testing.assert_array_equal(summary["height_mean"], first_block)


def test_a_point_of_moments_is_explained_and_replayed_to_the_bit(
    toy: MakeExperiment, results: Path, client: Client
) -> None:
    experiment = toy(axes=SMALL, replicas=512, keep="moments")
    simulate(experiment, results, client)
    (answer,) = explain_points(experiment, results, {"slope": "1", "size": "4"})
    assert (answer["ok"], answer["attempts"]) == (512, 1)
    assert "failed" not in answer
    replay = replay_point(experiment, results, {"slope": "-1", "size": "4"})
    assert (replay.replicas, replay.different) == (512, ())
    store = Store(results / "toy" / "simulation.zarr")
    changed = store.read("height_squares")
    changed[2, 0, 1, 1, 0] += 1e-9
    overwrite(store, "height_squares", changed)
    different = [replay for replay in verify_share(experiment, results, 1.0) if replay.different]
    assert [(replay.place, replay.different) for replay in different] == [("slope=2, size=4", ("height_squares",))]


def test_another_keep_is_refused_and_fresh_loses_nothing(toy: MakeExperiment, results: Path, client: Client) -> None:
    simulate(toy(axes=SMALL, replicas=256), results, client)
    moments = toy(axes=SMALL, replicas=256, keep="moments")
    problem = r"was computed with keep = replicas; the file now says keep = moments. Restore the file, or .*--fresh"
    found = describe_status(moments, results)["simulation"]
    assert found["state"] == "changed"
    assert re.search(problem, found["problem"])
    with pytest.raises(ClhdError, match=problem):
        replay_point(moments, results, {"slope": "1", "size": "4"})
    with pytest.raises(ClhdError, match=problem):
        simulate(moments, results, client)
    set_aside(check_experiment(moments), results)
    assert simulate(moments, results, client).computed == 768
    (aside,) = (results / "toy").glob("simulation-until-*.zarr")
    assert Store(aside).outputs == ["height"]


def test_moments_of_many_replicas_are_planned_in_whole_blocks_and_few_bytes(toy: MakeExperiment, results: Path) -> None:
    def make(keep: str) -> Experiment:
        return toy(replicas=10240, constants={"work": 1e-3}, keep=keep)

    all_kept, moments = (
        plan_stages(check_experiment(make(keep)), results, 2)["simulation"] for keep in ("replicas", "moments")
    )
    assert moments["runs"] == all_kept["runs"] == 81920
    assert moments["core_hours"] == pytest.approx(all_kept["core_hours"], rel=0.05)
    assert moments["bytes"] < all_kept["bytes"] / 50
    assert Stage(make("moments"), "simulation").entries == 40
