"""Experiments on a real SLURM: a run gives the same bits there, whatever happens to its jobs.

Some 2 minutes, mostly spent waiting: `python -m pytest -m cluster tests/cluster`, as root, with slurm-wlm and munge.
"""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import clhd.systems.registry
from clhd.errors import ClhdError
from clhd.sweep.plan.stage import Stage
from clhd.sweep.run.needs import predict_needs
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import read_experiment
from clhd.sweep.store.store import Store
from tests.clients import open_threads
from tests.cluster.slurm import DIE_WITH_PARENT, Slurm, find_missing, run_slurm

# All tests together have less than twice this time where they run unseen: what hangs has to show where.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
# After this time a test has failed; nothing is measured by it.
PATIENCE_SECONDS = 180
WORKERS = 2
SYSTEMS = ("attractors", "latent_variable", "one_layer", "saddle", "two_layers")  # tiny: the golden experiments
TINY = """\
system: contrastive
constants: {weight_decay: 0.6, initial_cosine_similarity: 0.5}
axes: {second_moment: [0.5, 1.5], dimension: [50]}
times: [0, 2]
replicas: 4
seed: 1
"""
# 400 s of sleep, in blocks of 2 s, as long as there is a file called slow.
SLOW = """\
system: slow
axes: {slope: [0, 1, 2, 3, 4], size: [4, 16]}
times: [0, 1]
replicas: 20
seed: 1
constants: {work: 2}
"""
RUNS = 200


@dataclass(frozen=True)
class Project:
    """A folder with one experiment, and the SLURM on which it runs."""

    folder: Path
    slurm: Slurm
    started: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def write(self, name: str, text: str = "") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def start(self, *command: str | Path) -> "subprocess.Popen[str]":
        """Start a command in the folder."""
        paths = os.pathsep.join([str(ROOT / "tests" / "cluster"), str(ROOT)])
        with (self.folder / "output").open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                [*DIE_WITH_PARENT, sys.executable, *command],
                cwd=self.folder,
                env={**self.slurm.environment, "PYTHONPATH": paths},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(process)
        return process

    def start_workflow(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the workflow with the profile, on fewer cores than that asks for."""
        threads = [f"{rule}={WORKERS}" for rule in ("simulate_points", "predict_points")]
        profile = ["--workflow-profile", str(ROOT / "profiles" / "slurm"), "--set-threads", *threads]
        script = ROOT / "tests" / "cluster" / "impatient.py"
        return self.start(script, "--snakefile", ROOT / "Snakefile", *profile, "--latency-wait", "5", *arguments)

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    @property
    def store(self) -> Store:
        return Store(self.folder / "results" / "toy" / "simulation.zarr")

    @property
    def marker(self) -> Path:
        return self.folder / "results" / "toy" / ".simulation.done"

    def list_jobs(self, *states: str) -> list[str]:
        """Its own jobs, oldest first."""
        return self.slurm.list_jobs(self.folder, *states)

    def count_done(self) -> int:
        try:
            return self.store.count_runs(self.store.status() >= 0)["ok"]
        except ClhdError:
            return 0

    def finish(self, process: "subprocess.Popen[str]") -> int:
        """Wait for a process; return its exit code."""
        with suppress(subprocess.TimeoutExpired):
            return process.wait(PATIENCE_SECONDS)
        pytest.fail(f"has not ended in {PATIENCE_SECONDS} s:\n{self.output}")

    def end(self) -> None:
        """End what a test that failed has left."""
        for process in self.started:
            process.kill()
            process.wait()
        if jobs := self.list_jobs("PENDING", "RUNNING"):
            self.slurm.call("scancel", *jobs)

    def wait_for(self, is_so: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
        """Wait until something is so, while a process runs."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.2)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := find_missing():
        pytest.skip(f"SLURM cannot be started here: {reason}")
    with run_slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def make_project(slurm: Slurm, tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    made: list[Project] = []

    def make(text: str) -> Project:
        project = Project(tmp_path / "project", slurm)
        made.append(project)
        project.write("config/config.yaml", "experiments: [config/toy.yaml]\n")
        project.write("config/toy.yaml", text)
        project.write("slow")
        return project

    yield make
    for project in made:
        project.end()


@pytest.fixture(scope="module", autouse=True)
def slow_system() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clhd.systems.registry.list_systems(), "slow", "tests.cluster.slow:SlowSystem")
        yield


@pytest.fixture(scope="module")
def local_bits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Of the slow experiment, computed here and at once."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "toy.yaml").write_text(SLOW, encoding="utf-8")
    with open_threads(1) as client:
        run_experiment(folder / "toy.yaml", client, results=folder / "results")
    return read_bits(Store(folder / "results" / "toy" / "simulation.zarr"))


def read_bits(store: Store) -> dict[str, bytes]:
    return {name: store.read(name).tobytes() for name in (*store.outputs, "status")}


def test_a_workflow_comes_to_the_bits_of_a_local_run(make_project: Callable[[str], Project], tmp_path: Path) -> None:
    project = make_project(TINY)
    experiment = read_experiment(project.folder / "config" / "toy.yaml")
    assert project.finish(project.start_workflow()) == 0, project.output

    run_experiment(project.folder / "config" / "toy.yaml", results=tmp_path)
    for part in ("simulation.zarr", "theory.zarr"):
        assert read_bits(Store(project.folder / "results" / "toy" / part)) == read_bits(Store(tmp_path / "toy" / part))
    assert (project.folder / "results" / "toy" / "figures" / "toy.png").exists()

    jobs = [project.slurm.describe_job(job) for job in project.list_jobs()]
    by_rule = {job["Comment"].removesuffix("_wildcards_toy").removeprefix("rule_"): job for job in jobs}
    assert set(by_rule) == {"simulate_points", "predict_points", "summarise_points", "plot_experiment"}
    assert len(jobs) == 4
    needs = predict_needs(Stage(experiment, "simulation"), tmp_path / "empty", WORKERS)
    asked = by_rule["simulate_points"]
    assert (asked["NumCPUs"], asked["MinMemoryNode"]) == (str(WORKERS), f"{needs.memory_mb}M")
    assert asked["TimeLimit"] == f"00:{math.ceil(needs.wall_seconds / 60):02d}:00"


def test_the_further_systems_come_to_the_bits_of_a_local_run(
    make_project: Callable[[str], Project], tmp_path: Path
) -> None:
    project = make_project(TINY)
    for name in SYSTEMS:
        text = (ROOT / "tests" / "golden" / "experiments" / f"{name}.yaml").read_text(encoding="utf-8")
        project.write(f"config/{name}.yaml", text)
    files = ", ".join(f"config/{name}.yaml" for name in SYSTEMS)
    project.write("config/config.yaml", f"experiments: [{files}]\n")
    process = project.start_workflow("--jobs", "5", *(f"results/{name}/.simulation.done" for name in SYSTEMS))
    assert project.finish(process) == 0, project.output
    assert len(project.list_jobs()) == len(SYSTEMS)

    with open_threads(1) as client:
        for name in SYSTEMS:
            run_experiment(project.folder / "config" / f"{name}.yaml", client, results=tmp_path)
            stores = (folder / name / "simulation.zarr" for folder in (project.folder / "results", tmp_path))
            there, here = (read_bits(Store(path)) for path in stores)
            assert there == here, name


def test_workers_as_jobs_get_the_file_of_a_system(make_project: Callable[[str], Project], tmp_path: Path) -> None:
    experiment = (ROOT / "examples" / "oja.yaml").read_text(encoding="utf-8")
    project = make_project(experiment)
    source = (ROOT / "examples" / "oja.py").read_text(encoding="utf-8")
    project.write("config/oja.py", source)
    process = project.start("-m", "clhd", "run", "config/toy.yaml", "--slurm", str(WORKERS))
    assert project.finish(process) == 0, project.output
    assert project.list_jobs(), "workers were jobs"

    run_experiment(project.folder / "config" / "toy.yaml", results=tmp_path)
    for part in ("simulation.zarr", "theory.zarr"):
        assert read_bits(Store(project.folder / "results" / "toy" / part)) == read_bits(Store(tmp_path / "toy" / part))


def test_a_cancelled_job_is_submitted_again_and_goes_on_where_it_was(
    make_project: Callable[[str], Project], local_bits: dict[str, bytes]
) -> None:
    project = make_project(SLOW)
    process = project.start_workflow("results/toy/.simulation.done")
    project.wait_for(lambda: project.count_done() > 0, process)
    (job,) = project.list_jobs()
    project.slurm.call("scancel", job)
    project.wait_for(lambda: project.slurm.describe_job(job)["JobState"] == "CANCELLED", process)
    assert not project.marker.exists(), "a job that was cancelled has not done its stage"
    (project.folder / "slow").unlink()
    assert project.finish(process) == 0, project.output
    assert project.marker.exists()
    assert_resumed(project, local_bits)


def test_a_lost_worker_is_replaced(make_project: Callable[[str], Project], local_bits: dict[str, bytes]) -> None:
    project = make_project(SLOW)
    project.write("hold")
    process = project.start("-m", "clhd", "simulate", "config/toy.yaml", "--slurm", str(WORKERS))

    def list_workers() -> list[str]:
        return project.list_jobs("RUNNING")

    def cancel(job: str) -> None:
        project.slurm.call("scancel", job)
        project.wait_for(lambda: job not in list_workers(), process)

    project.wait_for(lambda: bool(list_workers()), process)
    cancel(list_workers()[0])  # its worker has not come yet, nor has any other
    (project.folder / "hold").unlink()
    project.wait_for(lambda: project.count_done() > 0 and len(list_workers()) == WORKERS, process)
    (keys,) = project.folder.glob(".clhd-keys-*")
    assert keys.stat().st_mode & 0o777 == 0o700
    project.write("hold")
    cancel(list_workers()[0])
    project.wait_for(lambda: len(list_workers()) == WORKERS, process)
    cancel(list_workers()[-1])  # its worker has not come yet, but others have
    (project.folder / "hold").unlink()
    project.wait_for(lambda: len(list_workers()) == WORKERS, process)
    (project.folder / "slow").unlink()
    assert project.finish(process) == 0, project.output
    assert read_bits(project.store) == local_bits
    assert not keys.exists()
    assert not list(project.folder.glob(".dask-jobqueue.*"))
    assert not list_workers(), "jobs outlive the run"
    logs = "".join(path.read_text(encoding="utf-8") for path in (project.folder / ".slurm-logs").glob("*.err"))
    assert "tls://" in logs
    assert "tcp://" not in logs


def test_after_the_time_limit_the_same_command_goes_on(
    make_project: Callable[[str], Project], local_bits: dict[str, bytes]
) -> None:
    project = make_project(SLOW)
    process = project.start_workflow("results/toy/.simulation.done", "--retries", "0")
    project.wait_for(lambda: project.count_done() > 0, process)
    (job,) = project.list_jobs()
    project.slurm.call("scontrol", "update", f"JobId={job}", "EndTime=now+5")
    assert project.finish(process) == 1, project.output
    assert "SLURM status is: 'TIMEOUT'" in project.output
    assert not project.marker.exists()
    (project.folder / "slow").unlink()
    assert project.finish(project.start_workflow("results/toy/.simulation.done")) == 0, project.output
    assert_resumed(project, local_bits)


def assert_resumed(project: Project, bits: dict[str, bytes]) -> None:
    """The second run did what the first, which may have miscounted in its last moment, had left; nothing twice."""
    assert read_bits(project.store) == bits
    _, second = project.store.attributes["runs"]
    assert 0 < second["computed"] < RUNS
    assert (project.store.read("attempts") == 1).all()
