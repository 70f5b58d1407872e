"""Experiments that ask for too much are refused in one line, before values or points are made or files written."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import clhd.sweep.plan.blocks
import clhd.sweep.spec.grid
import clhd.sweep.spec.validation
from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import CHUNK_BYTES, choose_chunks, chunk_counts, plan_blocks
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.plan.stage import Stage
from clhd.sweep.store.chunk_files import StoreError
from clhd.sweep.store.prepare import prepare_store
from clhd.systems.declarations import Cost
from tests.sweep.conftest import MakeExperiment
from tests.sweep.toy import ToyPoint, ToySimulation


def span(count: float, start: float = 1, stop: float = 2) -> dict[str, Any]:
    return {"start": start, "stop": stop, "count": count}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {name: span(10**6) for name in "abcdefgh"}}, "axes: about 10^48 points (1000000 of a x "),
        ({"axes": {"slope": span(1e12)}}, "axes: 1000000000000 points (1000000000000 of slope) are more than 4000000"),
        ({"axes": {"slope": span(1e49)}}, "axes: about 10^49 points (about 10^49 of slope) are more than 4000000"),
        ({"axes": {"p": {"together": {"slope": span(1e7), "weight": span(1e7)}}}}, "10000000 of p) are more than"),
        (
            {"axes": {"slope": span(1e6)}, "replicas": 1e6},
            "of 1000000 points, 1000000000000 runs are more than 400000000; give fewer, or split the experiment",
        ),
    ],
    ids=["8 axes", "one range", "many digits", "together", "replicas"],
)
def test_values_are_counted_before_any_is_made(
    toy: MakeExperiment, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("values were made")

    monkeypatch.setattr(clhd.sweep.spec.grid, "parse_numbers", fail)
    with pytest.raises(ClhdError) as error:
        toy(**changes)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda work: work**7, "too large or too small to compute with: Numerical result out of range"),
        (lambda work: 1 / (work - work), "too large or too small to compute with: float division by zero"),
        (
            lambda work: work * math.inf * 0,
            "its predicted cost is nan s: its numbers are too large or too small",
        ),
        (lambda work: -work, "its predicted cost is -1e+50 s: its numbers are too large or too small"),
    ],
    ids=["overflow", "division", "not a number", "negative"],
)
def test_numbers_that_cannot_be_computed_with_are_named_with_their_point(
    toy: MakeExperiment, monkeypatch: pytest.MonkeyPatch, cost: Callable[[float], float], message: str
) -> None:
    def predict(_: Any, point: ToyPoint, time: Any) -> Cost:
        work = float(point.get("work", 1.0))
        return Cost(seconds=cost(work) if work > 1 else 1.0)

    monkeypatch.setattr(ToySimulation, "cost", predict)
    with pytest.raises(ClhdError) as error:
        check_experiment(toy(axes={"slope": [0], "work": [1.0, 1e50]}), "toy.yaml")
    assert str(error.value).startswith(
        "toy.yaml: axes: 1 of 2 points is impossible, the first at slope=0, work=1e+50: "
    )
    assert str(error.value).endswith(message)


def test_a_result_that_no_worker_can_hold_is_refused_before_points_are_made(toy: MakeExperiment) -> None:
    experiment = toy(times=span(10000), keep="moments", replicas=256, constants={"features": 9})
    assert check_experiment(experiment)
    experiment = toy(times=span(20000), keep="moments", replicas=256, constants={"features": 9})
    with pytest.raises(ClhdError) as error:
        check_experiment(experiment, "big.yaml")
    assert str(error.value) == (
        "big.yaml: times: the simulation of 256 replicas is 352 MiB (20000 of time x 9 of feature), more than 256 MiB; "
        "give fewer of these, or keep: replicas"
    )


def test_a_store_of_too_many_chunks_is_refused(toy: MakeExperiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clhd.sweep.plan.blocks, "MOST_CHUNKS", 7)
    assert check_experiment(toy(constants={"work": 1e-6}))
    with pytest.raises(ClhdError, match=r"8 results of .* in 8 files of each variable, more than 7; give fewer values"):
        check_experiment(toy(constants={"work": 2}, replicas=1))


@pytest.mark.parametrize("replicas", [1, 3000])
def test_a_chunk_of_long_results_is_bounded_in_bytes(toy: MakeExperiment, replicas: int) -> None:
    changes = {"constants": {"work": 1e-9}, "axes": {"slope": span(50)}, "times": span(100000)}
    stage = Stage(toy(replicas=replicas, **changes), "simulation")
    assert math.prod(choose_chunks(stage)) * stage.entry_bytes <= CHUNK_BYTES
    plan = plan_blocks(stage, np.ones(stage.shape, dtype=bool), choose_chunks(stage), workers=2)
    most = clhd.sweep.plan.blocks.MOST_BYTES_AT_ONCE
    assert most / 2 < max(block.entries * stage.entry_bytes for block in plan.blocks) <= most or replicas == 1


def test_points_of_many_costs_share_chunks_if_there_is_little_to_do(toy: MakeExperiment) -> None:
    stage = Stage(toy(axes={"work": span(3000, 1e-5, 2e-5)}, replicas=1), "simulation")
    assert len(stage.cost_table.kinds) == 3000
    assert choose_chunks(stage) == (3000, 1)
    needed = np.arange(3000)[:, None] < 1000
    plan = plan_blocks(stage, needed, choose_chunks(stage), workers=2)
    assert plan.entries == 1000
    assert plan.seconds == pytest.approx(sum(cost.seconds for cost in stage.costs[:1000]))


def test_a_dear_point_among_cheap_ones_leaves_them_few_chunks(toy: MakeExperiment) -> None:
    seconds = [*np.linspace(1e-6, 1e-5, 999).tolist(), 20.0]
    stage = Stage(toy(axes={"work": seconds}, replicas=1), "simulation")
    assert math.prod(chunk_counts(stage.shape, choose_chunks(stage))) <= 2 * 20 / 0.5


@pytest.mark.parametrize("dear", [0.3, 0.6, 1.0, 1.1, 2.0, 5.0])
def test_one_dear_value_of_many_does_not_take_a_store_beyond_its_files(
    toy: MakeExperiment, monkeypatch: pytest.MonkeyPatch, dear: float
) -> None:
    monkeypatch.setattr(clhd.sweep.plan.blocks, "_MAX_FILES", 500 * 5)  # one of the toy's output, four of the ledger
    seconds = [*np.linspace(1e-6, 2e-6, 8).tolist(), dear]
    stage = Stage(toy(axes={"work": seconds, "slope": span(100)}, replicas=10), "simulation")
    chunks = choose_chunks(stage)
    assert math.prod(chunk_counts(stage.shape, chunks)) <= 500
    longest = stage.cost_table.chunk_seconds(chunks[:-1], chunks[-1]).max()
    assert longest <= max(2 * 2.0, 2 * dear, 2 * 1000 * dear / 500)


def test_growth_beyond_a_limit_is_refused_before_anything_is_copied(
    toy: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy" / "simulation.zarr"
    path.parent.mkdir()
    prepare_store(Stage(toy(), "simulation"), path)
    before = sorted((file, file.stat().st_mtime_ns) for file in path.parent.rglob("*"))
    monkeypatch.setattr(clhd.sweep.spec.validation, "MOST_POINTS", 12)
    wanted = toy(axes={"slope": [5, 6, 7], "size": [5, 6, 7, 8]})  # 12 points, and 7 x 6 with those of the store
    with pytest.raises(StoreError) as error:
        prepare_store(Stage(wanted, "simulation"), path)
    assert str(error.value) == (
        f"{path}: stored and requested results together are too many: axes: 42 points (7 of slope x 6 of size) are "
        "more than 12; add fewer values at a time, give the experiment another name, or `clhd run FILE --fresh` "
        "computes everything again and keeps these results under another name"
    )
    assert sorted((file, file.stat().st_mtime_ns) for file in path.parent.rglob("*")) == before
