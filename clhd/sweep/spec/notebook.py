"""`format_experiment`: an experiment as a notebook shows it."""

import math
from typing import TYPE_CHECKING

from clhd.core.text import format_html_table, format_value
from clhd.sweep.spec.grid import Axis

if TYPE_CHECKING:
    from clhd.sweep.spec.experiment import Experiment

_MOST_VALUES = 8  # of an axis; of more, the first two and the last are shown


def format_experiment(experiment: "Experiment") -> str:
    """Return an experiment as a table of HTML."""
    rows = {"system": experiment.system, "description": experiment.description}
    rows |= {f"axis {axis.name}": f"{len(axis)}: {_format_values(axis)}" for axis in experiment.axes}
    rows |= {name: format_value(value) for name, value in experiment.constants.items()}
    if experiment.times:
        rows["times"] = f"{len(experiment.times)}, up to {format_value(experiment.times[-1])}"
    rows["points"] = f"{math.prod(len(axis) for axis in experiment.axes):,}"
    sampling = experiment.sampling
    at_least = f"{sampling.start:,} to " if sampling.until else ""
    rows |= {"replicas": f"{at_least}{sampling.most:,}", "seed": str(experiment.seed)}
    return format_html_table(f"Experiment {experiment.name}", {name: text for name, text in rows.items() if text})


def _format_values(axis: Axis) -> str:
    labels = [axis.label(position).removeprefix(f"{axis.name}=") for position in range(len(axis))]
    return ", ".join(labels if len(labels) <= _MOST_VALUES else [*labels[:2], "...", labels[-1]])
