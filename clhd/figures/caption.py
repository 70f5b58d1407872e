"""Sentences of a caption, their numbers from the data: what a figure rests on, how far it agrees, where it is from.

A caption is reStructuredText, which Snakemake's report shows under the figure.
"""

import numpy as np

from clhd.core.text import format_count, format_number, format_plain, join_words
from clhd.sweep.results.summary_reader import Summary

_STATUS_WORDS = {
    "not_run": "not run yet",
    "diverged": "diverged",
    "not_converged": "not converged",
    "failed": "failed",
}


def describe_points(summary: Summary) -> str:
    """How many points and replicas there are, and how many of them are not ok."""
    total, ok = summary.points * summary.replicas, summary.totals["ok"]
    text = f"{format_count(summary.points, 'point')} with {format_count(summary.replicas, 'replica')} each"
    if ok == total:
        return f"{text}; all runs are ok."
    others = [f"{count} {_STATUS_WORDS[s]}" for s, count in summary.totals.items() if s in _STATUS_WORDS and count]
    return (
        f"{text}; {ok} of {format_count(total, 'run')} ok, {join_words(others)}, "
        f"which leaves {format_count(int(summary.incomplete.sum()), 'point')} incomplete."
    )


def describe_incomplete(summary: Summary) -> str:
    """What a figure must say of itself if it rests on less than was asked for; else empty."""
    if not bool(summary.incomplete.any()):
        return ""
    others = [f"{count} {_STATUS_WORDS[s]}" for s, count in summary.totals.items() if s in _STATUS_WORDS and count]
    total = summary.points * summary.replicas
    points, runs = format_count(summary.points, "point"), format_count(total, "run")
    return f"incomplete: {int(summary.incomplete.sum())} of {points} ({join_words(others)} of {runs})"


def describe_agreement(summary: Summary) -> str:
    """How far means and theory agree at the last time, in standard errors; and where they agree least."""
    if not summary.has("z_score"):
        return "There is no theory to compare with."
    score = summary.get("z_score").isel(time=-1)
    finite = np.isfinite(score.values)
    if not finite.any():
        return "No point has both a theory and a standard error."
    share = float((np.abs(score.values[finite]) <= 2).mean())
    text = (
        f"At time {format_number(summary.last_time)}, {100 * share:.0f} % of {int(finite.sum())} means lie within 2 "
        "standard errors of the limit of infinite dimension (95 % would, were there no bias at finite dimension)"
    )
    place = np.unravel_index(int(np.nanargmax(np.abs(score.values))), score.shape)
    where = [format_plain(score[dim], score[dim].values[k]) for dim, k in zip(score.dims, place, strict=True)]
    worst = f"z = {format_number(float(score.values[place]))}"
    return f"{text}; the farthest is {worst}{' at ' + join_words(where) if where else ''}."


def describe_source(summary: Summary) -> str:
    """Which code made it, and from which seed."""
    return (
        f"Experiment {summary.name}, seed {summary.experiment['seed']}, clhd {summary.dataset.attrs['code']}, "
        f"summarised {summary.dataset.attrs['created']}."
    )


def compose_caption(summary: Summary, what: str) -> str:
    """A whole caption: a headline, what is shown, what it rests on, how far it agrees, and where it is from."""
    # One line, lest it become a directive of reStructuredText.
    description = " ".join(str(summary.experiment.get("description") or summary.name.replace("_", " ")).split())
    parts = [what, describe_points(summary), describe_agreement(summary)]
    return f"**{description.rstrip('.')}.** {' '.join(part for part in parts if part)}\n\n{describe_source(summary)}\n"
