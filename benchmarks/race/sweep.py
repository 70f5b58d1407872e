"""The third race: 10 000 points of a function of 1 ms on two workers, results on disk; and the same, killed half-way.

Every competitor is a program in the folder sweeps/, as its users write it. A killed program gets SIGKILL, with all its
processes, when half of the points have been computed; then the same command runs again.

| word | meaning |
|---|---|
| lost | points without a value after the second run |
| wrong | points with another value than the function's |
| again | calls of the function beyond one for each point, in the two runs |
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.race.sweeps.work import SIDE, X, Y, expected

FloatArray = NDArray[np.float64]

ROOT, SWEEPS = Path(__file__).parents[2], Path(__file__).parent / "sweeps"
POINTS = SIDE**2
_LONGEST = 1200.0  # seconds: a competitor that takes longer is ended


@dataclass(frozen=True)
class Competitor:
    """A program that sweeps.

    Attributes
    ----------
    package : str
    files : tuple of str
        What its user writes, in the folder sweeps/.
    command : list of str
        Runs in a fresh folder with copies of the files.
    read : callable
        Returns the values, shape (SIDE, SIDE), from that folder.
    before_again : list of str
        A command that must come first after a kill; may be empty.
    """

    package: str
    files: tuple[str, ...]
    command: list[str]
    read: Callable[[Path], FloatArray]
    before_again: list[str] = field(default_factory=list)

    def count_lines(self) -> int:
        """Return the lines that a user writes, without empty ones."""
        return sum(1 for name in self.files for line in (SWEEPS / name).read_text().splitlines() if line.strip())


@dataclass
class Outcome:
    """What one competitor did; times in seconds."""

    name: str
    seconds: float = float("inf")
    resumed: float = float("nan")
    files: int = 0
    lost: int = POINTS
    wrong: int = 0
    again: int = 0
    lines: int = 0
    note: str = ""


def _read_clhd(folder: Path) -> FloatArray:
    import clhd  # noqa: PLC0415

    simulation = clhd.open_results(folder / "results" / "clhd_sweep").simulation
    return np.asarray(simulation.value.transpose("x", "y", ...)).reshape(SIDE, SIDE)


def _read_netcdf(folder: Path) -> FloatArray:
    import xarray as xr  # noqa: PLC0415

    return np.asarray(xr.load_dataset(folder / "all.nc").value.transpose("x", "y"))


def _read_pipefunc(folder: Path) -> FloatArray:
    from pipefunc.map import load_outputs  # noqa: PLC0415

    return np.asarray(load_outputs("value", run_folder=folder / "run"), dtype=float)


def _read_rows(folder: Path) -> FloatArray:
    return np.array([np.load(folder / f"row-{i}.npy") for i in range(SIDE)])


_PYTHON = sys.executable
_SNAKEMAKE = [_PYTHON, "-m", "snakemake", "--cores", "2", "--quiet", "all", "--rerun-incomplete"]
COMPETITORS = {
    "clhd": Competitor(
        "clhd",
        ("clhd_sweep.py", "clhd_sweep.yaml"),
        [_PYTHON, "-m", "clhd", "run", "--workers", "2", "clhd_sweep.yaml"],
        _read_clhd,
    ),
    "pipefunc": Competitor("pipefunc", ("pipefunc_sweep.py",), [_PYTHON, "pipefunc_sweep.py"], _read_pipefunc),
    "xyzpy Crop, batches of 100": Competitor("xyzpy", ("xyzpy_sweep.py",), [_PYTHON, "xyzpy_sweep.py"], _read_netcdf),
    "joblib, a netCDF file per 100 points": Competitor(
        "joblib", ("joblib_sweep.py",), [_PYTHON, "joblib_sweep.py"], _read_netcdf
    ),
    "dask.delayed, a file per 100 points": Competitor(
        "dask", ("dask_sweep.py",), [_PYTHON, "dask_sweep.py"], lambda folder: np.asarray(np.load(folder / "all.npy"))
    ),
    "Snakemake, a job per 100 points": Competitor(
        "snakemake",
        ("Snakefile", "snakemake_job.py"),
        _SNAKEMAKE,
        _read_rows,
        [_PYTHON, "-m", "snakemake", "--unlock", "--quiet", "all"],
    ),
}


def is_installed(package: str) -> bool:
    """True if the package is in this environment."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def race(names: Sequence[str], rounds: int) -> list[Outcome]:
    """Return the outcomes, fastest first; the runs without a kill are interleaved, and the least time counts."""
    outcomes = {name: Outcome(name, lines=COMPETITORS[name].count_lines()) for name in names}
    for _ in range(rounds):
        for name, outcome in outcomes.items():
            with _Run(COMPETITORS[name]) as run:
                seconds, code = run.finish()
                outcome.seconds = min(outcome.seconds, seconds)
                outcome.files = run.count_files()
                if code != 0:
                    outcome.note = f"exit code {code}"
                elif compare(run.read()) != (0, 0):
                    outcome.note = "wrong without a kill"
    for outcome in outcomes.values():
        with _Run(COMPETITORS[outcome.name]) as run:
            run.kill_at(POINTS // 2)
            outcome.resumed, code = run.finish(again=True)
            outcome.lost, outcome.wrong = compare(run.read())
            outcome.again = run.count_calls() - (POINTS - outcome.lost)
            if code != 0:
                outcome.note = f"exit code {code} after the kill"
    return sorted(outcomes.values(), key=lambda outcome: outcome.seconds)


def compare(found: FloatArray | None) -> tuple[int, int]:
    """Return how many points have no value, and how many a wrong one."""
    if found is None:
        return POINTS, 0
    missing = np.isnan(found)
    truth = np.array([[expected(x, y) for y in Y] for x in X])
    return int(missing.sum()), int((~missing & ~np.isclose(found, truth, rtol=1e-12)).sum())


class _Run:
    """A folder in which one competitor runs, and may be killed and run again."""

    def __init__(self, competitor: Competitor) -> None:
        self._competitor = competitor
        self._parent = Path(tempfile.mkdtemp(prefix="clhd-race-"))
        self._folder, self._calls = self._parent / "work", self._parent / "calls"

    def __enter__(self) -> "_Run":
        self._folder.mkdir()
        self._calls.touch()
        for name in self._competitor.files:
            shutil.copy(SWEEPS / name, self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._parent, ignore_errors=True)

    def _start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # `python` of Snakemake's jobs
        environment = {"PYTHONPATH": str(ROOT), "RACE_CALLS": str(self._calls), "PATH": path} | threads
        with (self._parent / "log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=self._folder, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True
            )

    def finish(self, *, again: bool = False) -> tuple[float, int]:
        """Run to the end; return seconds and exit code."""
        begin = time.perf_counter()
        code = 0
        for command in (self._competitor.before_again if again else [], self._competitor.command):
            if command:
                process = self._start(command)
                try:
                    code = process.wait(_LONGEST)
                except subprocess.TimeoutExpired:
                    _kill(process)
                    code = process.wait()
        return time.perf_counter() - begin, code

    def kill_at(self, calls: int) -> None:
        """Run until so many points are computed, then kill all its processes."""
        process = self._start(self._competitor.command)
        end = time.monotonic() + _LONGEST
        while process.poll() is None and self.count_calls() < calls and time.monotonic() < end:
            time.sleep(0.01)
        _kill(process)
        process.wait()

    def read(self) -> FloatArray | None:
        """Return the values, or None if there are none to open."""
        try:
            return self._competitor.read(self._folder)
        except Exception as error:
            print(f"{self._competitor.package}: {type(error).__name__}: {error}", file=sys.stderr)
            return None

    def count_calls(self) -> int:
        """Return the number of calls of the function so far."""
        return self._calls.stat().st_size

    def count_files(self) -> int:
        """Return the number of files that the run has made."""
        made = sum(1 for path in self._folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return made - len(self._competitor.files)


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill the session that this process began."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def format_table(outcomes: Sequence[Outcome]) -> str:
    """The table as Markdown."""
    ours = next((outcome.seconds for outcome in outcomes if outcome.name == "clhd"), float("nan"))
    lines = [
        f"| {POINTS} points of 1 ms, two workers | s | x clhd | second run, s | lost | wrong | again | files | lines |",
        "|---|" + "---:|" * 8,
    ]
    for outcome in outcomes:
        cells = [outcome.lost, outcome.wrong, outcome.again, outcome.files, outcome.lines]
        name = f"{outcome.name} ({outcome.note})" if outcome.note else outcome.name
        lines.append(
            f"| {name} | {outcome.seconds:.1f} | {outcome.seconds / ours:.2f} | {outcome.resumed:.1f} "
            f"| {' | '.join(map(str, cells))} |"
        )
    return "\n".join(lines)
