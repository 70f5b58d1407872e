"""The arithmetic floor of an engine: the random numbers and the tanh of one step, at the speed of our kernels.

With these kernels a step takes at least this long; what an engine takes beyond it is its own arithmetic and its memory.
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.race.measure import FloatArray, time_interleaved
from clhd.core.kernels import kernel
from clhd.core.streams import (
    aligned_zeros,
    fill_normal_pairs,
    fill_signs,
    fill_six_normals,
    gamma_constants,
    seed_lanes,
    transform_to_chi_squares,
)
from clhd.systems.contrastive.model.activations import TANH, activate
from clhd.systems.contrastive.simulation.lockstep import LANES

_STEPS = 2000
_NORMALS, _SIGNS, _TANH = 6, 4, 3  # of a step of the projected chain, p = 2, three views of two samples


@kernel
def make_numbers(
    steps: int, pairs: int, sixes: int, signs: int, outputs: int, state: NDArray[np.uint64], work: FloatArray
) -> None:
    """Make pairs and sixes of normal numbers, of each six a chi-square, and signs and tanh, `steps` times."""
    for _ in range(steps):
        for _ in range(pairs):
            fill_normal_pairs(state, work[0], work[1])
        for _ in range(sixes):
            fill_six_normals(state, work[:6], work[6], work[7])
            transform_to_chi_squares(state, work[0], work[8], work[9], work[6], work[10])
        for k in range(signs):
            fill_signs(work[7], k, work[8], work[11])
        for _ in range(outputs):
            activate(TANH, work[12, :0], work[0], work[12], work[13])


def measure_parts(rounds: int) -> dict[str, float]:
    """Return seconds: of one normal number from a pair, of one tanh, and of all numbers of a step of the chain."""
    state, work = seed_lanes("floor", LANES), aligned_zeros((14, LANES))
    gamma_constants(np.full(LANES, 997.0), work[8], work[9])
    amounts = {"normal": (8, 0, 0, 0), "tanh": (0, 0, 0, 16), "projected": (0, _NORMALS // 6, _SIGNS, _TANH)}
    parts = {"normal": 16, "tanh": 16, "projected": 1}
    ways = {name: partial(make_numbers, _STEPS, *amount, state, work) for name, amount in amounts.items()}
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
            normals = _NORMALS if engine == "projected" else views * n
            floor = parts["projected"] if engine == "projected" else normals * parts["normal"]
            seconds = measured[f"clhd, {engine}", n]
            lines.append(
                f"| {engine} | {n} | {normals} | {_TANH} | {1e6 * floor:.3g} | {1e6 * seconds:.3g} "
                f"| {seconds / floor:.2f} |"
            )
    normal, tanh = 1e9 * parts["normal"], 1e9 * parts["tanh"]
    note = f"A normal number takes {normal:.2f} ns in lockstep, a tanh {tanh:.2f} ns."
    return "\n".join([*lines, "", note])
