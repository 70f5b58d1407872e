"""Flips bits in every file under results/: `clhd status --deep` and every reader of the file must notice each flip.

Of each file, bytes of every part are changed, one at a time: the first and the last ones, and others drawn at random.
A change is *noticed* if a stage is not complete, or a figure, the claims or the report has a fault. It is *used* if a
reader shows something else than before. Locks, markers of Snakemake and logs hold no results, and nobody reads them
for results.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clhd.errors import ClhdError
from clhd.report.write import compose_report
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.products import find_product_faults
from clhd.sweep.results.state import State, find_states
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.config import ConfigContent

_NOT_RESULTS = {".lock", ".writing", ".done", ".complete", ".log"}
_ENDS = 3  # bytes at each end of a file that are always changed


@dataclass
class Flips:
    """What was changed and noticed."""

    files: int = 0
    flips: int = 0
    unnoticed: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)


def list_files(results: Path) -> list[Path]:
    """Return the files that hold results."""
    files = (path for path in sorted(results.rglob("*")) if path.is_file())
    return [path for path in files if path.suffix not in _NOT_RESULTS and path.name not in _NOT_RESULTS]


def draw_places(length: int, count: int, draw: np.random.Generator) -> list[int]:
    """Return positions of bytes in a file: both ends, and others at random."""
    ends = {*range(min(_ENDS, length)), *range(max(0, length - _ENDS), length)}
    return sorted(ends | set(draw.integers(0, max(length, 1), count).tolist())) if length else []


def is_noticed(config: ConfigContent) -> bool:
    """Return True if `clhd status --deep` says that something is wrong."""
    for experiment in config.experiments.values():
        states = find_states(experiment, config.results, deep=True)
        if any(found.state != State.COMPLETE for found in states.values()):
            return True
    return bool(find_product_faults(config, config.results))


def show(config: ConfigContent, *, noticed: bool) -> dict[str, str]:
    """Return what readers are shown, by who shows it; a refusal shows nothing. `noticed` is what `is_noticed` says."""
    shown = {}
    for name in config.experiments:
        with suppress(ClhdError):
            for stage, part in open_results(config.results / name).children.items():
                data = part.to_dataset().load()
                shown[f"{name}.{stage}"] = repr({key: data[key].values.tolist() for key in map(str, data.variables)})
        with suppress(ClhdError):
            shown[f"{name}, summary"] = repr(read_summary(config.results / name / "summary.zarr").dataset.to_dict())
    with suppress(ClhdError):
        if not noticed:  # else the page says so
            shown["report"] = compose_report(config, config.results).partition("<main")[2]
    return shown


def flip_bits(config: ConfigContent, count: int, seed: int, every: int = 1) -> Flips:
    """Flip one bit at a time, at least one in every file, and put it back; return what was not noticed.

    Parameters
    ----------
    config : ConfigContent
        All of its results exist, are complete and up to date.
    count : int
        Number of flips; at least one for each file.
    seed : int
    every : int
        Only in every so many-th file.
    """
    draw, files = np.random.default_rng(seed), list_files(config.results)[::every]
    per_file = max(1, count // len(files))
    found, right = Flips(files=len(files)), show(config, noticed=False)
    for path in files:
        content = path.read_bytes()
        for place in draw.permutation(draw_places(len(content), per_file, draw))[:per_file].tolist():
            bit = int(draw.integers(8))
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            found.flips += 1
            where = f"{path}: byte {place} of {len(content)}, bit {bit}"
            noticed = is_noticed(config)
            if not noticed:
                found.unnoticed.append(where)
            if any(text != right[reader] for reader, text in show(config, noticed=noticed).items()):
                found.used.append(where)
        path.write_bytes(content)
    return found
