"""Where blocks run changes nothing: any number of workers, a scheduler by address or by file; sockets on loopback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

from clhd.sweep.cluster import Cluster, open_client
from clhd.sweep.experiment import Experiment, parse_experiment
from clhd.sweep.run import run_stage

_LISTENING = "0A"


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
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp://", host="127.0.0.1", dashboard_address=None
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


def listening_addresses(pids: list[int]) -> set[str]:
    """Addresses, as the kernel writes them, on which the processes listen."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except FileNotFoundError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTENING and columns[9] in inodes:
                found.add(columns[1].rsplit(":", 1)[0])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the sockets from Linux' /proc")
def test_all_listening_sockets_of_a_local_cluster_are_on_loopback() -> None:
    # In a process of its own, whose sockets are then the cluster's alone.
    script = (
        "import os, sys\n"
        "from clhd.sweep.cluster import Cluster, open_client\n"
        "if __name__ == '__main__':\n"
        "    with open_client(Cluster(workers=2)) as client:\n"
        "        pids = [os.getpid(), *client.run(os.getpid).values(), *client.run(os.getppid).values()]\n"
        "        print(*sorted(set(pids)), flush=True)\n"
        "        sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        addresses = listening_addresses(pids)
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=30) == 0
    assert len(pids) >= 3
    assert addresses == {"0100007F"}, "127.0.0.1, as the kernel writes it"


def test_work_of_seconds_is_done_by_threads_that_listen_nowhere() -> None:
    with open_client(Cluster(workers=2), processes=False) as client:
        assert client.scheduler.address.startswith("inproc://")
        assert sum(client.nthreads().values()) == 2
