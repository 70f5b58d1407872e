"""Writes the results of a campaign: a JSON file after each scenario, and tables for the docs."""

import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from clhd.sweep.store.provenance import describe_code, describe_dependencies
from tests.chaos.scenario import ROLES, Outcome

_ROADS = {"clhd": "`clhd run`", "snakemake": "Snakemake"}
_KINDS = {
    "any": "at any moment",
    "creation": "while a store is created",
    "growth": "while a store grows",
    "growing": "while what a grown one lacks is computed",
    "summary": "while the summary is written",
}


def describe_machine(folder: Path) -> dict[str, Any]:
    """Where a campaign takes place, of what code and in which folder."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "code": describe_code(),
        "cores": len(os.sched_getaffinity(0)),
        "machine": _name_processor(),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "disk": _name_file_system(folder),
        "versions": describe_dependencies() | {"snakemake": version("snakemake")},
    }


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _name_file_system(folder: Path) -> str:
    """The kind of file system that holds a folder: that of the nearest place where one is mounted."""
    mounted = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounted[place] for place in [folder, *folder.resolve().parents] if place in mounted), "unknown")


def write_report(path: Path, about: dict[str, Any], outcomes: Sequence[Outcome], fuzz: dict[str, Any]) -> None:
    """Write all that was seen so far, in one step."""
    report = {"about": about, "fuzz": fuzz, "scenarios": [outcome.as_table() for outcome in outcomes]}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def read_outcomes(path: Path, code: str) -> tuple[list[Outcome], float]:
    """What an interrupted campaign has seen of the same code, and its minutes."""
    report = json.loads(path.read_text(encoding="utf-8"))
    if (found := report["about"]["code"]) != code:
        raise SystemExit(f"{path}: is of clhd {found}, and this is {code}; begin anew, without --resume")
    return [Outcome.from_table(table) for table in report["scenarios"]], float(report["about"]["minutes"])


def count(outcomes: Sequence[Outcome]) -> list[Any]:
    """One row of the table."""
    return [
        len(outcomes),
        sum(len(outcome.killed) for outcome in outcomes),
        sum(kill["hit"] for outcome in outcomes for kill in outcome.killed),
        sum(outcome.finished_blocks for outcome in outcomes),
        sum(outcome.lost_blocks for outcome in outcomes),
        sum(outcome.torn_blocks for outcome in outcomes),
        sum(outcome.wrong for outcome in outcomes),
        sum(outcome.has_same_bits for outcome in outcomes),
        sum(outcome.manual_steps for outcome in outcomes),
        sum(_find("an orphan wrote", outcome) for outcome in outcomes),
    ]


_COLUMNS = (
    "killed", "scenarios", "kills", "within that moment", "blocks done at a kill", "of these lost",
    "caught while written", "wrong or mixed values", "same bits in the end", "manual steps", "late writes of orphans",
)  # fmt: skip


def _find(words: str, outcome: Outcome) -> bool:
    return any(words in problem for problem in outcome.problems)


def format_report(about: dict[str, Any], outcomes: Sequence[Outcome], fuzz: dict[str, Any]) -> str:
    """The campaign as Markdown."""
    lines = [*_format_kinds(outcomes), "", *_format_facts(outcomes, about)]
    if fuzz:
        lines.append(f"- {_format_fuzz(fuzz)}")
    lines += [f"- **Scenario {found.scenario.number}**: {_shorten(found)}" for found in outcomes if found.problems]
    return "\n".join([*lines, "", _format_place(about)])


def _format_kinds(outcomes: Sequence[Outcome]) -> list[str]:
    rows = []
    for stage, name in _ROADS.items():
        for kind, words in _KINDS.items():
            several = [o for o in outcomes if (o.scenario.stage, o.scenario.kind) == (stage, kind)]
            if several:
                rows.append([f"{name}, {words}", *count(several)])
    rows.append(["**all**", *count(outcomes)])
    lines = [_COLUMNS, ["---"] + ["--:"] * (len(_COLUMNS) - 1), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _format_facts(outcomes: Sequence[Outcome], about: dict[str, Any]) -> list[str]:
    kills = [kill for outcome in outcomes for kill in outcome.killed]
    killed = ", ".join(f"{role} {sum(kill['victim'] == role for kill in kills)}" for role in ROLES)
    twice = sum(len(outcome.killed) > 1 for outcome in outcomes)
    spared = sum(not outcome.killed for outcome in outcomes)
    threads = sum(outcome.scenario.size == "threads" for outcome in outcomes)
    orphans = [
        entry["seconds"]
        for outcome in outcomes
        for entry in outcome.orphan_seconds
        if entry["killed"] == "driver" and outcome.scenario.stage == "clhd"
    ]
    played = f"{len(outcomes)} of {about['drawn']} scenarios were played: {twice} were killed twice, {threads} computed"
    left = (
        "Scenarios that left stray files, gathered no metadata, or showed a traceback or a warning on the screen of a"
    )
    linked = sum(kill["links"] > 0 for kill in kills)
    lines = [
        f"{played} with threads alone; in {spared} all runs had ended before the moment of the kill.",
        f"Killed: {killed}.",
        f"In {linked} kills chunks were in the store that grew and in the larger one at once.",
        f"{left} run that went on: {sum(map(_has_left_something, outcomes))}.",
        f"Workers live on after their driver by {max(orphans, default=0.0):.2f} s at most.",
    ]
    medians = []
    for stage, name in _ROADS.items():
        if seconds := [outcome.seconds for outcome in outcomes if outcome.scenario.stage == stage]:
            medians.append(f"{statistics.median(seconds):.0f} s through {name}")
    if medians:
        lines.append(f"A scenario takes {', '.join(medians)} (median, {about['jobs']} side by side).")
    return [f"- {line}" for line in lines]


def _has_left_something(outcome: Outcome) -> bool:
    return any(_find(words, outcome) for words in ("stray files", "not consolidated", "a traceback", "a warning"))


def _format_fuzz(fuzz: dict[str, Any]) -> str:
    counts = "; ".join(
        f"{sum(answers.values())} {what} ({', '.join(f'{n} {answer}' for answer, n in sorted(answers.items()))})"
        for what, answers in sorted(fuzz["counts"].items())
    )
    return f"Mutated, {fuzz['minutes']:.0f} minutes: {counts}: {fuzz['result']}."


def _shorten(outcome: Outcome) -> str:
    first = " ".join(outcome.problems[0].split()).replace("|", "/")
    return f"{outcome.scenario.title}: {len(outcome.problems)} problems, the first: {first[:200]}"


def _format_place(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    where = f"{about['cores']} cores ({about['machine']}), {about['memory']}, {about['system']}, {about['disk']}"
    when = f"{about['date']}, {about['minutes']:.0f} minutes on {where}"
    return f"{when}; seed {about['seed']}; clhd {about['code']}, {versions}."


def write_docs(path: Path, text: str, name: str = "campaign") -> None:
    """Put tables between the two markers of their name."""
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, begin, rest = path.read_text(encoding="utf-8").partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise SystemExit(f"{path}: lacks the lines {first} and {last}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
