"""Where blocks run changes nothing: any number of workers, a scheduler by address or by file."""

import gc
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import LocalCluster

import clhd.sweep.cluster
from clhd.errors import ClhdError
from clhd.sweep.cluster import Cluster, _deaf_to_interrupts, kill_workers, open_client
from clhd.sweep.experiment import Experiment, parse_experiment
from clhd.sweep.run import run_stage


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


def test_work_of_seconds_is_done_by_threads_of_this_process() -> None:
    with open_client(Cluster(workers=2), processes=False) as client:
        assert client.scheduler.address.startswith("inproc://")
        assert sum(client.nthreads().values()) == 2


@pytest.mark.parametrize("failures", [1, 3])
def test_a_worker_that_is_killed_while_it_starts_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    start, left = clhd.sweep.cluster._make_cluster, [RuntimeError("Nanny failed to start.")] * failures

    def fail_at_first(**options: Any) -> Any:
        if left:
            raise left.pop()
        return start(**options)

    monkeypatch.setattr(clhd.sweep.cluster, "_make_cluster", fail_at_first)
    if failures == 1:
        with open_client(Cluster(workers=1), processes=False) as client:
            assert client.submit(sum, [2, 3]).result(timeout=20) == 5
    else:
        with pytest.raises(ClhdError, match="the worker processes could not be started: Nanny failed"):
            open_client(Cluster(workers=1), processes=False).__enter__()


def test_an_interrupt_ends_workers_that_are_starting() -> None:
    seen: list[int] = []

    def interrupt() -> None:
        end = time.monotonic() + 60
        while not (children := multiprocessing.active_children()):
            if time.monotonic() > end:
                return
            time.sleep(0.01)
        seen.append(int(children[0].pid or 0))
        os.kill(seen[0], signal.SIGSTOP)  # it will never be there
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt), open_client(Cluster(workers=2)):
        pytest.fail("the start was not interrupted")
    thread.join()
    assert seen
    assert not multiprocessing.active_children()


def test_what_dask_leaves_unfinished_at_its_end_is_no_line_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    with open_client(Cluster(workers=1), processes=False) as client:
        unread = client.loop.asyncio_loop.create_future()
    unread.set_exception(TimeoutError("Timeout"))
    del unread
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_until_what_was_started_has_an_owner(number: signal.Signals) -> None:
    done: list[int] = []

    def start() -> None:
        with _deaf_to_interrupts():
            os.kill(os.getpid(), number)
            done.append(1)

    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert done
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_is_answered_at_once(number: signal.Signals) -> None:
    missed: list[int] = []
    over = threading.Event()
    other = threading.Thread(target=over.wait)  # like those of libraries, it is not deaf to Ctrl-C
    other.start()

    def start() -> None:
        with _deaf_to_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), number)
            for _ in range(600):  # until the other thread has seen it
                time.sleep(0.05)
            missed.append(number)

    before = {each: signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert not missed
    finally:
        over.set()
        other.join()
        for each, answer in before.items():
            signal.signal(each, answer)


@pytest.mark.parametrize(("answer", "code"), [("SIG_DFL", -signal.SIGTERM), ("SIG_IGN", 0)])
def test_signals_that_no_function_answers_are_answered_as_they_were(answer: str, code: int) -> None:
    program = (
        "import os, signal\n"
        "from clhd.sweep.cluster import _deaf_to_interrupts\n"
        f"signal.signal(signal.SIGTERM, signal.{answer})\n"
        "with _deaf_to_interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('deaf', flush=True)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == ("deaf\n" if code == 0 else "")


def test_workers_are_ended_also_while_others_are_added() -> None:
    class Growing(list[Any]):
        is_growing = True

        def __iter__(self) -> Iterator[Any]:
            if self.is_growing:
                self.is_growing = False
                raise RuntimeError("Set changed size during iteration")
            return super().__iter__()

    closed: list[bool] = []
    with subprocess.Popen(["sleep", "60"]) as child:
        process = SimpleNamespace(pid=child.pid, is_alive=lambda: True)
        nanny = SimpleNamespace(process=SimpleNamespace(process=process), close_gracefully=lambda: closed.append(True))
        try:
            kill_workers(SimpleNamespace(_created=Growing([nanny])))
        finally:
            child.terminate()  # it is gone already
        assert child.wait(timeout=20) == -signal.SIGKILL
    assert closed


@pytest.mark.parametrize("is_taken", [False, True])
def test_the_dashboard_has_its_usual_port_if_that_is_free(
    monkeypatch: pytest.MonkeyPatch, scheduler: Any, is_taken: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        monkeypatch.setattr(clhd.sweep.cluster, "_DASHBOARD_PORT", port)
        if not is_taken:
            other.close()
        clhd.sweep.cluster._serve_dashboard(scheduler)
        gc.collect()  # a socket that is left behind warns, and fails the test
        ports = {port, scheduler.scheduler.http_server.port}
        if is_taken:
            ports.remove(port)
        for served in ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{served}/health", timeout=20) as answer:
                assert answer.read() == b"ok"
