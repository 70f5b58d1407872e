"""A target for the error: what is computed follows from the results alone, and its bits are those of the plain run.

The noise of the toy's height has the standard deviation 1 / sqrt(size): 1/2 for size 4, 1/4 for size 16.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from clhd.errors import ClhdError
from clhd.figures.caption import describe_points
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.plan.moments import pool_blocks
from clhd.sweep.results.inspect import explain_points, replay_point
from clhd.sweep.results.state import count_wanted
from clhd.sweep.results.status import describe_status, format_status
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.run import run_stage as run_stage_module
from clhd.sweep.run.needs import format_plan, plan_stages
from clhd.sweep.run.run_stage import StageReport, run_stage
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.store import Store
from clhd.sweep.store.wanted import find_counts, find_errors
from clhd.systems.declarations import Status
from tests.clients import open_threads
from tests.sweep.conftest import Killed, MakeExperiment
from tests.sweep.toy import LOG, ToyTheory

MOST = 64


@pytest.fixture
def until(toy: MakeExperiment) -> MakeExperiment:
    """The toy with a target that points of size 16 reach early, and points of size 4 late or never."""

    def make(target: float = 0.1, **changes: Any) -> Experiment:
        replicas = {"start": 4, "most": MOST, "until": {"height": target}}
        axes = {"slope": [0, 1, 2], "size": [4, 16]}
        return toy(**{"axes": axes, "replicas": replicas} | changes)

    return make


def simulate(experiment: Experiment, results: Path, client: Client) -> StageReport:
    report = run_stage(experiment, "simulation", results, client=client)
    assert report is not None
    return report


def open_store(results: Path) -> Store:
    return Store(results / "toy" / "simulation.zarr")


def count_replicas(experiment: Experiment, results: Path) -> np.typing.NDArray[np.int64]:
    return find_counts(open_store(results), experiment).entries


def read_bits(results: Path, entries: np.typing.NDArray[np.int64]) -> list[bytes]:
    """The bits of the first replicas of each point."""
    values = open_store(results).read("height")
    return [values[place][: entries[place]].tobytes() for place in np.ndindex(*entries.shape)]


def expect_count(values: np.typing.NDArray[np.float64], target: float) -> int:
    """What a point wants, told from all of its replicas in the plainest way."""
    for count in (4, 8, 16, 32):
        if (values[:count].std(axis=0, ddof=1) / np.sqrt(count) <= target).all():
            return count
    return MOST


def test_a_point_stops_at_its_target_with_the_bits_of_the_plain_run(
    until: MakeExperiment, results: Path, tmp_path: Path, client: Client
) -> None:
    experiment = until()
    report = simulate(experiment, results, client)
    entries = count_replicas(experiment, results)
    simulate(until(replicas=MOST), tmp_path, client)
    plain = open_store(tmp_path).read("height")
    assert entries.tolist() == [[expect_count(plain[k, size], 0.1) for size in (0, 1)] for k in range(3)]
    assert 4 < entries[:, 1].max() < entries[:, 0].min() <= MOST
    assert read_bits(results, entries) == read_bits(tmp_path, entries)
    assert (report.computed, report.is_complete) == (entries.sum(), True)
    assert (open_store(results).status() != Status.NOT_RUN).sum() == entries.sum()
    assert simulate(experiment, results, client).computed == 0


def test_workers_and_chunks_and_an_earlier_store_change_nothing(
    until: MakeExperiment, results: Path, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate(until(), results, client)
    entries = count_replicas(until(), results)
    grown = tmp_path / "grown"
    with monkeypatch.context() as patch, open_threads(1) as single:
        patch.setattr("clhd.sweep.plan.blocks.MAX_CHUNK_SECONDS", 30.0)
        simulate(until(axes={"slope": [1], "size": [16]}, replicas=7), grown, single)
        simulate(until(0.2, axes={"slope": [1, 2], "size": [4, 16]}), grown, single)
        simulate(until(), grown, single)
    assert open_store(grown).chunks != open_store(results).chunks
    assert np.array_equal(count_replicas(until(), grown), entries)
    assert read_bits(grown, entries) == read_bits(results, entries)


def test_a_later_lower_target_goes_on_from_there(
    until: MakeExperiment, results: Path, tmp_path: Path, client: Client
) -> None:
    first = simulate(until(0.2), results, client).computed
    LOG.simulated.clear()
    more = simulate(until(0.1), results, client).computed
    assert more == sum(len(replicas) for _, replicas in LOG.simulated)
    assert first + more == simulate(until(0.1), tmp_path, client).computed
    entries = count_replicas(until(0.1), tmp_path)
    assert read_bits(results, entries) == read_bits(tmp_path, entries)
    assert simulate(until(0.2), results, client).computed == 0
    assert count_replicas(until(0.2), results).sum() == first


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["in a round", "between rounds"])
def test_a_kill_changes_nothing(
    until: MakeExperiment, results: Path, tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    simulate(until(), tmp_path, client)
    original = run_stage_module.execute_plan

    def execute_part(store: Any, stage: Any, plan: Any, *rest: Any) -> int:
        original(store, stage, replace(plan, blocks=plan.blocks[: math.ceil(share * len(plan.blocks))]), *rest)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_stage_module, "execute_plan", execute_part)
        for _ in range(3):
            with pytest.raises(Killed):
                simulate(until(), results, client)
            assert describe_status(until(), results)["simulation"]["state"] == "pending"
    assert simulate(until(), results, client).is_complete
    assert np.array_equal(open_store(results).status(), open_store(tmp_path).status())
    entries = count_replicas(until(), tmp_path)
    assert read_bits(results, entries) == read_bits(tmp_path, entries)


def test_a_failed_replica_holds_its_point_until_it_is_computed(
    until: MakeExperiment, results: Path, tmp_path: Path, client: Client
) -> None:
    LOG.broken.add(2.0)
    report = simulate(until(), results, client)
    assert (report.counts["failed"], report.is_complete) == (8, False)
    LOG.broken.clear()
    assert simulate(until(), results, client).is_complete
    simulate(until(), tmp_path, client)
    entries = count_replicas(until(), tmp_path)
    assert np.array_equal(open_store(results).status(), open_store(tmp_path).status())
    assert read_bits(results, entries) == read_bits(tmp_path, entries)


def test_a_point_without_a_replica_that_is_ok_stops_after_the_first_round(
    until: MakeExperiment, results: Path, client: Client
) -> None:
    experiment = until(axes={"slope": [-1], "size": [4]})
    assert simulate(experiment, results, client).counts["diverged"] == 4
    found = find_counts(open_store(results), experiment)
    assert (found.entries.item(), found.is_decided.item(), found.has_reached.item()) == (4, True, False)


def test_one_output_time_may_decide_and_a_point_needs_no_axes(
    until: MakeExperiment, results: Path, client: Client
) -> None:
    experiment = until(replicas={"start": 4, "most": MOST, "until": {"height": 0.1}, "at": 2})
    simulate(experiment, results, client)
    simulate(until(replicas=MOST), results / "plain", client)
    plain = open_store(results / "plain").read("height")[..., 2, 0]
    expected = [[expect_count(plain[k, size], 0.1) for size in (0, 1)] for k in range(3)]
    assert count_replicas(experiment, results).tolist() == expected
    alone = until(axes={}, constants={"slope": 1, "size": 4})
    simulate(alone, results / "alone", client)
    assert count_replicas(alone, results / "alone").shape == ()
    assert count_replicas(alone, results / "alone") > 4


def test_moments_decide_as_their_replicas_do(until: MakeExperiment, results: Path, client: Client) -> None:
    replicas = {"start": 256, "most": 1024, "until": {"height": 0.018}}
    axes = {"slope": [1], "size": [4, 16]}
    experiment = until(axes=axes, replicas=replicas, keep="moments")
    simulate(experiment, results, client)
    assert count_replicas(experiment, results).tolist() == [[4, 1]]  # 0.5 / sqrt(512) is 0.022
    simulate(until(axes=axes, replicas=replicas), results / "all", client)
    assert count_replicas(experiment, results / "all").tolist() == [[1024, 256]]


def test_the_summary_and_the_status_tell_what_was_used(until: MakeExperiment, results: Path, client: Client) -> None:
    experiment = until(0.06)
    before = describe_status(experiment, results)["simulation"]
    assert (before["state"], before["wanted"]) == ("pending", 24)
    run_experiment(until(0.05), client, results=results)  # computes more than is wanted then
    tree = run_experiment(experiment, client, results=results)
    entries = count_replicas(experiment, results)
    summary, values = tree["summary"].to_dataset(), tree["simulation"].to_dataset()["height"].values
    assert np.array_equal(summary["replica_count"].sel(status="ok"), entries)
    assert np.array_equal(summary["replica_count"].sum("status"), entries)
    for place in np.ndindex(*entries.shape):
        used = values[place][: entries[place]]
        np.testing.assert_allclose(summary["height_mean"].values[place], used.mean(axis=0), rtol=1e-13)
        error = used.std(axis=0, ddof=1) / np.sqrt(len(used))
        np.testing.assert_allclose(summary["height_standard_error"].values[place], error, rtol=1e-12)
        assert bool(summary["until_reached"].values[place]) == bool((error <= 0.06).all())
    assert not summary["until_reached"].values.all()
    assert summary["until_reached"].values.any()
    caption = describe_points(read_summary(results / "toy" / "summary.zarr"))
    least, missed = entries.min(), int((~summary["until_reached"].values).sum())
    said = f"6 points with {least} to 64 replicas each, for a standard error of 0.06 of the height, which {missed} of"
    assert said in caption
    status = describe_status(experiment, results)
    counts = status["simulation"]
    assert (counts["wanted"], counts["not_wanted"], counts["not_run"]) == (entries.sum(), 6 * MOST - entries.sum(), 0)
    assert status["complete"]
    assert "not wanted" in format_status([status])
    (answer,) = explain_points(experiment, results, {"slope": "1", "size": "16"})
    assert (answer["ok"], "not_run" in answer) == (entries[1, 1], False)
    assert replay_point(experiment, results, {"slope": "1", "size": "16"}).different == ()
    assert count_wanted(until(MOST, replicas=MOST), open_store(results))["wanted"] == 6 * MOST


def test_a_grid_that_grows_asks_for_the_first_round_of_new_points(
    until: MakeExperiment, results: Path, client: Client
) -> None:
    simulate(until(), results, client)
    used = int(count_replicas(until(), results).sum())
    larger = until(axes={"slope": [0, 1, 2, 3], "size": [4, 16]})
    counts = describe_status(larger, results)["simulation"]
    assert (counts["wanted"], counts["not_run"]) == (used + 8, 8)


def test_a_theory_of_each_replica_takes_no_target(until: MakeExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyTheory, "per_replica", True)
    with pytest.raises(ClhdError, match=r"replicas.until: the theory predicts each replica; give replicas as a number"):
        check_experiment(until())


def test_a_value_that_is_nan_everywhere_stops_nobody_and_one_value_has_no_error() -> None:
    values = np.array([[np.nan, np.nan, 1.0], [np.nan, 2.0, 1.0], [np.nan, np.nan, 1.0]])  # replica, quantity
    is_known = np.isfinite(values)
    errors = find_errors([is_known.astype(float), np.where(is_known, values, 0.0), np.zeros_like(values)])
    assert errors.tolist() == [0.0, np.inf, 0.0]


def test_pooled_sums_do_not_depend_on_how_many_there_are() -> None:
    values = np.random.default_rng(3).normal(size=(1000, 5))
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    together = pool_blocks(ones, values, zeros)
    for k in range(5):
        alone = pool_blocks(ones[:, k : k + 1], values[:, k : k + 1], zeros[:, k : k + 1])
        assert [part.tobytes() for part in alone] == [part[k : k + 1].tobytes() for part in together]


def test_a_plan_gives_bounds_which_meet_when_all_is_decided(
    until: MakeExperiment, results: Path, client: Client
) -> None:
    stages = check_experiment(until())
    before = plan_stages(stages, results, 2)["simulation"]
    assert (before["targets"]["runs"], before["runs"]) == (6 * 4, 6 * MOST)
    assert 0 < before["targets"]["core_hours"] < before["core_hours"]
    assert (before["left"]["least_runs"], before["left"]["runs"]) == (6 * 4, 6 * MOST)
    text = format_plan("toy", {"simulation": before})
    assert "4 to 64 replicas of each point, at least 24 runs" in text
    assert "left: at least 24, at most 384 runs" in text
    simulate(until(axes={"slope": [0, 1], "size": [4, 16]}), results, client)
    grown = plan_stages(stages, results, 2)["simulation"]["left"]
    assert (grown["least_runs"], grown["runs"]) == (2 * 4, 2 * MOST)
    simulate(until(), results, client)
    assert plan_stages(stages, results, 2)["simulation"]["left"]["runs"] == 0


@pytest.mark.parametrize("keep", ["replicas", "moments"])
def test_a_refined_grid_has_targets_too(until: MakeExperiment, results: Path, client: Client, keep: str) -> None:
    refine = {"quantity": "height_mean", "select": {"time": 2}, "level": 1.1, "along": ["slope"], "rounds": 3}
    scale = 256 if keep == "moments" else 4
    replicas = {"start": scale, "most": 4 * scale, "until": {"height": 0.5 / np.sqrt(2 * scale)}}
    axes = {"slope": [0, 0.5, 1, 1.5], "size": [4, 16]}
    experiment = until(axes=axes, refine=refine, replicas=replicas, keep=keep)
    report = simulate(experiment, results, client)
    status = describe_status(experiment, results)["simulation"]
    assert (status["state"], status["wanted"]) == ("complete", report.computed)
    used = open_store(results).status() != Status.NOT_RUN
    assert 0.1 < used.any(axis=-1).mean() < 0.7
    counts = used.sum(axis=-1)
    assert np.array_equal(counts[counts > 0], count_replicas(experiment, results)[counts > 0])
    assert len(np.unique(counts)) > 2
    assert simulate(experiment, results, client).computed == 0
