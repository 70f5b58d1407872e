"""`Claim`: a statement that numbers can refute, and what its judge says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clhd.claims.verdict import Range, Verdict
from clhd.sweep.results.summary_reader import Summary

Threshold = float | Range


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a claim with a verdict of its own."""

    id: str
    statement: str
    verdict: Verdict
    evidence: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a judge says: the verdict, and the numbers it rests on, as plain values and estimates."""

    verdict: Verdict
    evidence: Mapping[str, Any]
    parts: tuple[Part, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement that numbers can refute.

    Parameters
    ----------
    statement : str
        One sentence.
    experiments : mapping of role to str
        What the experiment that plays the role shows.
    thresholds : mapping of name to str
        Its meaning. A name that ends in ``_range`` stands for two numbers, any other for one.
    judge : callable of (summaries by role, thresholds by name)
        Computes nothing anew; what it needs and does not find is a KeyError.
    """

    statement: str
    experiments: Mapping[str, str]
    thresholds: Mapping[str, str]
    judge: Callable[[Mapping[str, Summary], Mapping[str, Any]], Judgement]
