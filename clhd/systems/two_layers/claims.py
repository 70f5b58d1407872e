"""T3, T4, T5: what the runs say of specialisation, of the rank of a linear first layer, and of global modulation.

| claim | measured at the last time | holds |
|---|---|---|
| T3 | share of covered tokens, for each number of tokens and of hidden units | relu above, linear below a share, all |
| T4 | effective rank of a linear first layer, for each output dimension | all below a rank |
| T5 | rank correlation of passage times with dependence, in planted data | all below a correlation |

T3 and T5 are statements of the abstract of arXiv:2206.01342, in our form; T4 is remembered, and may not be the paper's.
The outcomes were known from a prototype when the thresholds were fixed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import xarray as xr

from clhd.claims.claim import Claim, Judgement
from clhd.claims.verdict import Estimate, above, all_hold, below
from clhd.sweep.results.summary_reader import Summary


def list_estimates(summary: Summary, output: str, among: int | None = None) -> Iterator[tuple[str, Estimate]]:
    """Yield each point of the grid, as text, with the mean of an output at the last time.

    The intervals hold together; `among` says how many there are, if they are not those of the grid alone.
    """
    data = summary.dataset[[f"{output}_mean", f"{output}_standard_error"]]
    yield from list_points(data.isel(time=-1) if "time" in data.dims else data, output, among)


def list_points(data: xr.Dataset, output: str, among: int | None) -> Iterator[tuple[str, Estimate]]:
    """Yield the points of a dataset that has the dims of the grid alone."""
    points = data.stack(point=list(data[f"{output}_mean"].dims)).transpose("point")
    names = [str(name) for name in data[f"{output}_mean"].dims]
    for k in range(points.sizes["point"]):
        point = points.isel(point=k)
        where = ", ".join(f"{name} = {point[name].item()}" for name in names)
        error = float(point[f"{output}_standard_error"])
        mean = float(point[f"{output}_mean"])
        yield where, Estimate.with_error(mean, error, among=among or points.sizes["point"])


def judge_specialisation(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    """Judge T3: relu covers most tokens, and linear units few, at every number of tokens and of hidden units."""
    data = summaries["specialisation"].dataset[["covered_mean", "covered_standard_error"]].isel(time=-1)
    count = data["covered_mean"].size
    relu = dict(list_points(data.sel(activation="relu", drop=True), "covered", count))
    linear = dict(list_points(data.sel(activation="linear", drop=True), "covered", count))
    verdicts = {
        where: all_hold(
            (above(relu[where], thresholds["least_covered"]), below(linear[where], thresholds["most_covered"]))
        )
        for where in relu
    }
    evidence = {
        "verdicts": {where: str(verdict) for where, verdict in verdicts.items()},
        "covered_by_relu": relu,
        "covered_by_linear": linear,
        "relu_minus_linear": {where: relu[where].value - linear[where].value for where in relu},
    }
    return Judgement(verdict=all_hold(verdicts.values()), evidence=evidence)


def judge_rank(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    """Judge T4: the effective rank is below a bound at every output dimension."""
    ranks = dict(list_estimates(summaries["ranks"], "rank"))
    return Judgement(
        verdict=all_hold(below(rank, thresholds["most_rank"]) for rank in ranks.values()), evidence={"rank": ranks}
    )


def judge_modulation(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    """Judge T5: in every network of the experiment, the more dependent locations pass first."""
    orders = dict(list_estimates(summaries["modulation"], "order_correlation"))
    verdicts = {where: below(order, thresholds["most_correlation"]) for where, order in orders.items()}
    evidence = {"verdicts": {where: str(v) for where, v in verdicts.items()}, "order_correlation": orders}
    return Judgement(verdict=all_hold(verdicts.values()), evidence=evidence)


SPECIALISATION = Claim(
    statement="In a network of two layers relu units specialise to single tokens, and linear units do not.",
    experiments={"specialisation": "share of tokens with a unit of their own, by activation, tokens and hidden units"},
    thresholds={
        "least_covered": "share of tokens that relu units must cover",
        "most_covered": "share of tokens that linear units may cover",
    },
    judge=judge_specialisation,
)

RANK = Claim(
    statement="The first layer of a linear network collapses to rank one.",
    experiments={"ranks": "effective rank of a linear first layer by output dimension"},
    thresholds={"most_rank": "effective rank that counts as one"},
    judge=judge_rank,
)

MODULATION = Claim(
    statement="Of equally frequent tokens, those at locations that depend more on the pattern are learned first.",
    experiments={"modulation": "order in which locations are learned, in planted data"},
    thresholds={"most_correlation": "rank correlation of passage time and dependence that counts as an order"},
    judge=judge_modulation,
)
