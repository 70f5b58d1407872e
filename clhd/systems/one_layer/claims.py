"""T1 and T2: what a nonlinearity does to the optima of one unit, and how many units find them.

Both statements are those of the paper's abstract, in our words. Numbers for ratio 3 were known, from a prototype,
when the thresholds were fixed.
"""

import numpy as np

from clhd.claims.claim import Claim, Judgement, Part, Summaries, Thresholds
from clhd.claims.measure import find_largest_difference
from clhd.claims.verdict import Estimate, above, all_hold, below


def judge_optima(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge T1: a relu unit has several optima, which are those of the enumeration; a linear unit has one."""
    optima = summaries["optima"].dataset
    relu, linear = optima.sel(activation="relu"), optima.sel(activation="linear")
    most, at_most = relu["optima_mean"], thresholds["largest_difference"]
    fewest = float(most.min(skipna=False))
    difference = find_largest_difference(relu, "optima", relu["optima_theory"])
    energy, expected = relu["optimum_energy_mean"], relu["optimum_energy_theory"]
    is_there = energy.notnull() | expected.notnull()
    error = float((abs(energy / expected - 1)).where(is_there, 0.0).max(skipna=False))
    single = find_largest_difference(linear, "optima", 1)
    by_patterns = {int(count): most.sel(pattern_count=count).values for count in most["pattern_count"].values}
    parts = (
        Part(
            "T1a",
            "A relu unit has several optima, at every overlap of the patterns.",
            above(fewest, thresholds["least_optima"]),
            {"overlaps": relu["pattern_overlap"].values, "optima_by_patterns": by_patterns},
        ),
        Part(
            "T1b",
            "(Ours) The distinct ends of live units are as many as the enumerated optima.",
            below(difference, at_most),
            {"largest_difference": difference},
        ),
        Part(
            "T1c",
            "(Ours) They have the energies of the enumerated optima.",
            below(error, thresholds["largest_energy_error"]),
            {"largest_relative_error": error},
        ),
        Part(
            "T1d",
            "A linear unit has one optimum, up to its sign.",
            below(single, at_most),
            {"largest_difference_from_one": single},
        ),
    )
    whole = {"fewest_optima_of_relu": np.min(most.values), "most_optima_of_relu": np.max(most.values)}
    return Judgement.of_parts(parts, whole)


def judge_width(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge T2 by the optima that the widest layer finds, as a share of all, at each ratio of probabilities."""
    layers = summaries["width"].dataset.transpose("probability_ratio", ...)
    ratios = [f"{ratio:g}" for ratio in layers["probability_ratio"].values]
    found, optima = layers["optima_found_mean"].values, layers["optima_theory"].values
    error = layers["optima_found_standard_error"].values
    shares = Estimate.of_all(found[:, -1] / optima, error[:, -1] / optima)
    evidence = {
        "layer_sizes": layers["layer_size"].values,
        "optima": optima,
        "found_by_ratio": dict(zip(ratios, found, strict=True)),
        "share_found_by_the_widest": dict(zip(ratios, shares, strict=True)),
    }
    return Judgement(verdict=all_hold(above(share, thresholds["least_share"]) for share in shares), evidence=evidence)


T1 = Claim(
    statement="A nonlinear unit has many optima, a linear unit has one.",
    experiments={"optima": "both activations by number and overlap of the patterns"},
    thresholds={
        "least_optima": "fewest optima that count as many",
        "largest_difference": "largest difference of a number of optima in any layer",
        "largest_energy_error": "largest relative error of the energy of an optimum",
    },
    judge=judge_optima,
)
T2 = Claim(
    statement="A layer of many units finds the optima by brute force.",
    experiments={"width": "layers by the ratio of probabilities"},
    thresholds={"least_share": "least share of the optima that the widest layer must find"},
    judge=judge_width,
    figure="clhd.systems.one_layer.figures:plot_width",
)
