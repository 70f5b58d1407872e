"""Plays one scenario: starts, kills, looks at the files, continues to the end, and compares the results."""

import random
import shutil
import threading
import time
from dataclasses import asdict
from pathlib import Path

from clhd.errors import ClhdError
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.store import Store
from tests.chaos.experiments import NAME, Span, Undisturbed, write_experiment
from tests.chaos.known import (
    KINDS,
    Known,
    copy_stores,
    count_links,
    find_late_writes,
    find_recomputed,
    find_stray_files,
    find_wrong,
    is_consolidated,
    read_known,
    read_summary,
)
from tests.chaos.processes import Found, find_processes, kill, kill_all
from tests.chaos.runs import MOMENTS, Run
from tests.chaos.scenario import Act, Outcome, Scenario

_LONGEST_ORPHAN = 120.0
_MOST_TRIES = 4


class Stage:
    """Plays one scenario.

    Parameters
    ----------
    undisturbed : dict of (stage, size, form) to Undisturbed
        When things happen, and a folder of the finished base form.
    references : dict of (size, form) to dict of stage to Known
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
        self.outcome = Outcome(scenario, folder=str(folder))
        self.random = random.Random(scenario.number)
        self.watchers: list[threading.Thread] = []
        self.before: dict[str, Known] = {}  # at the last kill
        self.inherited: dict[str, Known] = {}  # at the last kill before the present run began
        self.runs: list[Run] = []

    @property
    def place(self) -> Path:
        return self.folder / "results" / NAME

    def play(self) -> Outcome:
        """All acts, then the command again until it ends by itself, then the checks.

        The folder is removed, unless there are problems: then it holds the screen of each run, and the results as they
        were copied after the kills and before each further try.
        """
        began = time.perf_counter()
        start = self.undisturbed.get((self.scenario.stage, self.scenario.size, "base"))
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
                copy_stores(self.place, self.folder / f"failed{len(self.runs)}")
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
        self.inherited = dict(self.before)
        self.runs.append(Run(self.scenario, self.folder, self.folder / f"run{len(self.runs) + 1}.log"))
        return self.runs[-1]

    def stop(self) -> None:
        """End all processes of the scenario, at whatever moment."""
        for run in self.runs:
            kill_all(run.mark)

    def _act(self, act: Act) -> int:
        """Start a run, kill, look at once at what is known; return the exit code, negative if it was killed itself."""
        timing = self.undisturbed[self.scenario.stage, self.scenario.size, act.form]
        run = self._start(act.form)
        came = self._await_moment(run, act, timing)
        victims = self._choose(run, act) if came else []
        kill(victims)
        at, hit = run.seconds, act.moment not in MOMENTS or run.has_folder(MOMENTS[act.moment])
        if act.victim == "all":
            kill_all(run.mark)
        roles = sorted({found.role for found in victims})
        when = {"at": round(at, 3), "of": round(timing.seconds, 3), "hit": hit}
        self.outcome.kills.append({**asdict(act), "killed": roles, **when, "links": count_links(self.place)})
        if victims:
            self._look()
        if victims and "worker" not in roles:
            self._watch_orphans(run, act.victim)
        code = run.wait()
        if not victims and len(self.runs) == 1:  # it is an undisturbed run then, and a newer measurement
            self.undisturbed[self.scenario.stage, self.scenario.size, act.form] = timing.rescaled(run.seconds)
        self._check_late_writes(run)
        if code == 0 or roles in ([], ["worker"]):  # it should have gone on
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
        copy, problems = self.folder / f"seen{len(self.outcome.kills)}", len(self.outcome.problems)
        copy_stores(self.place, copy)
        for stage in KINDS:
            try:
                known = read_known(copy / f"{stage}.zarr")
            except Exception as error:
                self._blame(f"{stage} cannot be read right after the kill: {type(error).__name__}: {error}")
                continue
            if known is None:
                if stage in self.before:
                    self._blame(f"{stage} is gone right after the kill")
                continue
            reference = self.references[self.scenario.size, self.scenario.acts[-1].form][stage]
            if wrong := find_wrong(known, reference):
                self.outcome.wrong += 1
                self._blame(f"{stage} right after the kill: other bits of {', '.join(wrong)}")
            self._compare(stage, known)
            finished = known.count_chunks(known.is_ok)
            self.outcome.kills[-1][f"{stage}_blocks"] = finished
            self.outcome.torn_blocks += known.torn
            self.outcome.finished_blocks += finished
            self.before[stage] = known
        self._look_at_summary(copy / "summary.zarr")
        if len(self.outcome.problems) == problems:
            shutil.rmtree(copy, ignore_errors=True)

    def _look_at_summary(self, path: Path) -> None:
        """Under its own name it must be whole, and that of a form which was asked for until now; or not there."""
        self.outcome.kills[-1]["summary"] = "none"
        if not path.exists():
            return
        forms = {act.form for act in self.scenario.acts[: len(self.outcome.kills)]}
        forms |= {"base"} if self.scenario.start == "base" else set()
        try:
            check_summary(path)
            summary = read_summary(path)
        except Exception as error:
            self._blame(f"summary cannot be read right after the kill: {type(error).__name__}: {error}")
            return
        same = [form for form in forms if self.summaries[self.scenario.size, form] == summary]
        self.outcome.kills[-1]["summary"] = same[0] if same else "another"
        if not same:
            self.outcome.wrong += 1
            self._blame(f"summary right after the kill: other bits than those of {', '.join(sorted(forms))}")

    def _compare(self, stage: str, known: Known) -> None:
        if stage not in self.before:
            return
        before = self.before[stage]
        lost = before.count_chunks(find_recomputed(before, known))
        self.outcome.lost_blocks += lost
        if lost:
            self._blame(f"{stage}: {lost} blocks that were done before a kill were lost or computed again")

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
        for stage, reign in run.reigns.items():
            if stage in self.inherited and (
                late := find_late_writes(self.place / f"{stage}.zarr", self.inherited[stage], reign)
            ):
                self._blame(f"{stage}: an orphan wrote {', '.join(late[:3])} after its successor had begun")

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
        size, same = self.scenario.size, 0
        references = self.references[size, form]  # without a theory, if the system has none
        for stage, reference in references.items():
            path = self.place / f"{stage}.zarr"
            known = read_known(path)
            if known is None:
                self._blame(f"{stage} is not there")
                continue
            if known.places != reference.places:
                self._blame(f"{stage}: other coordinates")
                continue
            if not known.is_ok.all():
                self._blame(f"{stage}: {int((~known.is_ok).sum())} runs are not ok")
            if wrong := find_wrong(known, reference):
                self.outcome.wrong += 1
                self._blame(f"{stage}: other bits of {', '.join(wrong)}")
            same += bool(known.is_ok.all() and not wrong)
            self._compare(stage, known)
            if not is_consolidated(path):
                self._blame(f"{stage}: its metadata are not consolidated")
            try:
                Store(path)
            except ClhdError as error:
                self._blame(f"{stage}: clhd refuses it: {error}")
        if (self.place / "summary.zarr").exists():
            summary, wanted = read_summary(self.place / "summary.zarr"), self.summaries[size, form]
            if other := sorted(name for name in {*summary, *wanted} if summary.get(name) != wanted.get(name)):
                self.outcome.wrong += 1
                self._blame(f"summary: other bits of {', '.join(other)}")
            same += not other
            try:
                check_summary(self.place / "summary.zarr")
            except ClhdError as error:
                self._blame(f"summary: clhd refuses it: {error}")
        else:
            self._blame("summary is not there")
        self.outcome.has_same_bits = same == len(references) + 1
        if stray := find_stray_files(self.place):
            self._blame(f"stray files: {', '.join(stray[:5])}")
