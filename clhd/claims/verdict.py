"""`Verdict`: what the numbers say of a statement. It has three values, because numbers have errors.

A measured quantity is an `Estimate` with an interval. It is compared with a range that was fixed beforehand:

| the interval | verdict |
|---|---|
| lies inside the range | holds |
| lies outside of it | does not hold |
| crosses an end of it, or is not known (NaN) | undecided |

A single interval has the level 95 %. If a statement is about several random quantities, their intervals are wider, so
that all of them hold together at 95 % (Bonferroni, `among`). Otherwise, the more quantities there are, the more often
one of them would fail by chance. A standard error of few runs is known poorly itself: where the number of runs is
given, the interval is that of Student's t. Four normal intervals hold together at 89 % of twelve runs, at 33 % of two.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from clhd.core.statistics import count_errors

LEVEL = 0.95  # level of all intervals, alone or together
UPPER_TAIL = (1 + LEVEL) / 2  # quantile at the upper end of an interval with two ends
Range = tuple[float, float]


class Verdict(StrEnum):
    """What the numbers say of a statement."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; the interval of an exact number has no width.

    Parameters
    ----------
    value, low, high : float
        NaN if the number is not known.
    """

    value: float
    low: float
    high: float

    @classmethod
    def with_error(cls, value: float, standard_error: float, *, among: int = 1, runs: float = np.inf) -> "Estimate":
        """Return a number with a normal error, which is known from so many runs: the interval is Student's.

        `among` intervals, this one included, are to hold together.
        """
        half = float(count_errors(max(among, 1), runs)) * standard_error
        return cls(float(value), float(value - half), float(value + half))

    @classmethod
    def of_all(
        cls, values: ArrayLike, standard_errors: ArrayLike, *, among: int | None = None, runs: ArrayLike = np.inf
    ) -> "list[Estimate]":
        """Return numbers with normal errors; their intervals are to hold together, or `among` of them, if it is given.

        Arrays of any one shape are taken in the order of their entries. For `runs` see `with_error`.
        """
        numbers = np.ravel(values)
        count = len(numbers) if among is None else among
        entries = zip(numbers, np.ravel(standard_errors), np.broadcast_to(np.ravel(runs), numbers.shape), strict=True)
        return [cls.with_error(number, error, among=count, runs=known) for number, error, known in entries]

    @classmethod
    def exact(cls, value: float) -> "Estimate":
        """Return a number whose error does not matter."""
        return cls(float(value), float(value), float(value))

    def as_dict(self) -> dict[str, float]:
        """Return ``{"value", "low", "high"}``, as evidence holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


def within(estimate: Estimate | float, allowed: Range) -> Verdict:
    """Compare an estimate, or an exact number, with a range, whose ends belong to it."""
    if not isinstance(estimate, Estimate):
        estimate = Estimate.exact(estimate)
    if not np.all(np.isfinite([estimate.value, estimate.low, estimate.high])):
        return Verdict.UNDECIDED
    if estimate.high < allowed[0] or estimate.low > allowed[1]:
        return Verdict.FAILS
    return Verdict.HOLDS if allowed[0] <= estimate.low and estimate.high <= allowed[1] else Verdict.UNDECIDED


def above(estimate: Estimate | float, limit: float) -> Verdict:
    """Compare an estimate, or an exact number, with a lower limit."""
    return within(estimate, (limit, np.inf))


def below(estimate: Estimate | float, limit: float) -> Verdict:
    """Compare an estimate, or an exact number, with an upper limit."""
    return within(estimate, (-np.inf, limit))


def all_hold(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict on all of them: fails if one fails, holds if all hold; undecided if there is none."""
    found = set(verdicts)
    if Verdict.FAILS in found:
        return Verdict.FAILS
    return Verdict.HOLDS if found == {Verdict.HOLDS} else Verdict.UNDECIDED
