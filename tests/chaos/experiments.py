"""The experiments that are killed: small, in many blocks; and what an undisturbed run makes of them.

`processes` is predicted to take long enough that Dask starts worker processes, `threads` is not. Each has larger forms:
`wider`, with another value on an axis, `grown`, also with half as many replicas again, in other chunks, and `longer`,
whose new values follow the old ones, so that the chunks of these stay as they are and keep their files.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

NAME = "chaos"
_TEXT = """\
system: contrastive
figure: none
constants:
  weight_decay: 0.6
  initial_cosine_similarity: 0.5
axes:
  second_moment: {second_moments}
  dimension: {{start: {start}, stop: {stop}, count: {count}}}
times: [0, 5, 20]
replicas: {replicas}
seed: 1
"""
_FIRST_DIMENSION = 400
# How many dimensions the base form has, and how far apart they are.
_DIMENSIONS = {"processes": (24, 60), "threads": (12, 120)}
# Second moments, replicas, and how many times as many dimensions.
_FORMS = {
    "base": ([0.5, 1.0, 1.5], 256, 1.0),
    "wider": ([0.5, 0.75, 1.0, 1.5], 256, 1.0),
    "grown": ([0.5, 0.75, 1.0, 1.5], 384, 1.0),
    "longer": ([0.5, 1.0, 1.5], 256, 1.5),
}
FORMS = ("base", "grown", "longer")  # those of the campaign


def write_experiment(folder: Path, size: str, form: str) -> None:
    """Write, or edit as a user would, the experiment of a folder and the list that names it."""
    second_moments, replicas, times_as_many = _FORMS[form]
    dimensions, step = _DIMENSIONS[size]
    count = int(dimensions * times_as_many)
    dimension = {"start": _FIRST_DIMENSION, "stop": _FIRST_DIMENSION + (count - 1) * step, "count": count}
    text = _TEXT.format(second_moments=second_moments, replicas=replicas, **dimension)
    for path, content in ((folder / f"{NAME}.yaml", text), (folder / "config.yaml", f"experiments: [{NAME}.yaml]\n")):
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


@dataclass(frozen=True)
class Span:
    """When something is there in a run, s since its start."""

    first: float
    last: float


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: its folder, how long it took, and when the moments of interest came."""

    folder: Path
    seconds: float
    spans: dict[str, Span]

    def rescaled(self, seconds: float) -> "Undisturbed":
        """The same on a machine that is faster or slower by now."""
        share = seconds / self.seconds
        spans = {moment: Span(share * span.first, share * span.last) for moment, span in self.spans.items()}
        return Undisturbed(self.folder, seconds, spans)

    def copy_to(self, folder: Path) -> None:
        """Begin a folder as if this run had been done in it."""
        shutil.copytree(self.folder, folder)
