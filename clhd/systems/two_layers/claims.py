"""T3, T4, T5: what the runs say of specialisation, of the rank of a linear first layer, and of global modulation.

| claim | measured at the last time | holds |
|---|---|---|
| T3 | share of covered tokens, for each number of tokens and of hidden units | relu above, linear below a share, all |
| T4 | effective rank of a linear first layer, for each output dimension | all below a rank |
| T5 | rank correlation of passage times with dependence, in planted data | all below a correlation |

T3 and T5 are statements of the abstract of arXiv:2206.01342, in our form; T4 is remembered, and may not be the paper's.
The outcomes were known from a prototype when the thresholds were fixed.
"""

from __future__ import annotations

from clhd.claims.claim import Claim, Judgement, Summaries, Thresholds
from clhd.claims.measure import list_means
from clhd.claims.verdict import above, all_hold, below
from clhd.core.lazy import xr


def judge_specialisation(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge T3: relu covers most tokens, and linear units few, at every number of tokens and of hidden units."""
    names = ["covered_mean", "covered_standard_error", "replica_count"]
    last = summaries["specialisation"].dataset[names].isel(time=-1)
    relu, linear = (
        list_means(last.sel(activation=name, drop=True), "covered", among=last["covered_mean"].size)
        for name in ("relu", "linear")
    )
    verdicts = {
        where: all_hold(
            (above(relu[where], thresholds["least_covered"]), below(linear[where], thresholds["most_covered"]))
        )
        for where in relu
    }
    evidence = {
        "covered_by_relu": relu,
        "covered_by_linear": linear,
        "relu_minus_linear": {where: relu[where].value - linear[where].value for where in relu},
    }
    return Judgement.of_all(verdicts, evidence)


def _judge_below(data: xr.Dataset, output: str, most: float) -> Judgement:
    """Judge whether an output is below a bound in every network, at the last time if it has times."""
    names = [f"{output}_mean", f"{output}_standard_error", "replica_count"]
    last = data[names].isel(time=-1, missing_dims="ignore")
    found = list_means(last, output)
    return Judgement.of_all({where: below(value, most) for where, value in found.items()}, {output: found})


def judge_rank(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge T4: the effective rank is below a bound at every output dimension."""
    return _judge_below(summaries["ranks"].dataset, "rank", thresholds["most_rank"])


def judge_modulation(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge T5: in every network of the experiment, the more dependent locations pass first."""
    return _judge_below(summaries["modulation"].dataset, "order_correlation", thresholds["most_correlation"])


T3 = Claim(
    statement="In the networks that we ran, relu units specialise to single tokens, and linear units do not (after the "
    "abstract of arXiv:2206.01342).",
    experiments={"specialisation": "share of tokens with a unit of their own, by activation, tokens and hidden units"},
    thresholds={
        "least_covered": "share of tokens that relu units must cover",
        "most_covered": "share of tokens that linear units may cover",
    },
    judge=judge_specialisation,
)
T4 = Claim(
    statement="(Remembered, perhaps not the paper's) The first layer of a linear network collapses to rank one.",
    experiments={"ranks": "effective rank of a linear first layer by output dimension"},
    thresholds={"most_rank": "effective rank that counts as one"},
    judge=judge_rank,
)
T5 = Claim(
    statement="Of equally frequent tokens, those at locations that depend more on the pattern are learned first (after "
    "the abstract of arXiv:2206.01342).",
    experiments={"modulation": "order in which locations are learned, in planted data"},
    thresholds={"most_correlation": "rank correlation of passage time and dependence that counts as an order"},
    judge=judge_modulation,
)
