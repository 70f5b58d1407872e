"""Trajectories of the ODE: known answers, invariants, recorded divergence, refused input."""

import math

import numpy as np
import pytest

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import DIVERGENCE_LIMIT, ContrastiveModel
from clhd.systems.contrastive.model.latents import Gaussian, ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.flow.ode import integrate_ode


def model_with(**changes):
    settings = {"latents": (ThreePoint(second_moment=1.5),) * 2, "weight_decay": 0.6, "noise_correlation": -0.5}
    return ContrastiveModel(**(settings | changes))


@pytest.mark.parametrize(
    ("correlation", "cosine", "variance"),
    [(-1, 0.667, 6.67), (-0.5, 0.648, 6.96), (0, 0.620, 7.39), (0.5, 0.583, 7.93), (1, 0.535, 8.57)],
)
def test_linear_unit_on_the_sphere_reaches_the_known_steady_state(correlation, cosine, variance):
    model = model_with(
        latents=ThreePoint(second_moment=1.5),
        activation="linear",
        constraint="sphere",
        weight_decay=0.0,
        noise_correlation=correlation,
    )
    last = integrate_ode(model, overlap=[0.1], time=[200.0]).isel(time=-1)
    # The known answers have three digits.
    assert float(last.cosine_similarity[0]) == pytest.approx(cosine, abs=6e-4)
    assert float(last.gradient_variance) == pytest.approx(variance, abs=6e-3)


@pytest.mark.parametrize(
    ("correlation", "cosine", "variance"),
    [(-1, 0.697, 1.059), (-0.5, 0.673, None), (0, 0.644, 1.009), (0.5, 0.606, None), (1, 0.545, 0.923)],
)
def test_tanh_reaches_the_known_steady_state(correlation, cosine, variance):
    model = model_with(latents=ThreePoint(second_moment=1.5), base_noise_variance=1.0, noise_correlation=correlation)
    last = integrate_ode(model, overlap=[0.5], time=[400.0]).isel(time=-1)
    assert float(last.cosine_similarity[0]) == pytest.approx(cosine, abs=6e-4)
    if variance is not None:
        assert float(last.gradient_variance) == pytest.approx(variance, abs=6e-4)


@pytest.mark.parametrize(
    ("base", "augmentation", "correlation", "cosine"),
    [(1.0, 0.0, 0.0, 0.7897), (0.5, 0.5, -1.0, 0.850), (0.5, 0.5, 0.0, 0.828), (0.5, 0.5, 1.0, 0.790)],
)
def test_tanh_with_other_noise_reaches_the_known_steady_state(base, augmentation, correlation, cosine):
    model = model_with(
        latents=ThreePoint(second_moment=1.5),
        base_noise_variance=base,
        augmentation_noise_variance=augmentation,
        noise_correlation=correlation,
    )
    last = integrate_ode(model, overlap=[0.5], time=[400.0]).isel(time=-1)
    assert float(last.cosine_similarity[0]) == pytest.approx(cosine, abs=6e-4)


def test_overlap_of_a_linear_unit_grows_exponentially():
    # h = z: g = 2 m q and A = 2 kappa exactly, so each overlap is an exponential of its own.
    model = model_with(latents=(ThreePoint(), TwoPoint(second_moment=0.5, skewness=2.0)), activation="linear")
    time = np.linspace(0.0, 5.0, 11)
    found = integrate_ode(model, overlap=[0.3, -0.2], squared_norm=0.5, time=time).overlap
    rates = model.learning_rate * (2 * np.array([1.0, 0.5]) + 2 * model.noise_covariance - model.weight_decay)
    exact = np.array([0.3, -0.2]) * np.exp(np.outer(time, rates))
    # Ten times rtol = 1e-9 for the sum of the errors of its steps.
    np.testing.assert_allclose(found, exact, rtol=1e-8)


def test_output_between_steps_is_as_accurate_as_at_their_end():
    # Steps along slow modes are long, and a continuous output taken at face value errs by 5e-8 there.
    latents = (ThreePoint(second_moment=1.5, kurtosis=1.5), ThreePoint(second_moment=1.5, kurtosis=2.5))
    model = model_with(latents=latents, noise_correlation=0.0)
    time = np.linspace(0.0, 50.0, 201)
    found = integrate_ode(model, overlap=[0.3, 0.2], time=time)
    tight = integrate_ode(model, overlap=[0.3, 0.2], time=time, rtol=1e-12, atol=1e-14)
    # 5e-9: five times rtol, for the sum of the errors of some forty steps.
    np.testing.assert_allclose(found.overlap, tight.overlap, rtol=0, atol=5e-9)
    np.testing.assert_allclose(found.squared_norm, tight.squared_norm, rtol=0, atol=5e-9)


@pytest.mark.parametrize("activation", ["tanh", "erf", "relu"])
@pytest.mark.parametrize("squared_norm", [0.05, 0.05001, 2.0])
def test_the_squared_norm_never_falls_below_that_of_the_overlap(activation, squared_norm):
    model = model_with(activation=activation, weight_decay=1.5 if activation == "relu" else 0.6)
    length = math.sqrt(0.05)
    states = integrate_ode(
        model, overlap=[0.6 * length, 0.8 * length], squared_norm=squared_norm, time=np.linspace(0, 20, 41)
    )
    excess = states.squared_norm - (states.overlap**2).sum("feature")
    assert float(excess.min()) >= -1e-9  # the tolerance of the integration


@pytest.mark.parametrize("activation", ["linear", "tanh", "relu", (0.0, 1.0, 0.0, -0.1)])
def test_the_sphere_stays_on_the_sphere(activation):
    model = model_with(activation=activation, constraint="sphere", weight_decay=0.0)
    states = integrate_ode(model, overlap=[0.6, 0.8], time=[0.0, 1.0, 30.0])
    assert np.all(states.squared_norm == 1.0)
    assert float((states.overlap**2).sum("feature").max()) <= 1 + 1e-9
    np.testing.assert_array_equal(states.overlap, states.cosine_similarity)
    assert not states.diverged


@pytest.mark.parametrize("activation", ["linear", "relu", (0.0, 1.0, 0.0, -0.3)])
@pytest.mark.parametrize("starts", [1, 3])
def test_divergence_is_an_outcome(activation, starts):
    model = model_with(activation=activation, weight_decay=0.1)
    overlap = [0.3, 0.2] if starts == 1 else [[0.3, 0.2]] * starts
    states = integrate_ode(model, overlap=overlap, time=[0.0, 0.01, 500.0, 1000.0])
    assert np.all(states.diverged)
    assert np.all(np.isfinite(states.overlap.isel(time=slice(0, 2))))
    assert np.all(states.squared_norm.isel(time=slice(0, 2)) <= DIVERGENCE_LIMIT)
    for name in ("overlap", "squared_norm", "cosine_similarity", "gradient_variance"):
        assert np.all(np.isnan(states[name].isel(time=slice(2, None))))


def test_a_bounded_unit_does_not_diverge():
    assert not integrate_ode(model_with(weight_decay=0.0), overlap=[0.3, 0.2], time=[100.0]).diverged


def test_time_need_not_contain_the_start():
    whole = integrate_ode(model_with(), overlap=[0.3, 0.2], time=[0.0, 1.0, 2.0])
    np.testing.assert_array_equal(whole.overlap.isel(time=0), [0.3, 0.2])
    later = integrate_ode(model_with(), overlap=[0.3, 0.2], time=[2.0])
    np.testing.assert_allclose(later.overlap.isel(time=0), whole.overlap.isel(time=2), rtol=0, atol=1e-8)
    start = integrate_ode(model_with(), overlap=[0.3, 0.2], squared_norm=0.7, time=[0.0])
    assert float(start.squared_norm[0]) == 0.7


def test_the_collapsed_state_has_no_cosine_similarity():
    states = integrate_ode(model_with(), overlap=[0.0, 0.0], squared_norm=0.0, time=[0.0, 5.0])
    assert np.all(states.squared_norm == 0.0)
    assert np.all(np.isnan(states.cosine_similarity))
    assert not states.diverged


def test_one_feature_may_be_given_as_a_number():
    model = model_with(latents=ThreePoint(second_moment=1.5))
    states = integrate_ode(model, overlap=0.3, time=[0.0, 1.0])
    assert states.overlap.dims == ("time", "feature")


def test_several_starts_have_a_dimension_of_their_own():
    states = integrate_ode(model_with(), overlap=[[0.3, 0.2], [0.1, 0.0]], squared_norm=[1.0, 0.5], time=[0.0, 1.0])
    assert states.overlap.dims == ("start", "time", "feature")
    assert dict(states.sizes) == {"start": 2, "time": 2, "feature": 2}
    np.testing.assert_array_equal(states.squared_norm.isel(time=0), [1.0, 0.5])


def test_data_are_labelled():
    states = integrate_ode(model_with(), overlap=[0.3, 0.2], time=[0.0, 1.0])
    assert states.overlap.dims == ("time", "feature")
    assert states.squared_norm.dims == states.gradient_variance.dims == ("time",)
    assert states.diverged.dims == ()
    np.testing.assert_array_equal(states.feature, [1, 2])
    assert states.time.attrs["units"] == "steps per dimension"
    for name in (*states.data_vars, *states.coords):
        assert {"long_name", "units", "description"} <= set(states[name].attrs)


def test_very_many_atoms_are_integrated_too():
    # Rotation symmetry: the direction of the overlap stays what it was.
    model = model_with(latents=(Gaussian(second_moment=1.5),) * 2)
    last = integrate_ode(model, overlap=[0.4, 0.3], time=[3.0]).isel(time=-1)
    assert float(last.overlap[0] / last.overlap[1]) == pytest.approx(4 / 3, abs=1e-7)


BAD = {
    "too few overlaps": ({"overlap": [0.3]}, "overlap = .*: must be a list of 2 numbers"),
    "too many in a row": (
        {"overlap": np.zeros((4, 3))},
        r"overlap: has shape \(4, 3\), must be .* shape \(starts, 2\)",
    ),
    "no starts": ({"overlap": np.empty((0, 2))}, r"overlap: has shape \(0, 2\)"),
    "overlap is text": ({"overlap": "large"}, "overlap = 'large': must be a list of numbers"),
    "overlap is NaN": ({"overlap": [0.3, math.nan]}, "overlap = .*: must hold finite numbers only"),
    "overlap too long": (
        {"overlap": [0.8, 0.7]},
        r"overlap = \[0\.8, 0\.7\]: the sum of its squares, 1\.13, must not exceed squared_norm = 1",
    ),
    "one overlap of many too long": (
        {"overlap": [[0.1, 0.1], [0.8, 0.7]]},
        r"overlap = \[0\.8, 0\.7\]: the sum of its squares, 1\.13, must not exceed squared_norm = 1",
    ),
    "negative norm": ({"squared_norm": -1.0}, r"squared_norm = -1\.0: must be a finite number, 0 or more"),
    "norms without starts": (
        {"squared_norm": [1.0, 1.0]},
        r"squared_norm = \[1\.0, 1\.0\]: must be a number",
    ),
    "a negative norm of many": (
        {"overlap": [[0.0, 0.0]] * 2, "squared_norm": [1.0, -2.0]},
        r"squared_norm = .*-2\.0.*: must be a finite number, 0 or more",
    ),
    "unsorted times": (
        {"time": [0.0, 2.0, 1.0]},
        "must be one or more times, 0 or later, in strictly increasing order",
    ),
    "negative time": ({"time": [-1.0]}, "must be one or more times, 0 or later"),
    "no times": ({"time": []}, "must be one or more times"),
    "rtol too small": ({"rtol": 0.0}, r"rtol = 0\.0: must be a number from 1e-13 to 0\.1"),
    "atol zero": ({"atol": 0.0}, r"atol = 0\.0: must be a finite number greater than 0"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused_in_one_sentence(changes, message):
    with pytest.raises(ClhdError, match=message):
        integrate_ode(model_with(), **({"overlap": [0.3, 0.2], "time": [0.0, 1.0]} | changes))


def test_the_sphere_wants_a_squared_norm_of_one():
    model = model_with(constraint="sphere", weight_decay=0.0)
    with pytest.raises(ClhdError, match=r"squared_norm = .*0\.5.*: must be 1 with constraint = 'sphere'"):
        integrate_ode(model, overlap=[0.3, 0.2], squared_norm=0.5, time=[1.0])


def test_an_l1_penalty_is_refused():
    with pytest.raises(ClhdError, match="l1_penalty"):
        integrate_ode(model_with(l1_penalty=0.1), overlap=[0.3, 0.2], time=[1.0])


def test_a_divergence_before_the_first_output_is_recorded():
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5),), loss="spectral", activation=(0.0, 1.0, 0.0, 1.0), learning_rate=2.0
    )
    data = integrate_ode(model, overlap=[0.5], time=[5.0])
    assert bool(data.diverged)
    assert np.isnan(data.overlap.values).all()
