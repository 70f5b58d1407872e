"""One scenario of the campaign: runs that are killed one after another in one folder, and what they leave."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import psutil

from tests.chaos.experiments import NAME, Span, Undisturbed, write_experiment
from tests.chaos.known import (
    ROADS,
    Known,
    copy_stores,
    find_late_writes,
    find_recomputed,
    find_stray_files,
    find_wrong,
    is_consolidated,
    read_known,
    read_summary,
)
from tests.chaos.processes import MARK, Found, find_processes, kill, kill_all

ROOT = Path(__file__).parents[2]
# What to watch for: hidden folders that are there only while something is being written, or the first status.
MOMENTS = {
    "creation": ".simulation*.new",
    "growth": ".simulation-grown*",
    "summary": ".summary*.new",
    "computing": "simulation.zarr/status/c/*/*/*",
}
_LONGEST_RUN, _LONGEST_ORPHAN = 300.0, 120.0
_MOST_TRIES = 4
_POLL = 0.004


@dataclass(frozen=True)
class Act:
    """One run that is killed.

    Parameters
    ----------
    form : str
        base, wider or grown: what the experiment asks for.
    victim : str
        worker, driver, shell, snakemake or all.
    moment : str
        any, or a key of MOMENTS.
    share : float
        Where in that moment, in [0, 1).
    """

    form: str
    victim: str
    moment: str
    share: float


@dataclass(frozen=True)
class Scenario:
    """What is done in one folder.

    Parameters
    ----------
    number : int
    road : str
        clhd or snakemake.
    size : str
        processes or threads.
    start : str
        empty, or base: all of the base form is computed already.
    acts : tuple of Act
        The last one's form is what is computed in the end.
    """

    number: int
    road: str
    size: str
    start: str
    acts: tuple[Act, ...]

    @property
    def title(self) -> str:
        return f"{self.road} {self.size}: " + ", ".join(f"{act.victim} at {act.moment}" for act in self.acts)


@dataclass
class Outcome:
    """What was seen. `problems` is what must not be."""

    scenario: Scenario
    kills: list[dict[str, Any]] = field(default_factory=list)
    finished_blocks: int = 0
    lost_blocks: int = 0
    torn_blocks: int = 0
    manual_steps: int = 0
    orphan_seconds: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_table(self) -> dict[str, Any]:
        return asdict(self)


class Run:
    """One run of the command, with the mark that its processes carry."""

    started: ClassVar[list["Run"]] = []

    def __init__(self, scenario: Scenario, folder: Path, log: Path) -> None:
        self.mark = uuid.uuid4().hex
        self.folder, self.log = folder, log
        command = [sys.executable, "-m", "clhd", "run", f"{NAME}.yaml"]
        if scenario.road == "snakemake":
            snakemake = Path(sys.executable).with_name("snakemake")
            command = [str(snakemake), "--snakefile", str(ROOT / "Snakefile"), "--configfile", "config.yaml"]
            command += ["--workflow-profile", str(ROOT / "profiles" / "default")]
        self.began = time.perf_counter()
        with log.open("wb") as stream:
            self.popen = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(ROOT), MARK: self.mark},
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
        return any(self.folder.glob(f"results/{NAME}/{pattern}"))

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
        for road in ROADS:
            lock = self.folder / "results" / NAME / f".{road}.lock"
            with suppress(OSError, ValueError, KeyError, psutil.Error):
                changed = lock.stat().st_mtime_ns
                if road in self.reigns or changed == self.looked.get(road):
                    continue
                self.looked[road] = changed
                holder = psutil.Process(int(json.loads(lock.read_bytes())["process"]))
                if holder.environ().get(MARK) == self.mark:
                    self.reigns[road] = changed


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


class Stage:
    """Plays one scenario.

    Parameters
    ----------
    undisturbed : dict of (road, size, form) to Undisturbed
        When things happen, and a folder of the finished base form.
    references : dict of (size, form) to dict of road to Known
    summaries : dict of (size, form) to bits of the summary
    """

    def __init__(
        self,
        scenario: Scenario,
        folder: Path,
        undisturbed: dict[tuple[str, str, str], Undisturbed],
        references: dict[tuple[str, str], dict[str, Known]],
        summaries: dict[tuple[str, str], dict[str, bytes]],
    ) -> None:
        self.scenario, self.folder = scenario, folder
        self.undisturbed, self.references, self.summaries = undisturbed, references, summaries
        self.outcome = Outcome(scenario)
        self.random = random.Random(scenario.number)
        self.watchers: list[threading.Thread] = []
        self.before: dict[str, Known] = {}  # at the last kill
        self.inherited: dict[str, Known] = {}  # at the last kill before the present run began
        self.runs = 0

    @property
    def place(self) -> Path:
        return self.folder / "results" / NAME

    def play(self) -> Outcome:
        """All acts, then the command again until it ends by itself, then the checks."""
        began = time.perf_counter()
        start = self.undisturbed.get((self.scenario.road, self.scenario.size, "base"))
        if self.scenario.start == "base" and start is not None:
            start.copy_to(self.folder)
        else:
            self.folder.mkdir(parents=True)
        code: int | None = None
        for act in self.scenario.acts:
            code = self._act(act)
        form = self.scenario.acts[-1].form
        while code != 0:
            run = self._start(form)
            code = run.wait()
            self._check_screen(run, code)
            self._check_late_writes(run)
            if code != 0:
                self.outcome.manual_steps += 1
                if self.outcome.manual_steps == _MOST_TRIES:
                    self._blame(f"does not end by itself: exit code {code}")
                    break
        for watcher in self.watchers:
            watcher.join()
        self.check_end(form)
        self.outcome.seconds = time.perf_counter() - began
        if not self.outcome.problems:
            shutil.rmtree(self.folder)
        return self.outcome

    def _blame(self, problem: str) -> None:
        self.outcome.problems.append(problem)

    def _start(self, form: str) -> Run:
        write_experiment(self.folder, self.scenario.size, form)
        self.runs += 1
        self.inherited = dict(self.before)
        return Run(self.scenario, self.folder, self.folder / f"run{self.runs}.log")

    def _act(self, act: Act) -> int:
        """Start a run, kill, look at once at what is known; return the exit code, negative if it was killed itself."""
        timing = self.undisturbed[self.scenario.road, self.scenario.size, act.form]
        run = self._start(act.form)
        came = self._await_moment(run, act, timing)
        victims = self._choose(run, act) if came else []
        kill(victims)
        if act.victim == "all":
            kill_all(run.mark)
        at = run.seconds
        roles = sorted({found.role for found in victims})
        self.outcome.kills.append({**asdict(act), "killed": roles, "at": round(at, 3), "of": round(timing.seconds, 3)})
        if victims:
            self._look()
        if victims and "worker" not in roles:
            self._watch_orphans(run, act.victim)
        code = run.wait()
        if not victims and self.runs == 1:  # it is an undisturbed run then, and a newer measurement
            self.undisturbed[self.scenario.road, self.scenario.size, act.form] = timing.rescaled(run.seconds)
        self._check_late_writes(run)
        if code == 0 or roles == ["worker"]:
            self._check_screen(run, code)
        return code

    def _await_moment(self, run: Run, act: Act, timing: Undisturbed) -> bool:
        """Wait for the moment of an act; False if the run ended before."""
        if act.moment in MOMENTS:
            if not run.wait_for(lambda: run.has_folder(MOMENTS[act.moment])):
                return False
            span = timing.spans.get(act.moment, Span(0.0, 0.0))
            begin, end = run.seconds, run.seconds + span.last - span.first
        elif act.victim == "worker":
            span = timing.spans.get("worker", Span(0.0, timing.seconds))
            begin, end = span.first, span.last
        else:
            begin, end = 0.0, timing.seconds
        moment = begin + act.share * (end - begin)
        run.wait_for(lambda: run.seconds >= moment)
        return not run.is_over

    def _choose(self, run: Run, act: Act) -> list[Found]:
        """The processes to kill: of the role wanted, or the nearest to it that is alive."""
        alive = find_processes(run.mark)
        if act.victim == "all":
            return alive
        order = ["worker", "driver", "shell", "snakemake", "other"]
        for role in order[order.index(act.victim) :]:
            several = sorted((found for found in alive if found.role == role), key=lambda found: found.process.pid)
            if several:
                return several if role == "shell" else [self.random.choice(several)]
        return []

    def _look(self) -> None:
        """Copy what is known at this moment, check it, and remember it for the end."""
        copy = self.folder / f"seen{len(self.outcome.kills)}"
        copy_stores(self.place, copy)
        for road in ROADS:
            try:
                known = read_known(copy / f"{road}.zarr")
            except Exception as error:
                self._blame(f"{road} cannot be read right after the kill: {type(error).__name__}: {error}")
                continue
            if known is None:
                if road in self.before:
                    self._blame(f"{road} is gone right after the kill")
                continue
            reference = self.references[self.scenario.size, self.scenario.acts[-1].form][road]
            if wrong := find_wrong(known, reference):
                self._blame(f"{road} right after the kill: other bits of {', '.join(wrong)}")
            self._compare(road, known)
            self.outcome.torn_blocks += known.torn
            self.outcome.finished_blocks += known.count_chunks(known.is_ok)
            self.before[road] = known
        shutil.rmtree(copy, ignore_errors=True)

    def _compare(self, road: str, known: Known) -> None:
        if road not in self.before:
            return
        before = self.before[road]
        lost = before.count_chunks(find_recomputed(before, known))
        self.outcome.lost_blocks += lost
        if lost:
            self._blame(f"{road}: {lost} blocks that were done before a kill were lost or computed again")

    def _watch_orphans(self, run: Run, victim: str) -> None:
        """Note how long the other processes of a run live after a kill, while the next one goes on."""
        began = time.perf_counter()

        def watch() -> None:
            last = 0.0
            while left := [found for found in find_processes(run.mark) if found.role in ("driver", "worker")]:
                last = time.perf_counter() - began
                if last > _LONGEST_ORPHAN:
                    self._blame(f"orphans live on: {', '.join(found.role for found in left)}")
                    kill_all(run.mark)
                time.sleep(0.02)
            self.outcome.orphan_seconds.append({"killed": victim, "seconds": round(last, 3)})

        self.watchers.append(threading.Thread(target=watch))
        self.watchers[-1].start()

    def _check_late_writes(self, run: Run) -> None:
        """Nothing of the dead may be written once another run has taken over."""
        for road, reign in run.reigns.items():
            if road in self.inherited and (
                late := find_late_writes(self.place / f"{road}.zarr", self.inherited[road], reign)
            ):
                self._blame(f"{road}: an orphan wrote {', '.join(late[:3])} after its successor had begun")

    def _check_screen(self, run: Run, code: int) -> None:
        text = run.log.read_text(encoding="utf-8", errors="replace")
        if code != 0:
            self._blame(f"exit code {code} of a run that was not killed: {text.strip()[-400:]}")
        if "Traceback (most recent call last)" in text:
            self._blame(f"a traceback on the screen: {text.strip()[-400:]}")
        if "Warning: " in text:
            self._blame(f"a warning on the screen: {text.strip()[-400:]}")

    def check_end(self, form: str) -> None:
        """What is there at last must be what an undisturbed run makes, and nothing else."""
        size = self.scenario.size
        for road in ROADS:
            path = self.place / f"{road}.zarr"
            known = read_known(path)
            if known is None:
                self._blame(f"{road} is not there")
                continue
            reference = self.references[size, form][road]
            if known.places != reference.places:
                self._blame(f"{road}: other coordinates")
                continue
            if not known.is_ok.all():
                self._blame(f"{road}: {int((~known.is_ok).sum())} runs are not ok")
            if wrong := find_wrong(known, reference):
                self._blame(f"{road}: other bits of {', '.join(wrong)}")
            self._compare(road, known)
            if not is_consolidated(path):
                self._blame(f"{road}: its metadata are not consolidated")
        if (self.place / "summary.zarr").exists():
            summary, wanted = read_summary(self.place / "summary.zarr"), self.summaries[size, form]
            if other := sorted(name for name in {*summary, *wanted} if summary.get(name) != wanted.get(name)):
                self._blame(f"summary: other bits of {', '.join(other)}")
        else:
            self._blame("summary is not there")
        if stray := find_stray_files(self.place):
            self._blame(f"stray files: {', '.join(stray[:5])}")
