"""`Verdict`: what the numbers say of a statement; three-valued, for numbers have errors.

A measured quantity is an `Estimate` with an interval. It is compared with a range that was fixed before:

| the interval | verdict |
|---|---|
| lies inside the range | holds |
| lies outside of it | does not hold |
| crosses an end of it, or could not be had (NaN) | undecided |
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

# Of a normal law, on both sides: all intervals are of this level.
NORMAL_95 = 1.959963984540054
Range = tuple[float, float]


class Verdict(StrEnum):
    """What the numbers say of a statement."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, which is a point for what is known exactly.

    Parameters
    ----------
    value, low, high : float
        NaN if it could not be had.
    """

    value: float
    low: float
    high: float

    @classmethod
    def with_error(cls, value: float, standard_error: float) -> "Estimate":
        """A number with a normal error."""
        half = NORMAL_95 * standard_error
        return cls(float(value), float(value - half), float(value + half))

    @classmethod
    def exact(cls, value: float) -> "Estimate":
        """A number without an error worth naming."""
        return cls(float(value), float(value), float(value))

    def as_list(self) -> list[float]:
        """``[value, low, high]``, as evidence holds it."""
        return [self.value, self.low, self.high]


def within(estimate: Estimate, allowed: Range) -> Verdict:
    """Compare an estimate with a range, whose ends belong to it."""
    if not np.all(np.isfinite(estimate.as_list())):
        return Verdict.UNDECIDED
    if estimate.high < allowed[0] or estimate.low > allowed[1]:
        return Verdict.FAILS
    return Verdict.HOLDS if allowed[0] <= estimate.low and estimate.high <= allowed[1] else Verdict.UNDECIDED


def above(estimate: Estimate, limit: float) -> Verdict:
    """Compare an estimate with a lower limit."""
    return within(estimate, (limit, np.inf))


def below(estimate: Estimate, limit: float) -> Verdict:
    """Compare an estimate with an upper limit."""
    return within(estimate, (-np.inf, limit))


def all_hold(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict on "all of them": fails if one fails, holds if all hold; undecided without any."""
    found = set(verdicts)
    if Verdict.FAILS in found:
        return Verdict.FAILS
    return Verdict.HOLDS if found == {Verdict.HOLDS} else Verdict.UNDECIDED
