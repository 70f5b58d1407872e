"""Each change of a file by a small run, growth, retry, repair, summary, claims or report is a moment of a SIGKILL.

Each operation starts from the same folder. A child process carries it out and kills itself at its K-th change of a file
under results/; Python's audit events tell of each change before it is made. Then three questions are asked:

| question | asked of |
|---|---|
| is a wrong number shown? | whoever reads: the tree, the summary, claims.json, the report's faults |
| does the same command end well? | the command again, in another process: no manual step |
| is all as if nothing had been? | the bits of all results; blocks that were done before are not computed again |
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Imported here, so that no child has to.
import clhd.figures.claims
import clhd.figures.lines
import clhd.report.write
import clhd.sweep.run.run_stage
import clhd.systems.registry
from clhd.cli import main
from clhd.core.files import write_file
from clhd.errors import ClhdError
from clhd.report.faults import find_claims_faults
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.state import State, find_states
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.config import read_config
from tests.chaos.flips import Flips, flip_bits
from tests.chaos.report import describe_machine, write_docs
from tests.sweep.toy import LOG, ToySystem

# Each slope is a chunk of its own, and a run is short enough for threads.
EXPERIMENT = "system: toy\nconstants: {{work: 0.6}}\naxes: {{slope: {slopes}, size: [4]}}\ntimes: [0, 1]\nreplicas: 2\n"
BASE, LARGER = "[0, 2]", "[0, 1, 2]"
CONFIG = "experiments: [toy.yaml]\nclaims: claims.yaml\n"
CLAIMS = "C1: {experiments: {line: toy}, thresholds: {}}\n"
# Audit events of what changes files; the first arguments are paths. An "open" counts if it can write.
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime"}
_BROKEN = 2.0


@dataclass(frozen=True)
class Operation:
    """What is killed.

    Parameters
    ----------
    name : str
    before : tuple of list of str
        Commands that make the folder it starts from.
    slopes : str
        Of the experiment's file while it runs.
    commands : tuple of list of str
        What it is; all are run again after the kill.
    broken : bool
        The point of one slope fails in the commands before.
    damage : bool
        A chunk is damaged before it.
    """

    name: str
    before: tuple[list[str], ...]
    commands: tuple[list[str], ...]
    slopes: str = BASE
    broken: bool = False
    damage: bool = False


_RUN, _PLOT = ["run", "toy.yaml", "--workers", "1"], ["plot", "toy.yaml"]
_MADE = (_RUN, _PLOT, ["claims", "config.yaml"], ["report", "config.yaml"])
OPERATIONS = (
    Operation("run", (), (_RUN,)),
    Operation("growth", (_RUN,), (_RUN,), slopes=LARGER),
    Operation("retry", (_RUN,), (_RUN,), broken=True),
    Operation("repair", (_RUN,), ([*_RUN, "--repair"],), damage=True),
    Operation("summary", (_RUN,), (["summarise", "toy.yaml"],)),
    Operation("claims", (_RUN, _PLOT), (["claims", "config.yaml"],)),
    Operation("report", _MADE, (_PLOT, ["claims", "config.yaml"], ["report", "config.yaml"])),
)


@dataclass
class Count:
    """What was seen of one operation."""

    points: int = 0
    wrong: int = 0
    manual: int = 0
    lost_blocks: int = 0
    problems: list[str] = field(default_factory=list)


def run_child(work: Callable[[], int]) -> int:
    """Do some work in a child process; return its exit code, negative if a signal ended it."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = work()
        except BaseException as error:  # the parent reads it
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def watch_files(folder: Path, act: Callable[[int], None]) -> None:
    """Call a function with the number of each change of a file in a folder, before it is made."""
    prefix, count = str(folder), [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            is_change = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else (mode or "r") != "r"
        elif event in _CHANGES:
            path, is_change = arguments[0], True
        else:
            return
        if is_change and isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(prefix):  # noqa: PTH100
            count[0] += 1
            act(count[0])

    sys.addaudithook(hook)


def prepare(operation: Operation, folder: Path) -> None:
    """Make the folder from which an operation starts, in a child, so that this process has no threads."""

    def work() -> int:
        enter(folder, operation.slopes if not operation.before else BASE)
        LOG.broken = {_BROKEN} if operation.broken else set()
        for command in operation.before:
            main(command)
        if operation.damage:
            chunks = Path("results/toy/simulation.zarr/height/c").rglob("*")
            file = max(file for file in chunks if file.is_file())
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            write_file(file, bytes(content))
        return 0

    assert run_child(work) == 0, f"the folder for {operation.name} could not be made"


def enter(folder: Path, slopes: str) -> None:
    """Make a project in a folder, and go there."""
    know_toy()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    Path("toy.yaml").write_text(EXPERIMENT.format(slopes=slopes))
    Path("config.yaml").write_text(CONFIG)
    Path("claims.yaml").write_text(CLAIMS)
    os.dup2(os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)


def know_toy(patch: pytest.MonkeyPatch | None = None) -> None:
    """Have the toy system, with a claim; in a child process for good."""
    patch = patch or pytest.MonkeyPatch()
    patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    patch.setattr(ToySystem, "claims", {"C1": "tests.security.conftest:HEIGHTS"})


def perform(operation: Operation, folder: Path, killed_at: int = 0) -> int:
    """Carry an operation out in a child; it is killed at its K-th change of a file. Return the child's exit code."""

    def work() -> int:
        enter(folder, operation.slopes)
        LOG.broken = set()

        def act(number: int) -> None:
            if number == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

        watch_files(folder / "results", act)
        codes = [main(command) for command in operation.commands]
        Path("calls.json").write_text(json.dumps(LOG.simulated))
        return max(codes)

    return run_child(work)


def count_changes(operation: Operation, folder: Path) -> int:
    """Return the number of changes of files that an operation makes."""

    def work() -> int:
        enter(folder, operation.slopes)
        numbers = [0]
        watch_files(folder / "results", numbers.append)
        for command in operation.commands:
            main(command)
        (folder / "changes").write_text(str(len(numbers) - 1))
        return 0

    assert run_child(work) == 0
    return int((folder / "changes").read_text())


def read_all(folder: Path) -> dict[str, Any]:
    """Return everything that readers are shown, as bytes or texts; what they refuse is left out."""
    results = folder / "results"
    shown: dict[str, Any] = {}
    try:
        tree = open_results(results / "toy")
        for name, part in tree.children.items():
            data = part.to_dataset().load()
            where = data["status"] == 1 if name == "simulation" else True
            for key in set(data.data_vars) & {"height", "steepness"}:
                for slope in data["slope"].values:
                    values = data[key].where(where).sel(slope=slope)
                    if not bool(values.isnull().all()):
                        shown[f"{name}.{key} at slope {slope:g}"] = values.values.tolist()
        summary = read_summary(results / "toy" / "summary.zarr").dataset
        for slope in summary["slope"].values:
            mean = summary["height_mean"].sel(slope=slope)
            if not bool(mean.isnull().any()):
                shown[f"summary at slope {slope:g}"] = mean.values.tolist()
    except ClhdError:
        pass
    claims = results / "claims.json"
    if claims.is_file() and not find_claims_faults(read_config(folder / "config.yaml", check=False), results):
        entries = json.loads(claims.read_text())["claims"]
        shown["claims"] = [[entry["id"], entry["verdict"], entry["evidence"]] for entry in entries]
    return shown


def find_wrong(shown: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return what is shown and is not right; verdicts that rest on the smaller experiment are right for it."""
    return [name for name, value in shown.items() if json.dumps(value) != json.dumps(right.get(name, value))]


def read_in_child(folder: Path) -> dict[str, Any]:
    """Return what readers are shown, by a child process: Zarr has threads, and a process with threads must not fork."""

    def work() -> int:
        enter(folder, LARGER)
        (folder / "shown.json").write_text(json.dumps(read_all(folder)))
        return 0

    assert run_child(work) == 0, "a reader raised something else than a sentence"
    return dict(json.loads((folder / "shown.json").read_text()))


def is_complete(folder: Path, slopes: str) -> bool:
    """Return True if every stage of the experiment is complete, after a look at every file; asked by a child."""

    def work() -> int:
        enter(folder, slopes)
        config = read_config("config.yaml")
        states = find_states(config.experiments["toy"], Path("results"), computes=True, deep=True)
        return 0 if all(found.state == State.COMPLETE for found in states.values()) else 1

    return run_child(work) == 0


def play(operation: Operation, folder: Path, share: int = 1, first: int = 1) -> Count:
    """Kill an operation at each of its changes of files, or at every `share`-th from the `first` on."""
    start = folder / "start"
    prepare(operation, start)
    undisturbed = folder / "undisturbed"
    shutil.copytree(start, undisturbed)
    changes = count_changes(operation, undisturbed)
    right = read_in_child(undisturbed)
    count = Count()
    for number in range(first, changes + 1, share):
        place = folder / f"killed-{number}"
        shutil.copytree(start, place)
        code = perform(operation, place, number)
        if code != -signal.SIGKILL:  # threads take turns: a run can have a change or two less
            shutil.rmtree(place)
            continue
        count.points += 1
        problems = list(_examine(operation, place, right, count))
        count.problems += [f"{operation.name}, change {number} of {changes}: {problem}" for problem in problems]
        if not problems:
            shutil.rmtree(place)
    return count


def _examine(operation: Operation, place: Path, right: Mapping[str, Any], count: Count) -> Iterator[str]:
    """Ask the three questions of a folder in which an operation was killed; yield what is wrong."""
    known = read_in_child(place)
    if wrong := find_wrong(known, right):
        count.wrong += 1
        yield f"wrong: {wrong}"
    if perform(operation, place) != 0 or not is_complete(place, operation.slopes):
        count.manual += 1
        yield f"the same command does not end well: {(place / 'output.log').read_text()[-500:]}"
        return
    if find_wrong(right, read_in_child(place)):
        count.wrong += 1
        yield "other bits in the end"
    again = {key for key, _ in json.loads((place / "calls.json").read_text())}
    done = [name for name in known if name.startswith("simulation.height")]
    lost = [name for name in done if any(f"('slope', {float(name.rpartition(' ')[2])})" in key for key in again)]
    if lost and not operation.damage:
        count.lost_blocks += len(lost)
        yield f"computed again although it was done: {lost}"


def format_counts(counts: Mapping[str, Count], flips: Flips | None, share: int) -> str:
    """Return what was seen as Markdown."""
    head = ["operation", "changes of files at which it was killed", "wrong values shown", "manual steps", "blocks lost"]
    rows = [[name, count.points, count.wrong, count.manual, count.lost_blocks] for name, count in counts.items()]
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    text = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
    if flips is not None:
        text += (
            f"\n\nOf {flips.flips} flipped bits in the {flips.files} files of these results, "
            f"{len(flips.unnoticed)} were not noticed by `clhd status --deep`, and "
            f"{len(flips.used)} were shown by a reader without a word."
        )
    about = describe_machine(Path())
    which = "every change" if share == 1 else f"a sample, every {share}th change"
    where = f"{about['date']}, {about['cores']} cores ({about['machine']}); clhd {about['code']}"
    return f"{text}\n\nKilled at {which}; {where}."


def flip_in_child(folder: Path, count: int) -> Flips:
    """Flip bits in complete results, in a child process."""

    def work() -> int:
        enter(folder, BASE)
        if max(main(command) for command in _MADE) == 0:
            found = flip_bits(read_config("config.yaml"), count, seed=0)
            (folder / "flips.json").write_text(json.dumps(asdict(found)))
        return 0

    assert run_child(work) == 0
    return Flips(**json.loads((folder / "flips.json").read_text()))


def run(arguments: Sequence[str] | None = None) -> int:
    """Play all operations and flip bits; exit code 1 if anything was not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.crash_points", description=__doc__)
    parser.add_argument("--share", type=int, default=1, help="kill only at every so many-th change of a file")
    parser.add_argument("--flips", type=int, default=1500, help="number of flipped bits; 0 for none")
    parser.add_argument("--only", nargs="*", help="names of operations")
    parser.add_argument("--docs", type=Path, help="Markdown file whose table is written anew")
    options = parser.parse_args(arguments)
    docs, folder = options.docs and options.docs.resolve(), Path(tempfile.mkdtemp(prefix="clhd-crash-"))
    counts: dict[str, Count] = {}
    for operation in OPERATIONS:
        if not options.only or operation.name in options.only:
            counts[operation.name] = play(operation, folder / operation.name, options.share)
            print(operation.name, counts[operation.name], flush=True)
    flips = flip_in_child(folder / "flips", options.flips) if options.flips else None
    text = format_counts(counts, flips, options.share)
    print(text)
    if docs:
        write_docs(docs, text, "crash points")
    has_failed = any(count.problems for count in counts.values()) or bool(flips and (flips.unnoticed or flips.used))
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(run())
