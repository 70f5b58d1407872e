"""`make chaos`: runs that are killed at random moments, then run again; what is lost, wrong or left behind is counted.

Each scenario has a folder of its own: the command is started, some of its processes get SIGKILL, what is known at that
moment is copied; then the same command is started again until it ends, and what is there is compared, bit for bit,
with an undisturbed run. Moments are drawn uniformly over the duration of undisturbed runs, measured here before.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from clhd.sweep.provenance import describe_code, describe_dependencies
from tests.chaos.experiments import NAME, Undisturbed
from tests.chaos.known import ROADS, Known, read_known, read_summary
from tests.chaos.processes import kill_all
from tests.chaos.scenario import ROOT, Act, Outcome, Run, Scenario, Stage, measure_undisturbed

_BEGIN, _END = "<!-- campaign -->", "<!-- end of campaign -->"
_VICTIMS = {"clhd": ("worker", "driver", "all"), "snakemake": ("worker", "driver", "shell", "snakemake", "all")}
# How many of 20 scenarios are killed at what, and how many of them twice or with threads alone.
_MOMENTS = ("any",) * 10 + ("growth",) * 3 + ("summary",) * 4 + ("creation",) * 1 + ("growing",) * 2
_ATTEMPTS = 3
_SHARE_TWICE, _SHARE_THREADS = 0.2, 0.15


def draw_scenarios(seed: int, clhd_runs: int, snakemake_runs: int) -> list[Scenario]:
    """The scenarios of a campaign; those of a smaller one are not the first of a larger one's."""
    roads = ["clhd"] * clhd_runs + ["snakemake"] * snakemake_runs
    order = random.Random(seed)
    order.shuffle(roads)
    return [_draw_scenario(random.Random(f"{seed}|{number}"), number, road) for number, road in enumerate(roads)]


def _draw_scenario(draw: random.Random, number: int, road: str) -> Scenario:
    size = "threads" if draw.random() < _SHARE_THREADS else "processes"
    moment = draw.choice(_MOMENTS)
    victims = [victim for victim in _VICTIMS[road] if victim != "worker"]
    if size == "processes" and moment in ("any", "growing"):  # at other moments there are no workers
        victims += ["worker"] * 2
    form = "grown" if moment in ("growth", "growing") else "base"
    acts = [Act(form, draw.choice(victims), "any" if moment == "growing" else moment, draw.random())]
    start = "base" if form == "grown" else "empty"
    if moment == "growth" and draw.random() < 0.5:  # what is grown is itself half done
        start = "empty"
        acts.insert(0, Act("base", draw.choice(victims), "any", draw.random()))
    elif draw.random() < _SHARE_TWICE:
        acts.append(Act(form, draw.choice(victims), "any", draw.random()))
    return Scenario(number, road, size, start, tuple(acts))


def measure(folder: Path, scenarios: Sequence[Scenario], jobs: int) -> tuple[Any, Any, Any]:
    """Undisturbed runs of every kind that is needed: when things happen, and what must come out."""
    undisturbed: dict[tuple[str, str, str], Undisturbed] = {}
    references: dict[tuple[str, str], dict[str, Known]] = {}
    summaries: dict[tuple[str, str], dict[str, bytes]] = {}
    # From an empty folder, so that nothing of growth itself is taken as right; first, for it compiles what is not yet.
    for size in sorted({scenario.size for scenario in scenarios}):
        for form in ("base", "grown"):
            place = folder / f"reference-{size}-{form}"
            place.mkdir(parents=True)
            kind = Scenario(-1, "clhd", size, "empty", ())
            measure_undisturbed(kind, place, form)
            stores = {road: read_known(place / "results" / NAME / f"{road}.zarr") for road in ROADS}
            references[size, form] = {road: known for road, known in stores.items() if known is not None}
            summaries[size, form] = read_summary(place / "results" / NAME / "summary.zarr")
    for road, size in sorted({(scenario.road, scenario.size) for scenario in scenarios}):
        kind = next(s for s in scenarios if (s.road, s.size) == (road, size))
        base, grown = [folder / f"{road}-{size}-{form}" for form in ("base", "grown")]
        undisturbed[road, size, "base"] = _measure_busy(kind, base, "base", jobs)
        shutil.copytree(base, grown)
        undisturbed[road, size, "grown"] = _measure_busy(kind, grown, "grown", jobs)
        for form in ("base", "grown"):
            say(f"undisturbed: {road}, {size}, {form}: {undisturbed[road, size, form].seconds:.1f} s")
    return undisturbed, references, summaries


def _measure_busy(kind: Scenario, folder: Path, form: str, jobs: int) -> Undisturbed:
    """Measure a run with as many beside it as there will be later."""
    folders = [folder, *(folder.with_name(f"{folder.name}-{job}") for job in range(1, jobs))]
    for other in folders[1:]:
        if folder.exists():
            shutil.copytree(folder, other)
        other.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        return next(iter(list(pool.map(lambda place: measure_undisturbed(kind, place, form), folders))))


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
                stage.outcome.problems.append(f"the script failed: {type(error).__name__}: {error}")
                return stage.outcome
            if outcome.problems or any(kill["killed"] for kill in outcome.kills):
                break  # else all of its runs had ended before their moment came: the machine is faster by now
        return outcome

    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(play_one, scenario) for scenario in scenarios]):
            if outcome := future.result():
                yield outcome
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # an interrupt does not wait for the rest


def fuzz(examples: int) -> str:
    """Mutate experiment files and stores, as the tests of security do, so many of each kind; what came of it."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/security"]
    environment = {**os.environ, "CLHD_FUZZ": str(examples)}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    say(run.stdout[-4000:])
    return run.stdout.strip().splitlines()[-1] if run.returncode == 0 else f"failed with exit code {run.returncode}"


def tabulate(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The campaign in numbers."""
    kills = [kill for outcome in outcomes for kill in outcome.kills if kill["killed"]]
    problems = [problem for outcome in outcomes for problem in outcome.problems]
    orphans = [
        entry["seconds"]
        for outcome in outcomes
        for entry in outcome.orphan_seconds
        if entry["killed"] == "driver" and outcome.scenario.road == "clhd"
    ]
    return {
        "scenarios": len(outcomes),
        "clhd": sum(outcome.scenario.road == "clhd" for outcome in outcomes),
        "snakemake": sum(outcome.scenario.road == "snakemake" for outcome in outcomes),
        "kills": len(kills),
        "killed": {role: sum(kill["victim"] == role for kill in kills) for role in _VICTIMS["snakemake"]},
        "moments": {
            moment: sum(kill["moment"] == moment for kill in kills) for moment in sorted(set(_MOMENTS) - {"growing"})
        },
        "twice": sum(sum(bool(kill["killed"]) for kill in outcome.kills) > 1 for outcome in outcomes),
        "grown": sum(any(act.form == "grown" for act in outcome.scenario.acts) for outcome in outcomes),
        "finished_blocks": sum(outcome.finished_blocks for outcome in outcomes),
        "lost_blocks": sum(outcome.lost_blocks for outcome in outcomes),
        "torn_blocks": sum(outcome.torn_blocks for outcome in outcomes),
        "wrong": sum("other bits" in problem for problem in problems),
        "same_bits": sum(not outcome.problems for outcome in outcomes),
        "manual_steps": sum(outcome.manual_steps for outcome in outcomes),
        "stray": sum(problem.startswith("stray") for problem in problems),
        "late_writes": sum("an orphan wrote" in problem for problem in problems),
        "tracebacks": sum("traceback" in problem for problem in problems),
        "longest_orphan": max(orphans, default=0.0),
        "problems": len(problems),
    }


def format_table(table: dict[str, Any], about: dict[str, Any]) -> str:
    """The campaign as Markdown."""
    moments, killed = table["moments"], table["killed"]
    rows = [
        (
            "scenarios, each in a folder of its own",
            f"{table['clhd']} of `clhd run`, {table['snakemake']} through Snakemake",
        ),
        ("kills", f"{table['kills']}; {table['twice']} scenarios were killed twice"),
        ("killed", ", ".join(f"{name} {count}" for name, count in killed.items())),
        ("moment", ", ".join(f"{name} {count}" for name, count in moments.items())),
        ("scenarios in which the experiment grew", table["grown"]),
        ("blocks that were done at a kill", table["finished_blocks"]),
        ("of these, lost or computed again", table["lost_blocks"]),
        ("blocks caught while they were written, and computed again", table["torn_blocks"]),
        ("wrong or mixed values, at the kill or in the end", table["wrong"]),
        ("scenarios that end with the bits of an undisturbed run", f"{table['same_bits']} of {table['scenarios']}"),
        ("manual steps", table["manual_steps"]),
        ("stray files left", table["stray"]),
        ("writes of orphans after their successor had begun", table["late_writes"]),
        ("workers live on after their driver, at most", f"{table['longest_orphan']:.2f} s"),
        ("tracebacks on the screen of a run that went on", table["tracebacks"]),
    ]
    if table["fuzzed"]:
        rows.append(("tests with mutated experiment files and stores", table["fuzzed"]))
    lines = ["| what | count |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    where = f"{about['cores']} cores ({about['machine']}, {about['system']})"
    run = f"{about['date']}, {about['minutes']:.0f} minutes on {where}, seed {about['seed']}"
    lines += ["", f"{run}, clhd {about['code']}, {versions}."]
    return "\n".join(lines)


def write_docs(path: Path, text: str) -> None:
    """Put the table between its two markers."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{path}: lacks the lines {_BEGIN} and {_END}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def say(text: str) -> None:
    """Tell at once."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; exit code 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__)
    parser.add_argument("--runs", type=int, default=160, help="scenarios of `clhd run`, by default 160")
    parser.add_argument("--snakemake-runs", type=int, default=40, help="scenarios through Snakemake, by default 40")
    parser.add_argument("--seed", type=int, default=0, help="of victims and moments")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios side by side, by default 2")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no scenario after this time")
    parser.add_argument("--fuzz", type=int, default=0, help="then mutate so many experiment files of each kind")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the scenarios to play, of those drawn")
    parser.add_argument("--output", type=Path, help="JSON file for all that was seen")
    parser.add_argument("--docs", type=Path, help="Markdown file whose table is written anew")
    options = parser.parse_args(arguments)
    scenarios = draw_scenarios(options.seed, options.runs, options.snakemake_runs)
    if options.only:
        scenarios = [scenario for scenario in scenarios if scenario.number in options.only]
    folder = Path(tempfile.mkdtemp(prefix="clhd-chaos-"))
    began = time.perf_counter()
    until = time.monotonic() + 60 * options.minutes
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcomes = list(tell(play(scenarios, folder, options.jobs, until), len(scenarios)))
        fuzzed = fuzz(options.fuzz) if options.fuzz else ""
    except KeyboardInterrupt:
        for run in Run.started:
            kill_all(run.mark)
        os._exit(1)  # the threads would go on
    table = tabulate(outcomes) | {"fuzzed": fuzzed}
    about = describe(options.seed, time.perf_counter() - began)
    text = format_table(table, about)
    say(f"\n{text}")
    if options.output:
        report = {"table": table, "about": about, "scenarios": [outcome.as_table() for outcome in outcomes]}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.docs:
        write_docs(options.docs, text)
    if table["problems"]:
        say(f"{table['problems']} problems; the folders of these scenarios are kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 1 if fuzzed.startswith("failed") else 0


def tell(outcomes: Iterable[Outcome], count: int) -> Iterator[Outcome]:
    """Tell of each scenario as it ends, and how long the rest will take."""
    began = time.perf_counter()
    for done, outcome in enumerate(outcomes, 1):
        left = (time.perf_counter() - began) / done * (count - done) / 60
        say(
            f"[{done}/{count}, {left:.0f} min left] {outcome.scenario.number}: {outcome.scenario.title}: "
            f"{outcome.finished_blocks} blocks done at the kill, {outcome.lost_blocks} lost, {outcome.seconds:.0f} s"
        )
        for problem in outcome.problems:
            say(f"    {problem}")
        yield outcome


def describe(seed: int, seconds: float) -> dict[str, Any]:
    """Where and when a campaign took place."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "minutes": seconds / 60,
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "system": platform.system(),
        "seed": seed,
        "code": describe_code(),
        "versions": describe_dependencies(),
    }


if __name__ == "__main__":
    sys.exit(main())
