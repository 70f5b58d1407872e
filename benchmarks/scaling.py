"""`make scaling`: the costs of planner, scheduler, workers and ledger, from 10^3 to 10^6 points that compute nothing.

Each size runs in a fresh process, with the scheduler and two workers in processes of their own, so that the time and
memory of each part are told apart; on one machine driver and scheduler are one process. What was measured is kept in a
folder, a file for each size and system, and not measured again: the table in docs/scaling.md is made of these files.

| word | meaning |
|---|---|
| CPU | processor time of all threads of a process, which other work on the machine hardly changes, unlike wall time |
| peak | largest resident memory of a process during a stage |
| growth | exponent of the number of points: the slope between the two largest sizes |
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import clhd.sweep.run.run_stage
from benchmarks.empty_system import read_writing, register, register_on_worker
from clhd.core.progress import Progress
from clhd.sweep.plan.blocks import choose_chunks, plan_blocks
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.status import describe_status
from clhd.sweep.results.summary import write_summary
from clhd.sweep.run.run_stage import run_stage
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.create import create_store

ROOT = Path(__file__).parents[1]
SIZES = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = 2
_PAGE, _BEGIN, _END = ROOT / "docs" / "scaling.md", "<!-- measured: begin -->", "<!-- measured: end -->"
_MODEL_CONSTANTS = {"initial_cosine_similarity": 0.3, "weight_decay": 0.6}


def describe(points: int) -> dict[str, Any]:
    """The experiment of one size: three axes, as even as powers of ten can be."""
    digits = round(math.log10(points))
    lengths = [10 ** ((digits + k) // 3) for k in range(3)]
    axes = {name: list(range(length)) for name, length in zip("xyz", lengths, strict=True)}
    return {"system": "empty", "name": "scaling", "axes": axes, "times": [0], "replicas": 1}


def describe_contrastive(points: int) -> dict[str, Any]:
    """A grid of as many points of the contrastive model, one axis of which only the simulation has."""
    axes = {
        "second_moment": {"start": 0.1, "stop": 2, "count": points // 100},
        "kurtosis": {"start": 1, "stop": 8, "count": 10},
        "dimension": {"start": 100, "stop": 1000, "count": 10},
    }
    return {"system": "contrastive", "constants": _MODEL_CONSTANTS, "axes": axes, "times": [1], "replicas": 32}


# ---- what the system tells of processes


def read_cpu(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_memory(pid: int, field: str = "VmHWM") -> float:
    """Peak (VmHWM, since the last `forget_peak`) or present (VmRSS) resident memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def forget_peak(pid: int) -> None:
    """Let the peak of a process begin again at what it holds now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


@contextmanager
def start_cluster(folder: Path) -> Iterator[tuple[str, int, list[int]]]:
    """A scheduler and workers on loopback, each in a process; yields its address and their ids."""
    file = folder / "scheduler.json"
    dask, local = [sys.executable, "-m", "dask"], ["--host", "127.0.0.1", "--no-dashboard"]
    one = ["--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
    processes: list[subprocess.Popen[bytes]] = []
    with (folder / "cluster.log").open("wb") as log:

        def start(*command: str) -> None:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            processes.append(subprocess.Popen([*dask, *command, *local], stderr=log, env=environment))

        try:
            start("scheduler", "--port", "0", "--scheduler-file", str(file))
            while not file.exists():
                time.sleep(0.05)
            address = json.loads(file.read_text())["address"]
            for _ in range(WORKERS):
                start("worker", address, *one)
            yield address, processes[0].pid, [process.pid for process in processes[1:]]
        finally:
            for process in processes:
                process.kill()
                process.wait()


# ---- one size, in a process of its own


class Stages:
    """Processor seconds and peak memory (MB) of the stages of this process."""

    def __init__(self) -> None:
        self.cpu: dict[str, float] = {}
        self.peak: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure what runs in this context."""
        forget_peak(os.getpid())
        begin = time.process_time()
        yield
        self.cpu[name] = time.process_time() - begin
        self.peak[name] = read_memory(os.getpid())


def measure(points: int, folder: Path) -> dict[str, Any]:
    """All stages of one size."""
    from distributed import Client  # noqa: PLC0415

    register()
    stages = Stages()
    with stages.measure("check"):
        experiment = parse_experiment(describe(points))
        checked = check_experiment(experiment)
    stage = checked[0]
    with stages.measure("plan"):
        blocks = len(
            plan_blocks(stage, np.ones((*stage.grid.shape, 1), dtype=bool), choose_chunks(stage), WORKERS).blocks
        )
    path = folder / experiment.name / "simulation.zarr"
    path.parent.mkdir(parents=True)
    with stages.measure("create"):
        create_store(path, stage, choose_chunks(stage))
    make_client: Any = Client  # distributed is not typed
    with start_cluster(folder) as (address, scheduler, workers), make_client(address) as client:
        client.wait_for_workers(WORKERS)
        client.run(register_on_worker)
        running = measure_run(experiment, checked, folder, client, [os.getpid(), scheduler, *workers])
        with stages.measure("resume"):
            run_stage(experiment, "simulation", folder, client=client, checked=checked)
    with stages.measure("status"):
        describe_status(experiment, folder)
    with stages.measure("summary"):
        write_summary(experiment, folder)
    files = [file.stat().st_size for file in path.rglob("*") if file.is_file()]
    folders = sum(1 for entry in path.rglob("*") if entry.is_dir())
    stored = {"files": len(files), "folders": folders, "bytes": sum(files)}
    return {"points": points, "blocks": blocks, "cpu": stages.cpu, "peak": stages.peak, "run": running, **stored}


def measure_run(
    experiment: Experiment, checked: Sequence[Stage], folder: Path, client: Any, pids: Sequence[int]
) -> dict[str, Any]:
    """Run all blocks; seconds of each process (driver, scheduler, workers), and its memory along the way, MB."""
    course: list[list[float]] = []
    found: dict[str, Any] = {"course": course}
    execute, advance = clhd.sweep.run.run_stage.execute_plan, Progress.advance  # type: ignore[attr-defined]

    def note(self: Any, runs: int, seconds: float) -> None:
        advance(self, runs, seconds)
        if self._runs_done * 10 // self._runs > len(course):
            course.append([read_memory(pid, "VmRSS") for pid in pids])

    def timed(*arguments: Any) -> Any:
        writing = sum(client.run(read_writing).values())
        begin, cpu = time.perf_counter(), [read_cpu(pid) for pid in pids]
        done = execute(*arguments)
        found["wall"] = time.perf_counter() - begin
        found["cpu"] = [read_cpu(pid) - before for pid, before in zip(pids, cpu, strict=True)]
        found["writing"] = sum(client.run(read_writing).values()) - writing
        return done

    with patch.object(clhd.sweep.run.run_stage, "execute_plan", timed), patch.object(Progress, "advance", note):
        report = run_stage(experiment, "simulation", folder, client=client, checked=checked)
    if report is None or not report.is_complete:
        raise RuntimeError(f"the run is not complete: {report}")
    return found


def measure_contrastive(points: int, folder: Path) -> dict[str, Any]:
    """Checking the points of a real system, which does more for each."""
    experiment = parse_experiment(describe_contrastive(1000))
    check_experiment(experiment)  # imports the system, which takes longer than that
    stages = Stages()
    with stages.measure("check"):
        check_experiment(parse_experiment(describe_contrastive(points)))
    return {"cpu": stages.cpu["check"], "peak": stages.peak["check"]}


# ---- the table


def _make_rows() -> dict[str, Callable[[dict[str, Any]], float]]:
    """The rows of the table: of one size, the number that stands there."""
    rows: dict[str, Callable[[dict[str, Any]], float]] = {"blocks": lambda size: size["blocks"]}

    def add_stage(name: str, text: str, what: str, unit: str) -> None:
        rows[f"{text}, {unit}"] = lambda size: size[what][name]

    def add_part(text: str, first: int, last: int | None) -> None:
        rows[f"run: {text}, s per 1000 blocks"] = lambda size: (
            1000 * sum(size["run"]["cpu"][first:last]) / size["blocks"]
        )

    def add_memory(text: str, process: int, place: int) -> None:
        rows[f"run: {text}, MB"] = lambda size: size["run"]["course"][place][process]

    for name, text in (("check", "check all points"), ("plan", "plan the blocks"), ("create", "make the store")):
        add_stage(name, text, "cpu", "s")
    rows["check as many of the contrastive model, s"] = lambda size: size["contrastive"]["cpu"]
    for text, first, last in (("driver", 0, 1), ("scheduler", 1, 2), ("workers, all together", 2, None)):
        add_part(text, first, last)
    for name, text in (("writing", "writing files, wall time of all workers"), ("wall", "wall time")):
        rows[f"run: {text}, s per 1000 blocks"] = lambda size, name=name: 1000 * size["run"][name] / size["blocks"]
    for name, text in (("resume", "run again, nothing to do"), ("status", "clhd status"), ("summary", "summary")):
        add_stage(name, text, "cpu", "s")
    for name, text in (("check", "check all points"), ("plan", "plan the blocks")):
        add_stage(name, f"peak: {text}", "peak", "MB")
    rows["peak: check as many of the contrastive model, MB"] = lambda size: size["contrastive"]["peak"]
    for process, text in enumerate(("driver", "scheduler", "worker")):
        add_memory(f"{text} after a tenth of the blocks", process, 0)
        add_memory(f"{text} after all", process, -1)
    for name, text in (("status", "clhd status"), ("summary", "summary")):
        add_stage(name, f"peak: {text}", "peak", "MB")
    for name in ("files", "folders"):
        rows[name] = lambda size, name=name: size[name]
    rows["bytes in files, MB"] = lambda size: size["bytes"] / 1e6
    return rows


def format_table(found: Sequence[dict[str, Any]]) -> str:
    """The table as Markdown, with what it was measured on."""
    from benchmarks.kernels import describe_machine  # noqa: PLC0415  (it takes more memory than all that is measured)

    head = [f"{size['points']:,} points" for size in found]
    lines = [f"| CPU time, resident memory | {' | '.join(head)} | growth |", "|---|" + "---:|" * (len(head) + 1)]
    step = math.log(found[-1]["points"] / found[-2]["points"])
    for text, find in _make_rows().items():
        numbers = [find(size) for size in found]
        cells = [f"{number:,.0f}" if number >= 100 else f"{number:.2g}" for number in numbers]
        growth = math.log(max(numbers[-1], 1e-9) / max(numbers[-2], 1e-9)) / step
        lines.append(f"| {text} | {' | '.join(cells)} | {growth:.2f} |")
    packages = ", ".join(f"{name} {version(name)}" for name in ("distributed", "zarr"))
    return "\n".join([*lines, "", f"Measured on: {describe_machine()}, {packages}."])


_MEASURES = {"empty": measure, "contrastive": measure_contrastive}


def _file(folder: Path, points: int, system: str) -> Path:
    return folder / f"{system}-{points}.json"


def main() -> None:
    """Measure the sizes that are asked for and not known, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, help="numbers of points, powers of ten")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "scaling", help="where measurements are kept")
    parser.add_argument("--measure", choices=_MEASURES, help="one size, here and now")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.measure:
        with tempfile.TemporaryDirectory(prefix="clhd-scaling-") as folder:
            found = _MEASURES[options.measure](options.sizes[0], Path(folder))
            # Before the files are deleted, which takes minutes.
            _file(options.folder, options.sizes[0], options.measure).write_text(json.dumps(found, indent=1) + "\n")
        return
    for points in options.sizes:
        for system in _MEASURES:
            if not _file(options.folder, points, system).exists():
                command = [str(points), "--measure", system, "--folder", str(options.folder.absolute())]
                subprocess.run([sys.executable, "-m", "benchmarks.scaling", *command], cwd=ROOT, check=True)
    found = [
        {system: json.loads(_file(options.folder, points, system).read_text()) for system in _MEASURES}
        for points in options.sizes
    ]
    found = [{**size["empty"], "contrastive": size["contrastive"]} for size in found]
    table = format_table(found)
    print(table)
    before, _, rest = _PAGE.read_text().partition(_BEGIN)
    _PAGE.write_text(f"{before}{_BEGIN}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}")


if __name__ == "__main__":
    main()
