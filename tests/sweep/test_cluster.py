"""The place where blocks run changes nothing: any number of workers, a scheduler by address or by file."""

import gc
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

import clhd.sweep.cluster.cluster
import clhd.sweep.run.run_stage
from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.run.tasks import try_block
from clhd.sweep.spec.experiment import Experiment, parse_experiment


@pytest.fixture
def experiment() -> Experiment:
    return parse_experiment(
        {
            "name": "small",
            "system": "contrastive",
            "constants": {"weight_decay": 0.6, "initial_cosine_similarity": 0.5},
            "axes": {"noise_correlation": [-0.5, 0, 0.5], "dimension": [20, 50]},
            "times": [0, 2],
            "replicas": 6,
            "seed": 1,
        }
    )


@pytest.fixture
def scheduler() -> Iterator[Any]:
    """A Dask scheduler that is there already, with two workers."""
    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


def compute(experiment: Experiment, results: Path, cluster: Cluster) -> xr.Dataset:
    report = run_stage(experiment, "simulation", results, cluster=cluster)
    assert report is not None
    assert report.is_complete
    with xr.open_zarr(str(results / "small" / "simulation.zarr")) as opened:
        return opened[["overlap", "squared_norm", "status"]].load()


def test_one_two_and_four_workers_and_a_scheduler_by_address_or_file_give_the_same_bits(
    experiment: Experiment, scheduler: Any, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": scheduler.scheduler_address}))
    clusters = [Cluster(workers=count) for count in (1, 2, 4)]
    clusters += [Cluster(scheduler=scheduler.scheduler_address), Cluster(scheduler_file=file)]
    first, *others = [compute(experiment, tmp_path / str(k), cluster) for k, cluster in enumerate(clusters)]
    assert np.isfinite(first.overlap).all()
    for other in others:
        assert all(first[name].values.tobytes() == other[name].values.tobytes() for name in first)


def test_work_of_seconds_is_done_by_threads_of_this_process_where_none_can_be_forked(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[str] = []

    def compute_here(*arguments: Any) -> Any:
        computed.append(threading.current_thread().name)
        return try_block(*arguments)

    expected = compute(experiment, tmp_path / "as_ever", Cluster(workers=2))
    monkeypatch.setattr(clhd.sweep.run.run_stage, "can_fork", lambda: False)
    monkeypatch.setattr(clhd.sweep.run.run_stage, "try_block", compute_here)
    found = compute(experiment, tmp_path / "threads", Cluster(workers=2))
    assert computed, "not by another process"
    assert all(name.startswith("ThreadPoolExecutor") for name in computed)
    assert all(found[name].values.tobytes() == expected[name].values.tobytes() for name in found)


@pytest.mark.parametrize("is_taken", [False, True])
def test_the_dashboard_has_its_usual_port_if_that_is_free(
    monkeypatch: pytest.MonkeyPatch, scheduler: Any, is_taken: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(clhd.sweep.cluster.cluster, "_DASHBOARD_PORT", port)
        if not is_taken:
            other.close()
        clhd.sweep.cluster.cluster._serve_dashboard(scheduler)
        gc.collect()  # a socket that is left behind warns, and fails the test
        ports = {port, scheduler.scheduler.http_server.port}
        if is_taken:
            ports.remove(port)
        for served in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{served}/health", timeout=20) as answer:
                assert answer.read() == b"ok"
