"""X1 to X4: the closed form, the phase diagram, three mechanisms, and whether they act in the kernel phase.

| claim | whose statement | measured | holds |
|---|---|---|---|
| X1 | ours | largest distance of the response from the closed form | of first order in the step, and of its size |
| X2 | abstract; formula: ours | slope of lg abs(K_inf/K_0 - 1) in lg d | near the predicted exponent |
| X3 | abstract; rule: ours | intervals on which abs(zeta) or abs(u) abs(w) move against abs(f); drift | none; order 1 |
| X4 | abstract | gain of abs(zeta) and of abs(u) abs(w), where the kernel freezes | both small, for all layers |

"Abstract" is that of arXiv:2401.07085; "ours" is this project. The drift is that of c^2 and delta, which gradient flow
conserves. Starts that do not move (the response is b/a or stays 0) say nothing of an order, and are left out. All
numbers of X1 and X3 are exact: their experiment has fixed starts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Part, Summaries, Thresholds
from clhd.claims.verdict import Estimate, Verdict, all_hold, below, within
from clhd.core.lazy import xr

_NOTHING = 1e-12  # relative to the response, or to the invariants: rounding


def find_orders(error: xr.DataArray) -> xr.DataArray:
    """Return the order in the step of an error, between the two smallest steps; NaN where there is no error."""
    ordered = error.sortby("step_size")
    steps = ordered["step_size"].values
    fine, coarse = ordered.isel(step_size=0, drop=True), ordered.isel(step_size=1, drop=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        order: xr.DataArray = np.log(coarse / fine) / np.log(steps[1] / steps[0])
    return order.where(fine > _NOTHING)


def measure_error(dataset: xr.Dataset) -> xr.DataArray:
    """Return the largest distance of the response from its closed form, relative to the larger end of the response."""
    distance = dataset["response_deviation_largest"].max("time", skipna=False)
    error: xr.DataArray = distance / abs(dataset["response_theory"]).max("time", skipna=False).clip(min=_NOTHING)
    return error


def _judge_orders(orders: xr.DataArray, allowed: tuple[float, float]) -> Verdict:
    """The verdict on all orders that are known."""
    return all_hold(within(order, allowed) for order in orders.values[np.isfinite(orders.values)])


def judge_closed_form(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge X1 from gradient descent at several steps."""
    error = measure_error(summaries["steps"].dataset)
    orders = find_orders(error)
    finest = error.sortby("step_size").isel(step_size=0)
    largest = Estimate.exact(float((finest / finest["step_size"]).max(skipna=False)))
    verdicts = {
        "order": _judge_orders(orders, thresholds["order_range"]),
        "size": below(largest, thresholds["largest_error_per_step"]),
    }
    evidence = {
        "orders": {"least": float(orders.min()), "largest": float(orders.max()), "starts": int(orders.count())},
        "largest_error_per_step": largest,
        "initial_alignment": error["initial_alignment"].values,
        "cross_moment": error["cross_moment"].values,
        "error_at_smallest_step": finest.transpose("initial_alignment", "cross_moment", ...).values,
    }
    return Judgement.of_all(verdicts, evidence)


def measure_exponents(dataset: xr.Dataset) -> list[tuple[float, float, Estimate]]:
    """Return (phase index, predicted exponent, measured exponent) of each scaling, all intervals together at 95 %.

    The slope runs from the smallest width to the largest.
    """
    ordered = dataset.sortby("network_width").transpose("scaling", "network_width", ...)
    mean, error = (ordered[f"log_kernel_change_{name}"].values for name in ("mean", "standard_error"))
    widths = ordered["network_width"].values
    decades = float(np.log10(widths[-1] / widths[0]))
    measured = Estimate.of_all((mean[:, -1] - mean[:, 0]) / decades, np.hypot(error[:, 0], error[:, -1]) / decades)
    theory = (ordered[f"{name}_theory"].values[:, 0].tolist() for name in ("phase_index", "kernel_exponent"))
    return list(zip(*theory, measured, strict=True))


def judge_phases(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge X2 from random starts at several widths."""
    found = measure_exponents(summaries["phases"].dataset)
    tolerance = thresholds["exponent_tolerance"]
    verdicts = [within(measured, (predicted - tolerance, predicted + tolerance)) for _, predicted, measured in found]
    rows = [
        {"phase_index": index, "predicted_exponent": predicted, "measured_exponent": measured, "verdict": str(verdict)}
        for (index, predicted, measured), verdict in zip(found, verdicts, strict=True)
    ]
    return Judgement(verdict=all_hold(verdicts), evidence={"scalings": rows})


def judge_mechanisms(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge X3 from gradient descent at several steps."""
    dataset = summaries["steps"].dataset
    orders = find_orders(dataset["invariant_drift_mean"])
    breaks = Estimate.exact(float(dataset["rule_breaks_mean"].sum(skipna=False)))
    verdicts = {"rule": below(breaks, 0.0), "conserved": _judge_orders(orders, thresholds["order_range"])}
    evidence = {
        "intervals_that_break_the_rule": breaks,
        "intervals": int(dataset["rule_breaks_mean"].size * (dataset.sizes["time"] - 1)),
        "orders_of_drift": {"least": float(orders.min()), "largest": float(orders.max())},
        "largest_drift_at_smallest_step": float(dataset["invariant_drift_mean"].sortby("step_size")[..., 0].max()),
    }
    return Judgement.of_all(verdicts, evidence)


def judge_kernel_phase(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge X4 from the largest width, over the scalings whose kernel freezes by theory and by simulation."""
    dataset = summaries["phases"].dataset
    widest = dataset.sel(network_width=dataset["network_width"].max())
    is_small = widest["log_kernel_change_mean"] <= np.log10(thresholds["frozen_kernel"])
    frozen = widest.isel(scaling=np.flatnonzero((widest["phase_index_theory"] < 0) & is_small))
    count = frozen.sizes["scaling"]
    rows = [_measure_mechanisms(frozen.isel(scaling=k), count) for k in range(count)]
    parts = []
    for name, is_balanced in (("balanced", True), ("unbalanced", False)):
        found = [row for row in rows if (abs(row["alignment_index"] - row["phase_index"]) < _NOTHING) == is_balanced]
        moved = [row[key] for row in found for key in ("alignment_gained", "norms_gained")]
        verdict = all_hold(within(move, (-thresholds["least_move"], thresholds["least_move"])) for move in moved)
        statement = f"With {name} layers, neither alignment nor norms move where the tangent kernel freezes."
        parts.append(Part(name, statement, verdict, {"scalings": found}))
    evidence = {"network_width": int(widest["network_width"]), "scalings_with_frozen_kernel": count}
    return Judgement.of_parts(parts, evidence)


def _measure_mechanisms(point: xr.Dataset, scalings: int) -> dict[str, Any]:
    """How far alignment and norms have moved at the last time; intervals of all scalings hold together."""
    (first, *_, last), (*_, error) = (point[f"alignment_{name}"].values for name in ("mean", "standard_error"))
    norms, errors = (point[f"norm_product_{name}"].values for name in ("mean", "standard_error"))
    gained, spread = norms[-1] / norms[0] - 1, np.hypot(errors[-1] / norms[-1], errors[0] / norms[0])
    return {
        "phase_index": float(point["phase_index_theory"]),
        "alignment_index": float(point["alignment_index_theory"]),
        "alignment_gained": Estimate.with_error(abs(last) - abs(first), error, among=2 * scalings),
        "norms_gained": Estimate.with_error(gained, (1 + gained) * spread, among=2 * scalings),
    }


_STEPS = {"steps": "gradient descent and closed form from fixed starts, by step"}
_PHASES = {"phases": "random starts by width, for scalings on both sides of the boundary"}
_ORDERS = {"order_range": "orders in the step that count as first order"}

X1 = Claim(
    statement="The closed form is the limit of gradient descent at small steps, also where a mode, the target or both "
    "are 0.",
    experiments=_STEPS,
    thresholds=_ORDERS
    | {"largest_error_per_step": "largest distance of the response from the closed form, relative to it, per step"},
    judge=judge_closed_form,
)
X2 = Claim(
    statement="The exponents of output, learning rates and initial weights decide how the tangent kernel's change "
    "depends on the width (that there is a kernel and a feature phase: the abstract; the formula: ours).",
    experiments=_PHASES,
    thresholds={"exponent_tolerance": "distance from the predicted exponent that counts as agreement"},
    judge=judge_phases,
)
X3 = Claim(
    statement="Layers align and grow while the response moves away from 0, and disalign and shrink while it moves "
    "towards 0 (that there are three mechanisms: the abstract; this rule: ours).",
    experiments=_STEPS,
    thresholds=_ORDERS,
    judge=judge_mechanisms,
)
X4 = Claim(
    statement="In the kernel phase of the scalings that we ran, none of the three mechanisms of feature learning is "
    "present (the abstract, in our words, names no exception).",
    experiments=_PHASES,
    thresholds={
        "frozen_kernel": "relative change of the tangent kernel at the largest width, below which it counts as frozen",
        "least_move": "gain of alignment, or relative gain of norms, that counts as a mechanism",
    },
    judge=judge_kernel_phase,
)
