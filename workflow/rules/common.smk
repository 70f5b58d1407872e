# Reads and checks the config with clhd's own parser, and holds the functions that the rules share.

import json
import math
import os
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

# Snakemake searches the folders of Snakefiles before all libraries. Search them last: a yaml.py of the user may be there.
_FOLDERS = {str(Path(source.get_path_or_uri(secret_free=True)).parent) for source in workflow.included}
sys.path.sort(key=lambda folder: folder in _FOLDERS)

from clhd.core.machine import ONE_THREAD, count_cores
from clhd.core.surroundings import check_installation
from clhd.errors import ClhdError, check_link
from clhd.figures.plot import NO_FIGURE, check_figure
from clhd.helper import VARIABLE
from clhd.sweep.results.products import find_claims_faults, find_figure_faults, find_report_faults
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.spec.config import parse_config
from clhd.sweep.run.needs import predict_needs
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.state import find_unfinished
from clhd.sweep.run.children import map_in_children, work_ahead

# The list of experiments is Snakemake's config: config/config.yaml, the files of --configfile instead, or the `config:` of
# a module statement; and --config changes single keys.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


CONFIG_FILES = [str(file) for file in workflow.configfiles]
ALL_CORES = 1000  # Snakemake takes it for all that there are
PARTS = 20  # a stage takes one core if it then lasts less than this part of the whole run
MOST_REHEARSED = 1.0  # predicted seconds of a run that may be computed to have its kernels compiled
PATIENCE = 2.0  # seconds of checking after which kernels are being compiled
MOST_URGENT = 1000  # the priority of summaries, figures and claims, which take seconds and are looked at
# Messages name these as the source of a mistake.
SOURCE = ", ".join(CONFIG_FILES + ["--config"] * bool(workflow.config_settings.config)) or "config"

# A shell prefix replaces Snakemake's own, so the strict mode of bash is repeated here. PATH makes the rules use the clhd
# of this snakemake, even if its environment is not activated. PYTHONSAFEPATH keeps a yaml.py of the user, in the folder
# of the project, from being taken for the library. Snakemake tells libraries to use as many threads as the stage has cores;
# clhd computes one block on each core instead, in forks of its process, which may have no threads of its own.
BIN = shlex.quote(str(Path(sys.executable).parent))
# mark writes a marker anew, never through a link of its name.
MARK = 'mark() {{ rm -f -- "$1"; (set -o noclobber; date > "$1"); }}; '
THREADS = " ".join(f"{name}={shlex.quote(os.environ.get(name, one))}" for name, one in ONE_THREAD.items())
shell.prefix(f'set -euo pipefail; export PATH={BIN}:"$PATH" PYTHONSAFEPATH=1 {THREADS}; {MARK}')


def mark(stage):
    """Return the path of the marker of a stage.

    Snakemake sees only the marker, not the store: it would delete the store if a job failed. The marker holds the date,
    because Snakemake takes a file with the same content as unchanged.
    """
    return f"{RESULTS}/{{experiment}}/.{stage}.done"


def find_file(wildcards):
    """Return the file of an experiment."""
    return FILES[wildcards.experiment]


@cache
def list_unfinished(name):
    """Return the stages of an experiment that must run, whatever their markers say.

    Their stores were deleted by hand, points have failed, or a run was killed.
    """
    if workflow.dag_settings.targets:  # some files are asked for, not everything
        return find_unfinished(EXPERIMENTS[name], RESULTS)
    return list_all_unfinished()[name]


@cache
def list_all_unfinished():
    """Return the same for all experiments: several processes read their results."""
    found = map_in_children(lambda name: find_unfinished(EXPERIMENTS[name], RESULTS), list(EXPERIMENTS))
    return dict(zip(EXPERIMENTS, found))


def force(path):
    """Add a file to those that this Snakemake makes again, as --forcerun does.

    On disk nothing changes, since another Snakemake may be at work here, and reading the rules must not disturb it.
    """
    if workflow.is_main_process:
        workflow.dag.forcefiles.add(str(path))


def lift_rate_limit():
    """Have this Snakemake start jobs on this machine without its limit of 100 per second, which costs a tenth of a core.

    Snakemake 9.27 sets a timer of a second whenever it looks for jobs, and looks again at the end of each timer; each job
    that ends adds one more chain of timers, so that after 100 jobs it looks 100 times per second.
    """
    settings = workflow.scheduling_settings  # None if no job is to run, as for --report
    if settings is not None and workflow.is_main_process and not workflow.non_local_exec:
        settings.max_jobs_per_timespan = None


def find_file_for(stage):
    """Return a function of the wildcards that returns the file of an experiment, and forces an unfinished stage to run."""

    def find(wildcards):
        lift_rate_limit()  # here, since Snakemake makes its settings between the rules and the first wildcards
        if workflow.is_main_process and stage in list_unfinished(wildcards.experiment):
            force(mark(stage).format(experiment=wildcards.experiment))
        return find_file(wildcards)

    return find


def find_deciding_before(kind):
    """Return a function of the wildcards that returns the marker of the other stage, if it decides what is refined."""

    def find(wildcards):
        refine = EXPERIMENTS[wildcards.experiment].refine
        return (
            [] if refine is None or refine.kind == kind else mark(refine.kind).format(experiment=wildcards.experiment)
        )

    return find


@cache
def forecast():
    """Return the predicted seconds of one core of each stage that has changed, as far as it is pending."""
    return {place: find_needs(*place, count_cores()).core_seconds for place in CHECKED}


def share_cores(kind):
    """Return a function of the wildcards that returns the threads of a stage: so many that it lasts a small part of all.

    Stages of one core run beside each other and keep all cores at work, also while one of them starts or writes. A long
    stage takes several cores, so that it does not last when all others have ended.
    """

    def find(wildcards):
        seconds = forecast().get((wildcards.experiment, kind))
        if seconds is None or workflow.non_local_exec:
            return ALL_CORES
        whole = sum(forecast().values()) / (count_cores() * PARTS)  # seconds that a stage may last
        return max(1, min(ALL_CORES, math.ceil(seconds / whole))) if seconds else 1

    return find


def rank(kind):
    """Return a function of the wildcards that returns the priority of a stage: what is cheap comes first."""

    def find(wildcards):
        return 1 + MOST_URGENT / (2 + forecast().get((wildcards.experiment, kind), 0.0))

    return find


def count_workers(wildcards, threads):
    """Return the number of processes of a stage: Snakemake's `--cores all` knows no quota of a container or of SLURM."""
    return min(threads, count_cores())


def find_file_for_figure(wildcards):
    """Return the file of an experiment, and force its figure to be drawn if it rests on what has changed."""
    name = wildcards.experiment
    if find_figure_faults(Path(RESULTS), name):
        force(f"{RESULTS}/{name}/figures/{name}.png")
    return find_file(wildcards)


def find_config_for_claims(wildcards):
    """Return the files of the config, and force the claims to be judged if they rest on what has changed."""
    if find_claims_faults(CONFIG, Path(RESULTS)):
        force(f"{RESULTS}/claims.json")
    return CONFIG_FILES


def find_config_for_report(wildcards):
    """Return the files of the config, and force the report to be written if it rests on what has changed."""
    if find_report_faults(Path(RESULTS)):
        force(f"{RESULTS}/report.html")
    return CONFIG_FILES


def find_first_figure(wildcards):
    """Return the figure that the first report shows, and have both come before all others."""
    if workflow.is_main_process:
        workflow.dag.priorityfiles.add(rules.begin_report.output.marker)  # as --prioritize does
    return f"{RESULTS}/{FIRST}/figures/{FIRST}.png"


def give_config(wildcards):
    """Return the list of experiments as text, which the commands of clhd read from standard input."""
    return json.dumps(config, ensure_ascii=False)


def find_markers(name):
    """Return the markers of the stages in which an experiment computes something; others have no job."""
    kinds = [kind for kind in ("simulation", "theory") if Stage(EXPERIMENTS[name], kind).outputs.variables]
    return [mark(kind).format(experiment=name) for kind in kinds]


def is_checked(name):
    """Return True if an experiment was checked before an earlier run and has not changed since."""
    changed = Path(FILES[name]).stat().st_mtime
    markers = [Path(marker) for marker in find_markers(name)]
    return any(marker.is_file() and marker.stat().st_mtime > changed for marker in markers)


def rehearse():
    """Have kernels compiled, and kept on disk, while this process compiles others for the check of all points.

    First those of the first figure, by one run of each of its stages that is dropped; then those of the checks, from the
    last experiment on.
    """
    for kind in ("simulation", "theory") if FIRST else ():
        stage = Stage(EXPERIMENTS[FIRST], kind)
        if stage.outputs.variables:
            point = stage.point(stage.grid.values((0,) * len(stage.grid.shape)))
            if stage.cost(point).seconds < MOST_REHEARSED:
                stage.compute([point], [0])
    for experiment in reversed(EXPERIMENTS.values()):
        check_experiment(experiment)


@cache
def find_needs(name, kind, workers):
    """Return time and memory for the runs that a stage still has to compute, as `clhd plan` does."""
    stage = CHECKED.get((name, kind)) or Stage(EXPERIMENTS[name], kind)
    return predict_needs(stage, Path(RESULTS), workers)


def ask_for(kind):
    """Return functions that predict time and memory of a stage for a batch system; each new attempt gets more.

    Only the main process predicts, when it submits a job: the job reads this file again, but has its resources already.
    Jobs on this machine need no prediction.
    """

    def is_asked():
        return workflow.is_main_process and workflow.non_local_exec

    def find_minutes(wildcards, threads, attempt):
        if not is_asked():
            return 1
        return attempt * math.ceil(find_needs(wildcards.experiment, kind, threads).wall_seconds / 60)

    def find_megabytes(wildcards, threads, attempt):
        if not is_asked():
            return 1
        return attempt * find_needs(wildcards.experiment, kind, threads).memory_mb

    return {"runtime": find_minutes, "mem_mb": find_megabytes}


def find_figures():
    """Return the experiments that have a figure; raises ClhdError if a figure cannot be drawn."""
    return [name for name, experiment in EXPERIMENTS.items() if check_figure(experiment, FILES[name]) != NO_FIGURE]


def start_helper():
    """Start the process that forks for jobs if they run on this machine; it ends with this one."""
    global HELPER  # its standard input must stay open
    if workflow.non_local_exec:  # a job of SLURM that happens to run here has cores and memory of its own
        return
    command = [sys.executable, "-P", "-m", "clhd.helper", *{experiment.system for experiment in EXPERIMENTS.values()}]
    HELPER = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    os.environ[VARIABLE] = HELPER.stdout.readline().strip()


def name_files():
    """Return the lines at the end: which files to open first, of those that exist."""
    files = {
        f"{RESULTS}/report.html": "everything on one page: open it in a browser",
        f"{RESULTS}/{FIRST}/figures/{FIRST}.png": f"the figure of {FIRST}; every experiment has one",
        f"{RESULTS}/claims.json": "the verdicts, with their numbers",
        f"{RESULTS}/status.log": "the state of every experiment",
    }
    found = [f"  {path}   {text}" for path, text in files.items() if Path(path).is_file()][:3]
    return "\n".join(["", "Open first:", *found]) if found else ""


try:
    check_installation(sys.argv[0])
    CONFIG = parse_config(config, SOURCE)
    RESULTS, EXPERIMENTS = CONFIG.results, CONFIG.experiments
    check_link(RESULTS)
    if workflow.modifier.modify_path(str(RESULTS)) != str(RESULTS):  # clhd would write elsewhere than Snakemake looks
        raise ClhdError(
            f"{SOURCE}: a module's prefix and the storage of Snakemake are not supported; set results instead"
        )
    FILES = {name: str(file) for name, file in CONFIG.files.items()}
    DRAWN = find_figures()
    # The experiment whose figure comes first: learning curves, which take seconds.
    FIRST = "trajectories" if "trajectories" in DRAWN else next(iter(DRAWN), "")
    CLAIM_EXPERIMENTS, CLAIM_FILES, CLAIM_FIGURES = [], [], []
    if CONFIG.claims:
        from clhd.claims.judge import list_figures, list_files, read_claims  # half a second: only at need

        settings = read_claims(CONFIG.claims, EXPERIMENTS)
        CLAIM_EXPERIMENTS = sorted({name for claim in settings.values() for name in claim.experiments.values()})
        CLAIM_FILES, CLAIM_FIGURES = list_files(settings), list_figures(settings)
    CHECKED = {}  # checked stages, whose costs are known, by experiment and kind
    if workflow.is_main_process:
        with work_ahead(rehearse, PATIENCE):
            for name, experiment in EXPERIMENTS.items():
                if not is_checked(name):
                    CHECKED |= {(name, stage.kind): stage for stage in check_experiment(experiment, FILES[name])}
except ClhdError as error:
    print(error, file=sys.stderr)
    sys.exit(2)


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
