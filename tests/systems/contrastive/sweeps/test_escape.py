"""The systems of escape, rare selection and phases: results of their halves, and refused parameters."""

import numpy as np
import pytest

from clhd.errors import ClhdError
from clhd.systems.contrastive.sweeps.outcomes import name_outcomes
from clhd.systems.declarations import Status
from clhd.systems.registry import find_system

VALUES = {
    "second_moment": 3.0,
    "loss": "covariance",
    "background": "orthogonal",
    "learning_rate": 1.0,
    "weight_decay": 0.6,
    "base_noise_variance": 0.25,
    "augmentation_noise_variance": 0.25,
    "dimension": 100,
}
TIME = np.linspace(0, 6, 61)


def test_a_run_has_escaped_from_its_escape_time_on():
    system = find_system("escape")
    result = system.simulation.compute([system.simulation.point(VALUES, 1)], TIME, range(64))
    assert (result.status == Status.OK).all()
    escaped, when = result.values["escaped_share"][0], result.values["escape_time"][0]
    np.testing.assert_array_equal(escaped, TIME[None] >= when[:, None])
    assert np.unique(when).size > 10
    theory = system.theory.compute([system.theory.point(VALUES, 1)], TIME, [])
    # At n = 100 the leading order errs by a share of about n^(-1/2).
    assert when.mean() == pytest.approx(theory.values["escape_time"][0], abs=0.15)


def test_the_stronger_feature_comes_first():
    system = find_system("rare_selection")
    values = {**VALUES, "features": 2, "second_moment_1": 2.0, "second_moment_2": 2.5}
    with pytest.raises(ClhdError, match=r"second_moment_2 = 2.5: must be below second_moment_1 = 2"):
        system.theory.point(values, 0)


def test_where_no_feature_grows_none_is_selected():
    system = find_system("rare_selection")
    values = {**VALUES, "features": 2, "second_moment_1": 0.2, "second_moment_2": 0.1}
    result = system.theory.compute([system.theory.point(values, 0)], np.array([40.0]), [])
    assert (result.values["growth_rate"] < 0).all()
    assert dict(zip(name_outcomes(2), result.values["probability"][0], strict=True))["none"] == 1


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"second_moment_2": 2.9, "kurtosis": 5.0}, "undecided"),  # the mixed state alone is stable
        ({"second_moment_1": 10.0, "second_moment_2": 1.5, "background": "isotropic"}, "feature_1"),
        ({"second_moment_2": 0.1}, "feature_1"),  # feature 2 does not grow
    ],
)
def test_theory_and_sgd_end_in_the_same_outcome(changes, outcome):
    system = find_system("rare_selection")
    values = {**VALUES, "features": 2, "dimension": 1000, **changes}
    if "second_moment_1" not in values:
        values["second_moment_1"] = 3.0
    theory = system.theory.compute([system.theory.point(values, 0)], TIME, [])
    simulated = system.simulation.compute([system.simulation.point(values, 1)], np.array([30.0]), range(16))
    assert theory.status[0] == Status.OK
    place = name_outcomes(2).index(outcome)
    assert theory.values["probability"][0, place] > 0.999
    assert simulated.values["probability"][0, :, place].mean() == 1


@pytest.mark.parametrize("name", ["escape", "rare_selection"])
def test_a_loss_whose_noise_is_not_known_is_refused_before_anything_is_computed(name):
    values = {**VALUES, "loss": "bilinear", "background": "orthogonal"}
    if name == "rare_selection":
        values |= {"features": 2, "second_moment_1": 2.0, "second_moment_2": 1.5}
    with pytest.raises(ClhdError, match="background = 'orthogonal': must be 'isotropic' for the fluctuations"):
        find_system(name).theory.point(values, 0)


def test_the_phase_of_a_run_is_told_by_its_end():
    """A feature that is weaker than the base noise is not learned at any rate (docs/theory.md, section 12)."""
    system = find_system("phases")
    cases = {"informative": {}, "uninformative": {"second_moment": 0.2}, "collapsed": {"base_noise_variance": 0.0}}
    cases["collapsed"] |= {"second_moment": 0.1, "learning_rate": 0.5, "augmentation_noise_variance": 0.1}
    cases["diverged"] = {"activation": (0.0, 1.0, 0.0, -0.1), "learning_rate": 8.0}
    for phase, changes in cases.items():
        values = {**VALUES, "dimension": 1000, "initial_cosine_similarity": 0.5, **changes}
        point = system.simulation.point(values, 3)
        share = system.simulation.compute([point], np.array([40.0]), range(8)).values["phase_share"][0]
        phases = system.simulation.outputs(values).coordinates["end_phase"][0]
        assert phases[int(share.mean(axis=0).argmax())] == phase


def test_the_borders_of_phases_do_not_depend_on_the_learning_rate():
    assert not find_system("phases").parameters["learning_rate"].in_theory
