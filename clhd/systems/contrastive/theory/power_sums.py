"""Averages over a batch of products of power sums, exactly, from the joint moments of one sample.

With functions f, g, ... of one sample and P_f = sum over the B samples of the batch of f, the average of a product of
such sums is a sum over the ways to share out its factors among different samples,

    E[P_f P_g ...] = sum over partitions of the factors into blocks of B (B - 1) ... (B - blocks + 1)
                     times the product over the blocks of E[product of its functions over one sample].

Whatever is a polynomial in power sums (forces of a centred batch, their squares) thus needs averages over one sample
only, although its samples are coupled.

| symbol | name | shape |
|---|---|---|
| f, g | ``functions`` | (function, node): values at the nodes of one sample's law |
| | ``weights`` | (node,) |
| P_f P_g | a tuple of numbers of functions, with a factor: an entry of a `Polynomial` | |
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations

from clhd.core.arrays import FloatArray

# Factor of each product of power sums, by the sorted numbers of their functions.
Polynomial = dict[tuple[int, ...], float]


def add(*terms: tuple[float, Polynomial]) -> Polynomial:
    """Return the sum of polynomials, each times its factor."""
    total: Polynomial = {}
    for factor, polynomial in terms:
        for product, value in polynomial.items():
            total[product] = total.get(product, 0.0) + factor * value
    return total


def multiply(*polynomials: Polynomial) -> Polynomial:
    """Return the product of polynomials."""
    total: Polynomial = {(): 1.0}
    for polynomial in polynomials:
        previous, total = total, {}
        for first, x in previous.items():
            for second, y in polynomial.items():
                product = tuple(sorted(first + second))
                total[product] = total.get(product, 0.0) + x * y
    return total


def power_sum(function: int, factor: float = 1.0) -> Polynomial:
    """Return factor P_f of one function."""
    return {(function,): factor}


class BatchAverages:
    """Averages of polynomials in power sums over batches of one size.

    Parameters
    ----------
    functions : array of shape (function, node), or mapping of int to array of shape (node,)
        Values of the functions of one sample. A mapping may grow between averages.
    weights : array of shape (node,)
        Weights of the nodes; their sum is 1.
    centred : sequence of int
        Functions whose average is zero by construction; rounding errors of it are removed.

    Attributes
    ----------
    weights : array of shape (node,)
    """

    def __init__(
        self, functions: FloatArray | Mapping[int, FloatArray], weights: FloatArray, centred: Sequence[int] = ()
    ) -> None:
        self._functions, self.weights = functions, weights
        self._moments: dict[tuple[int, ...], float] = {(f,): 0.0 for f in centred}
        self._values: dict[tuple[int, ...], FloatArray] = {(): weights}
        self._averages: dict[tuple[tuple[int, ...], int], float] = {}

    def moment(self, product: tuple[int, ...]) -> float:
        """Return the average over one sample of a product of functions, by their sorted numbers."""
        found = self._moments.get(product)
        if found is None:
            found = self._moments[product] = float(self._multiply(product).sum())
        return found

    def _multiply(self, product: tuple[int, ...]) -> FloatArray:
        """Return the weights times a product of functions, shape (node,)."""
        found = self._values.get(product)
        if found is None:
            found = self._values[product] = self._multiply(product[:-1]) * self._functions[product[-1]]
        return found

    def average(self, polynomial: Polynomial, batch: int) -> float:
        """Return the average of a polynomial over batches of `batch` samples."""
        return sum(factor * self._of_product(product, batch) for product, factor in polynomial.items() if factor != 0.0)

    def _of_product(self, product: tuple[int, ...], batch: int) -> float:
        """Give the first factor's sample all choices of further factors, and the rest of them the other samples."""
        if not product:
            return 1.0
        if batch == 0:
            return 0.0
        if batch == 1:  # this sample has all factors
            return self.moment(product)
        key = (product, batch)
        found = self._averages.get(key)
        if found is None:
            found = 0.0
            for block, rest in _list_blocks(product):
                here = self.moment(block)
                if here != 0.0:
                    found += here * self._of_product(rest, batch - 1)
            found = self._averages[key] = batch * found
        return found


@lru_cache(maxsize=100_000)
def _list_blocks(product: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return all blocks that hold the first factor of a product, each with the rest of the factors."""
    others = range(1, len(product))
    return [
        ((product[0], *(product[k] for k in chosen)), tuple(product[k] for k in others if k not in chosen))
        for size in range(len(product))
        for chosen in combinations(others, size)
    ]
