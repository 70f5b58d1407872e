"""Tokens at ten locations: which ones a location allows, patterns that fix some of them, and pairs of views.

| symbol | name | shape | unit |
|---|---|---|---|
| K, V | LOCATIONS, VOCABULARY | | |
| P | allowed tokens of a location | (K, P) | index of the vocabulary |
| G | patterns | (G, K) | index of the vocabulary |
| q | dependence of each location on the pattern | (K,) | probability |

| data | what a pattern fixes | the other tokens of a view |
|---|---|---|
| patterns | FIXED random locations, each to an allowed token | uniform over the vocabulary |
| planted | location k with probability q_k, to its own token | uniform over the allowed tokens |

The planted patterns use the allowed tokens of a location equally often. So each has frequency 1/P, whatever q is, and
only the dependence on the pattern tells locations apart.
"""

from dataclasses import dataclass

import numpy as np

from clhd.core.arrays import BoolArray, IntArray

LOCATIONS, VOCABULARY, FIXED, BATCH = 10, 20, 5, 128
DEPENDENCES = np.arange(1, LOCATIONS + 1) / LOCATIONS  # of planted data, by location


@dataclass(frozen=True)
class TokenData:
    """A source of pairs of views.

    Parameters
    ----------
    planted : bool
    allowed : array of shape (K, P)
    patterns : array of shape (G, K)
        The token of each pattern at each location, where it fixes one.
    fixed : array of bool, shape (G, K)
        True where the pattern fixes the token; in planted data, everywhere.
    """

    planted: bool
    allowed: IntArray
    patterns: IntArray
    fixed: BoolArray

    @property
    def used(self) -> BoolArray:
        """True for the tokens that some pattern has at a location, shape (K, V)."""
        used = np.zeros((LOCATIONS, VOCABULARY), bool)
        pattern, location = np.nonzero(self.fixed)
        used[location, self.patterns[pattern, location]] = True
        return used

    def draw_pair(self, random: np.random.Generator) -> IntArray:
        """Return two views of a batch of patterns, shape (2, batch, K)."""
        shape = (2, BATCH, LOCATIONS)
        chosen = random.integers(len(self.patterns), size=BATCH)
        if self.planted:
            is_fixed = random.random(shape) < DEPENDENCES
            tokens = self.allowed.shape[1]
            # Twice as fast as an index for each location.
            others = self.allowed.take(random.integers(tokens, size=shape) + tokens * np.arange(LOCATIONS))
        else:
            is_fixed, others = self.fixed[chosen], random.integers(VOCABULARY, size=shape)
        return np.where(is_fixed, self.patterns[chosen], others)


def sample_data(planted: bool, tokens: int, patterns: int, random: np.random.Generator) -> TokenData:
    """Return a source with `tokens` allowed tokens at each location, and `patterns` patterns."""
    every = np.tile(np.arange(VOCABULARY), (LOCATIONS, 1))
    allowed = random.permuted(every, axis=1)[:, :tokens]
    where = np.tile(np.arange(LOCATIONS), (patterns, 1))
    if planted:
        choice = random.permuted(np.tile(np.arange(patterns) % tokens, (LOCATIONS, 1)), axis=1).T
        return TokenData(True, allowed, allowed[where, choice], np.ones_like(where, bool))
    choice = random.integers(tokens, size=where.shape)
    fixed = random.permuted(where, axis=1) < FIXED
    return TokenData(False, allowed, allowed[where, choice], fixed)
