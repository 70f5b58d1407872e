"""`digest_stores`: what the summary of an experiment rests on; `read_stored_experiment`: what a store was made from."""

from pathlib import Path

from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.spec.stages import KINDS, stage_path
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.store import Store


def digest_stores(folder: Path) -> dict[str, str]:
    """Return the digests of the stores of an experiment, on which its summary rests, by stage."""
    return {kind: Store(path).digest() for kind in KINDS if (path := stage_path(folder, kind)).is_dir()}


def read_stored_experiment(path: Path) -> Experiment:
    """Return the experiment in the attributes of a store or of a summary; raise ClhdError if they are damaged."""
    if path.name.startswith("summary"):
        return parse_experiment(check_summary(path).attributes["experiment"], check=False)
    return Store(path).experiment
