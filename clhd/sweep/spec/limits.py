"""`check_table`, `describe_size`: refuse an experiment that asks for more points or runs than a sweep can hold.

| limit | what it bounds | when an excess is found |
|---|---|---|
| `MOST_POINTS` | points, by the values of the axes | before any value of a range is made |
| `MOST_ENTRIES` | entries of a store: replicas of points, or blocks of them | before any value of a range is made |
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from clhd.core.checks import parse_count
from clhd.errors import ClhdError, InputError
from clhd.sweep.spec.grid import count_values
from clhd.sweep.spec.refinement import MOST_ROUNDS
from clhd.sweep.spec.sampling import parse_sampling

# Each point is made and checked before anything runs: 4 million take some minutes and 2 GB. The status of each run
# stands in memory, with masks of what is wanted and what is needed: of 400 million entries 2 GB.
MOST_POINTS, MOST_ENTRIES = 4_000_000, 400_000_000


def check_table(table: Mapping[str, Any], block: int) -> None:
    """Raise ClhdError if an experiment asks for too many points or runs, before any value of a range is made.

    Parameters
    ----------
    table : mapping
        The content of the file. Other mistakes in it are reported later, all together.
    block : int
        Replicas of one block with ``keep: moments``.
    """
    axes, counts, replicas = table.get("axes"), {}, 0
    for name, entry in axes.items() if isinstance(axes, Mapping) else ():
        with suppress(ClhdError):
            counts[str(name)] = count_values(str(name), entry)
    refine = table.get("refine")
    if isinstance(refine, Mapping) and not refine.get("coarse"):
        with suppress(ClhdError, KeyError, TypeError):  # the mistake in these is reported later
            rounds = parse_count("rounds", refine["rounds"], minimum=0)
            for name in set(refine["along"]) & counts.keys() if rounds <= MOST_ROUNDS else ():
                counts[name] = (counts[name] - 1) * 2**rounds + 1
    with suppress(ClhdError):
        replicas = parse_sampling(table.get("replicas"), minimum=0).most
    has_moments = table.get("keep") == "moments"
    mistake = describe_size(counts, replicas, block if has_moments else 1)
    if mistake:
        instead = "" if has_moments or mistake.startswith("axes") else ", or keep: moments"
        raise InputError(f"{mistake}; give fewer, or split the experiment{instead}")


def describe_size(counts: Mapping[str, int], replicas: int, entry_size: int) -> str:
    """Return a message about too many points or runs of an experiment or store; empty if there are not too many.

    Parameters
    ----------
    counts : mapping of axis to number of values
    replicas : int
        0 without a simulation.
    entry_size : int
        Replicas of one entry of the store: 1, or those of a block with ``keep: moments``.
    """
    points = math.prod(counts.values())
    if points > MOST_POINTS:
        product = " x ".join(f"{_format(count)} of {name}" for name, count in counts.items())
        return f"axes: {_format(points)} points ({product}) are more than {MOST_POINTS}"
    entries = points * replicas // entry_size
    if entries > MOST_ENTRIES:
        what = f"{_format(entries)} {'runs' if entry_size == 1 else f'blocks of {entry_size} runs'}"
        return f"replicas = {_format(replicas)}: of {points} points, {what} are more than {MOST_ENTRIES}"
    return ""


def _format(count: int) -> str:
    return str(count) if count < 10**15 else f"about 10^{int(math.log10(count))}"
