"""`make chaos`: kills runs at random moments, runs them again, and counts lost, wrong and leftover results.

Each scenario has a folder of its own: the command is started, some of its processes get SIGKILL, what is known at that
moment is copied; then the same command is started again until it ends, and what is there is compared, bit for bit,
with an undisturbed run. Moments are drawn uniformly over the duration of undisturbed runs, measured here before.
What was seen is written down after each scenario: an interrupted campaign goes on with --resume.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NoReturn

from tests.chaos.experiments import FORMS, NAME, Undisturbed
from tests.chaos.fuzzing import fuzz
from tests.chaos.known import KINDS, Known, read_known, read_summary
from tests.chaos.processes import kill_all, kill_children
from tests.chaos.report import describe_machine, format_report, read_outcomes, write_docs, write_report
from tests.chaos.runs import Run, measure_undisturbed
from tests.chaos.scenario import Outcome, Scenario, draw_scenarios
from tests.chaos.stage import Stage

_ATTEMPTS = 3
_INTERRUPTED = 130


def measure(folder: Path, scenarios: Sequence[Scenario], jobs: int) -> tuple[Any, Any, Any]:
    """Undisturbed runs of every kind that is needed: when things happen, and what must come out."""
    undisturbed: dict[tuple[str, str, str], Undisturbed] = {}
    references: dict[tuple[str, str], dict[str, Known]] = {}
    summaries: dict[tuple[str, str], dict[str, bytes]] = {}
    # From an empty folder, so that nothing of growth itself is taken as right; first, for it compiles what is not yet.
    for size in sorted({scenario.size for scenario in scenarios}):
        for form in FORMS:
            place = folder / f"reference-{size}-{form}"
            place.mkdir(parents=True)
            kind = Scenario(-1, "clhd", size, "empty", ())
            measure_undisturbed(kind, place, form)
            stores = {stage: read_known(place / "results" / NAME / f"{stage}.zarr") for stage in KINDS}
            references[size, form] = {stage: known for stage, known in stores.items() if known is not None}
            summaries[size, form] = read_summary(place / "results" / NAME / "summary.zarr")
    for stage, size in sorted({(scenario.stage, scenario.size) for scenario in scenarios}):
        kind = next(s for s in scenarios if (s.stage, s.size) == (stage, size))
        places = {form: folder / f"{stage}-{size}-{form}" for form in FORMS}
        for form, place in places.items():
            if form != "base":
                shutil.copytree(places["base"], place)
            undisturbed[stage, size, form] = _measure_busy(kind, place, form, jobs)
            blocks = references[size, form]["simulation"].blocks
            say(
                f"undisturbed: {stage}, {size}, {form}: {blocks} blocks, {undisturbed[stage, size, form].seconds:.1f} s"
            )
    return undisturbed, references, summaries


def _measure_busy(kind: Scenario, folder: Path, form: str, jobs: int) -> Undisturbed:
    """Measure a run with as many beside it as there will be later."""
    folders = [folder, *(folder.with_name(f"{folder.name}-{job}") for job in range(1, jobs))]
    for other in folders[1:]:
        if folder.exists():
            shutil.copytree(folder, other)
        other.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(jobs)
    try:
        first, *_ = pool.map(lambda place: measure_undisturbed(kind, place, form), folders)
        return first
    finally:
        pool.shutdown(wait=False)  # as below


def play(scenarios: Sequence[Scenario], folder: Path, jobs: int, until: float) -> Iterator[Outcome]:
    """Play all scenarios, some side by side; none is begun after a moment of `time.monotonic`."""
    known = measure(folder / "undisturbed", scenarios, jobs)

    def play_one(scenario: Scenario) -> Outcome | None:
        if time.monotonic() > until:
            return None
        for attempt in range(_ATTEMPTS):
            stage = Stage(scenario, folder / f"scenario{scenario.number}-{attempt}", *known)
            try:
                outcome = stage.play()
            except Exception as error:  # a campaign of an hour must not end by one surprise
                stage.stop()
                (stage.folder / "script.log").write_text(traceback.format_exc(), encoding="utf-8")
                stage.outcome.problems.append(f"the script failed: {type(error).__name__}: {error}")
                return stage.outcome
            if outcome.problems or outcome.killed:
                break  # else all of its runs had ended before their moment came: the machine is faster by now
        return outcome

    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(play_one, scenario) for scenario in scenarios]):
            if outcome := future.result():
                yield outcome
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for the rest


class Campaign:
    """What was seen so far, and where it is written.

    Parameters
    ----------
    options : argparse.Namespace
    folder : Path
        In it the scenarios are played; those with problems stay there.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options, self.folder = options, folder
        scenarios = draw_scenarios(options.seed, options.runs, options.snakemake_runs)
        if options.only:
            scenarios = [scenario for scenario in scenarios if scenario.number in options.only]
        own = {"seed": options.seed, "jobs": options.jobs, "drawn": len(scenarios), "folder": str(folder)}
        self.about = describe_machine(folder) | own
        self.outcomes: list[Outcome] = []
        self.fuzzed: dict[str, Any] = {}
        self.before = 0.0  # minutes
        self.began = time.perf_counter()
        if options.resume:
            self.outcomes, self.before = read_outcomes(options.output, self.about["code"])
        played = {outcome.scenario for outcome in self.outcomes}
        if played - set(scenarios):
            raise SystemExit(f"{options.output}: has other scenarios than these; begin anew, without --resume")
        self.left = [scenario for scenario in scenarios if scenario not in played]

    @property
    def text(self) -> str:
        return format_report(self.about, self.outcomes, self.fuzzed)

    def run(self) -> None:
        """Play all that is left, then mutate files; what is seen is kept at once."""
        until = time.monotonic() + 60 * self.options.minutes
        began = time.perf_counter()
        if self.left:
            for done, outcome in enumerate(play(self.left, self.folder, self.options.jobs, until), 1):
                self.outcomes.append(outcome)
                self.outcomes.sort(key=lambda outcome: outcome.scenario.number)
                seconds = (time.perf_counter() - began) / done * (len(self.left) - done)
                self._tell(outcome, seconds / 60)
                self.keep()
        if self.options.fuzz:
            say(f"\nmutating {self.options.fuzz} experiment files, and others")
            output = self.options.output or self.folder / "campaign.json"
            log = output.with_name(f"{output.stem}-fuzz.log").resolve()
            self.fuzzed = fuzz(self.options.fuzz, self.options.seed, self.options.jobs, log)
            if self.fuzzed["exit_code"]:
                say(log.read_text(encoding="utf-8")[-8000:])
        self.keep()

    def keep(self) -> None:
        """Write what was seen so far."""
        self.about["minutes"] = self.before + (time.perf_counter() - self.began) / 60
        if self.options.output:
            write_report(self.options.output, self.about, self.outcomes, self.fuzzed)

    @property
    def has_failed(self) -> bool:
        return bool(self.fuzzed.get("exit_code")) or any(outcome.problems for outcome in self.outcomes)

    def end(self) -> int:
        """Tell what was seen, also in the docs; 1 if anything was not as it must be."""
        say(f"\n{self.text}")
        if self.options.docs:
            write_docs(self.options.docs, self.text)
        for outcome in self.outcomes:
            if outcome.problems:
                say(f"\nscenario {outcome.scenario.number}: kept in {outcome.folder}; again:")
                say(f"    {self._name_again(outcome)}")
        if not self.has_failed:
            shutil.rmtree(self.folder, ignore_errors=True)
        return int(self.has_failed)

    def stop(self) -> NoReturn:
        """End all processes, and this one, after an interruption."""
        for run in Run.started:
            kill_all(run.mark)
        kill_children()
        self.keep()
        self.end()
        if self.options.output:
            say("\ninterrupted; what was done is kept: the same command with --resume goes on from there")
        os._exit(_INTERRUPTED)  # the threads would go on

    def _tell(self, outcome: Outcome, minutes: float) -> None:
        say(
            f"[{len(self.outcomes)}/{self.about['drawn']}, {minutes:.0f} min left] {outcome.scenario.number}: "
            f"{outcome.scenario.title}: {outcome.finished_blocks} blocks done at the kill, {outcome.lost_blocks} lost, "
            f"{outcome.seconds:.0f} s"
        )
        for problem in outcome.problems:
            say(f"    {problem}")

    def _name_again(self, outcome: Outcome) -> str:
        options = self.options
        drawn = f"--runs {options.runs} --snakemake-runs {options.snakemake_runs} --seed {options.seed}"
        return f"python -m tests.chaos.campaign {drawn} --only {outcome.scenario.number}"


def say(text: str) -> None:
    """Tell at once."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; exit code 1 if anything was not as it must be, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__)
    parser.add_argument("--runs", type=int, default=160, help="scenarios of `clhd run`, by default 160")
    parser.add_argument("--snakemake-runs", type=int, default=40, help="scenarios through Snakemake, by default 40")
    parser.add_argument("--seed", type=int, default=0, help="of victims, moments and mutations")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios side by side, by default 2")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no scenario after this time")
    parser.add_argument("--fuzz", type=int, default=0, help="then mutate so many experiment files, and damage stores")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the scenarios to play, of those drawn")
    parser.add_argument("--output", type=Path, help="JSON file for all that was seen")
    parser.add_argument("--resume", action="store_true", help="play only what --output lacks")
    parser.add_argument("--docs", type=Path, help="Markdown file whose table is written anew")
    options = parser.parse_args(arguments)
    if options.resume and (not options.output or not options.output.exists()):
        parser.error("--resume needs the --output of an interrupted campaign")
    campaign = Campaign(options, Path(tempfile.mkdtemp(prefix="clhd-chaos-")))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has it ignored for a job in the background
    try:
        campaign.run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        campaign.stop()
    return campaign.end()


if __name__ == "__main__":
    sys.exit(main())
