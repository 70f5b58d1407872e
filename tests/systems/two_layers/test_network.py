"""The compiled network against the same network written with a row for each sample, and its gradient by differences."""

import itertools

import numpy as np
import pytest

from clhd.systems.two_layers.network import EPSILON, FULL, MEAN, NONE, descend, evaluate, sort_samples

LOCATIONS, VOCABULARY, UNITS, SIZE, BATCH = 3, 6, 5, 4, 16
TEMPERATURE = 0.3
KINDS = list(itertools.product((True, False), (NONE, MEAN, FULL)))


def draw(seed, size=SIZE):
    random = np.random.default_rng(seed)
    first = random.normal(size=(LOCATIONS, VOCABULARY, UNITS))
    second = random.normal(size=(LOCATIONS, UNITS, size))
    return first, second, random.integers(VOCABULARY, size=(2, BATCH, LOCATIONS))


def find_spreads(first, tokens, relu):
    hidden = first[np.arange(LOCATIONS), tokens]
    return np.sqrt((np.maximum(hidden, 0) if relu else hidden).var(0) + EPSILON)


def loss_by_samples(first, second, pair, relu, norm, spreads=None):
    """The loss with a hidden vector for each sample; `spreads` are those of each view, if they are held fixed."""
    outputs = []
    for view, tokens in enumerate(pair):
        hidden = first[np.arange(LOCATIONS), tokens]
        hidden = np.maximum(hidden, 0) if relu else hidden
        if norm != NONE:
            spread = find_spreads(first, tokens, relu) if spreads is None else spreads[view]
            hidden = (hidden - hidden.mean(0)) / spread
        output = np.einsum("bkc,kcd->bd", hidden, second)
        outputs.append(output / np.maximum(np.linalg.norm(output, axis=1, keepdims=True), 1e-300))  # 0 stays 0
    one, two = outputs
    matrix = one @ one.T
    np.fill_diagonal(matrix, (one * two).sum(1))
    logits = matrix / TEMPERATURE
    return float((np.log(np.exp(logits).sum(1)) - np.diag(logits)).mean())


@pytest.mark.parametrize(("relu", "norm"), KINDS)
def test_the_loss_by_tables_is_the_loss_by_samples(relu, norm):
    first, second, pair = draw(1)
    loss = evaluate(first, second, pair, relu, norm, TEMPERATURE)[0]
    assert loss == pytest.approx(loss_by_samples(first, second, pair, relu, norm), rel=1e-12)  # rounding


@pytest.mark.parametrize(("relu", "norm"), KINDS)
def test_the_gradient_is_that_of_differences(relu, norm):
    """Central differences of the loss by samples; with `mean` its spreads stay at their values."""
    first, second, pair = draw(2)
    spreads = [find_spreads(first, tokens, relu) for tokens in pair] if norm == MEAN else None
    _, *gradients = evaluate(first, second, pair, relu, norm, TEMPERATURE)
    step = 1e-5  # no weight is that near to the kink of relu
    assert np.abs(first).min() > step
    for weights, gradient in zip((first, second), gradients, strict=True):
        for place in np.ndindex(*weights.shape):
            kept = weights[place]
            ends = []
            for shift in (step, -step):
                weights[place] = kept + shift
                ends.append(loss_by_samples(first, second, pair, relu, norm, spreads))
            weights[place] = kept
            # The error of differences, step^2 times a third derivative, and rounding over the step.
            assert gradient[place] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-8)


@pytest.mark.parametrize("norm", [NONE, FULL])
def test_the_error_of_differences_is_of_second_order(norm):
    """Central differences of the kernel's own loss along a random direction tend to its gradient as the square."""
    first, second, pair = draw(10)
    along = np.random.default_rng(11).normal(size=first.shape)
    slope = (evaluate(first, second, pair, False, norm, TEMPERATURE)[1] * along).sum()
    steps, errors = np.array([0.02, 0.01, 0.005]), []
    for step in steps:
        ends = [evaluate(first + sign * step * along, second, pair, False, norm, TEMPERATURE)[0] for sign in (1, -1)]
        errors.append(abs((ends[0] - ends[1]) / (2 * step) - slope))
    assert np.polyfit(np.log(steps), np.log(errors), 1)[0] == pytest.approx(2, abs=0.1)


def test_a_constant_spread_is_not_the_full_gradient():
    first, second, pair = draw(3)
    mean, full = (evaluate(first, second, pair, True, norm, TEMPERATURE)[1] for norm in (MEAN, FULL))
    assert np.abs(mean - full).max() > 1e-3


@pytest.mark.parametrize("relu", [True, False])
def test_the_loss_does_not_know_the_scale_of_the_second_layer(relu):
    """So the gradient is orthogonal to the second layer."""
    first, second, pair = draw(4)
    loss, _, d_second = evaluate(first, second, pair, relu, FULL, TEMPERATURE)
    assert evaluate(first, 3 * second, pair, relu, FULL, TEMPERATURE)[0] == pytest.approx(loss, rel=1e-12)
    assert (second * d_second).sum() == pytest.approx(0, abs=1e-12)


def test_one_output_learns_nothing():
    """A number divided by its size is a sign, whose derivative is 0: the parameter begins at 2."""
    first, second, pair = draw(5, size=1)
    _, d_first, d_second = evaluate(first, second, pair, False, MEAN, TEMPERATURE)
    np.testing.assert_allclose(d_first, 0, atol=1e-12)
    np.testing.assert_allclose(d_second, 0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3])
def test_the_gradient_of_a_linear_first_layer_has_at_most_the_rank_of_the_output(size):
    first, second, pair = draw(6, size)
    _, d_first, _ = evaluate(first, second, pair, False, NONE, TEMPERATURE)
    values = np.linalg.svd(d_first, compute_uv=False)
    assert (values[:, size - 1] > 1e-6).all()
    np.testing.assert_allclose(values[:, size:], 0, atol=1e-13)


def test_momentum_and_weight_decay_follow_their_formula():
    weights, velocity = np.array([1.0, -2.0]), np.array([0.5, 0.0])
    descend(weights, velocity, np.array([0.1, 0.2]), 0.02, 0.005)
    np.testing.assert_allclose(velocity, [0.9 * 0.5 + 0.1 + 0.005, 0.2 - 0.01], rtol=1e-15)
    np.testing.assert_allclose(weights, [1 - 0.02 * 0.555, -2 - 0.02 * 0.19], rtol=1e-15)


def test_samples_are_sorted_by_token_and_keep_their_order():
    tokens = np.array([3, 0, 3, 1, 0])
    samples = sort_samples(tokens, np.bincount(tokens, minlength=5).astype(float))
    assert samples.tolist() == [1, 4, 3, 0, 2]


def test_the_loss_has_no_overflow_at_the_lowest_temperature():
    first, second, pair = draw(9)
    loss, *gradients = evaluate(first, second, pair, True, MEAN, 0.01)
    assert 0 < loss < 200.1  # M lies between -1 and 1
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_sample_that_no_unit_answers_to_has_the_output_zero():
    """It was 0 / 0, and all weights were NaN after it."""
    first, second, pair = draw(12)
    pair[pair == 0] = 1
    first[:, 0], pair[0, 3] = -1.0, 0  # in one view of one sample no unit is on
    loss, d_first, _ = evaluate(first, second, pair, True, NONE, TEMPERATURE)
    assert loss == pytest.approx(loss_by_samples(first, second, pair, True, NONE), rel=1e-12)
    along = 1e-6 * np.random.default_rng(13).normal(size=first.shape)
    ends = [loss_by_samples(first + sign * along, second, pair, True, NONE) for sign in (1, -1)]
    assert (d_first * along).sum() == pytest.approx((ends[0] - ends[1]) / 2, rel=1e-5)  # error 1e-12, rounding 1e-16
