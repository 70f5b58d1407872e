"""Sentences of a caption, with numbers from the data: what a figure rests on, how far it agrees, where it is from.

A caption is reStructuredText, which Snakemake's report shows under the figure.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from clhd.core.text import format_count, format_number, format_plain, join_words
from clhd.figures.style import ALARM
from clhd.sweep.results.summary_reader import Summary

_STATUS_WORDS = {
    "not_run": "not run yet",
    "diverged": "diverged",
    "not_converged": "not converged",
    "failed": "failed",
}


def capitalise(text: str) -> str:
    """Return a sentence with a capital first letter; the others stay as they are."""
    return text[:1].upper() + text[1:]


def describe_points(summary: Summary) -> str:
    """Return how many points and replicas there are, and how many of them are not ok; nothing without a simulation."""
    if not summary.has_simulation:
        return ""
    total, ok = int(summary.asked.sum()), summary.totals["ok"]
    text = f"{format_count(summary.points, 'point')} with {_describe_replicas(summary)}"
    if ok == total:
        return f"{text}; all runs are ok."
    return (
        f"{text}; {ok} of {format_count(total, 'run')} ok, {_count_others(summary)}, "
        f"which leaves {format_count(int(summary.incomplete.sum()), 'point')} incomplete."
    )


def _describe_replicas(summary: Summary) -> str:
    """The replicas of each point, and what they were for if their number was not fixed."""
    until, asked = summary.sampling.until, summary.asked
    least, most = int(asked.where(asked > 0).min().fillna(0)), int(asked.max())
    number = format_count(most, "replica") if least == most else f"{least} to {format_count(most, 'replica')}"
    if not until:
        why = ", more of them where the noise hid the border" if least < most else ""
        return f"{number} each{why}"
    targets = join_words([f"{format_number(until[name])} of the {summary.name_output(name)}" for name in until])
    missed = int(((asked > 0) & ~summary.dataset["until_reached"]).sum())
    at = "" if summary.sampling.at is None else f" at {format_number(summary.sampling.at)}"
    which = f"which {missed} of them did not reach" if missed else "which all reached"
    return f"{number} each, for a standard error of {targets}{at}, {which}"


def warn_incomplete(figure: Figure, summary: Summary) -> None:
    """Write above a figure how many of its points are incomplete; nothing if all are complete."""
    if not bool(summary.incomplete.any()):
        return
    runs = format_count(int(summary.asked.sum()), "run")
    points = f"{int(summary.incomplete.sum())} of {format_count(summary.points, 'point')}"
    figure.suptitle(f"incomplete: {points} ({_count_others(summary)} of {runs})", color=ALARM)


def _count_others(summary: Summary) -> str:
    """The runs that are not ok, by status."""
    return join_words([f"{n} {_STATUS_WORDS[s]}" for s, n in summary.totals.items() if s in _STATUS_WORDS and n])


def describe_end(summary: Summary) -> str:
    """Return " at time 30" for a quantity with times, whose last one is shown; else nothing."""
    if not summary.has_times:
        return ""
    name = summary.dataset["time"].attrs.get("long_name", "time")
    return f" at {name} {format_number(summary.last_time)}"


def describe_means(summary: Summary) -> str:
    """Return what the points of a figure are, with their bars if errors are known."""
    if summary.has("standard_error"):
        return "Points: mean of the simulation, bars of 2 standard errors"
    return "Points: the simulation"


def describe_missing(is_missing: bool) -> str:
    """Return what a red cross means, if there is one."""
    return ". Red crosses: points without a single run that is ok" if is_missing else ""


def describe_agreement(summary: Summary) -> str:
    """Return how far means and theory agree at the end, in standard errors, and where they agree least."""
    if not summary.has("theory"):
        return "There is no theory to compare with."
    score = summary.get_last("z_score")
    finite = np.isfinite(score.values)
    if not finite.any():
        return ""
    share = float((np.abs(score.values[finite]) <= 2).mean())
    size = summary.dataset[summary.size] if summary.size in summary.dataset.coords else None
    name = summary.size.replace("_", " ") if size is None else size.attrs.get("long_name", summary.size)
    expected = f"were there no bias at finite {name}" if name and summary.declaration.limit else "if the two agreed"
    end = describe_end(summary).strip()
    text = (
        f"{end}{', ' if end else ''}{100 * share:.0f} % of {int(finite.sum())} means lie within 2 standard errors of "
        f"the {summary.limit} (95 % would, {expected})"
    )
    place = np.unravel_index(int(np.nanargmax(np.abs(score.values))), score.shape)
    where = [format_plain(score[dim], score[dim].values[k]) for dim, k in zip(score.dims, place, strict=True)]
    worst = f"z = {format_number(float(score.values[place]))}"
    return capitalise(f"{text}; the farthest is {worst}{' at ' + join_words(where) if where else ''}.")


def describe_source(summary: Summary) -> str:
    """Return the experiment, its seed, and the code that summarised it."""
    return (
        f"Experiment {summary.name}, seed {summary.experiment['seed']}, clhd {summary.dataset.attrs['code']}, "
        f"summarised {summary.dataset.attrs['created']}, summary {summary.identity[:12]}."
    )


def describe_verdict(claim: Mapping[str, Any]) -> str:
    """Return a claim's statement and its verdict, from its entry in claims.json."""
    return f"{claim['statement']} The numbers say: {claim['verdict']}."


def compose_caption(summary: Summary, what: str, *, with_agreement: bool = True) -> str:
    """Return a whole caption: a headline, what is shown, what it rests on, how far it agrees, where it is from."""
    # One line: several could be read as a directive of reStructuredText.
    description = " ".join(str(summary.experiment.get("description") or summary.name.replace("_", " ")).split())
    parts = [what.strip(), describe_points(summary), describe_agreement(summary) if with_agreement else ""]
    return f"**{description.rstrip('.')}.** {' '.join(part for part in parts if part)}\n\n{describe_source(summary)}\n"
