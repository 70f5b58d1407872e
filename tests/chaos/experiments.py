"""The experiments of the kill campaign: small, in many blocks; and the results of an undisturbed run.

`processes` is predicted to take long enough that Dask starts worker processes, `threads` is not; the others are the
further systems, one experiment each. Each has larger forms: `wider`, with another value on an axis, `grown`, also with
half as many replicas again, in other chunks, and `longer`, whose new values follow the old ones, so that the chunks of
these stay as they are and keep their files.
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
_SYSTEM_TEXT = """\
system: {system}
figure: none
constants: {{{constants}}}
axes: {{{axis}: {values}}}
{times}replicas: {replicas}
seed: 1
"""
# An axis along which the cost changes, which makes many blocks; its first value and step; constants; times.
_SYSTEMS = {
    "one_layer": ("ascent_steps", 10_000, 1000, "pattern_count: 4, pattern_overlap: 0.5, layer_units: 500", ""),
    "two_layers": ("output_dimension", 8, 2, "token_law: planted", "times: [0, 200]\n"),
    "latent_variable": ("network_width", 10_000, 1000, "", "times: [0, 10, 200]\n"),
    "saddle": ("descent_steps", 6000, 600, "dimension: 8", ""),
    "attractors": (
        "cloud_size",
        600,
        60,
        "features: 2, second_moment: 1.5, learning_rate: 0.3, weight_decay: 0.6, dimension: 200",
        "times: [10, 40]\n",
    ),
}
SYSTEMS = tuple(_SYSTEMS)
_SYSTEM_VALUES, _SYSTEM_REPLICAS = 12, 4  # of the base form
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
    text = _write_system(size, form) if size in _SYSTEMS else _write_contrastive(size, form)
    for path, content in ((folder / f"{NAME}.yaml", text), (folder / "config.yaml", f"experiments: [{NAME}.yaml]\n")):
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")


def _write_contrastive(size: str, form: str) -> str:
    second_moments, replicas, times_as_many = _FORMS[form]
    dimensions, step = _DIMENSIONS[size]
    count = int(dimensions * times_as_many)
    dimension = {"start": _FIRST_DIMENSION, "stop": _FIRST_DIMENSION + (count - 1) * step, "count": count}
    return _TEXT.format(second_moments=second_moments, replicas=replicas, **dimension)


def _write_system(system: str, form: str) -> str:
    axis, first, step, constants, times = _SYSTEMS[system]
    count = _SYSTEM_VALUES * 3 // 2 if form == "longer" else _SYSTEM_VALUES
    values = [first + k * step for k in range(count)]
    if form in ("wider", "grown"):
        values.insert(1, first + step // 2)
    replicas = _SYSTEM_REPLICAS * 3 // 2 if form == "grown" else _SYSTEM_REPLICAS
    return _SYSTEM_TEXT.format(
        system=system, constants=constants, axis=axis, values=values, times=times, replicas=replicas
    )


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
