"""The forces of two units as polynomials in the sums over the other samples of a batch, and averages of these sums.

The covariances C_12 and C_21 enter the forces on one sample only through sums over the other B - 1 samples. With the
deviations x_iv = h_iv - E h_i (h_iv if the loss is not centred) of one sample, and for unit i and view v

    a = x_iv,    b = x_jw,    s = x_iw         (j the other unit, w the other view),
    A, B', S, T = sums of a, b, s, a b over the other samples,
    N = 1 / (B - 1),  beta = 1 / B             (not centred: N = 1 / B, beta = 0),

the force on the sample is Delta_iv = N h_iv' {k - 2 lam_c N C k'}, with

    k = (1 - beta) s - beta S,    k' = (1 - beta) b - beta B',    C = a b + T - beta (a + A) (b + B').

It has nine products of sums, `PRODUCTS`, each with a factor that depends on the sample alone. So the average over a
batch of a force, or of the product of two forces on one sample, needs averages over one sample, and the averages of
these products and of their products in pairs over B - 1 independent samples. The latter are sums over the partitions
of the factors into samples, as in `power_sums.py`; here the sums are listed once, and evaluated as arrays.

| symbol | name | shape |
|---|---|---|
| E x_11^k x_12^l x_21^m x_22^o | ``moments``, of one sample, in the order of `EXPONENTS` | (moment,) |
| | ``first`` : averages of the nine products for each (i, v) | (36,) |
| | ``second`` : averages of their products in pairs | (36, 36) |
"""

from collections import Counter
from functools import lru_cache
from itertools import product

import numpy as np

from clhd.core.arrays import FloatArray, IntArray

Exponents = tuple[int, int, int, int]

# Largest degree in x of the product of two of the nine products.
_DEGREE = 6
EXPONENTS: tuple[Exponents, ...] = tuple(
    (i, j, k, m) for i, j, k, m in product(range(_DEGREE + 1), repeat=4) if i + j + k + m <= _DEGREE
)
_NUMBER = {exponents: k for k, exponents in enumerate(EXPONENTS)}
# Monomials of which all others are products: a moment is an average of the product of two of these.
HALVES: tuple[Exponents, ...] = tuple(e for e in EXPONENTS if sum(e) <= _DEGREE // 2)
# The products of the sums A, B', S, T in the force, in the order of `coefficients`.
PRODUCTS = ("", "S", "T", "B", "A", "AB", "TB", "BB", "ABB")
PLACES = tuple(product(range(2), range(2)))  # (unit, view)


def split_moments() -> tuple[IntArray, IntArray]:
    """Return, for each moment, the numbers of two monomials of `HALVES` whose product it averages."""
    number = {exponents: k for k, exponents in enumerate(HALVES)}
    pairs = []
    for exponents in EXPONENTS:
        left, half = [0, 0, 0, 0], []
        budget = _DEGREE // 2
        for k, power in enumerate(exponents):
            left[k] = min(power, budget)
            budget -= left[k]
        half = [power - taken for power, taken in zip(exponents, left, strict=True)]
        pairs.append((number[tuple(left)], number[tuple(half)]))  # type: ignore[index]
    first, second = np.array(pairs).T
    return first, second


def coefficients(
    penalty: float, batch: int, centred: bool, x: FloatArray, slope: FloatArray, unit: int, view: int
) -> FloatArray:
    """Return the factors of the nine products in Delta_iv, shape (9, node), from x and h' of shape (4, node)."""
    a, b, s = (x[place] for place in _places(unit, view))
    beta, size = (1 / batch, 1 / (batch - 1)) if centred else (0.0, 1 / batch)
    own, other = size * slope[2 * unit + view], -2 * penalty * size**2 * slope[2 * unit + view]
    keep = 1 - beta
    ab = a * b
    return np.stack(
        [
            own * keep * s + other * keep**2 * ab * b,
            -beta * own,
            other * keep * b,
            other * (-2 * beta * keep) * ab,
            other * (-beta * keep) * b**2,
            other * (beta**2 - beta * keep) * b,
            -beta * other,
            other * beta**2 * a,
            beta**2 * other,
        ]
    )


def _places(unit: int, view: int) -> tuple[int, int, int]:
    """Return the places of a, b and s among x_11, x_12, x_21, x_22."""
    return 2 * unit + view, 2 * (1 - unit) + 1 - view, 2 * unit + 1 - view


def _factors(unit: int, view: int, name: str) -> list[Exponents]:
    """Return the functions of one sample whose sums are multiplied."""
    a, b, s = _places(unit, view)
    of_sum = {"A": (a,), "B": (b,), "S": (s,), "T": (a, b)}
    return [tuple(int(k in of_sum[letter]) for k in range(4)) for letter in name]  # type: ignore[misc]


class RestAverages:
    """Averages over B - 1 independent samples of the products of sums, and of their products in pairs.

    Parameters
    ----------
    batch : int
        B.
    """

    def __init__(self, batch: int) -> None:
        names = [_factors(*place, name) for place in PLACES for name in PRODUCTS]
        self._size = len(names)
        keys: dict[tuple[Exponents, ...], int] = {}
        first = [keys.setdefault(tuple(sorted(name)), len(keys)) for name in names]
        second = [keys.setdefault(tuple(sorted(one + other)), len(keys)) for one in names for other in names]
        self._first, self._second = np.array(first), np.array(second)
        terms = [
            (k, weight, [_NUMBER[block] for block in blocks])
            for k, key in enumerate(keys)
            for blocks, weight in _share_out(key, batch - 1)
        ]
        # E 1 = 1 fills the places of a term with fewer blocks than the most.
        most = max(len(blocks) for _, _, blocks in terms)
        one = _NUMBER[0, 0, 0, 0]
        self._blocks = np.array([blocks + [one] * (most - len(blocks)) for _, _, blocks in terms]).T
        self._weights = np.array([weight for _, weight, _ in terms])
        self._begins = np.searchsorted([k for k, _, _ in terms], np.arange(len(keys)))
        # Products that so few samples cannot have (T B' with no other sample) have no terms.
        self._is_empty = np.bincount([k for k, _, _ in terms], minlength=len(keys)) == 0

    def __call__(self, moments: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ``first`` and ``second`` from the moments of one sample."""
        values = self._weights * np.prod(moments[self._blocks], axis=0)
        sums = np.add.reduceat(values, np.minimum(self._begins, len(values) - 1))
        sums[self._is_empty] = 0.0
        return sums[self._first], sums[self._second].reshape(self._size, self._size)


@lru_cache(maxsize=8)
def rest_averages(batch: int) -> RestAverages:
    """Return the averages for batches of one size; their lists take a while to make."""
    return RestAverages(batch)


def _share_out(factors: tuple[Exponents, ...], samples: int) -> list[tuple[tuple[Exponents, ...], float]]:
    """Return all ways to share out factors among different samples: blocks of exponents, and how often they occur."""
    found: Counter[tuple[Exponents, ...]] = Counter({(): 1})
    for factor in factors:
        previous, found = found, Counter()
        for blocks, count in previous.items():
            found[tuple(sorted((*blocks, factor)))] += count
            for k, block in enumerate(blocks):
                joined = tuple(p + q for p, q in zip(block, factor, strict=True))
                found[tuple(sorted((*blocks[:k], joined, *blocks[k + 1 :])))] += count  # type: ignore[arg-type]
    ways = [(blocks, count * float(np.prod(samples - np.arange(len(blocks))))) for blocks, count in found.items()]
    return [(blocks, weight) for blocks, weight in ways if weight != 0.0]
