"""`Verdict`: what the numbers say of a statement; three-valued, for numbers have errors.

A measured quantity is an `Estimate` with an interval. It is compared with a range that was fixed before:

| the interval | verdict |
|---|---|
| lies inside the range | holds |
| lies outside of it | does not hold |
| crosses an end of it, or could not be had (NaN) | undecided |

An interval alone is of the level 95 %. Where a statement is of several random quantities, their intervals are wider, so
that all of them hold together at 95 %, by Bonferroni (`among`): without that, the more of them are looked at, the more
often one would fail by chance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import ndtri

LEVEL = 0.95  # of all intervals, alone or together
UPPER_TAIL = (1 + LEVEL) / 2  # the quantile at which an interval with two ends has its upper one
NORMAL_95 = float(ndtri(UPPER_TAIL))  # standard errors
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
    def with_error(cls, value: float, standard_error: float, *, among: int = 1) -> "Estimate":
        """A number with a normal error.

        Parameters
        ----------
        value, standard_error : float
        among : int, optional
            How many intervals, this one included, are to hold together.
        """
        half = float(ndtri(1 - (1 - UPPER_TAIL) / max(among, 1))) * standard_error
        return cls(float(value), float(value - half), float(value + half))

    @classmethod
    def exact(cls, value: float) -> "Estimate":
        """A number without an error worth naming."""
        return cls(float(value), float(value), float(value))

    def as_dict(self) -> dict[str, float]:
        """``{"value", "low", "high"}``, as evidence holds it."""
        return {"value": self.value, "low": self.low, "high": self.high}


def within(estimate: Estimate, allowed: Range) -> Verdict:
    """Compare an estimate with a range, whose ends belong to it."""
    if not np.all(np.isfinite([estimate.value, estimate.low, estimate.high])):
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
