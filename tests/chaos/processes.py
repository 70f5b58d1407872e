"""Finds the processes of one run by a mark in their environment, which children inherit and orphans keep."""

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

MARK = "CLHD_CHAOS"


@dataclass(frozen=True)
class Found:
    """A living process of a run.

    Parameters
    ----------
    role : str
        snakemake, shell (between Snakemake and clhd), driver (clhd itself), worker (of Dask, or forked), or other.
    """

    process: psutil.Process
    role: str


def find_processes(mark: str) -> list[Found]:
    """All living processes of the run that carries a mark."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                role, parent = name_role(words := process.cmdline()), process.parent()
                # A forked child of clhd has the command line of its parent.
                is_child = role == "driver" and parent is not None and parent.cmdline() == words
                found.append(Found(process, "worker" if is_child else role))
    return found


def name_role(words: Sequence[str]) -> str:
    """The role of a process, from its command line."""
    program = os.path.basename(words[0]) if words else ""  # noqa: PTH119  # a word, not a path
    if program in ("bash", "sh"):
        return "shell"
    if any("multiprocessing.spawn" in word for word in words):
        return "worker"
    if "clhd" in words and words[words.index("clhd") - 1] == "-m":
        return "driver"
    if any(os.path.basename(word) == "snakemake" for word in words[:2]):  # noqa: PTH119
        return "snakemake"
    return "other"


def kill(processes: Sequence[Found]) -> None:
    """SIGKILL, to all of them as nearly at once as can be."""
    for found in processes:
        with contextlib.suppress(psutil.Error):
            found.process.send_signal(signal.SIGKILL)


def kill_all(mark: str) -> None:
    """SIGKILL to every process of a run, and to those that began meanwhile."""
    while processes := find_processes(mark):
        kill(processes)
        time.sleep(0.01)


def kill_children() -> None:
    """SIGKILL to all that this process has started, and what they have."""
    children = psutil.Process().children(recursive=True)
    kill([Found(process, "other") for process in children])
