"""Both kinds of data have the laws that their names say."""

import numpy as np

import clhd
from clhd.systems.two_layers.data import BATCH, DEPENDENCES, FIXED, LOCATIONS, VOCABULARY, sample_data

TOKENS, PATTERNS, PAIRS = 5, 40, 400
# 20 locations and tokens are judged below; a normal number passes 4.5 standard errors once in 150 000 cases.
DEVIATIONS = 4.5


def test_a_pattern_fixes_five_locations_to_allowed_tokens():
    data = sample_data(False, TOKENS, PATTERNS, clhd.generator("data", 0))
    assert (data.fixed.sum(1) == FIXED).all()
    assert data.allowed.shape == (LOCATIONS, TOKENS)
    for k in range(LOCATIONS):
        assert len(set(data.allowed[k])) == TOKENS
        assert set(np.flatnonzero(data.used[k])) == set(data.patterns[data.fixed[:, k], k]) <= set(data.allowed[k])


def test_wildcards_are_uniform_and_drawn_anew_in_the_second_view():
    """Views agree at a location with the probability that it is fixed, or else by chance."""
    data, random = sample_data(False, TOKENS, PATTERNS, clhd.generator("data", 1)), clhd.generator("views", 1)
    same = np.mean([np.equal(*data.draw_pair(random)).mean(0) for _ in range(PAIRS)], axis=0)
    share = data.fixed.mean(0)
    expected = share + (1 - share) / VOCABULARY
    error = np.sqrt(expected * (1 - expected) / (PAIRS * BATCH))
    assert (np.abs(same - expected) < DEVIATIONS * error).all()


def test_planted_tokens_are_equally_frequent_and_agree_with_probability_of_their_dependence():
    data, random = sample_data(True, TOKENS, PATTERNS, clhd.generator("data", 2)), clhd.generator("views", 2)
    for k in range(LOCATIONS):
        tokens, counts = np.unique(data.patterns[:, k], return_counts=True)
        assert set(tokens) == set(data.allowed[k])
        assert (counts == PATTERNS // TOKENS).all()
    pairs = np.stack([data.draw_pair(random) for _ in range(PAIRS)])
    same = (pairs[:, 0] == pairs[:, 1]).mean((0, 1))
    expected = np.square(DEPENDENCES) + (1 - np.square(DEPENDENCES)) / TOKENS
    assert (np.abs(same - expected) <= DEVIATIONS * np.sqrt(expected * (1 - expected) / (PAIRS * BATCH))).all()
    for k in range(LOCATIONS):
        shares = np.array([(pairs[:, 0, :, k] == token).mean() for token in data.allowed[k]])
        error = np.sqrt(1 / TOKENS * (1 - 1 / TOKENS) / (PAIRS * BATCH))
        assert (np.abs(shares - 1 / TOKENS) < DEVIATIONS * error).all()
