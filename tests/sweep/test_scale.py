"""Outstanding tasks, opened files and the size of a plan do not grow with the number of blocks or workers."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

import clhd.sweep.plan.blocks
import clhd.sweep.results.statistics
import clhd.sweep.run.dispatch
import clhd.sweep.run.run_stage
import clhd.sweep.run.tasks
from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.plan.blocks import Plan, choose_chunks, plan_blocks, widen_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.summary import summarise
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.store.store import Store
from tests.sweep.conftest import MakeExperiment

THREADS = 2  # of the client of the tests


def plan_points(toy: MakeExperiment, count: int, workers: int, seconds: float = 2.0, share: float = 1.0) -> Plan:
    """Blocks of points that take so long each."""
    stage = Stage(
        toy(
            axes={"slope": {"start": 0, "stop": 50, "count": count}},
            constants={"work": seconds},
            replicas=1,
        ),
        "simulation",
    )
    needed = np.arange(count)[:, None] < share * count
    return plan_blocks(stage, needed, choose_chunks(stage), workers)


def test_no_more_tasks_are_outstanding_than_a_few_for_each_worker(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted: list[Any] = []
    outstanding: list[int] = []
    submit = Client.submit

    def count(self: Client, *arguments: Any, **options: Any) -> Any:
        submitted.append(submit(self, *arguments, **options))
        outstanding.append(sum(not future.done() for future in submitted))
        return submitted[-1]

    monkeypatch.setattr(Client, "submit", count)
    axes = {"slope": {"start": 0, "stop": 1, "count": 20}, "size": [4, 16]}
    experiment = toy(axes=axes, constants={"work": 2}, replicas=1)
    report = run_stage(experiment, "simulation", results, client=client)
    assert report is not None
    assert report.is_complete
    assert len(submitted) == 40
    assert THREADS <= max(outstanding) <= 3 * THREADS


def test_results_that_are_there_are_fetched_in_one_request(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(clhd.sweep.run.dispatch.Dispatcher, "_ask", lambda self, future: asked.append(future))
    report = run_stage(toy(constants={"work": 2}), "simulation", results, client=client)
    assert report is not None
    assert report.is_complete
    assert not asked


def test_results_that_cannot_be_fetched_together_are_fetched_one_by_one(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("one of the workers is gone")

    monkeypatch.setattr(Client, "gather", fail)
    report = run_stage(toy(constants={"work": 2}), "simulation", results, client=client)
    assert report is not None
    assert report.is_complete
    assert report.computed == 32


def test_a_worker_opens_a_store_once_for_each_run(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def note(path: Path) -> Store:
        opened.append(path)
        return Store(path)

    monkeypatch.setattr(clhd.sweep.run.tasks, "Store", note)
    clhd.sweep.run.tasks._open.cache_clear()
    run_stage(toy(), "simulation", results, client=client)
    assert 1 <= len(opened) <= THREADS  # each thread at most once, if all begin at the same moment


def test_a_store_that_has_grown_is_opened_again(toy: MakeExperiment, results: Path, client: Client) -> None:
    run_stage(toy(), "simulation", results, client=client)
    report = run_stage(toy(replicas=8), "simulation", results, client=client)
    assert report is not None
    assert report.counts["ok"] == 64


@pytest.mark.parametrize(("workers", "seconds"), [(2, 2.0), (100, 2.0), (1000, 10.0)])
def test_blocks_for_many_workers_are_so_long_that_one_scheduler_can_hand_them_out(
    toy: MakeExperiment, workers: int, seconds: float
) -> None:
    plan = plan_points(toy, count=20000, workers=workers)
    assert plan.blocks[0].seconds == pytest.approx(seconds)
    assert len(plan.blocks) * plan.blocks[0].seconds == pytest.approx(plan.seconds)


def test_little_work_is_not_left_to_few_of_many_workers(toy: MakeExperiment) -> None:
    plan = plan_points(toy, count=500, workers=1000)  # 1000 s: blocks of 10 s would leave 900 workers without any
    assert plan.blocks[0].seconds == pytest.approx(4.0)  # sqrt(1000 s / (100 / s)), in whole chunks


def test_blocks_are_made_for_the_workers_of_the_cluster_not_for_the_cores_of_this_machine(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[int] = []

    def note(stage: Stage, needed: Any, chunks: Any, workers: int) -> Plan:
        planned.append(workers)
        return plan_blocks(stage, needed, chunks, workers)

    monkeypatch.setattr(clhd.sweep.run.run_stage, "plan_blocks", note)
    monkeypatch.setattr(clhd.sweep.cluster.cluster, "open_client", lambda cluster: nullcontext(client))
    monkeypatch.setattr(Client, "nthreads", lambda self: {"one host": 300, "another": 700})
    run_stage(toy(), "simulation", results, cluster=Cluster(scheduler="tcp://127.0.0.1:8786"))
    assert planned == [1000]


def test_of_much_work_chunks_take_longer_and_are_not_more(toy: MakeExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(plan_points(toy, count=1000, workers=2).blocks) == 1000
    monkeypatch.setattr(clhd.sweep.plan.blocks, "_MAX_FILES", 50 * 5)  # one of the toy's output, four of the ledger
    blocks = plan_points(toy, count=1000, workers=2).blocks
    assert [len(block.chunks) for block in blocks] == [1] * 50
    assert blocks[0].seconds == pytest.approx(1000 * 2.0 / 50)


def test_a_plan_shares_what_its_blocks_need(toy: MakeExperiment) -> None:
    plan = plan_points(toy, count=1000, workers=2, share=0.5)
    masks = {id(mask) for block in plan.blocks for _, mask in block.chunks}
    assert len(plan.blocks) == 500
    assert len(masks) == 1


def test_the_bits_of_a_summary_do_not_depend_on_how_much_is_read_at_once(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = toy(replicas=32)
    run_stage(experiment, "simulation", results, client=client)
    run_stage(experiment, "theory", results, client=client)
    at_once = summarise(experiment, results)
    regions: list[Any] = []
    read = Store.read

    def note(self: Store, name: str, region: Any = ()) -> Any:
        regions.append(region)
        return read(self, name, region)

    monkeypatch.setattr(Store, "read", note)
    monkeypatch.setattr(clhd.sweep.results.statistics, "_MOST_NUMBERS", 1)
    by_chunk = summarise(experiment, results)
    assert len(regions) > 8  # so it did read chunk by chunk
    for name, variable in at_once.variables.items():
        assert variable.values.tobytes() == by_chunk[name].values.tobytes()


@pytest.mark.parametrize(
    ("most", "wide"),
    [(1, (1, 2, 3)), (11, (1, 2, 3)), (12, (1, 2, 6)), (18, (1, 2, 7)), (28, (1, 4, 7)), (10**6, (2, 5, 7))],
)
def test_wide_regions_are_whole_chunks_the_last_dim_first(most: int, wide: tuple[int, ...]) -> None:
    assert widen_chunks((2, 5, 7), (1, 2, 3), most) == wide
