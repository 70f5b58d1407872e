"""The first race: contrastive SGD with p = 2, 256 replicas, T = 10, at n = 1000 and 10 000.

Replicas are independent, so every competitor has one core: with more cores each runs on each. The time is that of one
step of one replica; a competitor that treats all replicas at once gets the batch that is fastest for it.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from benchmarks.race.measure import Entry, FloatArray, compare_samples, load, time_interleaved

REPLICAS, TIME = 256, 10.0
CHECK_DIMENSION, CHECK_SEED = 200, 7
REFERENCE = "clhd, full"
BATCHES = (4, 32, 256)
# The packages, and the modules with their competitors.
PACKAGES = {"numpy": "sgd_numpy", "numba": "sgd_numba", "torch": "sgd_torch", "jax": "sgd_jax", "clhd": "sgd_clhd"}


class Simulation(Protocol):
    """Some replicas; all competitors have this shape."""

    def advance(self, steps: int) -> None: ...

    def cosine_similarity(self) -> FloatArray: ...


Maker = Callable[[int, int, int], Simulation]


@dataclass(frozen=True)
class Competitor:
    """How to make a simulation of (n, replicas, seed), and the numbers of replicas to try."""

    make: Maker
    batches: tuple[int, ...]


def find_competitors() -> tuple[dict[str, Competitor], list[str]]:
    """Return all competitors by their names, and the packages that are absent."""
    found: dict[str, Competitor] = {}
    absent = []
    for package, name in PACKAGES.items():
        module = load(f"benchmarks.race.{name}")
        if module is None:
            absent.append(package)
            continue
        for kind, batches in (("WHOLE", (REPLICAS,)), ("BATCHED", BATCHES), ("SINGLE", (1,))):
            makers: Mapping[str, Maker] = getattr(module, kind, {})
            found |= {name: Competitor(make, batches) for name, make in makers.items()}
    return found, absent


def check(competitors: Mapping[str, Competitor], dimension: int, replicas: int, until: float) -> dict[str, str]:
    """Return for each competitor how its cosine similarities at the end compare with the full engine's."""
    ends = {}
    for seed, (name, competitor) in enumerate(competitors.items()):
        simulation = competitor.make(dimension, replicas, CHECK_SEED + seed)
        simulation.advance(round(until * dimension))
        ends[name] = simulation.cosine_similarity()
    return {name: compare_samples(end, ends[REFERENCE]) for name, end in ends.items()}


def race(
    competitors: Mapping[str, Competitor], verdicts: Mapping[str, str], n: int, seconds: float, rounds: int
) -> list[Entry]:
    """Return the times at dimension n, fastest first; runs of at least about `seconds` seconds."""
    ways: dict[str, Callable[[], object]] = {}
    units, names = {}, {}
    for name, competitor in competitors.items():
        if verdicts[name] != "same":
            continue
        batch, cost = min((_try(competitor.make, n, batch) for batch in competitor.batches), key=lambda pair: pair[1])
        steps = max(math.ceil(seconds / (cost * batch)), 1)
        ways[name] = partial(competitor.make(n, batch, 0).advance, steps)
        units[name] = steps * batch
        names[name] = name if competitor.batches == (1,) else f"{name}, {batch} at once"
    best = time_interleaved(ways, rounds)
    raced = [Entry(names[name], best[name] / units[name], "same") for name in ways]
    wrong = [Entry(name, verdict=verdict) for name, verdict in verdicts.items() if verdict != "same"]
    return sorted(raced, key=lambda entry: entry.seconds) + wrong


def _try(make: Maker, n: int, batch: int) -> tuple[int, float]:
    """Return the batch, and about how many seconds a step of one of its replicas takes."""
    simulation = make(n, batch, 0)
    simulation.advance(2)  # compiles
    best = math.inf
    for steps in (4, 4, 16):
        begin = time.perf_counter()
        simulation.advance(steps)
        best = min(best, (time.perf_counter() - begin) / (steps * batch))
    return batch, best


def format_table(dimensions: Sequence[int], entries: Sequence[Sequence[Entry]]) -> str:
    """The table as Markdown, ordered by the first dimension."""
    head = "".join(f" n = {n}, us | x projected | x conditioned | core-hours |" for n in dimensions)
    lines = [f"| one step of one replica |{head} answer |", "|---|" + "---:|" * 4 * len(dimensions) + "---|"]
    columns = [{_plain(entry.name): entry for entry in column} for column in entries]
    for name, first in columns[0].items():
        cells = []
        for n, column in zip(dimensions, columns, strict=True):
            seconds, ours = column[name].seconds, column
            hours = seconds * n * TIME * REPLICAS / 3600
            ratios = [seconds / ours[other].seconds for other in ("clhd, projected", "clhd, conditioned")]
            cells += [f"{1e6 * seconds:.3g}", *(f"{ratio:.3g}" for ratio in ratios), f"{hours:.2g}"]
        labels = [column[name].name for column in columns]
        batches = dict.fromkeys(label.removeprefix(f"{name}, ").removesuffix(" at once") for label in labels)
        label = name if labels[0] == name else f"{name}, {' / '.join(batches)} at once"
        lines.append(f"| {label} | {' | '.join(cells)} | {first.verdict} |")
    return "\n".join(lines)


def _plain(name: str) -> str:
    """The name without its batch."""
    return name.rpartition(", ")[0] if name.endswith(" at once") else name
