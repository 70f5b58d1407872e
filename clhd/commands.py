"""The commands of `clhd`: each takes its options, makes one call, prints the outcome and returns the exit code."""
# ruff: noqa: PLC0415, T201
# Commands import what they need: `clhd status` must not wait for compilers and clusters, and Ctrl-C must work at once.

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, NoReturn

from clhd.core.surroundings import has_settings, spare_collections, spare_dask, spare_docstrings
from clhd.errors import InputError, check_link

if TYPE_CHECKING:
    from clhd.sweep.spec.config import ConfigContent
    from clhd.sweep.spec.experiment import Experiment


def _read(options: Namespace) -> "tuple[Experiment, list[Any]]":
    """Read an experiment and check all of its points; return it with its stages."""
    from clhd.figures.plot import check_figure
    from clhd.sweep.plan.check import check_experiment
    from clhd.sweep.spec.experiment import read_experiment

    experiment = read_experiment(options.experiment)
    check_figure(experiment, str(options.experiment))
    return experiment, check_experiment(experiment, str(options.experiment))


def _find_list(options: Namespace) -> "ConfigContent":
    """The experiments that a command is about, and the folder of their results."""
    from clhd.sweep.results.listing import find_list

    content = find_list(options.config, options.results)
    check_link(content.results)
    return content


def _check_count(option: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise InputError(f"{option} = {value}: must be 1 or more")


def _compute(
    options: Namespace, experiment: "Experiment", stages: Sequence[Any], meanwhile: Callable[[], None] = lambda: None
) -> bool:
    """Run stages of an experiment, and do something else meanwhile; return True if they are complete."""
    from clhd.core.text import format_seconds
    from clhd.sweep.cluster.place import Cluster
    from clhd.sweep.run.run_stage import run_stage, set_aside

    _check_count("--workers", options.workers)
    cluster = Cluster(options.workers, options.scheduler, options.scheduler_file, options.tls, options.slurm)
    if options.fresh:
        set_aside(stages, options.results, wait=options.wait)
    is_complete = True
    for stage in stages:
        report = run_stage(
            experiment,
            stage.kind,
            options.results,
            cluster=cluster,
            repair=options.repair,
            wait=options.wait,
            checked=stages,
            meanwhile=meanwhile,
        )
        if report is not None:
            found = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
            print(f"{report.path}: {found}; {report.computed} computed now, {format_seconds(report.seconds)}")
            is_complete &= report.is_complete
    return is_complete


def simulate(options: Namespace) -> int:
    """Compute the pending runs of the simulation."""
    experiment, stages = _read(options)
    return 0 if _compute(options, experiment, [stage for stage in stages if stage.kind == "simulation"]) else 1


def predict(options: Namespace) -> int:
    """Compute the pending points of the theory."""
    experiment, stages = _read(options)
    return 0 if _compute(options, experiment, [stage for stage in stages if stage.kind == "theory"]) else 1


def summarise(options: Namespace) -> int:
    """Summarise the results of an experiment."""
    spare_dask()
    from clhd.sweep.results.summary import read_computed, write_summary

    print(write_summary(read_computed(options.experiment, options.results), options.results, wait=options.wait))
    return 0


def _load_xarray() -> None:
    """Load what a summary is made with, for a third of a second: best while other processes compute."""
    spare_dask()
    import xarray as xr  # noqa: F401


def _check_settings() -> None:
    """Load the libraries that longer work and readers need, if they have settings, so that wrong ones are told now."""
    if has_settings():
        spare_dask()
        import dask.config  # noqa: F401
        import zarr

        zarr.create_array({}, shape=(1,), dtype="float64")  # what they name is looked for only then


def run(options: Namespace) -> int:
    """Simulate, predict and summarise."""
    from clhd.sweep.results.summary import write_summary

    _check_settings()  # before anything is computed
    experiment, stages = _read(options)
    is_complete = _compute(options, experiment, stages, _load_xarray)
    print(write_summary(experiment, options.results, wait=options.wait))
    return 0 if is_complete else 1


def status(options: Namespace) -> int:
    """Print a table of the counts by status of all experiments of a list."""
    if options.watch:
        return _watch(options)
    spare_collections()
    from clhd.sweep.results.products import find_product_faults
    from clhd.sweep.results.status import describe_status, format_status
    from clhd.sweep.run.children import map_in_children

    config = _find_list(options)
    results, deep = config.results, options.deep
    experiments = list(config.experiments.values())
    reports = map_in_children(lambda experiment: describe_status(experiment, results, deep=deep), experiments)
    print(json.dumps(reports, indent=2) if options.json else format_status(reports))
    if not (options.check or deep):
        return 0
    faults = find_product_faults(config, results)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 0 if all(report["complete"] for report in reports) and not faults else 1


def _watch(options: Namespace) -> NoReturn:
    """Show the status of the experiments until Ctrl-C; those that begin meanwhile come in."""
    from clhd.sweep.results.status import describe_status, watch_status

    for name in ("json", "check", "deep"):
        if getattr(options, name):
            raise InputError(f"--watch and --{name}: only one of them can be given")

    def find_reports() -> list[dict[str, Any]]:
        config = _find_list(options)
        return [describe_status(experiment, config.results) for experiment in config.experiments.values()]

    watch_status(find_reports, sys.stdout)


def plot(options: Namespace) -> int:
    """Draw the figure of an experiment."""
    spare_collections()
    from clhd.figures.plot import plot_experiment
    from clhd.sweep.spec.experiment import read_experiment

    spare_dask()
    experiment = read_experiment(options.experiment, check=False)
    folder = options.results / experiment.name
    spare_docstrings()
    for path in plot_experiment(folder / "summary.zarr", folder / "figures", experiment):
        print(path)
    _tell_stale(folder, experiment)
    return 0


def _tell_stale(folder: Path, experiment: "Experiment | None" = None) -> None:
    """Say on standard error why a summary that was just drawn is out of date; by default, for its own experiment."""
    from clhd.sweep.results.state import find_stale
    from clhd.sweep.spec.experiment import parse_experiment, stage_path
    from clhd.sweep.store.layout import check_summary

    attributes = check_summary(stage_path(folder, "summary")).attributes
    stale = find_stale(attributes, experiment or parse_experiment(attributes["experiment"], check=False), folder)
    if stale:
        print(stale, file=sys.stderr)


def claims(options: Namespace) -> int:
    """Judge the claims, print the verdicts, draw the figures."""
    spare_collections()
    config = _find_list(options)
    if config.claims is None:
        from clhd.sweep.results.listing import DEFAULT

        if not options.config and not DEFAULT.exists():
            raise InputError(f"{DEFAULT}: does not exist; name a list of experiments: clhd claims LIST")
        source = options.config or DEFAULT
        raise InputError(f"{source}: names no claims; give a list with the key claims, such as config/claims.yaml")

    if find_spec("matplotlib") is None:  # told before anything is judged, and after mistakes of the user
        raise ModuleNotFoundError(name="matplotlib")
    from clhd.claims.judge import find_basis, judge_claims, judge_tables, list_files, read_claims, write_claims
    from clhd.core.text import cut_lines
    from clhd.figures.claims import draw_claims, list_paths
    from clhd.sweep.results.products import claims_record, find_claims_faults, write_record

    spare_dask()
    results = config.results
    text = Path(config.claims).read_bytes()
    settings = read_claims(config.claims, config.experiments)
    judged = judge_claims(settings, results)
    for entry in judged["claims"]:
        print(f"{entry['id']}  {entry['verdict']:<14}  {entry['statement']}")
        for part in entry.get("parts", []):
            print(f"  {part['id']}  {part['verdict']:<14}  {part['statement']}")
    written = [results / name for name in list_files(settings)]
    paths = written + list_paths(settings, results)
    is_ours = all(type(setting.system).__module__.startswith("clhd.") for setting in settings.values())
    if is_ours and paths[0].is_file() and not find_claims_faults(config, results, find_basis(judged["claims"])):
        for path in paths:
            os.utime(path, follow_symlinks=False)  # a workflow goes by dates
        print(f"{paths[0]} and its figures are those of these verdicts, and stay")
        return 0
    print(write_claims(judged, results / "claims.json"))
    tables = judge_tables(settings, results)
    for name, table in tables.items():
        print(write_claims(table, results / f"claims_{name}.json"))
    drawn, problems = draw_claims(judged, tables, settings, results)
    written += drawn
    write_record(claims_record(results), written, find_basis([*judged["claims"], *tables.values()]), text)
    if problems:
        raise InputError(cut_lines(problems))
    return 0


def report(options: Namespace) -> int:
    """Write the report."""
    spare_collections()
    from clhd.report.write import write_report

    config = _find_list(options)
    print(write_report(config, config.results))
    return 0


def show(options: Namespace) -> int:
    """Write the page of an experiment, and open it where there is a desktop."""
    spare_collections()
    spare_dask()
    import webbrowser

    from clhd.show.write import write_page
    from clhd.sweep.results.listing import find_experiment

    name, file, results = find_experiment(options.experiment, options.results)
    path = write_page(name, file, results)
    print(path)
    _tell_stale(results / name)
    # A browser can open a window if someone sits at a terminal of a graphical session.
    has_desktop = sys.stdout.isatty() and any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if has_desktop and not options.no_open:
        webbrowser.open(path.absolute().as_uri())
    return 0


def paper(options: Namespace) -> int:
    """Write what a paper cites: numbers as macros, tables, figures and a bibliography."""
    config = _find_list(options)
    spare_dask()
    from clhd.publish.paper import write_paper_assets

    for path in write_paper_assets(config, config.results):
        print(path)
    return 0


def archive(options: Namespace) -> int:
    """Write results, with all that is needed to compute them again, as one zip."""
    from clhd.publish.archive import write_archive
    from clhd.sweep.results.listing import DEFAULT
    from clhd.sweep.results.status import describe_status
    from clhd.sweep.spec.config import read_config

    if not options.config and not DEFAULT.exists():
        raise InputError(f"{DEFAULT}: does not exist; name a list of experiments: clhd archive LIST")
    source = options.config or DEFAULT
    config = read_config(source, check=False)  # a copy of the list goes into the archive, so there must be one
    results = options.results or config.results
    check_link(results)
    if options.output.suffix != ".zip":
        raise InputError(f"--output = {options.output}: must end in .zip")
    count = write_archive(config, source, results, options.output, options.licence)
    incomplete = [
        name for name, experiment in config.experiments.items() if not describe_status(experiment, results)["complete"]
    ]
    if incomplete:
        print(f"not complete, as `clhd status` tells: {', '.join(incomplete)}", file=sys.stderr)
    verify = f"clhd verify {quote(str(options.output))}"
    print(f"{options.output}: {count} files; `{verify}` computes a share of the runs again")
    return 1 if incomplete else 0


def plan(options: Namespace) -> int:
    """Print what an experiment takes, and how much is pending."""
    spare_collections()
    from clhd.core.machine import count_cores
    from clhd.sweep.run.needs import format_plan, plan_stages

    _check_count("--workers", options.workers)
    experiment, checked = _read(options)
    planned = plan_stages(checked, options.results, options.workers or count_cores())
    print(json.dumps(planned, indent=2) if options.json else format_plan(experiment.name, planned))
    return 0


def _parse_place(texts: Sequence[str]) -> dict[str, str]:
    place = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{text}: must be AXIS=VALUE")
        if name in place:
            raise InputError(f"{text}: {name} is given twice")
        place[name] = value
    return place


def why(options: Namespace) -> int:
    """Print everything that is stored about one simulated point, or a line about each of several."""
    spare_collections()
    from clhd.sweep.results.inspect import explain_points, format_points
    from clhd.sweep.spec.experiment import read_experiment

    experiment = read_experiment(options.experiment)
    print(format_points(explain_points(experiment, options.results, _parse_place(options.place))))
    return 0


def replay(options: Namespace) -> int:
    """Compute one point again and compare the bits."""
    from clhd.sweep.results.inspect import replay_point
    from clhd.sweep.spec.experiment import read_experiment

    experiment = read_experiment(options.experiment)
    return _report_replays([replay_point(experiment, options.results, _parse_place(options.place))])


def verify(options: Namespace) -> int:
    """Compute a random share of the points of an experiment or an archive again, and compare the bits."""
    from clhd.sweep.results.inspect import verify_share
    from clhd.sweep.spec.experiment import read_experiment

    if not 0 < options.fraction <= 1:
        raise InputError(f"--fraction = {options.fraction:g}: must be greater than 0, at most 1")
    if options.experiment.suffix == ".zip":
        return _verify_archive(options.experiment, options.fraction)
    return _report_replays(verify_share(read_experiment(options.experiment), options.results, options.fraction))


def _verify_archive(path: Path, fraction: float) -> int:
    """Check the files of an archive, and compute a share of the points of each of its experiments again."""
    from contextlib import chdir
    from tempfile import TemporaryDirectory

    from clhd.publish.archive import unpack_archive
    from clhd.sweep.results.inspect import verify_share
    from clhd.sweep.spec.experiment import read_experiment, stage_path

    code = 0
    with TemporaryDirectory(prefix="clhd-") as folder:
        contents = unpack_archive(path, Path(folder))
        print(f"{path}: every file is as it was written, by clhd {contents['code']}")
        with chdir(folder):
            results = Path(contents["results"])
            for name, file in contents["experiments"].items():
                if not stage_path(results / name, "simulation").is_dir():
                    print(f"{name}: has no simulation")
                    continue
                print(f"{name}: ", end="", flush=True)
                code |= _report_replays(verify_share(read_experiment(file), results, fraction))
    return code


def _report_replays(replays: Sequence[Any]) -> int:
    from clhd.core.text import format_count

    different = [replay for replay in replays if replay.different]
    for replay in different:
        outputs = ", ".join(replay.different)
        print(f"{replay.place}: {outputs} came out otherwise, by up to {replay.largest_difference:.3g}")
    again = sum(replay.replicas > 0 for replay in replays)
    if not again:
        where = f"{replays[0].place}: " if replays else ""
        print(f"{where}nothing was compared: no chosen point has a result; `clhd run FILE` computes it")
        return 1
    same = format_count(sum(replay.replicas for replay in replays if not replay.different), "run")
    found = f"{same} with the same bits, {format_count(len(different), 'point')} with others"
    print(f"{format_count(again, 'point')} computed again: {found}")
    return 1 if different else 0


def init(options: Namespace) -> int:
    """Write a study of one's own to begin with."""
    from clhd.study import write_study

    write_study(options.folder)
    command = f"cd {quote(str(options.folder))}"
    print(f"{options.folder} is a study that runs: type {command}, then snakemake; its README.md says more")
    return 0


def new_system(options: Namespace) -> int:
    """Write the files of a system of one's own to begin with."""
    from clhd.systems.skeleton import write_skeleton

    system, experiment = write_skeleton(options.name, Path())
    print(f"{system} and {experiment} are a system and its experiment that run: type clhd run {experiment}")
    return 0


def certificates(options: Namespace) -> int:
    """Make certificates and print how to start a cluster with them."""
    from clhd.sweep.cluster.tls import find_default_folder, format_commands, make_certificates

    print(format_commands(make_certificates(options.folder or find_default_folder())))
    return 0


def schema(options: Namespace) -> int:
    """Print the JSON schema of an experiment, or of the list of experiments."""
    from clhd.sweep.spec.config import format_config_schema, format_schema

    print(format_config_schema() if options.config else format_schema(), end="")
    return 0
