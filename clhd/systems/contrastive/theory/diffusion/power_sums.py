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

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations, groupby
from typing import NamedTuple

import numpy as np

from clhd.core.arrays import FloatArray, IntArray

# Factor of each product of power sums, by the sorted numbers of their functions.
Polynomial = dict[tuple[int, ...], float]
_Product = tuple[int, ...]  # sorted numbers of functions
_Average = tuple[_Product, int]  # of a product of power sums, over so many samples


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


def average_batches(
    polynomials: Sequence[Polynomial],
    functions: Sequence[FloatArray],
    weights: FloatArray,
    batch: int,
    centred: Sequence[int] = (),
) -> FloatArray:
    """Return the averages of polynomials in power sums over batches of one size, shape (polynomial,).

    Parameters
    ----------
    polynomials : sequence of Polynomial
    functions : sequence of arrays of shape (node,)
        Values of the functions of one sample.
    weights : array of shape (node,)
        Weights of the nodes; their sum is 1.
    batch : int
        Number of samples B >= 1.
    centred : sequence of int
        Functions whose average is zero by construction; rounding errors of it are removed.
    """
    products = tuple(dict.fromkeys(product for polynomial in polynomials for product in polynomial))
    values = _plan(products, batch, frozenset(centred)).evaluate(np.array(functions), weights)
    found = dict(zip(products, values.tolist(), strict=True))
    return np.array([sum(factor * found[product] for product, factor in terms.items()) for terms in polynomials])


class _Plan(NamedTuple):
    """The operations that give averages of products, in their order; it depends on no value.

    All values stand in one list: 0, 1, the averages over one sample of products of 1, 2, ... functions, then those over
    more samples of products of 1, 2, ... functions.

    Attributes
    ----------
    multiplications : list of (parents, functions)
        For products of 1, 2, ... functions: the row of the product of all functions but the last, among those one
        function shorter, and the last function.
    zeros : array of int
        Places of averages that are 0 by construction.
    sums : list of (samples, blocks, rests, begins)
        For averages of products of 1, 2, ... functions: their numbers of samples; the places of the two factors of all
        their terms; the first term of each.
    results : array of int
        Places of the averages that were asked for.
    """

    multiplications: list[tuple[IntArray, IntArray]]
    zeros: IntArray
    sums: list[tuple[FloatArray, IntArray, IntArray, IntArray]]
    results: IntArray

    def evaluate(self, functions: FloatArray, weights: FloatArray) -> FloatArray:
        """Return the averages that were asked for."""
        rows, parts = weights[None], [np.array([0.0, 1.0])]
        for parents, lasts in self.multiplications:
            rows = rows[parents] * functions[lasts]
            parts.append(rows.sum(axis=1))
        values = np.concatenate(parts)
        values[self.zeros] = 0.0
        for samples, blocks, rests, begins in self.sums:
            values = np.append(values, samples * np.add.reduceat(values[blocks] * values[rests], begins))
        return values[self.results]


@lru_cache(maxsize=1000)
def _plan(products: tuple[_Product, ...], batch: int, centred: frozenset[int]) -> _Plan:
    """Give the first factor's sample all choices of further factors, and the rest of them the other samples."""
    terms: dict[_Average, list[tuple[_Average, _Average]]] = {}

    def visit(product: _Product, samples: int) -> _Average:
        average = (product, samples if product else 0)
        if average not in terms:
            shares = _list_blocks(product) if product and samples > 1 else []  # one sample has all factors
            terms[average] = [
                (visit(block, 1), visit(rest, samples - 1))
                for block, rest in shares
                if len(block) > 1 or block[0] not in centred
            ]
        return average

    wanted = [visit(product, batch) for product in products]
    place: dict[_Average, int] = {((), 0): 1}
    multiplications: list[tuple[IntArray, IntArray]] = []
    rows: dict[_Product, int] = {(): 0}
    over_one = {product[: k + 1] for product, samples in terms if samples == 1 for k in range(len(product))}
    for _, group in groupby(sorted(over_one, key=len), key=len):
        level = list(group)
        parents = [rows[product[:-1]] for product in level]
        multiplications.append((np.array(parents), np.array([product[-1] for product in level])))
        place |= {(product, 1): len(place) + 1 + k for k, product in enumerate(level)}
        rows = {product: k for k, product in enumerate(level)}
    sums, over_more = [], [average for average in terms if average[1] > 1]
    for _, chosen in groupby(sorted(over_more, key=_count_functions), key=_count_functions):
        averages = list(chosen)
        pairs = [[(place[one], place[rest]) for one, rest in terms[average]] or [(0, 0)] for average in averages]
        blocks, rests = np.array([pair for several in pairs for pair in several]).T
        begins = np.cumsum([0, *(len(several) for several in pairs[:-1])])
        sums.append((np.array([float(samples) for _, samples in averages]), blocks, rests, begins))
        place |= {average: len(place) + 1 + k for k, average in enumerate(averages)}
    zeros = [place[(f,), 1] for f in centred if ((f,), 1) in place]
    return _Plan(multiplications, np.array(zeros, dtype=np.int64), sums, np.array([place[key] for key in wanted]))


def _count_functions(average: _Average) -> int:
    return len(average[0])


@lru_cache(maxsize=100_000)
def _list_blocks(product: _Product) -> list[tuple[_Product, _Product]]:
    """Return all blocks that hold the first factor of a product, each with the rest of the factors."""
    others = range(1, len(product))
    return [
        ((product[0], *(product[k] for k in chosen)), tuple(product[k] for k in others if k not in chosen))
        for size in range(len(product))
        for chosen in combinations(others, size)
    ]
