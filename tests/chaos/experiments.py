"""The experiments that are killed: small, in many blocks; and what an undisturbed run makes of them.

`processes` is predicted to take long enough that Dask starts worker processes, `threads` is not. Each has larger forms:
`wider`, with another value on an axis, and `grown`, also with half as many replicas again, in other chunks.
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
  dimension: {{start: 400, stop: 1780, count: {dimensions}}}
times: [0, 5, 20]
replicas: {replicas}
seed: 1
"""
_DIMENSIONS = {"processes": 24, "threads": 12}
_FORMS = {
    "base": ([0.5, 1.0, 1.5], 256),
    "wider": ([0.5, 0.75, 1.0, 1.5], 256),
    "grown": ([0.5, 0.75, 1.0, 1.5], 384),
}


def write_experiment(folder: Path, size: str, form: str) -> None:
    """Write, or edit as a user would, the experiment of a folder and the list that names it."""
    second_moments, replicas = _FORMS[form]
    text = _TEXT.format(second_moments=second_moments, dimensions=_DIMENSIONS[size], replicas=replicas)
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
