"""A prediction counts the remaining work at the measured rate, and errs on the safe side."""

import math
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

import clhd.sweep.run.needs
from clhd.sweep.plan.blocks import choose_chunks, chunk_counts, plan_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.needs import SAFETY, START_SECONDS, Needs, format_plan, plan_stages, predict_needs
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.layout import LEDGER
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Status
from tests.sweep.conftest import MakeExperiment
from tests.sweep.stages import overwrite
from tests.sweep.toy import LOG


def predict(experiment: Experiment, results: Path, workers: int = 2) -> Needs:
    return predict_needs(Stage(experiment, "simulation"), results, workers)


def test_at_first_all_is_left_and_the_time_holds_for_any_order_of_the_blocks(
    toy: MakeExperiment, results: Path
) -> None:
    stage = Stage(toy(), "simulation")
    blocks = plan_blocks(stage, np.ones((4, 2, 4), dtype=bool), choose_chunks(stage), 2).blocks
    needs = predict(toy(), results)
    assert (needs.runs, needs.rate, needs.workers) == (32, None, 2)
    assert needs.core_seconds == pytest.approx(32 * 0.3)
    ends = [0.0, 0.0]  # as free workers take one block after the other, the longest last
    for block in reversed(blocks):
        ends[int(np.argmin(ends))] += block.seconds
    assert needs.wall_seconds >= START_SECONDS + SAFETY["predicted"] * max(ends)
    assert needs.wall_seconds < START_SECONDS + 2 * SAFETY["predicted"] * max(ends)


@pytest.mark.parametrize("keep", ["replicas", "moments"])
def test_a_plan_counts_the_files(toy: MakeExperiment, results: Path, client: Client, keep: str) -> None:
    experiment = toy(replicas=512, keep=keep, constants={"work": 0.01})
    plan = plan_stages([Stage(experiment, "simulation")], results, 2)
    run_stage(experiment, "simulation", results, client=client)
    store = Store(results / "toy" / "simulation.zarr")
    assert math.prod(chunk_counts(store.shape, store.chunks)) > 8
    variables = [*store.outputs, *LEDGER]
    files = [file for name in variables for file in (store.path / name / "c").rglob("*") if file.is_file()]
    assert plan["simulation"]["files"] == len(files)
    assert f" in {len(files)} files\n" in format_plan("toy", plan)


def test_more_workers_take_less_time_and_more_memory(toy: MakeExperiment, results: Path) -> None:
    few, many = (predict(toy(replicas=400), results, workers) for workers in (2, 32))
    assert many.wall_seconds - START_SECONDS < (few.wall_seconds - START_SECONDS) / 8
    assert many.memory_mb > 8 * few.memory_mb


def test_only_what_is_unknown_or_failed_is_left(toy: MakeExperiment, results: Path, client: Client) -> None:
    LOG.broken.add(2.0)
    run_stage(toy(), "simulation", results, client=client)
    assert predict(toy(), results).runs == 8
    LOG.broken.clear()
    run_stage(toy(), "simulation", results, client=client)
    assert predict(toy(), results).runs == 0
    assert predict(toy(), results).wall_seconds == START_SECONDS
    assert "left: nothing" in format_plan("toy", plan_stages([Stage(toy(), "simulation")], results, 2))
    grown = toy(axes={"slope": [0, 1, 1.5, 2, 3], "size": [4, 16]}, replicas=6)
    assert predict(grown, results).runs == 5 * 2 * 6 - 32
    assert predict(toy(replicas=2), results).runs == 0
    assert predict(toy(seed=4), results).runs == 32, "a store of another experiment knows nothing of this one"


def test_a_chunk_that_lacks_a_file_is_left(toy: MakeExperiment, results: Path, client: Client) -> None:
    run_stage(toy(), "simulation", results, client=client)
    store = Store(results / "toy" / "simulation.zarr")
    max((store.path / "height" / "c").rglob("*")).unlink()
    left = predict(toy(), results).runs
    assert 0 < left <= math.prod(store.chunks)
    report = run_stage(toy(), "simulation", results, client=client)
    assert report is not None
    assert report.computed == left


def test_a_plan_says_if_a_run_would_refuse_the_store(toy: MakeExperiment, results: Path, client: Client) -> None:
    run_stage(toy(), "simulation", results, client=client)
    refusal = f"{results / 'toy' / 'simulation.zarr'}: was computed with seed = 3; the file now says seed = 4. "
    assert predict(toy(seed=4), results).obstacle.startswith(refusal)
    assert f"cannot run: {refusal}" in format_plan("toy", plan_stages([Stage(toy(seed=4), "simulation")], results, 2))
    assert not predict(toy(replicas=6), results).obstacle


def test_the_growth_of_a_store_is_part_of_what_it_takes(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage(toy(), "simulation", results, client=client)
    assert predict(toy(), results).growth_seconds == 0
    larger = toy(replicas=6)
    little = predict(larger, results)
    assert little.growth_seconds > 0
    monkeypatch.setattr(clhd.sweep.run.needs, "predict_growth_seconds", lambda *_: little.growth_seconds + 1000)
    much = predict(larger, results)
    assert much.wall_seconds == pytest.approx(little.wall_seconds + 1000 * SAFETY["predicted"])
    assert "17 min in which its store grows" in format_plan(
        "toy", plan_stages([Stage(larger, "simulation")], results, 2)
    )


@pytest.mark.parametrize(("factor", "rate"), [(3.0, 3.0), (0.5, None)], ids=["enough", "too little to tell"])
def test_a_rate_is_measured_once_there_is_enough_of_it(
    toy: MakeExperiment, results: Path, client: Client, factor: float, rate: float | None
) -> None:
    experiment = toy(constants={"work": 0.5})
    run_stage(experiment, "simulation", results, client=client)
    store = Store(results / "toy" / "simulation.zarr")
    status = store.read("status")
    status[0] = Status.NOT_RUN
    overwrite(store, "status", status)
    overwrite(store, "seconds", np.full(store.shape, 0.5 * factor))
    needs = predict(experiment, results)
    assert needs.rate == (None if rate is None else pytest.approx(rate))
    assert needs.core_seconds == pytest.approx(8 * 0.5 * (rate or 1.0))
