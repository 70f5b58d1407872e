"""The command `clhd`: its options, its answer to Ctrl-C, and its exit code.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | done in part: points failed, or bits differ or could not be compared; a workflow goes on |
| 2 | impossible, and one line says why: the input is wrong, disk or memory is full, the scheduler is lost |
| 3 | a fault of clhd itself, with its traceback |
| 130 | interrupted, by Ctrl-C or a batch system |
| 141 | the reader of the output has ended, such as `head` |
"""
# ruff: noqa: T201 (it prints)

import argparse
import atexit
import errno
import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from clhd import commands
from clhd.core.surroundings import (
    check_installation,
    drop_output,
    explain_settings,
    ignore_settings,
    limit_threads,
    open_missing_streams,
)
from clhd.errors import ClhdError, describe_missing, describe_unwritable

_EXAMPLES = """examples:
  clhd plan config/experiments/grid.yaml                   predict time, memory and disk space
  clhd run config/experiments/grid.yaml                    simulate, predict and summarise; an earlier run goes on
  clhd status                                              count the runs of every experiment by status
  clhd why config/experiments/grid.yaml AXIS=VALUE         show what is stored about the points there
  clhd verify config/experiments/grid.yaml --fraction .01  compute some points again and compare the bits
"""
_RESULTS = "folder of all results, by default results"
_RESULTS_OF_LIST = f"{_RESULTS}, or the folder that the list names"
_CONFIG = "list of experiments, or file of one; by default config/config.yaml and all others in the folder of results"
_LIST = "list of experiments, by default config/config.yaml"
_FRESH = "keep the old stores under other names and compute everything again; after an interruption, run without it"
_PLACE = "the point, by the values of its axes; for why, an axis that is left out stands for all of its values"
_INTERRUPTED, _UNREAD = 130, 141  # as shells say it: 128 and the number of the signal
# Errors of the file system that get one line instead of a traceback.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    open_missing_streams()
    try:
        return _answer(arguments)
    except BrokenPipeError:
        drop_output(sys.stdout, sys.stderr)
        return _UNREAD


def _answer(arguments: Sequence[str] | None) -> int:
    """Run the command; return its exit code, and say what it means."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show must not end a run
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # a shell makes background jobs ignore it
            signal.signal(number, _interrupt)
    try:
        ignore_settings()
        limit_threads()
        atexit.register(gc.freeze)  # else Python looks through all objects as it ends, for a fifth of a second
        check_installation(sys.argv[0])
        try:
            code = _run_command(arguments)
        finally:  # argparse ends the process itself after --help
            _flush()
    except ClhdError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what was done is kept: the same command goes on from there", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except MemoryError as error:
        print(f"this machine has not enough memory: {error or 'ask for fewer points or replicas'}", file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            print(describe_unwritable(error.filename or "results or standard output", error), file=sys.stderr)
            return 2
        problem = explain_settings(error) or describe_missing(error)
        if problem is not None:
            print(problem, file=sys.stderr)
            return 2
        traceback.print_exc()
        return 3
    return code


def _flush() -> None:
    """Write what was printed: at the end of Python, an error would no longer be told."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output(sys.stdout)
        raise ClhdError(describe_unwritable("standard output", error)) from None


def _run_command(arguments: Sequence[str] | None) -> int:
    parser = _build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "place") or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse does not take places that follow an option
        options.place += rest
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _interrupt(*_: Any) -> NoReturn:
    """Answer Ctrl-C, or SIGTERM of Snakemake or a batch system; the second Ctrl-C ends the process at once."""
    signal.signal(signal.SIGINT, _end_at_once)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end has begun
    raise KeyboardInterrupt


def _end_at_once(*_: Any) -> NoReturn:
    """End the process at once; the stores are complete at every moment."""
    library = sys.modules.get("multiprocessing")  # whoever has started workers has imported it
    for worker in library.active_children() if library else ():
        worker.kill()
    os.write(2, b"\nended at once; what was done is kept: the same command goes on from there\n")
    os._exit(_INTERRUPTED)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clhd",
        description="Run and inspect experiments: sweeps of simulation and theory over a grid of parameters.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, help="print the version of clhd, and its commit")
    parsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = parsers.add_parser(command.__name__.replace("_", "-"), help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    stages = (
        (commands.run, "simulate, predict and summarise an experiment, without Snakemake"),
        (commands.simulate, "compute the pending runs of the simulation"),
        (commands.predict, "compute the pending points of the theory"),
    )
    for command, text in stages:
        sub = add(command, text)
        _add_experiment(sub)
        _add_cluster(sub)
        sub.add_argument("--fresh", action="store_true", help=_FRESH)
        sub.add_argument("--repair", action="store_true", help="read every chunk, and compute damaged ones again")
        _add_wait(sub)
    sub = add(commands.summarise, "summarise the results of an experiment")
    _add_experiment(sub)
    _add_wait(sub)
    _add_experiment(add(commands.plot, "draw the figure of an experiment from its summary: pdf, png and a caption"))
    _add_config(add(commands.claims, "judge the claims from the summaries: claims.json and a figure of each"), _LIST)
    _add_config(add(commands.report, "write report.html: claims, experiments and equations in one file"))
    _add_config(add(commands.paper, "write results/latex: numbers as LaTeX macros, tables, figures, bibliography"))
    sub = add(commands.archive, "write stores, figures, report and configuration as one zip, which verify takes")
    _add_config(sub, _LIST)
    zip_help = "file to write, by default %(default)s"
    sub.add_argument("--output", type=Path, default=Path("clhd-archive.zip"), metavar="ZIP", help=zip_help)
    sub.add_argument("--licence", metavar="URL", help="address of the licence of the results")
    sub = add(commands.show, "write results/NAME/show.html, a page to look around in the results, and open it")
    sub.add_argument("experiment", metavar="NAME", help="name of the experiment, or its YAML file")
    sub.add_argument("--results", type=Path, metavar="DIR", help=_RESULTS_OF_LIST)
    sub.add_argument("--no-open", action="store_true", help="write the page only")
    sub = add(commands.status, "show counts by status, age and size of every experiment")
    _add_config(sub)
    sub.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    sub.add_argument("--check", action="store_true", help="exit with code 1 unless all is complete and up to date")
    sub.add_argument("--deep", action="store_true", help="like --check, and read every file to look for damage")
    sub.add_argument("--watch", action="store_true", help="show it again and again, until Ctrl-C")
    sub = add(commands.plan, "predict processor time, wall time, memory and disk space of an experiment")
    _add_experiment(sub)
    sub.add_argument("--workers", type=int, metavar="N", help="number of processes, by default one per core")
    sub.add_argument("--json", action="store_true", help="print it as JSON, for programs")
    for command, text in (
        (commands.why, "show everything that is stored about one simulated point, or a line about each of several"),
        (commands.replay, "compute one point again and compare the bits"),
    ):
        sub = add(command, text)
        _add_experiment(sub)
        sub.add_argument("place", nargs="*", metavar="AXIS=VALUE", help=_PLACE)
    sub = add(commands.verify, "compute a random share of the points again and compare the bits")
    _add_experiment(sub, "its YAML file; or an archive of clhd archive, whose systems are run")
    sub.add_argument(
        "--fraction", type=float, default=0.01, metavar="SHARE", help="share of the points, by default 0.01"
    )
    sub = add(
        commands.init, "write a new folder with a list, an experiment, a Snakefile and a README: a study that runs"
    )
    sub.add_argument("folder", type=Path, metavar="NAME", help="folder to make, such as my-study")
    sub = add(commands.new_system, "write NAME.py and NAME.yaml here: a skeleton of your own system, which runs")
    sub.add_argument("name", metavar="NAME", help="lower-case letters, digits and _: name of the files and the results")
    sub = add(commands.certificates, "make certificates for a Dask cluster of your own, and show how to start it")
    sub.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="by default clhd/tls in your ~/.config")
    sub = add(commands.schema, "print the JSON schema of an experiment, for completion in editors")
    sub.add_argument("--config", action="store_true", help="print the schema of the list of experiments instead")
    return parser


class _Version(argparse.Action):
    """Prints the version; only then it is found, since git takes a moment."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from clhd.sweep.store.provenance import describe_code  # noqa: PLC0415

        print(f"clhd {describe_code()}")
        parser.exit()


def _add_experiment(
    parser: argparse.ArgumentParser, text: str = "its YAML file, such as config/experiments/grid.yaml"
) -> None:
    parser.add_argument("experiment", type=Path, help=text)
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR", help=_RESULTS)


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait until another run has ended, instead of refusing")


def _add_config(parser: argparse.ArgumentParser, text: str = _CONFIG) -> None:
    parser.add_argument("config", nargs="?", type=Path, help=text)
    parser.add_argument("--results", type=Path, metavar="DIR", help=_RESULTS_OF_LIST)


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="processes on this machine, by default one per core")
    elsewhere = parser.add_mutually_exclusive_group()
    elsewhere.add_argument(
        "--scheduler", metavar="ADDRESS", help="address of a running Dask scheduler to use instead: tls://host:8786"
    )
    elsewhere.add_argument("--scheduler-file", type=Path, metavar="FILE", help="file that names such a scheduler")
    elsewhere.add_argument("--slurm", type=int, metavar="N", help="up to N SLURM jobs of one core each, as needed")
    parser.add_argument(
        "--tls", type=Path, metavar="DIR", help="certificates for workers elsewhere, made by clhd certificates"
    )
