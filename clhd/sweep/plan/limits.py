"""`check_bytes`, `check_chunks`: refuse a stage whose results are larger than a store can hold.

| limit | what it bounds | when an excess is found |
|---|---|---|
| `MOST_BYTES_AT_ONCE` | bytes of one entry of a store | before any point is made |
| `MOST_CHUNKS` | chunks of a store | by their bytes before any point is made, by the costs before a store is |
"""

import math

from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.errors import ExperimentError

# The most bytes that a worker computes at once (it makes some copies): one entry, which cannot be divided, or a block.
MOST_BYTES_AT_ONCE = 256 * 2**20
# A chunk is a file for each variable; with so many chunks, reading the status of all takes ten minutes.
MOST_CHUNKS = 1_000_000
# The most bytes of one chunk.
CHUNK_BYTES = 32 * 2**20


def check_bytes(stage: Stage) -> None:
    """Raise ExperimentError if the results of a stage are larger than a store can hold."""
    size = stage.entry_bytes
    if size > MOST_BYTES_AT_ONCE:
        dims = " x ".join(f"{count} of {name}" for name, count in stage.inner_dims.items())
        single = "a replica" if stage.has_replicas else "a point"
        what = f"{stage.entry_size} replicas" if stage.entry_size > 1 else single
        instead = ", or keep: replicas" if stage.entry_size > 1 else ""
        raise ExperimentError(
            f"times: the {stage.kind} of {what} is {_megabytes(size)} ({dims}), more than "
            f"{_megabytes(MOST_BYTES_AT_ONCE)}; give fewer of these{instead}"
        )
    check_chunks(stage, math.prod(stage.shape) // max(1, CHUNK_BYTES // size))


def check_chunks(stage: Stage, count: int) -> None:
    """Raise ExperimentError if a store would have too many chunks."""
    if count > MOST_CHUNKS:
        results = f"{math.prod(stage.shape)} results of {_megabytes(stage.entry_bytes)}"
        raise ExperimentError(
            f"axes: the {stage.kind} gives {results}, in {count} files of each variable, more than {MOST_CHUNKS}; "
            "give fewer values, replicas or times, or split the experiment"
        )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:.3g} MiB"
