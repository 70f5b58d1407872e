"""The stages of an experiment and the path of each stage's store, ``results/EXPERIMENT/STAGE.zarr``."""

from pathlib import Path
from typing import Literal

StageKind = Literal["simulation", "theory"]
StageName = Literal["simulation", "theory", "summary"]
# The stages that compute points, and all stages in their order.
KINDS: tuple[StageKind, ...] = ("simulation", "theory")
STAGES: tuple[StageName, ...] = (*KINDS, "summary")


def stage_path(folder: Path, stage: StageName) -> Path:
    """Return the path of the store of a stage.

    Parameters
    ----------
    folder : Path
        Results of one experiment, such as ``results/grid``.
    stage : str
        "simulation", "theory" or "summary".
    """
    return folder / f"{stage}.zarr"
