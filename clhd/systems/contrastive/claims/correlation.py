"""C7: negatively correlated augmentation noise can do better, by making the variance of the gradient smaller.

The letter says "can". So the judge asks where, over a map of the model's parameters (`claims.where`), and "somewhere"
is a region: more than a least share of the places that learn something. The judged places are those of the letter's
model, as far as the second-hand account tells it, with a nonlinear unit.

| part | measured | holds |
|---|---|---|
| C7a | share of the places where S(-1) is larger than S(0) | above the share of a region |
| C7b | share where, besides, D alone gives the larger part of that gain | above the share of a region |
| both, SGD | share of drawn places where SGD follows the ODE, with each noise | above a share; else undecided |

S is the steady cosine similarity. The switch of C7b is exact: D (gradient variance) has the correlation, and g and A
(the drift) are those of independent noise at the same state. The evidence holds the counter-regions, and the same
counts for the linear unit, the isotropic background and the three-view loss, and for augmentation noise up to and
beyond the base noise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clhd.claims.claim import Claim, Judgement, Part, Summaries, Thresholds
from clhd.claims.verdict import Estimate, Verdict, above, all_hold, within
from clhd.core.lazy import xr
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.claims.learned import at_largest_dimension, list_places, steps_by_sgd
from clhd.systems.contrastive.claims.where import (
    BASE,
    VARIANCE,
    count_places,
    in_letters_model,
    list_parts,
    marks,
    read_places,
)

_AXIS = "noise_correlation"
CORRELATIONS = [-1.0, 0.0, 1.0]
SWITCHES = ("both", "drift", "gradient_variance")


def judge_correlation(summaries: Summaries, thresholds: Thresholds) -> Judgement:
    """Judge C7 from the map, and from SGD at places that were drawn."""
    places = read_places(summaries["map"])
    sizes = thresholds["least_change"], thresholds["least_part"]
    judged = count_places(in_letters_model(places), *sizes)
    confirmed, drawn = _judge_drawn(summaries["drawn"], thresholds)
    verdicts = {
        # The verdict of the theory, if SGD follows it.
        name: above(judged[statement], thresholds["least_region"]) if confirmed is Verdict.HOLDS else Verdict.UNDECIDED
        for name, statement in (("C7a", "better_than_independent"), ("C7b", "by_gradient_variance"))
    }
    evidence = {
        "verdicts": {name: str(verdict) for name, verdict in verdicts.items()},
        "augmentation_noise_variance": places.attrs["variance"],
        "letters_model": judged,
        "by_size_of_the_augmentation_noise": _split_by_base(places, sizes),
        "parts_of_the_map": list_parts(places, *sizes),
        "parts_of_the_map_with_three_views": list_parts(read_places(summaries["three_views"]), *sizes),
        "sgd_at_drawn_places": drawn,
    }
    parts = (
        Part(
            id="C7a",
            statement="Somewhere, negatively correlated augmentation noise does better than independent noise.",
            verdict=verdicts["C7a"],
            evidence=_describe_ordering(in_letters_model(places), summaries["setting"], sizes),
        ),
        Part(
            id="C7b",
            statement="Somewhere, it does so by reducing the variance of the gradient.",
            verdict=verdicts["C7b"],
            evidence=_describe_mechanism(in_letters_model(places), summaries["cases"], sizes),
        ),
    )
    return Judgement(verdict=all_hold(verdicts.values()), evidence=evidence, parts=parts)


def _judge_drawn(drawn: Summary, thresholds: Thresholds) -> tuple[Verdict, dict[str, Any]]:
    """Whether SGD follows the ODE at the drawn places, at the last time, and the largest deviations."""
    end = drawn.dataset.isel(time=-1, feature=0).transpose("place", "noise", ...)
    difference = (end["cosine_similarity_mean"] - end["cosine_similarity_theory"]).values
    error = end["cosine_similarity_standard_error"].values
    allowed = (-thresholds["allowance"], thresholds["allowance"])
    found = [
        all_hold(within(estimate, allowed) for estimate in Estimate.of_all(*place, among=difference.size))
        for place in zip(difference, error, strict=True)
    ]
    counts = {str(verdict): found.count(verdict) for verdict in Verdict}
    holds, undecided = found.count(Verdict.HOLDS), found.count(Verdict.UNDECIDED)
    share = Estimate(holds / len(found), holds / len(found), (holds + undecided) / len(found))
    worst = np.abs(np.nan_to_num(difference)).max(axis=1)
    evidence = {
        "places": counts,
        "share_that_follows": share,
        "largest_deviation": float(worst.max()),
        "not_followed": {
            str(end["place"].values[k]): {"deviation": difference[k], "standard_error": error[k]}
            for k, verdict in enumerate(found)
            if verdict is not Verdict.HOLDS
        },
    }
    return above(share, thresholds["least_confirmed"]), evidence


def _split_by_base(places: xr.Dataset, sizes: tuple[float, float]) -> dict[str, Any]:
    """The counts where the noise of the two views stays positively correlated at correlation -1, and beyond."""
    inside = (places[BASE] >= places.attrs["variance"]).values
    split = {"up_to_the_base_noise": np.flatnonzero(inside), "beyond_the_base_noise": np.flatnonzero(~inside)}
    return {
        name: count_places(in_letters_model(places).isel({BASE: where}), *sizes)
        for name, where in split.items()
        if len(where)
    }


def _describe_ordering(places: xr.Dataset, setting: Summary, sizes: tuple[float, float]) -> dict[str, Any]:
    """The counter-region of C7a, the sizes of gains, and SGD's steps from one correlation to the next."""
    found = marks(places, *sizes)
    with_noise = [float(variance) for variance in setting.dataset[VARIANCE].values if variance > 0]
    among = len(with_noise) * (len(CORRELATIONS) - 1)
    is_learned = found["better_than_independent"] >= 0
    return {
        "counter_region": _list_named(found["worse_than_independent"] == 1),
        "better_than_no_augmentation_noise": _list_named(found["better_than_none"] == 1),
        "gain_quartiles": _quartiles(places["gain"].where(is_learned)),
        "over_none_quartiles": _quartiles(places["over_none"].where(is_learned)),
        "noise_correlation": CORRELATIONS,
        "change_by_sgd_in_the_setting": {
            f"augmentation_noise_variance={variance:g}": steps_by_sgd(
                setting, _AXIS, among=among, **{_AXIS: CORRELATIONS, VARIANCE: variance}
            )
            for variance in with_noise
        },
    }


def _describe_mechanism(places: xr.Dataset, cases: Summary, sizes: tuple[float, float]) -> dict[str, Any]:
    """The region of C7b, its parts of the gain, and the cases that are drawn along the correlation."""
    found = marks(places, *sizes)
    gains = found["better_than_independent"] == 1
    return {
        "region": _list_named(found["by_gradient_variance"] == 1),
        "part_of_gradient_variance_quartiles": _quartiles(places["part"].where(gains)),
        "variance_change_quartiles": _quartiles(places["variance_change"].where(gains)),
        "cases": {str(case): _describe_case(cases, case) for case in cases.dataset["case"].values},
    }


def _quartiles(values: xr.DataArray) -> list[float]:
    known = values.values[np.isfinite(values.values)]
    return np.quantile(known, [0, 0.25, 0.5, 0.75, 1]).tolist() if len(known) else []


def _list_named(is_listed: xr.DataArray) -> list[dict[str, Any]]:
    """The places where this is true, with the case by name."""
    names = is_listed["case"].values
    numbered = is_listed.assign_coords(case=np.arange(len(names))).drop_vars("background", errors="ignore")
    return [place | {"case": str(names[int(place["case"])])} for place in list_places(numbered)]


def _describe_case(cases: Summary, case: str) -> dict[str, Any]:
    """The gains by switch of one case, and its gradient variance, by correlation."""
    theory = at_largest_dimension(cases).isel(feature=0).sel(case=case)
    gains = gains_by_switch(theory["cosine_similarity_theory"].isel(time=-1))
    variance = theory["gradient_variance_theory"].sel(correlation_acts_on="both")
    return {
        "gain": gains,
        # Without a gain, a part of it has no meaning.
        "part_of_gradient_variance": gains["gradient_variance"] / gains["both"] if gains["both"] > 0 else float("nan"),
        "noise_correlation": theory[_AXIS].values,
        "gradient_variance_at_start": variance.isel(time=0).values,
        "gradient_variance_at_steady_state": variance.isel(time=-1).values,
    }


def gains_by_switch(similarity: xr.DataArray) -> dict[str, float]:
    """Return S(-1) - S(0) with the correlation in both, in the drift alone, and in the gradient variance alone.

    Parameters
    ----------
    similarity : DataArray of dims (noise_correlation, correlation_acts_on)
        Cosine similarities S.

    Returns
    -------
    dict
        Without unit, by what the correlation acts on.
    """
    gain = similarity.sel({_AXIS: -1}) - similarity.sel({_AXIS: 0})
    return {switch: float(gain.sel(correlation_acts_on=switch)) for switch in SWITCHES}


CORRELATION = Claim(
    statement="Negatively correlated augmentation noise can improve performance by reducing the variance of the "
    "gradient.",
    experiments={
        "setting": "steady cosine similarity by the variance and correlation of the noise, SGD and theory",
        "map": "steady cosine similarity by noise, over batch, unit, background, base noise and rate, theory alone",
        "three_views": "the same for the three-view loss, which has no batch",
        "drawn": "the same at places of the map that were drawn, SGD and theory",
        "cases": "the correlation switched in drift and gradient variance, for two cases; SGD and theory",
    },
    thresholds={
        "least_region": "share of the places that learn something from which on they are a region",
        "least_change": "change of the cosine similarity that counts as one: what still changes at rest does not",
        "least_part": "part of the gain that the gradient variance alone must give",
        "allowance": "deviation of SGD from the ODE that finite dimension may explain",
        "least_confirmed": "share of the drawn places at which SGD must follow the ODE",
    },
    judge=judge_correlation,
    figure="clhd.systems.contrastive.figures.correlation:plot_correlation",
)
