"""Workers on this machine start beside other processes that are killed, can be interrupted, and end at once."""

import multiprocessing
import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dask
import distributed
import pytest
from distributed import get_worker

import clhd.sweep.cluster.cluster
from clhd.errors import ClhdError
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.cluster.dask_quirks import kill_workers


@pytest.mark.parametrize("failures", [1, 3])
def test_a_worker_that_is_killed_while_it_starts_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    start, left = clhd.sweep.cluster.cluster.LocalCluster, [RuntimeError("Nanny failed to start.")] * failures

    def fail_at_first(**options: Any) -> Any:
        if left:
            raise left.pop()
        return start(**options)

    monkeypatch.setattr(clhd.sweep.cluster.cluster, "LocalCluster", fail_at_first)
    if failures == 1:
        with open_client(Cluster(workers=1)) as client:
            assert client.submit(sum, [2, 3]).result() == 5
    else:
        with pytest.raises(ClhdError) as caught:
            open_client(Cluster(workers=1)).__enter__()
        assert str(caught.value) == "the worker processes could not be started: Nanny failed to start"


def test_a_slow_disk_is_no_reason_to_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []

    @contextmanager
    def take_long(*_: str) -> Iterator[None]:
        yield
        warned.append("of the disk")
        warnings.warn("Creating scratch directories is taking a surprisingly long time", UserWarning, stacklevel=1)

    monkeypatch.setattr(distributed.core, "warn_on_duration", take_long)
    with open_client(Cluster(workers=1)) as client:
        assert client.submit(sum, [2, 3]).result() == 5
    assert warned


def test_no_worker_puts_results_aside_as_pickles() -> None:
    with open_client(Cluster(workers=1)) as client:
        stores = client.run(lambda dask_worker: type(dask_worker.data).__name__)
        first = client.submit(os.getpid).result()
        os.kill(first, signal.SIGKILL)
        assert client.submit(os.getpid, pure=False).result() != first
        stores |= {"another": client.submit(lambda: type(get_worker().data).__name__).result()}
    assert set(stores.values()) == {"dict"}


def test_an_interrupt_ends_workers_that_are_starting() -> None:
    seen: list[int] = []
    before = {child.pid for child in multiprocessing.active_children()}

    def list_new() -> list[int]:
        return [child.pid for child in multiprocessing.active_children() if child.pid and child.pid not in before]

    over = threading.Event()

    def interrupt() -> None:
        while not (children := list_new()):
            if over.wait(0.01):
                return
        seen.append(children[0])
        os.kill(seen[0], signal.SIGSTOP)  # it will never be there
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt), open_client(Cluster(workers=2)):
            pytest.fail("the start was not interrupted")
    finally:
        over.set()
        thread.join()
    assert seen
    assert not list_new()


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


def test_modules_that_the_user_has_other_clusters_load_are_not_loaded_here() -> None:
    preloads = {f"distributed.{part}.preload": ["not_there"] for part in ("scheduler", "nanny", "worker")}
    with dask.config.set(preloads), open_client(Cluster(workers=1)) as client:
        assert client.submit(sum, [2, 3]).result() == 5
