"""The operations that the campaign interrupts at each change of a file, and the processes that carry them out.

All work is done in children of one process that has imported everything and has no thread: a process with threads must
not fork.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import dask.array  # noqa: F401 Imported here, so that no child has to; also below.
import pytest
import scipy.optimize  # noqa: F401

import clhd.figures.claims
import clhd.figures.lines
import clhd.report.write
import clhd.sweep.plan.check
import clhd.sweep.results.summary
import clhd.sweep.run.run_stage
import clhd.systems.registry
from clhd.cli import main
from clhd.core.files import write_file
from clhd.sweep.run import run_stage
from tests.sweep.toy import LOG, ToySystem

# Each slope is a chunk of its own, and a run is short enough for threads.
EXPERIMENT = "system: toy\nconstants: {{work: 0.6}}\naxes: {{slope: {slopes}, size: [4]}}\ntimes: [0, 1]\nreplicas: 2\n"
BASE, LARGER = "[0, 2]", "[0, 1, 2]"
CONFIG = "experiments: [toy.yaml]\nclaims: claims.yaml\n"
CLAIMS = "C1: {experiments: {line: toy}, thresholds: {}}\n"
LAST_SLOPE = 2.0  # the one that fails, and whose chunk is damaged


@dataclass(frozen=True)
class Operation:
    """What is interrupted.

    Parameters
    ----------
    name : str
    before : tuple of list of str
        Commands that make the folder it starts from.
    commands : tuple of list of str
        What it is; all are run again after the interruption.
    slopes : str
        Of the experiment's file while it runs.
    refine : str
        How the experiment's file refines the slopes while it runs.
    broken : bool
        The point of the last slope fails in the commands before.
    damage : bool
        The chunk of the last slope is damaged before it.
    """

    name: str
    before: tuple[list[str], ...]
    commands: tuple[list[str], ...]
    slopes: str = BASE
    broken: bool = False
    damage: bool = False
    refine: str = ""

    @property
    def text(self) -> str:
        """The experiment's file while the operation runs."""
        return EXPERIMENT.format(slopes=self.slopes) + (f"refine: {self.refine}\n" if self.refine else "")


# The theory of the toy is the slope at time 1: 1.3 lies between 0 and 2, 1 and 2, 1 and 1.5, 1.25 and 1.5.
_REFINE = "{quantity: height_theory, select: {time: 1}, level: 1.3, along: [slope], rounds: 3}"
_RUN, _PLOT = ["run", "toy.yaml", "--workers", "1"], ["plot", "toy.yaml"]
EVERYTHING = (_RUN, _PLOT, ["claims", "config.yaml"], ["report", "config.yaml"])
OPERATIONS = (
    Operation("run", (), (_RUN,)),
    Operation("growth", (_RUN,), (_RUN,), slopes=LARGER),
    Operation("refine", (_RUN,), (_RUN,), refine=_REFINE),
    Operation("retry", (_RUN,), (_RUN,), broken=True),
    Operation("repair", (_RUN,), ([*_RUN, "--repair"],), damage=True),
    Operation("summary", (_RUN,), (["summarise", "toy.yaml"],)),
    Operation("claims", (_RUN, _PLOT), (["claims", "config.yaml"],)),
    Operation("report", EVERYTHING, (_PLOT, ["claims", "config.yaml"], ["report", "config.yaml"])),
)


def start_child(work: Callable[[], int]) -> int:
    """Begin some work in a child process; return the child's id."""
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
    return child


def run_child(work: Callable[[], int]) -> int:
    """Do some work in a child process; return its exit code, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(start_child(work), 0)[1])


def know_toy(patch: pytest.MonkeyPatch | None = None) -> None:
    """Have the toy system, with a claim; in a child process for good."""
    patch = patch or pytest.MonkeyPatch()
    patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
    patch.setattr(ToySystem, "claims", {"C1": "tests.security.conftest:HEIGHTS"})


def write_project(text: str = EXPERIMENT.format(slopes=BASE)) -> None:
    """Write an experiment, the list that names it, and a claim, here."""
    Path("toy.yaml").write_text(text)
    Path("config.yaml").write_text(CONFIG)
    Path("claims.yaml").write_text(CLAIMS)


def enter(folder: Path, text: str = EXPERIMENT.format(slopes=BASE)) -> None:
    """Go to a folder with a project, in a child; what is printed goes to a file there.

    All blocks are computed by this process, whose changes of files are watched, and not by children of its own.
    """
    know_toy()
    run_stage.can_fork = lambda: False
    run_stage._THREADS_BELOW_SECONDS = float("inf")
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    write_project(text)
    os.dup2(os.open("output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)


def prepare(operation: Operation, folder: Path) -> None:
    """Make the folder from which an operation starts."""

    def work() -> int:
        enter(folder)
        LOG.broken = {LAST_SLOPE} if operation.broken else set()
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


def perform(operation: Operation) -> int:
    """Carry an operation out, here and now; return the highest exit code of its commands."""
    LOG.broken = set()
    LOG.simulated.clear()
    return max(main(command) for command in operation.commands)
