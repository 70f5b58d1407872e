"""The arithmetic floor of an engine: the random numbers and the tanh of one step, at the speed of our kernels.

With these kernels a step takes at least this long; what an engine takes beyond it is its own arithmetic and its memory.
"""

import numpy as np

from benchmarks.projected_engine import make_numbers
from benchmarks.race.measure import time_interleaved
from clhd.core.streams import aligned_zeros, gamma_constants, seed_lanes
from clhd.systems.contrastive.simulation.lockstep import LANES

_STEPS = 2000
# For p = 2, three views and two samples: pairs of normal numbers, uniform numbers for latents, chi-squares, tanh.
PROJECTED = {"pairs": 3, "uniforms": 4, "chi_squares": 1, "tanh": 3}


def measure_parts(rounds: int) -> dict[str, float]:
    """Return seconds: of one normal number, uniform number, chi-square and tanh, and of the numbers of one step."""
    state, work = seed_lanes("floor", LANES), aligned_zeros((8, LANES))
    gamma_constants(np.full(LANES, 997.0), work[3], work[4])
    amounts = {
        "normal": (8, 0, 0, 0),
        "uniform": (0, 16, 0, 0),
        "chi_square": (0, 0, 8, 0),
        "tanh": (0, 0, 0, 16),
        "projected": tuple(PROJECTED.values()),
    }
    parts = {"normal": 16, "uniform": 16, "chi_square": 8, "tanh": 16, "projected": 1}
    ways = {name: lambda amount=amount: make_numbers(_STEPS, *amount, state, work) for name, amount in amounts.items()}
    for run in ways.values():
        run()  # compiles
    best = time_interleaved(ways, rounds)
    return {name: seconds / (_STEPS * LANES * parts[name]) for name, seconds in best.items()}


def format_table(parts: dict[str, float], dimensions: tuple[int, ...], measured: dict[tuple[str, int], float]) -> str:
    """The table as Markdown: what a step needs, its floor, what it takes.

    Parameters
    ----------
    parts : dict
        From `measure_parts`.
    dimensions : tuple of int
    measured : dict
        Seconds of one step of one replica, by engine and dimension.
    """
    lines = [
        "| engine, p = 2 | n | normal numbers | tanh | floor, us | measured, us | x floor |",
        "|---|" + "---:|" * 6,
    ]
    for engine, views in (("projected", 0), ("conditioned", 1), ("full", 3)):
        for n in dimensions:
            normals = 2 * PROJECTED["pairs"] if engine == "projected" else views * n
            floor = parts["projected"] if engine == "projected" else normals * parts["normal"]
            seconds = measured[f"clhd, {engine}", n]
            lines.append(
                f"| {engine} | {n} | {normals} | 3 | {1e6 * floor:.3g} | {1e6 * seconds:.3g} | {seconds / floor:.2f} |"
            )
    each = ", ".join(f"{name.replace('_', '-')} {1e9 * parts[name]:.2f}" for name in parts if name != "projected")
    return "\n".join([*lines, "", f"Nanoseconds of one number of a stream in lockstep: {each}."])
