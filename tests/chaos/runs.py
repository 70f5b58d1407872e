"""One run of `clhd run` or Snakemake that may be killed, and the timing of an undisturbed run."""

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import psutil

from tests.chaos.experiments import NAME, Span, Undisturbed, write_experiment
from tests.chaos.known import KINDS
from tests.chaos.processes import MARK, find_processes, kill_all
from tests.chaos.scenario import Scenario

ROOT = Path(__file__).parents[2]
# What to watch for: hidden folders that are there only while something is being written, or the first status.
MOMENTS = {
    "creation": ".simulation-new*",
    "growth": ".simulation-new*",
    "summary": ".summary-new*",
    "computing": "simulation.zarr/status/**/*[0-9]",
}
_SETTINGS = {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).with_name("small_blocks")), str(ROOT)]),
    # Dask warns of a slow disk; any other warning on the screen is a fault.
    "PYTHONWARNINGS": "ignore:Creating scratch directories is taking",
}
_LONGEST_RUN = 300.0
_POLL = 0.004


class Run:
    """One run of the command, with the mark that its processes carry."""

    started: ClassVar[list["Run"]] = []

    def __init__(self, scenario: Scenario, folder: Path, log: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.folder, self.log = folder, log
        command = [sys.executable, "-m", "clhd", "run", f"{NAME}.yaml"]
        if scenario.stage == "snakemake":
            snakemake = Path(sys.executable).with_name("snakemake")
            command = [str(snakemake), "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
            command += ["--workflow-profile", str(ROOT / "profiles" / "default")]
        self.began = time.perf_counter()
        with log.open("wb") as stream:
            self.popen = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **_SETTINGS, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.reigns: dict[str, int] = {}
        self.looked: dict[str, int] = {}
        self.started.append(self)

    @property
    def is_over(self) -> bool:
        return self.popen.poll() is not None

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def has_folder(self, pattern: str) -> bool:
        try:
            return any(self.folder.glob(f"results/{NAME}/{pattern}"))
        except FileNotFoundError:  # a folder in it was renamed or deleted just now
            return False

    def wait_for(self, condition: Callable[[], bool], until: float = _LONGEST_RUN) -> bool:
        """Wait; False if the run was over, or `until` seconds after its start had come, before that."""
        while not condition():
            if self.is_over or self.seconds > until:
                return False
            time.sleep(_POLL)
        return True

    def wait(self) -> int:
        """Wait for the end, and note when it took each store over; return its exit code."""
        while not self.is_over:
            if self.seconds > _LONGEST_RUN:
                kill_all(self.mark)
                self.popen.wait()
                return -1
            self._note_reigns()
            time.sleep(_POLL)
        return int(self.popen.wait())

    def _note_reigns(self) -> None:
        """Note when this run took the lock of a store: from then on nobody else may write to it."""
        for stage in KINDS:
            lock = self.folder / "results" / NAME / f".{stage}.lock"
            with suppress(OSError, ValueError, KeyError, psutil.Error):
                changed = lock.stat().st_mtime_ns
                if stage in self.reigns or changed == self.looked.get(stage):
                    continue
                self.looked[stage] = changed
                holder = psutil.Process(int(json.loads(lock.read_bytes())["process"]))
                if holder.environ().get(MARK) == self.mark:
                    self.reigns[stage] = changed


def measure_undisturbed(scenario: Scenario, folder: Path, form: str) -> Undisturbed:
    """Run a folder's experiment without disturbing it, and note when each moment comes."""
    write_experiment(folder, scenario.size, form)
    run = Run(scenario, folder, folder.with_name(f"{folder.name}.log"))
    seen: dict[str, list[float]] = {}
    looked = 0.0
    while not run.is_over:
        now = run.seconds
        for moment, pattern in MOMENTS.items():
            if run.has_folder(pattern):
                seen.setdefault(moment, []).append(now)
        if now - looked > 0.1:  # dear: it reads all of /proc
            looked = now
            if any(found.role == "worker" for found in find_processes(run.mark)):
                seen.setdefault("worker", []).append(now)
        time.sleep(_POLL)
    if run.popen.wait() != 0:
        raise RuntimeError(f"an undisturbed run failed: {run.log}\n{run.log.read_text(encoding='utf-8')}")
    spans = {moment: Span(times[0], times[-1]) for moment, times in seen.items()}
    return Undisturbed(folder, run.seconds, spans)
