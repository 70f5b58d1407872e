"""`Claim`: a statement that numbers can refute. `CaseTable`: several statements, judged coarsely in many cases.

A system lists its claims and tables by id (`System.claims`). The claims file (config/claims.yaml) says of each which
experiment plays which role, and gives the thresholds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clhd.claims.verdict import Range, Verdict, all_hold
from clhd.sweep.results.summary_reader import Summary

Threshold = float | Range
Summaries = Mapping[str, Summary]  # by role
Thresholds = Mapping[str, Any]  # by name: numbers, and pairs of numbers


@dataclass(frozen=True)
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

    @classmethod
    def of_all(cls, verdicts: Mapping[str, Verdict], evidence: Mapping[str, Any]) -> "Judgement":
        """Return the judgement that all of some verdicts make together; its evidence begins with them, by name."""
        named = {name: str(verdict) for name, verdict in verdicts.items()}
        return cls(verdict=all_hold(verdicts.values()), evidence={"verdicts": named, **evidence})

    @classmethod
    def of_parts(cls, parts: Sequence[Part], evidence: Mapping[str, Any]) -> "Judgement":
        """Return the judgement that all parts make together."""
        return cls(verdict=all_hold(part.verdict for part in parts), evidence=evidence, parts=tuple(parts))


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a judge needs from the claims file.

    Parameters
    ----------
    experiments : mapping of role to str
        What the experiment that plays the role shows.
    optional_experiments : mapping of role to str
        Roles of experiments that are read where the config has them.
    thresholds : mapping of name to str
        Its meaning. A name that ends in ``_range`` stands for two numbers, any other for one.
    """

    experiments: Mapping[str, str]
    thresholds: Mapping[str, str]
    optional_experiments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim(Needs):
    """A statement that numbers can refute.

    Parameters
    ----------
    statement : str
        One sentence.
    judge : callable of (summaries by role, thresholds by name)
        Computes nothing anew. If it does not find what it needs, it raises KeyError.
    figure : str
        "MODULE:FUNCTION" of the function that draws it, from the summaries by role and its entry in claims.json, and
        returns a figure and a caption. Empty if there is none.
    """

    statement: str
    judge: Callable[[Summaries, Thresholds], Judgement]
    figure: str = ""

    def list_figures(self, claim_id: str) -> dict[str, str]:
        """Return the figures by name."""
        return {claim_id: self.figure} if self.figure else {}


@dataclass(frozen=True, kw_only=True)
class CaseTable(Needs):
    """Statements in a coarse form, each judged in many cases; results/claims_ID.json.

    Parameters
    ----------
    judge : callable of (summaries by role, thresholds by name)
        Returns a mapping with ``columns`` (id and statement of each), ``rows`` (what the case is, and as ``cells`` of
        each column verdict, reason and evidence), and whatever else the figures show. It computes nothing anew. If it
        does not find what it needs, it raises KeyError.
    figures : mapping of name to str
        "MODULE:FUNCTION" of the functions that draw figures, from what stands in results/claims_ID.json, and return a
        figure and a caption.
    """

    judge: Callable[[Summaries, Thresholds], Mapping[str, Any]]
    figures: Mapping[str, str] = field(default_factory=dict)

    def list_figures(self, table_id: str) -> dict[str, str]:
        """Return the figures by name."""
        return dict(self.figures)
