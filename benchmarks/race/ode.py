"""The second race: 1000 starts of the ODE to T = 50, on one core, to an error of 1e-8.

A competitor that integrates one start after the other is timed on some of them, spread evenly over all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.race.measure import Entry, FloatArray, load, time_interleaved
from benchmarks.race.ode_problem import MODEL, UNTIL, spread_starts
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.flow.ode import integrate_direct

PACKAGES = {"clhd": "ode_clhd", "scipy": "ode_scipy", "cyrk": "ode_cyrk", "diffrax": "ode_diffrax"}
STARTS = 1000
# Largest error of an order parameter that still counts as an answer: the tolerance of one step is 1e-8, and the errors
# of some hundred steps add up.
ALLOWED = 1e-6

Solver = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Competitor:
    """How to integrate starts of shape (start, 3), and whether all are given at once."""

    solve: Solver
    at_once: bool


def find_competitors() -> tuple[dict[str, Competitor], list[str]]:
    """Return all competitors by their names, and the packages that are absent."""
    found: dict[str, Competitor] = {}
    absent = []
    for package, name in PACKAGES.items():
        module = load(f"benchmarks.race.{name}")
        if module is None:
            absent.append(package)
            continue
        for kind in ("WHOLE", "BATCHED", "SINGLE"):
            solvers: Mapping[str, Solver] = getattr(module, kind, {})
            found |= {name: Competitor(solve, kind != "SINGLE") for name, solve in solvers.items()}
    return found, absent


def race(
    competitors: Mapping[str, Competitor], count: int, sample: int, rounds: int
) -> tuple[list[Entry], list[float]]:
    """Return the seconds for `count` starts, fastest first, and the largest error of each competitor."""
    starts = spread_starts(count)
    some = starts[:: max(count // sample, 1)]
    exact = solve_exactly(some)
    errors, ways = {}, {}
    for name, competitor in competitors.items():
        own = starts if competitor.at_once else some
        found = competitor.solve(own)  # compiles
        errors[name] = float(np.abs((found[:: max(count // sample, 1)] if competitor.at_once else found) - exact).max())
        ways[name] = partial(competitor.solve, own)
    best = time_interleaved(ways, rounds)
    entries = []
    for name, seconds in best.items():
        scale = 1.0 if competitors[name].at_once else count / len(some)
        entries.append(Entry(name, seconds * scale, "same" if errors[name] <= ALLOWED else "differs"))
    entries.sort(key=lambda entry: entry.seconds)
    return entries, [errors[entry.name] for entry in entries]


def solve_exactly(starts: FloatArray) -> FloatArray:
    """Return the ends by the direct right-hand side of clhd at a tolerance of 1e-12."""
    flow, times = Flow(MODEL), np.array([UNTIL])
    return np.array([integrate_direct(flow, start, times, rtol=1e-12, atol=1e-14)[0, :3] for start in starts])


def format_table(count: int, entries: list[Entry], errors: list[float]) -> str:
    """The table as Markdown."""
    ours = next(entry.seconds for entry in entries if entry.name == "clhd")
    lines = [f"| {count} starts to T = {UNTIL:g} | s | x clhd | largest error | answer |", "|---|---:|---:|---:|---|"]
    for entry, error in zip(entries, errors, strict=True):
        ratio = entry.seconds / ours
        lines.append(f"| {entry.name} | {entry.seconds:.3g} | {ratio:.3g} | {error:.1e} | {entry.verdict} |")
    return "\n".join(lines)
