"""`find_unfinished`: the stages of an experiment that a workflow must run, whatever its marker files say.

A workflow knows a stage by a small marker file, but only the stores tell what is computed.
"""

from pathlib import Path

import numpy as np

from clhd.errors import ClhdError
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.spec.stages import KINDS, StageKind, StageName, stage_path
from clhd.sweep.store.documents import FILE
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.missing import find_missing
from clhd.sweep.store.prepare import open_stage, positions_in
from clhd.systems.declarations import Status

_TO_DO = (Status.NOT_RUN, Status.FAILED)


def find_unfinished(experiment: Experiment, results: Path) -> list[StageName]:
    """Return the stages whose store does not exist, is out of date, belongs to other settings, or is incomplete.

    Parameters
    ----------
    experiment : Experiment
    results : Path
        Folder of all results.
    """
    stages: list[StageName] = [kind for kind in KINDS if not _is_known(experiment, kind, results)]
    folder = results / experiment.name
    summary, stores = _last_written(folder, "summary"), [_last_written(folder, kind) for kind in KINDS]
    is_old = summary is None or any(written is not None and written > summary for written in stores)
    if is_old or not _is_whole(stage_path(folder, "summary")):
        stages.append("summary")
    return stages


def _is_whole(summary: Path) -> bool:
    try:
        check_summary(summary)
    except ClhdError:
        return False
    return True


def _last_written(folder: Path, stage: StageName) -> float | None:
    """The time of the last change of a store; None if it does not exist."""
    path = stage_path(folder, stage) / FILE
    return path.stat().st_mtime if path.is_file() else None


def _is_known(experiment: Experiment, kind: StageKind, results: Path) -> bool:
    if not Stage(experiment, kind).outputs.variables:
        return True
    try:
        wanted, store, available = open_stage(experiment, kind, results, computes=True)
    except ClhdError:
        return False
    status = store.status()[np.ix_(*positions_in(available, wanted))]
    return not np.isin(status, _TO_DO).any() and not find_missing(store)
