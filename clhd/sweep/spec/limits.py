"""Limits of what an experiment may ask for: beyond them a run would fill memory or disk before it fails.

| limit | of | found |
|---|---|---|
| `MOST_POINTS` | points, by the values of the axes | before any value is made |
| `MOST_ENTRIES` | entries of a store: replicas of points, or blocks of them | before any value is made |
| `MOST_BYTES_AT_ONCE` | bytes of one entry | before any point is made |
| `MOST_CHUNKS` | chunks of a store | by their bytes before any point is made, by the costs before a store is |
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clhd.core.checks import parse_count
from clhd.errors import ClhdError
from clhd.sweep.spec.axis import count_values
from clhd.sweep.spec.errors import ExperimentError

if TYPE_CHECKING:
    from clhd.sweep.plan.stage import Stage

# Each point is made and checked before anything runs: 4 million take some minutes and 2 GB. The status of each run
# stands in memory, with masks of what is wanted and what is needed: of 400 million entries 2 GB.
MOST_POINTS, MOST_ENTRIES = 4_000_000, 400_000_000
# What a worker holds at once, and of which it makes some copies: one entry, which cannot be divided, or a block.
MOST_BYTES_AT_ONCE = 256 * 2**20
# A chunk is a file for each variable; with so many chunks, reading the status of all takes ten minutes.
MOST_CHUNKS = 1_000_000
# At most about this is kept in one chunk of a store.
CHUNK_BYTES = 32 * 2**20


def check_table(table: Mapping[str, Any], block: int) -> None:
    """Raise ClhdError if an experiment asks for too much; of what a file says, before any value of a range is made.

    Parameters
    ----------
    table : mapping
        As in the file. What is wrong in it otherwise is left to be found with all other mistakes.
    block : int
        Replicas of which moments are kept, where moments are kept.
    """
    axes, counts, replicas = table.get("axes"), {}, 0
    for name, entry in axes.items() if isinstance(axes, Mapping) else ():
        with suppress(ClhdError):
            counts[str(name)] = count_values(str(name), entry)
    with suppress(ClhdError):
        replicas = parse_count("replicas", table.get("replicas"), minimum=0)
    has_moments = table.get("keep") == "moments"
    mistake = describe_size(counts, replicas, block if has_moments else 1)
    if mistake:
        instead = "" if has_moments or mistake.startswith("axes") else ", or keep: moments"
        raise ClhdError(f"{mistake}; give fewer, or split the experiment{instead}")


def describe_size(counts: Mapping[str, int], replicas: int, entry_size: int) -> str:
    """What of an experiment, or of a store, is too much; empty if nothing is.

    Parameters
    ----------
    counts : mapping of axis to number of values
    replicas : int
        0 without a simulation.
    entry_size : int
        Replicas of one entry of the store: 1, or those of a block of which the moments are kept.
    """
    points = math.prod(counts.values())
    if points > MOST_POINTS:
        product = " x ".join(f"{count} of {name}" for name, count in counts.items())
        return f"axes: {_format(points)} points ({product}) are more than {MOST_POINTS}"
    entries = points * replicas // entry_size
    if entries > MOST_ENTRIES:
        what = f"{_format(entries)} {'runs' if entry_size == 1 else f'blocks of {entry_size} runs'}"
        return f"replicas = {_format(replicas)}: of {points} points, {what} are more than {MOST_ENTRIES}"
    return ""


def _format(count: int) -> str:
    return str(count) if count < 10**15 else f"about 10^{int(math.log10(count))}"


def check_bytes(stage: "Stage") -> None:
    """Raise ExperimentError if results are larger than a store can hold, whatever their computing costs."""
    size = stage.entry_bytes
    if size > MOST_BYTES_AT_ONCE:
        dims = " x ".join(f"{count} of {name}" for name, count in stage.inner_dims.items())
        what = (
            f"{stage.entry_size} replicas"
            if stage.entry_size > 1
            else "a replica"
            if stage.is_simulation
            else "a point"
        )
        instead = ", or keep: replicas" if stage.entry_size > 1 else ""
        raise ExperimentError(
            f"times: the {stage.kind} of {what} is {_megabytes(size)} ({dims}), more than "
            f"{_megabytes(MOST_BYTES_AT_ONCE)}; give fewer of these{instead}"
        )
    check_chunks(stage, math.prod(stage.shape) // max(1, CHUNK_BYTES // size))


def check_chunks(stage: "Stage", count: int) -> None:
    """Raise ExperimentError if a store would have too many chunks."""
    if count > MOST_CHUNKS:
        results = f"{math.prod(stage.shape)} results of {_megabytes(stage.entry_bytes)}"
        raise ExperimentError(
            f"axes: the {stage.kind} gives {results}, in {count} files of each variable, more than {MOST_CHUNKS}; "
            "give fewer values, replicas or times, or split the experiment"
        )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"
