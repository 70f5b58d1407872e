"""Blocks: whole chunks of one kind, sized by predicted cost; and the consequences of a worker's death."""

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clhd.core.progress import Progress
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.plan.blocks import choose_chunks, chunk_counts, plan_blocks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.spec.experiment import parse_experiment
from tests.sweep.conftest import MakeExperiment
from tests.sweep.toy import LOG


def contrastive(**changes: Any) -> Stage:
    table: dict[str, Any] = {
        "system": "contrastive",
        "constants": {"initial_cosine_similarity": 0.3, "weight_decay": 0.6, "theory": "none"},
        "axes": {"second_moment": {"start": 0.1, "stop": 2, "count": 50}, "dimension": [100, 1000000]},
        "times": [1],
        "replicas": 32,
    }
    return Stage(parse_experiment({**table, **changes}), "simulation")


def test_planning_computes_nothing(toy: MakeExperiment) -> None:
    stage = Stage(toy(), "simulation")
    plan_blocks(stage, np.ones((4, 2, 4), dtype=bool), choose_chunks(stage), workers=2)
    assert LOG.calls == 0


def test_chunks_do_not_reach_across_costs_and_fill_the_lanes() -> None:
    stage = contrastive()
    chunks = choose_chunks(stage)
    assert chunks[1:] == (1, 32)  # one dimension, all replicas
    assert chunks[0] == 4  # 128 lanes of 32 replicas: six points would take as long as eight


def test_many_replicas_are_split_into_groups_of_lanes() -> None:
    assert choose_chunks(contrastive(replicas=10000)) == (1, 1, 128)
    assert choose_chunks(contrastive(replicas=10000, axes={"dimension": [100]}))[-1] == 10000


def test_chunks_that_are_joined_hold_whole_groups_of_lanes() -> None:
    values = {"start": 0.1, "stop": 2, "count": 137}
    stage = contrastive(
        constants={"initial_cosine_similarity": 0.3, "dimension": 3000},
        axes={"second_moment": values, "weight_decay": values},
        times=[0, 100, 200],
        replicas=1000,  # more chunks of 128 of them than there may be
    )
    chunks = choose_chunks(stage)
    assert chunks == (1, 1, 512)
    assert stage.cost_table.longest_run.runs_per_call == 128


def test_chunks_across_two_axes_of_many_costs_are_found() -> None:
    stage = contrastive(
        constants={"initial_cosine_similarity": 0.5, "loss": "infonce"},
        axes={"dimension": [20, 26, 243, 1903], "negatives": [1, 2, 4, 5, 6, 18, 24, 25, 62]},
        times=[0, 2.25],
        replicas=1,
    )
    assert math.prod(chunk_counts(stage.shape, choose_chunks(stage))) < stage.grid.size


@pytest.mark.parametrize("share", [1.0, 0.3])
def test_blocks_cover_what_is_needed_once_longest_first(share: float) -> None:
    stage = contrastive()
    needed = np.random.default_rng(1).random((50, 2, 32)) < share
    chunks = choose_chunks(stage)
    plan = plan_blocks(stage, needed, chunks, workers=2)
    covered = [index for block in plan.blocks for index, _ in block.chunks]
    assert len(covered) == len(set(covered)) == int(np.prod(chunk_counts(needed.shape, chunks)))
    assert sum(part.sum() for block in plan.blocks for _, part in block.chunks) == needed.sum() == plan.entries
    seconds = [block.seconds for block in plan.blocks]
    assert seconds == sorted(seconds, reverse=True)
    for block in plan.blocks:
        assert len({index[1] for index, _ in block.chunks}) == 1


def test_cheap_points_share_blocks_and_files() -> None:
    stage = contrastive(
        axes={"second_moment": {"start": 0.1, "stop": 2, "count": 10000}, "dimension": [100]}, replicas=1
    )
    needed = np.ones((10000, 1, 1), dtype=bool)
    plan = plan_blocks(stage, needed, choose_chunks(stage), workers=2)
    assert len(plan.blocks) == 1


@pytest.mark.parametrize(
    ("work", "count", "chunks", "blocks"),
    [
        (0.001, 1000, (25, 1, 4), 40),  # a hundred runs, which take a tenth of a second
        (0.01, 1000, (25, 1, 4), 20),  # chunks of a hundred runs, in blocks as long as is usual
        (0.01, 10_000, (50, 1, 4), 200),  # as long as is usual, in a store with enough chunks
        (0.1, 1000, (5, 1, 4), 200),
        (0.001, 100, (100, 1, 4), 1),  # hardly worth dividing
    ],
)
def test_cheap_runs_have_short_blocks(
    toy: MakeExperiment, work: float, count: int, chunks: tuple[int, ...], blocks: int
) -> None:
    slopes = {"start": 1, "stop": count, "count": count}
    stage = Stage(toy(axes={"slope": slopes, "size": [4]}, constants={"work": work}, replicas=4), "simulation")
    assert choose_chunks(stage) == chunks
    plan = plan_blocks(stage, np.ones(stage.shape, dtype=bool), chunks, workers=2)
    assert len(plan.blocks) == blocks


def test_a_worker_that_is_killed_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    axes = {"second_moment": [0.5, 1.0, 1.5], "dimension": [2000, 3000]}
    experiment = contrastive(axes=axes, times=[20], replicas=256).experiment
    killed = []
    advance = Progress.advance

    with open_client(Cluster(workers=2)) as client:
        pids = client.run(os.getpid)

        def kill_one(self: Progress, runs: int, seconds: float) -> None:
            if not killed:
                killed.append(pids.popitem()[1])
                os.kill(killed[0], signal.SIGKILL)
            advance(self, runs, seconds)

        monkeypatch.setattr(Progress, "advance", kill_one)
        report = run_stage(experiment, "simulation", tmp_path / "killed", client=client)
    assert killed
    assert report is not None
    assert report.is_complete
    run_stage(experiment, "simulation", tmp_path / "whole", cluster=Cluster(workers=1))
    name = f"{experiment.name}/simulation.zarr"
    with xr.open_zarr(str(tmp_path / "killed" / name)) as first, xr.open_zarr(str(tmp_path / "whole" / name)) as second:
        assert first["overlap"].values.tobytes() == second["overlap"].values.tobytes()


def test_workers_do_not_hear_the_interrupt_of_a_terminal() -> None:
    with open_client(Cluster(workers=2)) as client:
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGINT)
        assert client.submit(sum, [2, 3]).result() == 5
        assert len(client.scheduler_info()["workers"]) == 2
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
