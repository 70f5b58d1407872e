"""The system "sharing": outcomes of two units, and their theory beside SGD."""

import numpy as np
import pytest

import clhd
from clhd.systems.contrastive.sweeps.sharing import SHARINGS, SharingSimulation, SharingTheory, classify_sharing
from clhd.systems.contrastive.theory.states.shared_states import find_critical_penalty

VALUES = {
    "features": 2,
    "second_moment": 1.56,
    "batch": 4,
    "learning_rate": 0.4,
    "weight_decay": 0.3,
    "base_noise_variance": 0.4,
    "augmentation_noise_variance": 0.4,
    "initial_overlap_1": 0.8,
    "initial_overlap_2": 0.0,
}


@pytest.mark.parametrize(
    ("overlap", "norms", "outcome"),
    [
        ([[0.9, 0.0], [-0.8, 0.1]], [1, 1], "same"),
        ([[0.9, 0.0], [0.1, 0.8]], [1, 1], "each"),
        ([[0.9, 0.0], [0.1, 0.1]], [1, 1], "one"),
        ([[0.9, 0.0], [0.01, 0.0]], [1, 1e-4], "one"),
        ([[0.1, 0.0], [0.1, 0.1]], [1, 1], "none"),
        ([[0.9, 0.0], [0.6, 0.6]], [1, 1], "undecided"),
        ([[0.9, 0.0], [np.nan, np.nan]], [1, np.nan], "undecided"),
    ],
)
def test_outcomes(overlap, norms, outcome):
    found = classify_sharing(np.array([overlap]), np.diag(np.array(norms, dtype=float))[None])
    assert SHARINGS[int(found[0])] == outcome


def test_theory_gives_the_critical_penalty_of_each_feature():
    theory = SharingTheory()
    point = theory.point(VALUES | {"decorrelation": 1.0}, 0)
    result = theory.compute([point], np.array([0.0]), range(1))
    expected = find_critical_penalty(point.model).penalty
    np.testing.assert_array_equal(result.values["critical_penalty"], [[expected, expected]])
    assert result.values["antisymmetric_rate"][0, 0] > 0
    assert result.values.keys() == theory.outputs({"features": 2}).variables.keys()


def test_selection_gives_where_the_ode_ends_from_the_start_of_the_runs():
    theory = SharingTheory()
    values = VALUES | {"theory": "selection", "background": "orthogonal", "decorrelation": 0.0}
    result = theory.compute([theory.point(values, 0)], np.array([0.0, 20.0]), range(1))
    # Both units start near feature 1, and without a penalty each keeps it.
    np.testing.assert_array_equal(result.values["sharing_probability"], [[1, 0, 0, 0, 0]])
    assert result.values.keys() == theory.outputs({"features": 2, "theory": "selection"}).variables.keys()


def test_a_large_penalty_parts_units_that_share_a_feature():
    half = SharingSimulation()
    points = [half.point(VALUES | {"decorrelation": lam, "dimension": 200}, 1) for lam in (0.0, 2.0)]
    shares = half.compute(points, np.array([0.0, 60.0]), range(8)).values["sharing_probability"].mean(axis=1)
    same = SHARINGS.index("same")
    assert shares[0, same] == 1
    # Most runs end with a feature for each unit; with the isotropic background, some with one unit without a feature.
    assert shares[1, same] == 0


def test_what_is_not_offered_is_refused():
    with pytest.raises(clhd.ClhdError, match="activation = 'relu'"):
        SharingTheory().point(VALUES | {"activation": "relu"}, 0)
