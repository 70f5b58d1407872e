"""Points that fail, diverge, never end or kill their worker: the others finish, and each has the right status."""

import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client, get_worker
from distributed.scheduler import KilledWorker

import clhd.sweep.cluster.dask_quirks
import clhd.sweep.run.dispatch
import clhd.sweep.run.tasks
from clhd.core.arrays import FloatArray
from clhd.core.progress import Progress
from clhd.errors import ClhdError, SimulationStopped
from clhd.sweep.cluster.cluster import Cluster, open_client
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.run.tasks import BlockReport, compute_block
from clhd.sweep.run_experiment import run_experiment
from clhd.systems.declarations import Result, Status
from tests.sweep.conftest import MakeExperiment
from tests.sweep.toy import LOG, ToyPoint, ToySimulation, ToyTheory

ROOT = Path(__file__).parents[2]


class Deaths:
    """Tasks that kill their worker, as the driver sees it: without processes, whose start takes seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.deadly: set[float] = set()  # slopes of points that kill
        self.from_outside = 0  # how many tasks from now on are killed, whatever they do

    def compute(self, *arguments: Any) -> BlockReport:
        if self.from_outside:
            self.from_outside -= 1
            self._die()
        try:
            return compute_block(*arguments)
        except SimulationStopped:
            self._die()
            raise

    def _die(self) -> None:
        self.count += 1
        worker: Any = SimpleNamespace(address=f"worker {self.count}", memory_limit=10**9)
        raise KilledWorker("a task", worker, 0)

    def simulate(
        self, system: ToySimulation, points: Sequence[ToyPoint], time: FloatArray, replicas: Sequence[int]
    ) -> Any:
        if self.deadly & {float(point.get("slope")) for point in points}:
            raise SimulationStopped
        return _simulate(system, points, time, replicas)


_simulate = ToySimulation.compute


@pytest.fixture
def deaths(monkeypatch: pytest.MonkeyPatch) -> Deaths:
    deaths = Deaths()
    monkeypatch.setattr(clhd.sweep.run.tasks, "compute_block", deaths.compute)
    monkeypatch.setattr(ToySimulation, "compute", lambda *arguments: deaths.simulate(*arguments))  # noqa: PLW0108  # a method
    monkeypatch.setattr(clhd.sweep.cluster.dask_quirks, "_EVENT_POLL_SECONDS", 0.0)
    return deaths


def open_simulation(results: Path) -> xr.Dataset:
    with xr.open_zarr(str(results / "toy" / "simulation.zarr"), chunks=None) as opened:
        return opened.load()


def slopes_of(simulation: xr.Dataset, status: Status) -> set[float]:
    """The slopes at which some replica has a status."""
    found = (simulation["status"] == status).any([dim for dim in simulation["status"].dims if dim != "slope"])
    return set(simulation["slope"].values[found.values].tolist())


@pytest.mark.parametrize(
    ("deadly", "most"), [({5}, 6), ({0, 63}, 9), ({7, 8, 9}, 13)], ids=["one", "ends", "neighbours"]
)
def test_points_that_kill_their_worker_are_found_in_their_block_and_the_others_finish(
    toy: MakeExperiment,
    results: Path,
    client: Client,
    deaths: Deaths,
    capfd: pytest.CaptureFixture[str],
    deadly: set[float],
    most: int,
) -> None:
    deaths.deadly = deadly
    experiment = toy(axes={"slope": list(range(64)), "size": [4]}, constants={"work": 0.001, "weight": 0.1})
    report = run_stage(experiment, "simulation", results, client=client)
    assert report is not None
    assert (report.counts["ok"], report.counts["failed"]) == (4 * (64 - len(deadly)), 4 * len(deadly))
    assert report.computed == 4 * 64, "each run is counted once, however often it was tried"
    simulation = open_simulation(results)
    assert slopes_of(simulation, Status.FAILED) == deadly
    failed = simulation.sel(slope=min(deadly), size=4, replica=0)
    assert failed["error_type"] == "KilledWorker"
    assert "its worker was killed each time, also with nothing else to do" in failed["error_message"].item()
    assert deaths.count <= most
    error = capfd.readouterr().err
    assert "toy simulation: 256 runs in 1 block, " in error
    assert f"failed: KilledWorker: slope={min(deadly)}, size=4: its worker was killed" in error
    assert len(re.findall("a worker was killed: a crash, a signal from outside", error)) == deaths.count

    deaths.deadly = set()
    again = run_stage(experiment, "simulation", results, client=client)
    assert again is not None
    assert again.is_complete, "they are tried again by the next run"
    assert again.computed == 4 * len(deadly)


def test_points_of_the_theory_that_kill_their_worker_are_found_as_well(
    toy: MakeExperiment, results: Path, client: Client, deaths: Deaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = ToyTheory.compute

    def die_at_two(system: ToyTheory, points: Sequence[ToyPoint], time: FloatArray, replicas: Any) -> Result:
        if any(point.get("slope") == 2 for point in points):
            raise SimulationStopped
        return predict(system, points, time, replicas)

    monkeypatch.setattr(ToyTheory, "compute", die_at_two)
    report = run_stage(toy(), "theory", results, client=client)
    assert report is not None
    assert (report.counts["ok"], report.counts["failed"], report.computed) == (3, 1, 4)


def test_workers_that_are_killed_from_outside_make_no_point_fail(
    toy: MakeExperiment, results: Path, client: Client, deaths: Deaths
) -> None:
    """The worst case: every block of the plan loses its worker in the first two rounds, and one once more alone."""
    blocks = len(list(np.ndindex(4, 2)))
    deaths.from_outside = 2 * blocks + 1
    report = run_stage(toy(), "simulation", results, client=client)
    assert report is not None
    assert report.is_complete
    assert deaths.count == 2 * blocks + 1
    assert report.counts["ok"] == report.computed == 32


HUNGRY = """\
import time
import numpy as np
from tests.sweep.toy import ToySimulation, ToySystem


class HungrySimulation(ToySimulation):
    def compute(self, points, times, replicas):
        kept = []
        while any(point.get("slope") == 2 for point in points):
            kept.append(np.ones(2**20))  # 8 MB, which are really used
            time.sleep(0.002)
        return super().compute(points, times, replicas)


class HungrySystem(ToySystem):
    simulation = HungrySimulation()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory is one of Linux")
def test_a_point_that_exhausts_the_memory_fails_alone_and_the_machine_survives(tmp_path: Path) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    (tmp_path / "sitecustomize.py").write_text(
        "from clhd.systems.registry import list_systems\nlist_systems()['hungry'] = 'hungry:HungrySystem'"
    )
    axes = "{slope: [0, 1, 2, 3], size: [4]}"
    (tmp_path / "toy.yaml").write_text(
        f"system: hungry\naxes: {axes}\nconstants: {{work: 0.2}}\ntimes: [0, 1]\nreplicas: 4\nseed: 3\n"
    )
    most = 10**9  # the two workers have half of it each
    done = subprocess.run(
        [sys.executable, "-m", "clhd", "simulate", "toy.yaml", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_RSS, (most, most)),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert "12 ok, 4 failed; 16 computed now" in done.stdout
    assert "a worker was killed: more than the 500 MB of memory that a worker has" in done.stderr
    assert "failed: KilledWorker: slope=2, size=4: its worker was killed" in done.stderr
    assert "Traceback" not in done.stderr
    assert slopes_of(open_simulation(tmp_path / "results"), Status.FAILED) == {2}


def test_one_point_of_a_thousand_that_raises_is_found_at_three_times_the_cost(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    def count(system: ToySimulation, points: Sequence[ToyPoint], *rest: Any) -> Result:
        nonlocal tried
        tried += len(points)
        return _simulate(system, points, *rest)

    monkeypatch.setattr(ToySimulation, "compute", count)
    LOG.broken.add(617.0)
    axes = {"slope": list(range(1000)), "size": [4]}
    experiment = toy(axes=axes, constants={"work": 0.0004, "weight": 0.01}, replicas=1)
    report = run_stage(experiment, "simulation", results, client=client)
    assert report is not None
    assert (report.counts["ok"], report.counts["failed"]) == (999, 1)
    assert slopes_of(open_simulation(results), Status.FAILED) == {617}
    assert len(LOG.simulated) == 999, "each of the others is computed once, in whichever half succeeds"
    assert tried <= 3 * 1000, "the block, its halves, a half of those, a quarter, ..."


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("keep", ["replicas", "moments"])
def test_what_is_not_finite_has_diverged_and_no_mean_rests_on_it(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch, value: float, keep: str
) -> None:
    def overflow(
        system: ToySimulation, points: Sequence[ToyPoint], time: FloatArray, replicas: Sequence[int]
    ) -> Result:
        result = _simulate(system, points, time, replicas)
        chosen = [position for position, replica in enumerate(replicas) if replica == 3]
        result.values["height"][:, chosen, -1] = value
        if np.isnan(value):  # a system says of this itself that it has diverged: NaN may be an answer
            result.status[:, chosen] = Status.DIVERGED
        return result

    monkeypatch.setattr(ToySimulation, "compute", overflow)
    replicas = 256 if keep == "moments" else 5
    experiment = toy(axes={"slope": [1], "size": [4]}, replicas=replicas, keep=keep)
    summary = run_experiment(experiment, client, results=results)["summary"]
    counts = summary["replica_count"].isel(slope=0, size=0)
    assert int(counts.sel(status="diverged")) == 1
    assert int(counts.sel(status="ok")) == replicas - 1
    assert np.isfinite(summary["height_mean"]).all()
    assert np.isfinite(summary["height_standard_error"]).all()


def test_a_point_that_takes_far_longer_than_predicted_holds_up_no_other_and_is_named(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    named = threading.Event()
    clock = 0.0  # not that of the machine, on which another block may be held up for longer

    def listen(self: Progress, text: str) -> None:
        said.append(text)
        if "no block has ended" in text and "blocks in work: 1, the oldest from slope=2" in text:
            named.set()

    def hang_at_two(system: ToySimulation, points: Sequence[ToyPoint], *rest: Any) -> Result:
        nonlocal clock
        if any(point.get("slope") == 2 for point in points):
            assert named.wait(60), "the driver says that it waits"
            clock += 60
        return _simulate(system, points, *rest)

    monkeypatch.setattr(Progress, "say", listen)
    monkeypatch.setattr(ToySimulation, "compute", hang_at_two)
    monkeypatch.setattr(clhd.sweep.run.tasks, "time", SimpleNamespace(perf_counter=lambda: clock))
    monkeypatch.setattr(clhd.sweep.run.dispatch, "_SILENT_SECONDS", 0.3)
    monkeypatch.setattr(clhd.sweep.run.dispatch, "_SILENT_TIMES", 0.0)
    report = run_stage(toy(axes={"slope": [0, 1, 2, 3], "size": [4]}), "simulation", results, client=client)
    assert report is not None
    assert report.is_complete
    (line,) = [text for text in said if "no block has ended" in text][-1:]
    assert "than 1.2 s; blocks in work: 1, the oldest from slope=2, size=4 on; workers: 1" in line
    assert open_simulation(results)["seconds"].sum(["size", "replica"]).values.tolist() == [0, 0, 60, 0]


def test_a_run_is_at_rest_while_it_waits_for_a_block(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def wait_a_while(*arguments: Any) -> Result:
        time.sleep(0.5)
        return _simulate(*arguments)

    monkeypatch.setattr(clhd.sweep.run.dispatch, "check_jobs", lambda _: looks.append(time.monotonic()))
    monkeypatch.setattr(ToySimulation, "compute", wait_a_while)
    begin = time.monotonic()
    run_stage(toy(axes={"slope": [0, 1, 2, 3], "size": [4]}), "simulation", results, client=client)
    assert len(looks) <= time.monotonic() - begin + 4, "it looks once per second and block"


def leave(*_: Any) -> None:
    """End the worker that runs this, by itself: as one that cannot import what it is sent. Its nanny ends with it."""
    worker = get_worker()
    worker.loop.add_callback(worker.close, executor_wait=False)
    time.sleep(5)


def test_workers_that_end_by_themselves_are_not_awaited_for_ever(
    toy: MakeExperiment, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clhd.sweep.run.dispatch, "_try_block", leave)
    with open_client(Cluster(workers=1)) as own, pytest.raises(ClhdError) as caught:
        run_stage(toy(), "simulation", results, client=own)
    assert str(caught.value).startswith("all worker processes have ended by themselves, and no other can be started; ")


def test_a_scheduler_that_is_lost_is_one_line(
    toy: MakeExperiment, results: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost:
        """A future whose scheduler is gone."""

        def exception(self) -> None:
            raise clhd.sweep.run.dispatch.CancelledError

    ask = clhd.sweep.run.dispatch.Dispatcher._ask
    monkeypatch.setattr(clhd.sweep.run.dispatch.Dispatcher, "_fetch", lambda self, futures: {})
    monkeypatch.setattr(clhd.sweep.run.dispatch.Dispatcher, "_ask", lambda self, future: ask(self, Lost()))
    with pytest.raises(
        ClhdError, match=r"^the scheduler was lost; all finished blocks are kept\. Start it again: the same"
    ):
        run_stage(toy(), "simulation", results, client=client)
    monkeypatch.undo()
