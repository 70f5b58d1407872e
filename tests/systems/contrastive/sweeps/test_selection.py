"""Selection as a system: outcomes of runs, and the theory's outcomes."""

import numpy as np
import pytest

import clhd
from clhd.errors import ClhdError
from clhd.systems.contrastive.sweeps import selection
from clhd.systems.contrastive.sweeps.outcomes import selection_probability
from clhd.systems.contrastive.theory.states.destinations import Destinations
from clhd.systems.declarations import NotConvergedError, Status
from clhd.systems.registry import find_system

SYSTEM = find_system("selection")
VALUES = {
    "features": 2,
    "second_moment": 1.5,
    "learning_rate": 0.3,
    "weight_decay": 0.6,
    "base_noise_variance": 0.25,
    "augmentation_noise_variance": 0.25,
    "noise_correlation": -1.0,
}
TIME = np.array([60.0])


def predict(**changes):
    values = VALUES | changes
    result = SYSTEM.theory.compute([SYSTEM.theory.point(values, 0)], TIME, [])
    return {name: array[0] for name, array in result.values.items()}


def test_a_run_ends_in_one_outcome():
    point = SYSTEM.simulation.point(VALUES | {"dimension": 200, "kurtosis_1": 1.0, "kurtosis_2": 2.0}, 3)
    result = SYSTEM.simulation.compute([point, point], TIME, range(7))
    outcome = result.values["probability"]
    assert outcome.shape == (2, 7, 4)
    assert np.all(np.sort(outcome, axis=-1) == [0, 0, 0, 1])
    assert np.array_equal(outcome[0], outcome[1])
    assert np.all(result.status == Status.OK)


def test_shares_are_those_of_selection_probability():
    values = VALUES | {"dimension": 300, "kurtosis_1": 1.0, "kurtosis_2": 1.5}
    point = SYSTEM.simulation.point(values, 11)
    shares = SYSTEM.simulation.compute([point], TIME, range(200)).values["probability"][0].mean(axis=0)
    data = selection_probability(
        point.model, method="sgd", time=60, replicas=200, dimension=300, squared_norm=1.0, seed=11
    )
    np.testing.assert_allclose(shares, data.probability, rtol=0, atol=1e-12)


def test_the_theory_knows_shares_areas_and_eigenvalues():
    values = predict(kurtosis_1=1.0, kurtosis_2=2.0)
    # Kurtosis 2: the border is a straight line at the angle arctan(sqrt 2), so share and area are the same.
    share = np.arctan(np.sqrt(2)) / (np.pi / 2)
    for name in ("probability", "area"):
        np.testing.assert_allclose(values[name], [share, 1 - share, 0, 0], rtol=0, atol=1e-8)
    assert values["growth_rate"][0] == pytest.approx(values["growth_rate"][1], abs=1e-12)
    assert values["pure_eigenvalue"] == pytest.approx([-0.3542, -0.0195], abs=1e-4)


def test_the_only_attractor_has_the_whole_disc():
    values = predict(kurtosis_1=1.0, kurtosis_2=3.0)
    assert values["probability"] == pytest.approx([1, 0, 0, 0])
    assert values["area"] == pytest.approx([1, 0, 0, 0])
    assert values["pure_eigenvalue"][1] > 0


def test_a_unit_that_collapses_selects_none():
    values = predict(weight_decay=6.0)
    assert values["probability"] == pytest.approx([0, 0, 1, 0])
    assert np.all(np.isnan(values["pure_eigenvalue"]))


def test_eigenvalues_alone_need_no_regions():
    assert set(predict(theory="eigenvalues")) == {"growth_rate", "pure_eigenvalue"}
    assert set(SYSTEM.theory.outputs({"features": 3, "theory": "eigenvalues"}).variables) == {
        "growth_rate",
        "pure_eigenvalue",
    }
    assert predict(theory="eigenvalues", features=3)["pure_eigenvalue"].shape == (3,)
    infonce = predict(theory="eigenvalues", loss="infonce", weight_decay=0.2)
    assert np.all(np.isfinite(infonce["growth_rate"]))


def test_the_faster_feature_takes_more_the_smaller_the_start():
    shares = [
        predict(second_moment_1=1.5, second_moment_2=1.3, initial_radius=radius)["probability"][0]
        for radius in (0.2, 0.05, 0.01)
    ]
    assert 0.6 < shares[0] < shares[1] < shares[2] < 1


def test_points_are_keyed_by_what_they_depend_on():
    base = SYSTEM.theory.point(VALUES, 0)
    assert SYSTEM.theory.point(VALUES | {"initial_radius": 0.1}, 0) != base
    assert SYSTEM.theory.point(VALUES | {"initial_squared_norm": 0.5}, 0) != base


BAD_INPUT = {
    "no features": ({"features": None}, "features: must be given"),
    "three": ({"features": 3}, "features = 3: must be 2 for attraction regions; set theory: eigenvalues or none"),
    "loss": ({"loss": "infonce"}, "loss = 'infonce': must be covariance or bilinear or spectral"),
    "penalty": ({"l1_penalty": 0.1}, "l1_penalty = 0.1: must be 0 for the ODE"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_sentence(case):
    change, message = BAD_INPUT[case]
    values = {name: value for name, value in (VALUES | change).items() if value is not None}
    with pytest.raises(ClhdError, match=message):
        SYSTEM.theory.point(values, 0)


def test_the_simulation_needs_a_dimension():
    with pytest.raises(ClhdError, match="dimension: must be given"):
        SYSTEM.simulation.point(VALUES, 0)


EXPERIMENT = """
system: selection
constants: {features: 2, second_moment: 1.5, learning_rate: 0.3, weight_decay: 0.6, theory: eigenvalues}
axes:
  dimension: [20, 40]
  kurtosis_2: [1, 3]
times: [30]
replicas: 256
keep: moments
"""


def test_a_sweep_keeps_shares_of_outcomes_as_moments(tmp_path):
    path = tmp_path / "shares.yaml"
    path.write_text(EXPERIMENT)
    summary = clhd.run_experiment(path, results=tmp_path / "results")["summary"].to_dataset()
    assert summary.probability_mean.dims == ("dimension", "kurtosis_2", "outcome")
    assert summary.outcome.values.tolist() == ["feature_1", "feature_2", "none", "undecided"]
    np.testing.assert_allclose(summary.probability_mean.sum("outcome"), 1, rtol=0, atol=1e-12)
    assert summary.pure_eigenvalue_theory.dims == ("kurtosis_2", "feature")
    assert "probability_theory" not in summary


def test_a_point_without_an_answer_does_not_take_the_others_with_it(monkeypatch):
    measure = selection.measure_regions

    def measure_some(model, **arguments):
        if model.learning_rate == 0.5:
            raise NotConvergedError("no answer")
        return measure(model, **arguments)

    monkeypatch.setattr(selection, "measure_regions", measure_some)
    points = [SYSTEM.theory.point(VALUES | {"learning_rate": rate}, 0) for rate in (0.3, 0.5)]
    result = SYSTEM.theory.compute(points, TIME, [])
    assert result.status.tolist() == [Status.OK, Status.NOT_CONVERGED]
    assert np.all(np.isfinite(result.values["probability"][0]))
    assert np.all(np.isnan(result.values["probability"][1]))
    assert str(result.errors[1,]) == "no answer"


def test_a_trajectory_that_is_given_up_has_no_destination():
    destinations = Destinations(SYSTEM.theory.point(VALUES, 0).model, 1e300)
    with pytest.raises(NotConvergedError, match=r"of 1 trajectories were given up before time 1e\+300"):
        destinations.follow(np.array([[0.1, 0.0, 1.0]]), np.array([1e300]))
