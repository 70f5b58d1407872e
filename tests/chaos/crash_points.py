"""A small run, growth, refinement, retry, repair, summary, claims and report, interrupted at each change of a file.

A SIGKILL leaves on the disk what the process has changed until then, and nothing else: its memory is gone, and the
kernel frees its locks. So an operation is carried out once by one process, and before each change of a file under
results/ the folder is copied while the threads of the process wait. Each copy is what a kill at this moment leaves. A
file that is opened to be written is also left empty once, as by a kill between the two. Copies that are equal in
names, bytes and links are examined once: whoever goes on sees nothing else. Some of the moments are also played with
a real SIGKILL. With several writing processes the copies would not be what a kill leaves (one is killed, and the
others go on): of these, tests.chaos.campaign kills a sample.

Of each copy, three questions are asked:

| question | asked of |
|---|---|
| is a wrong number shown? | whoever reads: the tree, the summary, claims.json, the report's faults |
| does the same command end well? | the command again, in a process that did not begin the work: no manual step |
| is all as if nothing had been? | the bits of all results; blocks that were done before are not computed again |
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.products import find_claims_faults
from clhd.sweep.results.state import State, find_states
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.config import read_config
from tests.chaos.crash_report import Count, format_counts, read_found, write_found
from tests.chaos.flips import Flips, flip_bits
from tests.chaos.operations import (
    EVERYTHING,
    LAST_SLOPE,
    OPERATIONS,
    Operation,
    enter,
    main,
    perform,
    prepare,
    run_child,
    start_child,
)
from tests.chaos.report import write_docs
from tests.chaos.states import Recorder, copy_folder, watch_files
from tests.sweep.toy import LOG

_FOUND = "found.json"  # what a child tells its parent


def record(operation: Operation, folder: Path, states: Path, every: int) -> int:
    """Carry an operation out undisturbed, keep the states of its folder; return the number of its changes of files."""

    def work() -> int:
        enter(folder, operation.text)
        (folder / "results").mkdir(exist_ok=True)
        recorder = Recorder(folder, states, every)
        watch_files(folder / "results", recorder.act)
        code = perform(operation)
        states.with_name("changes").write_text(str(recorder.changes))
        return code

    assert run_child(work) == 0, f"{operation.name} does not end well"
    return int(states.with_name("changes").read_text())


def kill(operation: Operation, folder: Path, number: int) -> bool:
    """Carry an operation out and kill it before a change of a file; return False if it had ended by then."""

    def work() -> int:
        enter(folder, operation.text)
        watch_files(folder / "results", lambda now, _: os.kill(os.getpid(), signal.SIGKILL) if now == number else None)
        return perform(operation)

    return run_child(work) == -signal.SIGKILL


def read_all(folder: Path) -> dict[str, Any]:
    """Return everything that readers are shown, as lists and texts; what they refuse is left out."""
    results = folder / "results"
    shown: dict[str, Any] = {}
    with suppress(ClhdError):
        for name, part in open_results(results / "toy").children.items():
            data = part.to_dataset().load()
            where = data["status"] == 1 if name == "simulation" else True
            for key in set(data.data_vars) & {"height", "steepness"}:
                for slope in data["slope"].values:
                    values = data[key].where(where).sel(slope=slope)
                    if not bool(values.isnull().all()):
                        shown[f"{name}.{key} at slope {slope:g}"] = values.values.tolist()
    with suppress(ClhdError):
        summary = read_summary(results / "toy" / "summary.zarr").dataset
        for slope in summary["slope"].values:
            mean = summary["height_mean"].sel(slope=slope)
            if not bool(mean.isnull().any()):
                shown[f"summary at slope {slope:g}"] = mean.values.tolist()
    claims = results / "claims.json"
    if claims.is_file() and not find_claims_faults(read_config(folder / "config.yaml", check=False), results):
        entries = json.loads(claims.read_text())["claims"]
        shown["claims"] = [[entry["id"], entry["verdict"], entry["evidence"]] for entry in entries]
    return shown


def find_done(folder: Path) -> set[float]:
    """Return the slopes whose runs all have the status ok."""
    with suppress(ClhdError):
        status = open_results(folder / "results" / "toy")["simulation"]["status"].load()
        return {float(slope) for slope in status["slope"].values if bool((status.sel(slope=slope) == 1).all())}
    return set()


def find_wrong(shown: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return the names of what is shown and differs; a name that an undisturbed run does not have is not compared."""
    return [name for name, value in shown.items() if json.dumps(value) != json.dumps(right.get(name, value))]


def read_in_child(operation: Operation, folder: Path) -> dict[str, Any]:
    """Return what readers are shown of an undisturbed operation."""

    def work() -> int:
        enter(folder, operation.text)
        (folder / _FOUND).write_text(json.dumps(read_all(folder)))
        return 0

    assert run_child(work) == 0, "a reader raised something else than a sentence"
    return dict(json.loads((folder / _FOUND).read_text()))


def examine(operation: Operation, place: Path, right: Mapping[str, Any]) -> dict[str, list[str]]:
    """Ask the three questions of a folder in which an operation was interrupted; return what is wrong, by kind."""
    found: dict[str, list[str]] = {"wrong": find_wrong(read_all(place), right), "manual": [], "lost": []}
    done = find_done(place) - ({LAST_SLOPE} if operation.damage else set())
    code = perform(operation)
    again = {slope for slope in done for key, _ in LOG.simulated if f"('slope', {slope})" in key}
    found["lost"] = [f"slope {slope:g}" for slope in sorted(again)]
    config = read_config("config.yaml")
    states = find_states(config.experiments["toy"], Path("results"), computes=True, deep=True)
    if code or any(state.state != State.COMPLETE for state in states.values()):
        found["manual"] = [f"exit code {code}, {states}: {Path('output.log').read_text()[-500:]}"]
    else:
        shown = read_all(place)
        found["wrong"] += [f"{name}, in the end" for name in {*find_wrong(right, shown), *(set(right) ^ set(shown))}]
    return found


def examine_all(
    operation: Operation, places: Iterable[Path], right: Mapping[str, Any], jobs: int
) -> Iterator[tuple[Path, dict[str, list[str]]]]:
    """Yield places with what is wrong there; each is examined by a process of its own."""
    running: dict[int, Path] = {}

    def wait() -> tuple[Path, dict[str, list[str]]]:
        child, status = os.wait()
        place = running.pop(child)
        if code := os.waitstatus_to_exitcode(status):
            log = (place / "output.log").read_text()[-500:]
            return place, {"wrong": [], "manual": [f"not a sentence, exit code {code}: {log}"], "lost": []}
        return place, json.loads((place / _FOUND).read_text())

    for place in places:

        def work(place: Path = place) -> int:
            enter(place, operation.text)
            (place / _FOUND).write_text(json.dumps(examine(operation, place, right)))
            return 0

        if len(running) == jobs:
            yield wait()
        running[start_child(work)] = place
    while running:
        yield wait()


def play(operation: Operation, folder: Path, every: int, kill_every: int, jobs: int) -> Count:
    """Interrupt an operation before every so many-th change of a file: by copies, and by real kills."""
    start, undisturbed, states = folder / "start", folder / "undisturbed", folder / "states"
    prepare(operation, start)
    copy_folder(start, undisturbed)
    count = Count(record(operation, undisturbed, states, every))
    right = read_in_child(operation, undisturbed)
    assert right, f"{operation.name} shows nothing"
    places = sorted(states.iterdir())
    count.states = len(places)
    for number in range(1, count.changes + 1, kill_every) if kill_every else ():
        place = folder / f"killed-{number}"
        copy_folder(start, place)
        if kill(operation, place, number):  # threads take turns: a run can have a change or two less
            count.kills += 1
            places.append(place)
    for place, found in examine_all(operation, places, right, jobs):
        count.wrong += len(found["wrong"])
        count.manual += len(found["manual"])
        count.lost_blocks += len(found["lost"])
        problems = [f"{place}: {kind}: {text}" for kind, texts in found.items() for text in texts]
        count.problems += problems
        if not problems:
            shutil.rmtree(place)
    return count


def flip_in_child(folder: Path, count: int) -> Flips:
    """Flip bits in complete results, in a child process."""

    def work() -> int:
        enter(folder)
        if max(main(command) for command in EVERYTHING) == 0:
            found = flip_bits(read_config("config.yaml"), count, seed=0)
            (folder / "flips.json").write_text(json.dumps(asdict(found)))
        return 0

    assert run_child(work) == 0
    return Flips(**json.loads((folder / "flips.json").read_text()))


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    names = [operation.name for operation in OPERATIONS]
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.crash_points", description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only at every so many-th change of a file; 0 for none")
    parser.add_argument("--kill-every", type=int, default=50, help="a real SIGKILL at every so many-th; 0 for none")
    parser.add_argument("--flips", type=int, default=1500, help="number of flipped bits; 0 for none")
    parser.add_argument("--jobs", type=int, default=2, help="states examined side by side, by default 2")
    parser.add_argument("--only", nargs="*", choices=names, help="names of operations; none for flips alone")
    parser.add_argument("--output", type=Path, help="JSON file for what was seen; other calls add theirs")
    parser.add_argument("--docs", type=Path, help="Markdown file whose table is written anew")
    options = parser.parse_args(arguments)
    options.only = names if options.only is None else options.only
    for key in ("output", "docs"):  # children go elsewhere
        setattr(options, key, (path := getattr(options, key)) and path.resolve())
    return options


def run(arguments: Sequence[str] | None = None) -> int:
    """Play all operations and flip bits; exit code 1 if anything was not as it must be."""
    options, folder = read_options(arguments), Path(tempfile.mkdtemp(prefix="clhd-crash-"))
    counts, flips = read_found(options.output, options.every)
    for operation in OPERATIONS:
        if operation.name in options.only:
            place = folder / operation.name
            counts[operation.name] = play(operation, place, options.every, options.kill_every, options.jobs)
            print(operation.name, counts[operation.name], flush=True)
            write_found(options.output, counts, flips, options.every)
    flips = flip_in_child(folder / "flips", options.flips) if options.flips else flips
    write_found(options.output, counts, flips, options.every)
    text = format_counts(counts, flips, options.every)
    print(text)
    if options.docs:
        write_docs(options.docs, text, "crash points")
    has_failed = any(count.problems for count in counts.values()) or bool(flips and (flips.unnoticed or flips.used))
    if not has_failed:
        shutil.rmtree(folder)
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(run())
