"""Features xi_1 .. xi_p in R^n, exactly orthogonal, |xi_j|^2 = n, with entries of a chosen law.

| law | entries | dimensions |
|---|---|---|
| gaussian | Gaussian vectors, orthogonalised: a uniformly random orthogonal frame | p or more |
| rademacher | +-1 | multiples of L_p |
| sparse | 0, or +-sqrt(n / k) in k = round(f n) places; supports overlap like independent ones | most |

| symbol | name |
|---|---|
| n, p | dimension, features |
| f | ``feature_fraction``, of entries that are not 0 |
| L_m = 2^ceil(log2 m) | length of a Hadamard pattern of m rows |
| T | a set of features; N_T coordinates are in the support of exactly these |

Orthogonalisation by QR would smear the atoms of a discrete law. Instead the signs on the N_T coordinates of each T come
in blocks: the first |T| rows of the L x L Hadamard matrix, L = L_|T|, with a random sign for each row and each
coordinate. Any two rows of a block are orthogonal, and the signs of one coordinate are independent and fair. So N_T
must be a multiple of L_|T| for |T| >= 2. It is chosen as near as possible to its mean for independent supports,
n f^|T| (1 - f)^(p - |T|), and every feature keeps its k places. Rademacher features are the case f = 1.
"""

import math
from functools import cache
from itertools import combinations, product

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel


def check_features(model: ContrastiveModel, dimension: int) -> None:
    """Check that exactly orthogonal features of the model's law exist in this dimension.

    Raises
    ------
    ClhdError
        If they do not exist; the message says which dimensions have them.
    """
    p, fraction = model.features, _fraction(model)
    if dimension < p:
        raise InputError(f"dimension = {dimension}: must be at least {p}, the number of features")
    if fraction is None or _counts(dimension, p, fraction) is not None:
        return
    if model.feature_law == "rademacher":
        raise InputError(
            f"dimension = {dimension}: must be a multiple of {_pattern_length(p)} "
            f"for {p} exactly orthogonal features with feature_law = 'rademacher'"
        )
    raise InputError(
        f"dimension = {dimension}: has no {p} exactly orthogonal features with feature_law = 'sparse' and "
        f"feature_fraction = {fraction!r}; the nearest dimension that has them is "
        f"{_nearest_dimension(dimension, p, fraction)}"
    )


def draw_features(model: ContrastiveModel, dimension: int, generator: np.random.Generator) -> FloatArray:
    """Draw the features of one replica.

    Parameters
    ----------
    model : ContrastiveModel
    dimension : int
        n, one that `check_features` allows.
    generator : numpy.random.Generator
        Random stream, used only here.

    Returns
    -------
    array of shape (p, n)
        Rows orthogonal and of squared length n, to rounding.

    Raises
    ------
    ClhdError
        As `check_features`.
    """
    check_features(model, dimension)
    fraction = _fraction(model)
    if fraction is None:
        return _draw_frame(model.features, dimension, generator)
    return _draw_patterns(model.features, dimension, fraction, generator)


def _fraction(model: ContrastiveModel) -> float | None:
    """Return the fraction of entries that are not 0, for laws made of sign patterns; None for Gaussian features."""
    return 1.0 if model.feature_law == "rademacher" else model.feature_fraction


def _draw_frame(p: int, n: int, generator: np.random.Generator) -> FloatArray:
    """Orthogonalise Gaussian vectors (Gram-Schmidt), without BLAS, whose bits may depend on its number of threads."""
    features = generator.standard_normal((p, n))
    for j in range(p):
        for _ in range(2):  # the second pass removes the rounding error of the first
            for i in range(j):
                features[j] -= (np.sum(features[i] * features[j]) / n) * features[i]
        features[j] *= math.sqrt(n / np.sum(features[j] * features[j]))
    return features


def _draw_patterns(p: int, n: int, fraction: float, generator: np.random.Generator) -> FloatArray:
    counts = _counts(n, p, fraction)
    assert counts is not None  # check_features has refused such dimensions
    features = np.zeros((p, n))
    places = generator.permutation(n)
    used = 0
    for size, count in enumerate(counts[1:], start=1):
        for members in combinations(range(p), size):
            features[np.array(members)[:, None], places[used : used + count]] = _draw_signs(size, count, generator)
            used += count
    return features * math.sqrt(n / _support(n, fraction))


def _draw_signs(size: int, count: int, generator: np.random.Generator) -> FloatArray:
    """Return orthogonal rows of signs, shape (size, count), from Hadamard blocks with random signs."""
    length = _pattern_length(size)
    blocks = count // length
    signs = np.array([[(-1.0) ** (i & k).bit_count() for k in range(length)] for i in range(size)])
    row_signs = generator.choice([-1.0, 1.0], size=(size, blocks, 1))
    coordinate_signs = generator.choice([-1.0, 1.0], size=(blocks, length))
    turned: FloatArray = signs[:, None, :] * row_signs * coordinate_signs
    return turned.reshape(size, count)


def _pattern_length(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _support(n: int, fraction: float) -> int:
    """Return k, the number of entries of one feature that are not 0."""
    return round(fraction * n)


@cache
def _counts(n: int, p: int, fraction: float) -> tuple[int, ...] | None:
    """Return N_T by the size of T, from 0 to p: the allowed numbers nearest to their means; None if there are none.

    For sizes of 2 and more the multiples of the pattern length around the mean are tried. N_T of sizes 1 and 0 then
    follow from k and n; no count may be negative.
    """
    support = _support(n, fraction)
    means = [n * fraction**size * (1 - fraction) ** (p - size) for size in range(p + 1)]
    trials = []
    for size in range(2, p + 1):
        length = _pattern_length(size)
        below = math.floor(means[size] / length)
        trials.append([length * m for m in range(max(below - 1, 0), below + 3)])
    best, least = None, math.inf
    for shared in product(*trials):
        single = support - sum(math.comb(p - 1, size - 1) * count for size, count in enumerate(shared, start=2))
        empty = n - p * single - sum(math.comb(p, size) * count for size, count in enumerate(shared, start=2))
        if support < 1 or single < 0 or empty < 0:
            continue
        counts = (empty, single, *shared)
        # Pearson's distance to the means; "+ 1" because for means near 0 one more coordinate is common.
        distance = sum(
            math.comb(p, size) * (count - mean) ** 2 / (mean + 1)
            for size, (count, mean) in enumerate(zip(counts, means, strict=True))
        )
        if distance < least:
            best, least = counts, distance
    return best


def _nearest_dimension(n: int, p: int, fraction: float) -> int:
    """Return the dimension nearest to n in which exactly orthogonal features exist."""
    distance = 1
    while True:
        for candidate in (n + distance, n - distance):
            if candidate >= p and _counts(candidate, p, fraction) is not None:
                return candidate
        distance += 1
