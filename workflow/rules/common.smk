# The config, checked by the package's own parser, and what the rules share.

import math
import shlex
import sys
from functools import cache
from pathlib import Path

from clhd.errors import ClhdError, check_link
from clhd.figures.plot import NO_FIGURE, find_figure
from clhd.sweep.plan.check import check_experiment
from clhd.sweep.spec.config import read_config
from clhd.sweep.run.needs import predict_needs
from clhd.sweep.plan.stage import Stage
from clhd.sweep.results.unfinished import find_unfinished

# The list of experiments: config/config.yaml, or the one given by --configfile.
CONFIG_FILE = str(([Path("config/config.yaml")] + list(workflow.configfiles))[-1])

# Bash's strict mode, which a prefix of one's own replaces; and the clhd beside this snakemake, also where its
# environment is not activated.
shell.prefix(f'set -euo pipefail; export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; ')


def mark(stage):
    """The marker of a stage: all that Snakemake knows of a store, which it would delete if a job failed.

    It holds the date, for Snakemake takes files of the same content as unchanged.
    """
    return f"{RESULTS}/{{experiment}}/.{stage}.done"


def find_file(wildcards):
    """The file of an experiment."""
    return FILES[wildcards.experiment]


def find_markers(name):
    """The markers of the stages on which an experiment has something to compute; the others have no job."""
    kinds = [kind for kind in ("simulation", "theory") if Stage(EXPERIMENTS[name], kind).outputs.variables]
    return [mark(kind).format(experiment=name) for kind in kinds]


def is_checked(name):
    """True if an experiment was found right before it ran, and has not changed since."""
    changed = Path(FILES[name]).stat().st_mtime
    markers = [Path(marker) for marker in find_markers(name)]
    return any(marker.is_file() and marker.stat().st_mtime > changed for marker in markers)


@cache
def find_needs(name, kind, workers):
    """What a stage needs for what is still to be computed, as `clhd plan` says."""
    stage = CHECKED.get((name, kind)) or Stage(EXPERIMENTS[name], kind)
    return predict_needs(stage, Path(RESULTS), workers)


def ask_for(kind):
    """Time and memory of a stage, for a batch system; more of both at every new attempt.

    Asked for by the main process alone, when a job is due: its jobs, which read this file again, know theirs. Nothing
    is worked out for jobs on this machine, of which nobody asks it.
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


def remove_false_markers(name, experiment):
    """Take away the markers of what is not done: stores deleted by hand, failed points, runs that were killed."""
    for stage in find_unfinished(experiment, RESULTS):
        Path(mark(stage).format(experiment=name)).unlink(missing_ok=True)


def find_figures():
    """The experiments that have a figure; an error for one that declares a figure that is not there."""
    drawn = []
    for name, experiment in EXPERIMENTS.items():
        try:
            if find_figure(experiment) != NO_FIGURE:
                drawn.append(name)
        except ClhdError as error:
            raise ClhdError(f"{FILES[name]}: {error}") from None
    return drawn


try:
    CONFIG = read_config(CONFIG_FILE)
    RESULTS, EXPERIMENTS = CONFIG.results, CONFIG.experiments
    check_link(RESULTS)
    FILES = {name: str(file) for name, file in CONFIG.files.items()}
    DRAWN = find_figures()
    CLAIM_EXPERIMENTS, CLAIM_FILES, CLAIM_FIGURES = [], [], []
    if CONFIG.claims:
        from clhd.claims.judge import list_figures, list_files, read_claims  # half a second, which others save

        settings = read_claims(CONFIG.claims, EXPERIMENTS)
        CLAIM_EXPERIMENTS = sorted({name for claim in settings.values() for name in claim.experiments.values()})
        CLAIM_FILES, CLAIM_FIGURES = list_files(settings), list_figures(settings)
    CHECKED = {}  # stages whose costs are known, by experiment and kind
    if workflow.is_main_process:
        for name, experiment in EXPERIMENTS.items():
            remove_false_markers(name, experiment)
            if not is_checked(name):
                CHECKED |= {(name, stage.kind): stage for stage in check_experiment(experiment, FILES[name])}
except ClhdError as error:
    print(error, file=sys.stderr)
    sys.exit(2)


wildcard_constraints:
    experiment="|".join(EXPERIMENTS),
