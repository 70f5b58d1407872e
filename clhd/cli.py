"""The command `clhd`: arguments in, one call, exit code out.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | done in part: points failed, or bits differ; a workflow goes on |
| 2 | it cannot be done, or cannot go on, and one line says why: the input is wrong, the disk full, the scheduler lost |
| 3 | a fault of clhd itself, with its traceback |
| 130 | interrupted, by Ctrl-C or a batch system |
"""
# ruff: noqa: PLC0415, T201
# Imports stand in the commands that need them: `clhd status` must not wait for compilers and clusters, and Ctrl-C is
# answered by `main` from the first tenth of a second on. It prints.

import argparse
import errno
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from clhd.errors import ClhdError

if TYPE_CHECKING:
    from clhd.sweep.experiment import Experiment

_EXAMPLES = """examples:
  clhd plan config/experiments/grid.yaml                   what it will take
  clhd run config/experiments/grid.yaml                    simulation, theory and summary, going on where it was
  clhd status                                              what is known of every experiment
  clhd why config/experiments/grid.yaml kurtosis=3 ...     what is known of one point
  clhd verify config/experiments/grid.yaml --fraction .01  compute some points again, compare the bits
"""
_INTERRUPTED = 130  # as shells say it
# Errors of the file system that are no mistakes of ours, wherever they come up.
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as a shell has it for a job in the background
            signal.signal(number, _interrupt)
    try:
        return _run_command(arguments)
    except ClhdError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what was done is kept: the same command goes on from there", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # who read the output is gone
        return _INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            print(f"{error.filename or 'results'}: cannot be written: {error.strerror}", file=sys.stderr)
            return 2
        traceback.print_exc()
        return 3


def _run_command(arguments: Sequence[str] | None) -> int:
    parser = _build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and (not hasattr(options, "place") or any(text.startswith("-") for text in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # argparse takes no places that stand behind an option
        options.place += rest
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def _interrupt(*_: Any) -> NoReturn:
    """Answer Ctrl-C, or the polite request to end of Snakemake or a batch system; the second Ctrl-C ends at once."""
    signal.signal(signal.SIGINT, _end_at_once)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end has begun
    raise KeyboardInterrupt


def _end_at_once(*_: Any) -> NoReturn:
    """End without any order; what is in the stores is whole at every moment."""
    for worker in multiprocessing.active_children():
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
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:  # noqa: A002
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=command)
        return sub

    stages = (
        ("run", _run, "simulate, predict and summarise an experiment, without Snakemake"),
        ("simulate", _simulate, "compute what the simulation of an experiment lacks"),
        ("predict", _predict, "compute what the theory of an experiment lacks"),
    )
    for name, command, text in stages:
        sub = add(name, command, text)
        _add_experiment(sub)
        _add_cluster(sub)
        sub.add_argument("--fresh", action="store_true", help="move old stores aside and compute all again")
        sub.add_argument("--repair", action="store_true", help="read every chunk, and compute damaged ones again")
        _add_wait(sub)
    sub = add("summarise", _summarise, "summarise what is known of an experiment")
    _add_experiment(sub)
    _add_wait(sub)
    _add_experiment(add("plot", _plot, "draw an experiment from its summary: pdf, png and a caption"))
    _add_config(add("claims", _claims, "judge the claims from the summaries: claims.json and a figure of each"))
    _add_config(add("report", _report, "write report.html: claims, experiments and equations in one file"))
    sub = add("status", _status, "counts by status, age and size of every experiment")
    _add_config(sub)
    sub.add_argument("--json", action="store_true", help="for programs")
    sub.add_argument("--check", action="store_true", help="end with exit code 1 unless all is complete")
    sub = add("plan", _plan, "points, blocks, core-hours and bytes of an experiment, and what it takes to finish it")
    _add_experiment(sub)
    sub.add_argument("--workers", type=int, help="processes that there will be, by default one per core here")
    sub.add_argument("--json", action="store_true", help="for programs")
    for name, command, text in (
        ("why", _why, "what is known of one simulated point: parameters, key, status, error, time, code version"),
        ("replay", _replay, "compute one point again, here, and compare the bits"),
    ):
        sub = add(name, command, text)
        _add_experiment(sub)
        sub.add_argument("place", nargs="*", metavar="AXIS=VALUE", help="the point, by the values of its axes")
    sub = add("verify", _verify, "compute a random share of the points again, and compare the bits")
    _add_experiment(sub)
    sub.add_argument("--fraction", type=float, default=0.01, help="share of the points, by default 0.01")
    sub = add("certificates", _certificates, "make certificates for a Dask cluster of your own; tells how to start it")
    sub.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="by default clhd/tls in your ~/.config")
    sub = add("schema", _schema, "print the JSON schema of an experiment, for completion in editors")
    sub.add_argument("--config", action="store_true", help="that of the list of experiments instead")
    return parser


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="a YAML file")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of all results")


def _add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="wait for another run of it, instead of refusing")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", type=Path, default=Path("config/config.yaml"), help="list of experiments")
    parser.add_argument("--results", type=Path, help="folder of all results, by default that of the list")


def _add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, help="processes on this machine, by default one per core")
    elsewhere = parser.add_mutually_exclusive_group()
    elsewhere.add_argument("--scheduler", help="address of a running Dask scheduler to use instead: tls://host:8786")
    elsewhere.add_argument("--scheduler-file", type=Path, help="file that names such a scheduler")
    elsewhere.add_argument("--slurm", type=int, metavar="N", help="up to N SLURM jobs of one core each, as needed")
    parser.add_argument("--tls", type=Path, metavar="DIR", help="certificates for it, made by clhd certificates")


def _read(options: argparse.Namespace) -> "tuple[Experiment, list[Any]]":
    """Read and check an experiment, all of its points, before any work; with the roads on which there is some."""
    from clhd.sweep.experiment import read_experiment
    from clhd.sweep.road import check_experiment

    experiment = read_experiment(options.experiment)
    return experiment, check_experiment(experiment, str(options.experiment))


def _check_count(option: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ClhdError(f"{option} = {value}: must be 1 or more")


def _compute(options: argparse.Namespace, experiment: "Experiment", kind: Any, checked: Sequence[Any]) -> bool:
    """Run one stage; True if it is complete."""
    from clhd.sweep.cluster import Cluster
    from clhd.sweep.progress import format_seconds
    from clhd.sweep.run import run_stage

    _check_count("--workers", options.workers)
    cluster = Cluster(options.workers, options.scheduler, options.scheduler_file, options.tls, options.slurm)
    report = run_stage(
        experiment,
        kind,
        options.results,
        cluster=cluster,
        fresh=options.fresh,
        repair=options.repair,
        wait=options.wait,
        checked=checked,
    )
    if report is None:
        return True
    found = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
    print(f"{report.path}: {found}; {report.computed} computed now, {format_seconds(report.seconds)}")
    return report.is_complete


def _simulate(options: argparse.Namespace) -> int:
    experiment, checked = _read(options)
    return 0 if _compute(options, experiment, "simulation", checked) else 1


def _predict(options: argparse.Namespace) -> int:
    experiment, checked = _read(options)
    return 0 if _compute(options, experiment, "theory", checked) else 1


def _summarise(options: argparse.Namespace) -> int:
    from clhd.sweep.experiment import read_experiment
    from clhd.sweep.summary import write_summary

    print(write_summary(read_experiment(options.experiment), options.results, wait=options.wait))
    return 0


def _run(options: argparse.Namespace) -> int:
    from clhd.sweep.summary import write_summary

    experiment, checked = _read(options)
    complete = [_compute(options, experiment, kind, checked) for kind in ("simulation", "theory")]
    print(write_summary(experiment, options.results, wait=options.wait))
    return 0 if all(complete) else 1


def _status(options: argparse.Namespace) -> int:
    from clhd.sweep.config import read_config
    from clhd.sweep.status import describe_status, format_status

    config = read_config(options.config, check=False)
    results = options.results or config.results
    reports = [describe_status(experiment, results) for experiment in config.experiments.values()]
    print(json.dumps(reports, indent=2) if options.json else format_status(reports))
    return 1 if options.check and not all(report["complete"] for report in reports) else 0


def _plot(options: argparse.Namespace) -> int:
    from clhd.figures.plot import find_figure, plot_experiment
    from clhd.sweep.experiment import read_experiment

    experiment = read_experiment(options.experiment, check=False)
    folder = options.results / experiment.name
    for path in plot_experiment(folder / "summary.zarr", folder / "figures", find_figure(experiment.resolved())):
        print(path)
    return 0


def _claims(options: argparse.Namespace) -> int:
    from clhd.analysis.claims import MATRIX, judge_cases, judge_claims, read_claims, write_claims
    from clhd.figures.claims.draw import draw_cases, draw_claims
    from clhd.sweep.config import read_config

    config = read_config(options.config, check=False)
    if config.claims is None:
        raise ClhdError(f"{options.config}: claims: must be given, such as config/claims.yaml")
    results = options.results or config.results
    settings = read_claims(config.claims, config.experiments)
    claims = judge_claims(settings, results)
    for entry in claims["claims"]:
        print(f"{entry['id']}  {entry['verdict']:<14}  {entry['statement']}")
        for part in entry.get("parts", []):
            print(f"  {part['id']}  {part['verdict']:<14}  {part['statement']}")
    print(write_claims(claims, results / "claims.json"))
    matrix = judge_cases(settings[MATRIX], results) if MATRIX in settings else None
    if matrix is not None:
        print(write_claims(matrix, results / "claims_matrix.json"))
    draw_claims(claims, settings, results)  # last: a figure that fails costs no verdict
    if matrix is not None:
        draw_cases(matrix, results)
    return 0


def _report(options: argparse.Namespace) -> int:
    from clhd.report.write import write_report
    from clhd.sweep.config import read_config

    config = read_config(options.config, check=False)
    print(write_report(config, options.results or config.results))
    return 0


def _plan(options: argparse.Namespace) -> int:
    from clhd.sweep.cluster import count_cores
    from clhd.sweep.plan import format_plan, plan_roads

    _check_count("--workers", options.workers)
    experiment, checked = _read(options)
    plan = plan_roads(checked, options.results, options.workers or count_cores())
    print(json.dumps(plan, indent=2) if options.json else format_plan(experiment.name, plan))
    return 0


def _parse_place(texts: Sequence[str]) -> dict[str, str]:
    place = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ClhdError(f"{text}: must be AXIS=VALUE")
        place[name] = value
    return place


def _why(options: argparse.Namespace) -> int:
    from clhd.sweep.inspect import explain_point

    for name, value in explain_point(_read(options)[0], options.results, _parse_place(options.place)).items():
        print(f"{name}: {', '.join(f'{k}={v}' for k, v in value.items()) if isinstance(value, dict) else value}")
    return 0


def _replay(options: argparse.Namespace) -> int:
    from clhd.sweep.inspect import replay_point

    return _report_replays([replay_point(_read(options)[0], options.results, _parse_place(options.place))])


def _verify(options: argparse.Namespace) -> int:
    from clhd.sweep.inspect import verify_share

    if not 0 < options.fraction <= 1:
        raise ClhdError(f"--fraction = {options.fraction:g}: must be greater than 0, at most 1")
    return _report_replays(verify_share(_read(options)[0], options.results, options.fraction))


def _report_replays(replays: Sequence[Any]) -> int:
    different = [replay for replay in replays if replay.different]
    for replay in different:
        outputs = ", ".join(replay.different)
        print(f"{replay.place}: {outputs} came out otherwise, by up to {replay.largest_difference:.3g}")
    same = sum(replay.replicas for replay in replays if not replay.different)
    print(f"{len(replays)} points computed again: {same} runs with the same bits, {len(different)} points differ")
    return 1 if different else 0


def _certificates(options: argparse.Namespace) -> int:
    from clhd.sweep.certificates import find_default_folder, format_commands, make_certificates

    print(format_commands(make_certificates(options.folder or find_default_folder())))
    return 0


def _schema(options: argparse.Namespace) -> int:
    from clhd.sweep.config import format_config_schema
    from clhd.sweep.experiment import format_schema

    print(format_config_schema() if options.config else format_schema(), end="")
    return 0
