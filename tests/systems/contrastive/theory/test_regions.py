"""Attraction regions: which initial cosine similarities flow into which fixed point."""

import numpy as np
import pytest

import clhd
from clhd.systems.contrastive.theory.states.regions import NO_SUCH_START, NOT_SETTLED, attraction_region
from tests.systems.contrastive.theory.example import make_model, three_point

GRID = np.linspace(-1, 1, 21)


def winners(region):
    """Index (from 0) of the feature of the pure state at each start; -1 where it is none."""
    overlap = np.abs(region.overlap.values)
    pure = region.kind.values == "pure"
    feature = np.where(pure, overlap.argmax(axis=1), -1)
    attractor = region.attractor.values
    return np.where(attractor >= 0, feature[np.maximum(attractor, 0)], -1)


def test_equal_features_share_the_disc_along_its_diagonals():
    region = attraction_region(
        make_model(three_point(1), three_point(1)), cosine_similarity_1=GRID, cosine_similarity_2=GRID
    )
    first, second = np.meshgrid(np.abs(GRID), np.abs(GRID), indexing="ij")
    inside = region.attractor.values != NO_SUCH_START
    # At least two cells off the diagonals, where the time to leave the separatrix is short.
    clear = inside & (np.abs(first - second) > 0.15)
    assert np.array_equal(winners(region)[clear], np.where(first > second, 0, 1)[clear])


def test_signs_of_starts_are_signs_of_states():
    region = attraction_region(
        make_model(three_point(1), three_point(1)), cosine_similarity_1=GRID, cosine_similarity_2=GRID
    )
    settled = region.attractor.values >= 0
    ends = region.overlap.values[np.maximum(region.attractor.values, 0)]
    starts = np.stack(np.meshgrid(GRID, GRID, indexing="ij"), axis=-1)
    assert np.all((ends * starts)[settled] >= -1e-9)
    # By the label of a feature, not by its position.
    np.testing.assert_array_equal(region.overlap.sel(feature=[1, 2]), region.overlap.values)


def test_a_smaller_kurtosis_widens_the_region_of_its_feature():
    areas = []
    for kurtosis in (1, 1.5, 2):
        region = attraction_region(
            make_model(three_point(1), three_point(kurtosis)), cosine_similarity_1=GRID, cosine_similarity_2=GRID
        )
        won = winners(region)
        areas.append(np.sum(won == 0) / np.sum(won >= 0))
    assert areas[0] == pytest.approx(0.5, abs=0.03)  # the starts on the diagonal may end anywhere
    assert areas[0] < areas[1] < areas[2]


def test_skewed_latents_have_no_sign_images_but_the_common_one():
    skewed = clhd.TwoPoint(second_moment=1.5, skewness=0.5)
    region = attraction_region(make_model(skewed, skewed), cosine_similarity_1=[-0.5, 0.5], cosine_similarity_2=[0.1])
    overlaps = region.overlap.values
    # tanh is odd: every state has its negative, and no other image need exist.
    for overlap in overlaps:
        assert np.abs(overlaps + overlap).sum(axis=1).min() < 1e-8


def test_starts_outside_the_disc_and_short_times_are_marked():
    region = attraction_region(
        make_model(three_point(1), three_point(1)), cosine_similarity_1=[0.2, 1.0], cosine_similarity_2=[0.3], time=0.1
    )
    assert region.attractor.values.ravel().tolist() == [NOT_SETTLED, NO_SUCH_START]


ON_SPHERE = make_model(three_point(1), three_point(1), constraint="sphere", weight_decay=0.0)
INFONCE = make_model(three_point(1), three_point(1), loss="infonce")
BAD_INPUT = {
    "one feature": ({"model": make_model(three_point(1))}, "latents: 1 law given, must be 2 or more"),
    "range": ({"cosine_similarity_1": [1.5]}, "cosine_similarity_1 = .1.5.: must be one or more numbers from -1 to 1"),
    "order": ({"cosine_similarity_2": [0.5, 0.1]}, "cosine_similarity_2 = .*strictly increasing order"),
    "norm": ({"squared_norm": -1}, "squared_norm = -1: must be a finite number greater than 0"),
    "no norm": ({"squared_norm": 0}, "squared_norm = 0: must be a finite number greater than 0"),
    "norm on the sphere": ({"model": ON_SPHERE, "squared_norm": 2}, "squared_norm = 2: must be 1 with constraint"),
    "loss": ({"model": INFONCE}, "loss = 'infonce': must be covariance or bilinear or spectral"),
    "time": ({"time": float("nan")}, "time = nan: must be a finite number greater than 0"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(case):
    change, message = BAD_INPUT[case]
    settings = {
        "model": make_model(three_point(1), three_point(1)),
        "cosine_similarity_1": [0.1],
        "cosine_similarity_2": [0.1],
    } | change
    with pytest.raises(clhd.ClhdError, match=message):
        attraction_region(settings.pop("model"), **settings)
