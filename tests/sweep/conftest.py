"""The toy system, a client of two threads, and an experiment of the toy."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

import clhd.systems.registry
from clhd.sweep.plan.blocks import choose_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.create import create_store
from clhd.sweep.store.store import Store
from tests.clients import open_threads
from tests.sweep.toy import LOG

MakeExperiment = Callable[..., Experiment]


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    """Two threads: what processes change is tested where they matter."""
    with open_threads(2) as client:
        yield client


@pytest.fixture(autouse=True)
def toy_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    LOG.simulated.clear()
    LOG.broken.clear()
    LOG.calls = 0


@pytest.fixture(autouse=True)
def nothing_goes_on(request: pytest.FixtureRequest, toy_system: None) -> Iterator[None]:
    """Wait for the tasks that a test leaves behind: forgotten by the scheduler, they would run on into the next one."""
    yield
    if "client" in request.fixturenames:
        workers = request.getfixturevalue("client").cluster.workers.values()
        while any(worker.state.executing for worker in workers):
            time.sleep(0.01)


@pytest.fixture
def toy() -> MakeExperiment:
    """An experiment of the toy: 4 slopes, 2 sizes, 4 replicas, in many blocks; any key can be replaced."""

    def make(**changes: Any) -> Experiment:
        table: dict[str, Any] = {
            "system": "toy",
            "name": "toy",
            "axes": {"slope": [0, 1, 2, 3], "size": [4, 16]},
            "times": [0, 1, 2],
            "replicas": 4,
            "seed": 3,
        }
        return parse_experiment({**table, **changes})

    return make


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def store(toy: MakeExperiment, results: Path) -> Store:
    """The store of a simulation, still empty."""
    stage = Stage(toy(), "simulation")
    path = results / "toy" / "simulation.zarr"
    path.parent.mkdir(parents=True)
    return create_store(path, stage, choose_chunks(stage))


class Killed(BaseException):
    """Stands for the end of a process at some operation."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, operation: str, last: int) -> Iterator[None]:
    """End the process, in place of a method of Path that moves a file, once `last` of these calls are done."""
    move, done = getattr(Path, operation), list[Path]()

    def kill(path: Path, target: Path) -> Path:
        if len(done) == last:
            raise Killed
        done.append(path)
        return move(path, target)  # type: ignore[no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(Path, operation, kill)
        yield
