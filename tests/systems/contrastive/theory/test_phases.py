"""Borders of phases: those that a search for states of rest finds, and closed forms."""

import math
from dataclasses import replace

import pytest

from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint
from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points
from clhd.systems.contrastive.theory.states.phases import find_phase_borders
from clhd.systems.contrastive.theory.states.threshold import growth_rates
from tests.systems.contrastive.theory.test_escape import make_model

CUBIC = (0.0, 1.0, 0.0, -0.1)


def kinds(model):
    states = find_fixed_points(model)
    return {str(kind) for kind, is_stable in zip(states.kind.values, states.stable.values, strict=True) if is_stable}


def at(model, rate):
    return replace(model, learning_rate=rate)


def test_the_collapsed_phase_ends_where_the_closed_form_says():
    model = make_model(0.25, base_noise_variance=0.1)
    border = find_phase_borders(model).collapsed
    assert border == pytest.approx((0.6 - 2 * 0.1) / (0.35**2 + 0.1**2), rel=1e-5)
    assert "collapsed" in kinds(at(model, 0.99 * border))
    assert "collapsed" not in kinds(at(model, 1.01 * border))


def test_a_feature_that_grows_leaves_no_collapsed_phase():
    assert find_phase_borders(make_model(0.5, base_noise_variance=0.1)).collapsed == 0


@pytest.mark.parametrize("moment", [0.5, 1.5])
def test_the_growth_rate_changes_its_sign_at_the_threshold(moment):
    model = make_model(moment, base_noise_variance=0.25)
    threshold = find_phase_borders(model).threshold
    assert 0.05 < threshold < 20
    assert growth_rates(at(model, 0.98 * threshold))[0] > 0 > growth_rates(at(model, 1.02 * threshold))[0]


def test_no_rate_lets_a_feature_grow_that_is_weaker_than_the_base_noise():
    """The threshold is 2 (m - s_b) G r / D with the orthogonal background, so it is 0 at m = s_b."""
    weak, strong = (find_phase_borders(make_model(m, base_noise_variance=0.5)).threshold for m in (0.5, 0.55))
    assert weak == pytest.approx(0, abs=1e-5)
    assert strong > 0.01


def test_both_states_are_stable_between_the_threshold_and_the_end_of_the_informative_branch():
    """A weak feature under little noise: at rate 0.1 a search finds two stable states."""
    model = make_model(0.5, base_noise_variance=0.5, augmentation_noise_variance=0.1)
    borders = find_phase_borders(model)
    assert borders.threshold < 0.1 < borders.informative
    assert {"uninformative", "pure"} <= kinds(at(model, 0.1))
    assert "pure" in kinds(at(model, 0.97 * borders.informative))
    assert "pure" not in kinds(at(model, 1.03 * borders.informative))


@pytest.mark.parametrize(("moment", "correlation"), [(1.5, -1.0), (0.5, -1.0), (0.5, 1.0)])
def test_the_informative_branch_ends_where_the_last_state_vanishes(moment, correlation):
    """The end lies between the nodes of the similarity: at 0.79, and at 0.98 for a weak feature."""
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=moment),), loss="bilinear", background="orthogonal", weight_decay=0.1,
        noise_correlation=correlation, base_noise_variance=1.0, augmentation_noise_variance=0.5,
    )  # fmt: skip
    end = find_phase_borders(model).informative
    assert "pure" in kinds(at(model, 0.9995 * end))
    assert "pure" not in kinds(at(model, 1.0005 * end))


def test_saddles_of_a_cubic_unit_are_no_end_of_its_informative_branch():
    """At squared norm 9 the growth rate rises through zero: such states exist to rate 0.12, and none is stable."""
    model = make_model(0.5, activation=CUBIC, weight_decay=2)
    assert find_phase_borders(model).informative == 0
    assert kinds(at(model, 0.05)) == {"collapsed"}


def test_bounded_forces_have_no_end_and_a_cubic_unit_has_one():
    assert math.isinf(find_phase_borders(make_model(1.5)).uninformative)
    model = make_model(1.5, activation=CUBIC, base_noise_variance=0.5, augmentation_noise_variance=1.0)
    borders = find_phase_borders(model)
    end = max(borders.uninformative, borders.informative)
    # Closer to the end, the search for states misses the pair that meets there: both lie between two of its nodes.
    assert kinds(at(model, 0.97 * end))
    assert not kinds(at(model, 1.01 * end))
