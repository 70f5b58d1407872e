"""The contrastive model as a system: parameters, points, and the same numbers as the functions that users call."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import clhd
from clhd.errors import ClhdError
from clhd.systems.contrastive.sweeps.contrastive import ContrastiveSystem
from clhd.systems.contrastive.sweeps.parameters import PARAMETERS, parse_model_and_start
from clhd.systems.contrastive.theory.diffusion import fluctuations
from clhd.systems.contrastive.theory.flow import ode
from clhd.systems.declarations import Status

SYSTEM = ContrastiveSystem()
BASE: dict[str, Any] = {"dimension": 30, "initial_cosine_similarity": 0.4, "weight_decay": 0.6}


def test_parameters_have_the_defaults_of_the_model() -> None:
    for spec in fields(clhd.ContrastiveModel):
        if spec.name != "latents":
            assert PARAMETERS[spec.name].default == spec.default, spec.name
    of_no_field = PARAMETERS.keys() - {spec.name for spec in fields(clhd.ContrastiveModel)}
    of_latents = {"features", "latent", "second_moment", "kurtosis", "skewness"}
    of_the_run = {"dimension", "engine", "simulation", "theory", "correlation_acts_on"}
    assert of_no_field == {*of_latents, *of_the_run, *(name for name in PARAMETERS if name.startswith("initial"))}
    bare = SYSTEM.simulation.point({"dimension": 30, "initial_overlap": 0.1}, seed=0)
    assert bare.model == clhd.ContrastiveModel(latents=(clhd.ThreePoint(),))


def test_a_parameter_sets_every_feature_and_one_of_a_feature_goes_first() -> None:
    values = {**BASE, "features": 3, "second_moment": 1.5, "second_moment_2": 0.5, "kurtosis_3": 4.0}
    values |= {"initial_cosine_similarity_1": 0.1, "initial_squared_norm": 4.0}
    point = SYSTEM.simulation.point(values, seed=7)
    assert point.model.latents == (
        clhd.ThreePoint(second_moment=1.5),
        clhd.ThreePoint(second_moment=0.5),
        clhd.ThreePoint(second_moment=1.5, kurtosis=4),
    )
    assert point.overlap == (0.2, 0.8, 0.8)
    assert point.seed == 7


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_cosine_similarity": 0.8, "features": 2}, "must not exceed squared_norm"),
        ({"initial_overlap": 0.1}, "must not be given together"),
        ({"initial": "random"}, "goes with no initial_cosine_similarity"),
        ({"latent": "gaussian", "kurtosis": 3.0}, "kurtosis = 3.0: is only for latent = 'three_point'"),
        ({"constraint": "sphere"}, "weight_decay = 0.6: must be 0"),
        ({"l1_penalty": 0.1}, "the projected engine needs 0.0"),
        ({"features": 2, "dimension": 3}, "dimension = 3: must be a whole number, 4 or more"),
    ],
)
def test_values_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClhdError, match=message):
        SYSTEM.simulation.point({**BASE, **changes}, seed=0)


def test_a_point_needs_a_dimension_and_a_start() -> None:
    with pytest.raises(ClhdError, match="dimension: must be given"):
        SYSTEM.simulation.point({"initial_overlap": 0.1}, seed=0)
    with pytest.raises(ClhdError, match="needs initial_cosine_similarity or initial_overlap"):
        SYSTEM.simulation.point({"dimension": 10}, seed=0)


@pytest.mark.parametrize("engine", ["projected", "full"])
def test_a_sweep_gives_the_bits_of_simulate_sgd(engine: str) -> None:
    point = SYSTEM.simulation.point({**BASE, "engine": engine, "kurtosis": 2.0}, seed=3)
    time = np.array([0.5, 1.0])
    result = SYSTEM.simulation.compute(
        [SYSTEM.simulation.point({**BASE, "engine": engine}, seed=3), point], time, [4, 1]
    )
    alone = clhd.simulate_sgd(
        point.model, dimension=30, time=time, overlap=[0.4], replicas=5, seed=3, engine=engine
    ).sel(replica=[4, 1])
    for name in ("overlap", "squared_norm", "cosine_similarity"):
        assert result.values[name][1].tobytes() == np.ascontiguousarray(alone[name].values).tobytes()
    assert (result.status == Status.OK).all()


def test_the_theory_gives_the_ode_and_on_request_its_fluctuations() -> None:
    time = np.array([0.0, 1.0])
    values = {name: value for name, value in BASE.items() if name != "dimension"}
    point = SYSTEM.theory.point(values, 0)
    flow = clhd.integrate_ode(point.model, overlap=[0.4], time=time)
    result = SYSTEM.theory.compute([point], time, [])
    np.testing.assert_array_equal(result.values["overlap"][0], flow["overlap"])
    limit = SYSTEM.theory.compute([SYSTEM.theory.point({**values, "theory": "fluctuations"}, 0)], time, [])
    assert set(limit.values) == set(SYSTEM.theory.outputs({"theory": "fluctuations"}).variables)
    for name in ("overlap", "squared_norm", "cosine_similarity", "gradient_variance"):  # by two methods, both to 1e-9
        np.testing.assert_allclose(limit.values[name], result.values[name], rtol=1e-8)
    expected = clhd.predict_fluctuations(point.model, [0.4], 1.0, time)["covariance"].values[1]
    np.testing.assert_allclose(limit.values["overlap_fluctuation"][0, 1, 0] ** 2, expected[0, 0], rtol=1e-12)
    np.testing.assert_allclose(limit.values["squared_norm_fluctuation"][0, 1] ** 2, expected[1, 1], rtol=1e-12)
    assert SYSTEM.theory.outputs({"theory": "none"}).variables == {}


def test_an_experiment_may_be_theory_alone() -> None:
    assert SYSTEM.simulation.outputs({"simulation": "none"}).variables == {}
    assert "growth_rate" in SYSTEM.theory.outputs({"simulation": "none"}).variables


def test_the_growth_rate_changes_sign_at_the_learnability_threshold() -> None:
    values = {"initial_overlap": 0.01, "weight_decay": 0.6, "second_moment": 0.38070}
    point = SYSTEM.theory.point(values, 0)
    threshold = float(clhd.learnability_threshold(point.model)[0])
    points = [
        SYSTEM.theory.point({**values, "second_moment": m}, 0) for m in (threshold - 0.1, threshold, threshold + 0.1)
    ]
    below, at, above = SYSTEM.theory.compute(points, np.array([0.0]), []).values["growth_rate"][:, 0]
    assert at == pytest.approx(0, abs=1e-12)
    assert below == pytest.approx(-above, rel=1e-9)
    assert above > 0


def test_a_run_may_start_at_the_norm_of_the_uninformative_state() -> None:
    values = {**BASE, "initial_squared_norm": "uninformative"}
    assert SYSTEM.simulation.point(values, seed=0).squared_norm == pytest.approx(0.5225, abs=5e-5)
    with pytest.raises(ClhdError, match="the norm collapses"):
        SYSTEM.simulation.point({**values, "weight_decay": 30.0}, seed=0)


def test_the_switch_takes_the_correlation_out_of_the_drift_or_of_the_gradient_variance() -> None:
    # On the linear sphere g does not depend on the correlation, so all of its effect comes by the gradient variance;
    # g and A of one correlation with D of another are checked against the terms themselves.
    time = np.array([0.0, 200.0])
    sphere = {"activation": "linear", "constraint": "sphere", "second_moment": 1.5, "initial_overlap": 0.1}

    def steady(acts_on: str, correlation: float) -> float:
        point = SYSTEM.theory.point({**sphere, "correlation_acts_on": acts_on, "noise_correlation": correlation}, 0)
        return float(SYSTEM.theory.compute([point], time, []).values["cosine_similarity"][0, -1, 0])

    assert steady("both", -1.0) == pytest.approx(0.667, abs=6e-4)
    assert steady("gradient_variance", -1.0) == pytest.approx(steady("both", -1.0), abs=1e-9)
    assert steady("drift", -1.0) == pytest.approx(steady("both", 0.0), abs=1e-9)


def test_the_switch_changes_nothing_where_there_is_no_correlation() -> None:
    values = {**BASE, "noise_correlation": 0.0}
    del values["dimension"]
    points = [
        SYSTEM.theory.point({**values, "correlation_acts_on": acts_on}, 0)
        for acts_on in PARAMETERS["correlation_acts_on"].choices
    ]
    norms = SYSTEM.theory.compute(points, np.array([3.0]), []).values["squared_norm"][:, 0]
    np.testing.assert_allclose(norms, norms[0], rtol=1e-8)  # with a D of another model, scipy integrates: both to 1e-9


def test_infonce_has_parameters_of_its_own_and_an_averaging_error() -> None:
    time = np.array([0.0, 0.5])
    values = {name: value for name, value in BASE.items() if name != "dimension"}
    values |= {"loss": "infonce", "temperature": 0.5, "negatives": 2}
    point = SYSTEM.theory.point(values, 0)
    assert (point.model.temperature, point.model.views) == (0.5, 4)
    with pytest.raises(ClhdError, match=r"temperature = 0\.5: is only for loss = 'infonce'"):
        SYSTEM.theory.point({**values, "loss": "spectral"}, 0)
    result = SYSTEM.theory.compute([point], time, [])
    flow = clhd.integrate_ode(point.model, overlap=[0.4], time=time)
    assert result.values["averaging_error"][0, 0] == 0
    # Looser tolerances than by default, but still below the error of the averages.
    assert np.all(np.abs(result.values["overlap"][0] - flow["overlap"]) < 1e-6)
    assert result.values["averaging_error"][0, 1] == pytest.approx(flow["averaging_error"].values[1], rel=0.01)
    assert 1e-6 < flow["averaging_error"].values[1] < 1e-2
    spectral = SYSTEM.theory.compute([SYSTEM.theory.point({**BASE, "loss": "spectral"}, 0)], time, [])
    assert np.all(spectral.values["averaging_error"] == 0)
    assert set(result.values) == set(SYSTEM.theory.outputs({}).variables)


@pytest.mark.parametrize("engine", ["projected", "full"])
def test_more_negatives_cost_more(engine: str) -> None:
    time, cost = np.array([1000.0]), []
    for negatives in (1, 4, 16):
        point = SYSTEM.simulation.point({**BASE, "engine": engine, "loss": "infonce", "negatives": negatives}, seed=0)
        cost.append(SYSTEM.simulation.cost(point, time).seconds)
    assert cost == sorted(cost)
    plain = SYSTEM.simulation.cost(SYSTEM.simulation.point({**BASE, "engine": engine}, seed=0), time).seconds
    assert plain == cost[0]
    assert 1.5 < cost[1] / cost[0] < 3


def test_a_divergence_is_a_status() -> None:
    values = {**BASE, "activation": "linear", "weight_decay": 0.0, "second_moment": 3.0}
    time = np.array([0.0, 200.0])
    result = SYSTEM.simulation.compute([SYSTEM.simulation.point(values, seed=1)], time, range(3))
    assert (result.status == Status.DIVERGED).all()
    assert np.isfinite(result.values["overlap"][0, :, 0]).all()
    assert np.isnan(result.values["overlap"][0, :, 1]).all()
    del values["dimension"]
    assert SYSTEM.theory.compute([SYSTEM.theory.point(values, 0)], time, []).status.tolist() == [Status.DIVERGED]


def test_what_the_theory_does_not_depend_on_is_no_part_of_its_points() -> None:
    for name, parameter in PARAMETERS.items():
        if not parameter.in_theory:
            assert name in {
                "noise_law",
                "noise_degrees_of_freedom",
                "feature_law",
                "feature_fraction",
                "dimension",
                "engine",
                "simulation",
            }


def test_the_parameters_of_the_covariance_loss_reach_the_model() -> None:
    changes = {"loss": "covariance", "batch": 4, "centred": False, "background": "orthogonal"}
    model = parse_model_and_start({**BASE, **changes})[0]
    assert (model.batch, model.centred, model.units, model.background) == (4, False, 1, "orthogonal")
    assert PARAMETERS["centred"].parse("centred", True) is True
    with pytest.raises(ClhdError, match="centred = 'yes': must be true or false"):
        PARAMETERS["centred"].parse("centred", "yes")


UNITS = {"loss": "covariance", "units": 2, "batch": 4, "decorrelation": 1.0, "features": 2, "dimension": 20}


@pytest.mark.parametrize("engine", ["projected", "full"])
def test_a_sweep_of_several_units_gives_the_bits_of_simulate_sgd(engine: str) -> None:
    values = {**UNITS, "engine": engine, "initial_overlaps": (0.5, 0.1, 0.2, -0.3)}
    point, time = SYSTEM.simulation.point(values, seed=3), np.array([0.5, 1.0])
    result = SYSTEM.simulation.compute([point], time, [4, 1])
    alone = clhd.simulate_sgd(
        point.model, dimension=20, time=time, overlap=[[0.5, 0.1], [0.2, -0.3]], replicas=5, seed=3, engine=engine
    ).sel(replica=[4, 1])
    outputs = SYSTEM.simulation.outputs(values)
    for name, output in outputs.variables.items():
        assert result.values[name][0].tobytes() == np.ascontiguousarray(alone[name].values).tobytes()
        assert ("replica", *output.dims) == alone[name].dims
    assert {name: list(numbers) for name, (numbers, _) in outputs.coordinates.items()} == {
        "feature": [1, 2],
        "unit": [1, 2],
        "unit_2": [1, 2],
    }
    assert (result.status == Status.OK).all()


def test_the_theory_of_several_units_is_the_ode_with_the_dims_of_the_simulation() -> None:
    values = {**UNITS, "initial_overlaps": (0.5, 0.1, 0.2, -0.3)}
    point, time = SYSTEM.theory.point(values, 0), np.array([0.0, 0.1])
    result = SYSTEM.theory.compute([point], time, range(1))
    alone = clhd.integrate_ode(point.model, time=time, overlap=[[0.5, 0.1], [0.2, -0.3]])
    outputs, simulated = (half.outputs(values).variables for half in (SYSTEM.theory, SYSTEM.simulation))
    assert {name: outputs[name].dims for name in simulated} == {name: simulated[name].dims for name in simulated}
    assert outputs.keys() - simulated.keys() == {"averaging_error"}
    for name, output in outputs.items():
        assert result.values[name][0].tobytes() == np.ascontiguousarray(alone[name].values).tobytes()
        assert output.dims == alone[name].dims
    assert (result.status == Status.OK).all()


def test_an_initial_overlap_is_that_of_every_unit_unless_all_are_listed() -> None:
    same = parse_model_and_start({**UNITS, "initial_overlap_1": 0.5, "initial_overlap_2": 0.1})
    assert same[1:] == (((0.5, 0.1), (0.5, 0.1)), 1.0)
    assert parse_model_and_start({**UNITS, "initial": "random"})[1] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial_overlaps": (0.5, 0.1)}, "initial_overlaps = .*: must be 2 numbers for each of 2 units"),
        ({"initial_overlaps": (0.1,) * 4, "initial_overlap": 0.1}, "initial_overlaps: must not be given together"),
        ({"initial_overlaps": (0.1,) * 4, "initial": "random"}, "goes with no initial_cosine_similarity"),
        ({"initial_overlaps": (0.1,) * 2, "units": 1, "decorrelation": 0.0}, "initial_overlaps: is only for several"),
        ({"initial_overlap": 0.1, "dimension": 4}, "dimension = 4: must be a whole number, 5 or more"),
    ],
)
def test_starts_of_several_units_that_do_not_go_together_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClhdError, match=message):
        SYSTEM.simulation.point({**UNITS, **changes}, seed=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**UNITS, "theory": "fluctuations"}, "theory = 'fluctuations': must be 'ode' or 'none' with units = 2"),
        ({**UNITS, "correlation_acts_on": "drift"}, "correlation_acts_on = 'drift': must be 'both' with units = 2"),
        ({**UNITS, "activation": "relu"}, "activation = 'relu': must be a smooth one"),
        ({"loss": "infonce", "temperature": 0.5, "background": "orthogonal"}, "background = .*; set theory: none"),
        ({"loss": "infonce", "activation": "relu"}, "activation = 'relu': .*; set theory: none"),
        (
            {"loss": "infonce", "temperature": 0.5, "theory": "fluctuations"},
            r"loss = 'infonce': .* polynomial losses only \(covariance, bilinear, spectral\)",
        ),
        (
            {"loss": "bilinear", "background": "orthogonal", "theory": "fluctuations"},
            "background = 'orthogonal': must be 'isotropic' for the fluctuations of loss = 'bilinear'",
        ),
        (
            {"loss": "covariance", "features": 6, "latent": "three_point", "kurtosis": 2.0, "theory": "fluctuations"},
            "latents: 729 atoms together, must be at most 128",
        ),
    ],
)
def test_a_point_without_a_theory_is_refused_before_it_is_computed(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ClhdError, match=message):
        SYSTEM.theory.point({"initial_overlap": 0.1, **changes}, 0)


def test_more_samples_features_and_units_cost_more() -> None:
    time, start = np.array([1000.0]), {**UNITS, "initial": "random"}
    larger = [{"batch": 2, "units": 1, "decorrelation": 0.0}, {"units": 1, "decorrelation": 0.0}, {}, {"batch": 16}]
    for engine in ("projected", "full"):
        points = [SYSTEM.simulation.point({**start, **changes, "engine": engine}, 0) for changes in larger]
        seconds = [SYSTEM.simulation.cost(point, time).seconds for point in points]
        assert seconds == sorted(set(seconds))
        families = {SYSTEM.simulation.cost(point, time).family for point in points}
        assert len(families) == len(points)


def test_a_theory_without_an_answer_is_not_converged_and_keeps_the_other_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fluctuations, "_MOST_PRODUCTS", 1e8)  # a two hundredth of what is allowed
    points = [SYSTEM.theory.point({**BASE, "theory": "fluctuations", "learning_rate": eta}, 0) for eta in (0.5, 100.0)]
    time = np.array([0.0, 1.0])
    result = SYSTEM.theory.compute(points, time, [])
    assert result.status.tolist() == [Status.OK, Status.NOT_CONVERGED]
    assert "too much work" in str(result.errors[1,])
    assert np.isfinite(result.values["overlap_fluctuation"][0]).all()
    assert np.isnan(result.values["overlap"][1]).all()
    alone = SYSTEM.theory.compute(points[:1], time, [])
    for name, values in alone.values.items():
        assert values[0].tobytes() == result.values[name][0].tobytes()
    monkeypatch.setattr(ode, "_METHODS", (("DOP853", 30), ("BDF", 30)))
    monkeypatch.setattr(ode, "_EXPLICIT_CALLS", 30)
    given_up = SYSTEM.theory.compute([SYSTEM.theory.point(BASE, 0)], np.array([100.0]), [])
    assert given_up.status.tolist() == [Status.NOT_CONVERGED]
    assert "the ODE was given up" in str(given_up.errors[0,])


def test_the_predicted_cost_of_a_theory_sees_rates_and_norms() -> None:
    def seconds(time: float, **changes: Any) -> float:
        return SYSTEM.theory.cost(SYSTEM.theory.point({**BASE, **changes}, 0), np.array([time])).seconds

    assert seconds(10.0) < 0.1
    assert seconds(20.0, learning_rate=1000.0) > 10
    assert seconds(1e4, weight_decay=50.0) > 50 * seconds(10.0)
    assert seconds(1e12, learning_rate=1000.0) < 100  # the work has a bound
    assert seconds(10.0, theory="fluctuations", learning_rate=300.0) > 5 * seconds(10.0, theory="fluctuations")


def test_steps_that_cannot_be_counted_are_refused_before_anything_is_simulated() -> None:
    point = SYSTEM.simulation.point({**BASE, "dimension": 10**9}, seed=0)
    message = r"dimension = 1000000000: to time 1e\+12 a run has 1e\+21 steps, and at most 9.01e\+15 can be counted"
    for half in (SYSTEM.simulation.cost, lambda point, time: SYSTEM.simulation.compute([point], time, [0])):
        with pytest.raises(ClhdError, match=message):
            half(point, np.array([1.0, 1e12]))
    with pytest.raises(ClhdError, match=r"dimension = 1000000000: to time 1e\+40"):
        clhd.simulate_sgd(point.model, dimension=10**9, time=[1e40], overlap=[0.4])
