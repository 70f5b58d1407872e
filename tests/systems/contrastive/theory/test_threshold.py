"""The uninformative state and the learnability threshold against closed forms and independent quadrature."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Atoms, Gaussian, Laplace, ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.states import threshold as threshold_module
from clhd.systems.contrastive.theory.states.threshold import (
    growth_rates,
    learnability_threshold,
    resting_norms,
    uninformative_state,
)

C4 = ContrastiveModel(latents=(ThreePoint(second_moment=1.0),), learning_rate=0.5, weight_decay=0.6)


def gain_by_quadrature(model, r):
    """G of the bilinear loss at zero overlap, by Gauss-Legendre in both noises (nothing of the theory is used)."""
    nodes, weights = np.polynomial.legendre.leggauss(160)
    x, w = 9 * nodes, 9 * weights * np.exp(-0.5 * (9 * nodes) ** 2) / math.sqrt(2 * math.pi)
    alpha = math.sqrt(0.5 * r * (model.noise_variance + model.noise_covariance))
    beta = math.sqrt(0.5 * r * (model.noise_variance - model.noise_covariance))
    h1, d1, s1 = model.unit(alpha * x[:, None] + beta * x)
    h2, d2, s2 = model.unit(alpha * x[:, None] - beta * x)
    h, _, s = model.unit(math.sqrt(r * model.noise_variance) * x)
    return w @ (s1 * h2 + 2 * d1 * d2 + h1 * s2) @ w - 2 * (w @ s) * (w @ h)


def test_known_threshold_of_the_tanh_unit():
    threshold = learnability_threshold(C4)
    # Found beforehand, to the digits written, by a prototype that shares no code with clhd.
    assert threshold.attrs["squared_norm"] == pytest.approx(0.5225, abs=5e-5)
    assert threshold.values == pytest.approx([0.3807], abs=5e-5)


@pytest.mark.parametrize("activation", ["tanh", "erf", (0.2, 1.0, 0.1, -0.1)], ids=str)
@pytest.mark.parametrize("correlation", [-1.0, 0.3])
def test_gain_agrees_with_independent_quadrature(activation, correlation):
    model = replace(C4, activation=activation, learning_rate=0.3, noise_correlation=correlation)
    state = uninformative_state(model)
    # The differences along the probe and the quadrature of 160 nodes are both good to about 1e-11.
    assert state.gain == pytest.approx(gain_by_quadrature(model, state.squared_norm), abs=1e-10)


@pytest.mark.parametrize("correlation", [-1.0, -0.99, -0.4, 0.0, 0.7, 1.0])
def test_gain_of_relu_has_its_closed_form(correlation):
    model = ContrastiveModel(
        latents=(ThreePoint(),), activation="relu", constraint="sphere", base_noise_variance=0.0,
        augmentation_noise_variance=0.8, noise_correlation=correlation,
    )  # fmt: skip
    gain = 0.5 + (math.sqrt(1 - correlation**2) + math.asin(correlation) - 1) / math.pi
    # The averages are closed forms; the error is that of the differences along the probe.
    assert uninformative_state(model).gain == pytest.approx(gain, abs=1e-9)


@pytest.mark.parametrize("activation", ["tanh", "erf", "linear", (0.0, 0.8, 0.3)], ids=str)
def test_collapsed_threshold_is_exact(activation):
    model = ContrastiveModel(
        latents=(ThreePoint(),), activation=activation, learning_rate=0.2, weight_decay=3.0,
        base_noise_variance=0.3, augmentation_noise_variance=0.4, noise_correlation=-0.5,
    )  # fmt: skip
    slope = float(model.unit(np.zeros(1))[1][0])
    threshold = learnability_threshold(model)
    assert threshold.attrs["squared_norm"] == 0
    # The averages at r = 0 are exact; the probe's differences leave about 1e-12.
    assert threshold.values == pytest.approx([3.0 / (2 * slope**2) - model.noise_covariance], rel=1e-11)


@pytest.mark.parametrize("activation", ["tanh", (0.2, 1.0, 0.1, -0.1)], ids=str)
@pytest.mark.parametrize(
    "law",
    [
        ThreePoint(second_moment=0.7), ThreePoint(second_moment=0.7, kurtosis=20.0), Laplace(second_moment=0.7),
        TwoPoint(second_moment=0.7, skewness=1.5), Atoms(values=(-2.0, 0.25, 0.5), weights=(0.1, 0.4, 0.5)),
    ],
    ids=["rademacher", "sparse", "laplace", "two_point", "skewed"],
)  # fmt: skip
def test_growth_from_the_uninformative_state_knows_the_second_moment_only(activation, law):
    other = TwoPoint(second_moment=1.1, skewness=-2.0)
    if isinstance(law, Atoms):
        mean = float(np.dot(law.weights, law.values))
        law = Atoms(values=tuple(v - mean for v in law.values), weights=law.weights)
    model = replace(C4, latents=(law, other), activation=activation, learning_rate=0.3)
    state = uninformative_state(model)
    jacobian = Flow(model).jacobian(np.array([0.0, 0.0, state.squared_norm]))
    expected = [
        model.learning_rate * (m * state.gain + state.alignment - model.weight_decay) for m in (law.moment(2), 1.1)
    ]
    # Finite differences of the velocity promise 1e-9 (`Flow.jacobian`), for the tails of sparse laws a little less.
    assert np.diag(jacobian)[:2] == pytest.approx(expected, abs=1e-8)
    assert jacobian[[0, 1], [1, 0]] == pytest.approx([0, 0], abs=1e-8)


SECOND_MOMENT = 0.7
LAWS = {
    "kurtosis 1": ThreePoint(second_moment=SECOND_MOMENT),
    "kurtosis 3": ThreePoint(second_moment=SECOND_MOMENT, kurtosis=3.0),
    "kurtosis 8": ThreePoint(second_moment=SECOND_MOMENT, kurtosis=8.0),
    "gaussian": Gaussian(second_moment=SECOND_MOMENT),
    "skewed": TwoPoint(second_moment=SECOND_MOMENT, skewness=1.5),
}
SPHERE = {"constraint": "sphere", "weight_decay": 0.0}
CASES = {
    "bilinear": {},
    "sphere": SPHERE,
    "relu on the sphere": {**SPHERE, "activation": "relu"},
    "no parity": {"activation": (0.2, 1.0, 0.1, -0.1), "learning_rate": 0.3},
    "spectral": {"loss": "spectral"},
    "infonce": {"loss": "infonce", "temperature": 0.5, "weight_decay": 0.3},
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_growth_rates_are_those_of_the_jacobian_whatever_the_law(law, changes):
    # A probe, whose law is not that of the feature, gives neither: the rates come from the latents of the model.
    model = replace(C4, latents=(law, ThreePoint(second_moment=0.4)), **changes)
    rates, r = growth_rates(model), uninformative_state(model).squared_norm
    # Both are finite differences that promise 1e-9.
    jacobian = Flow(model).jacobian(np.array([0.0, 0.0, r]))
    assert rates == pytest.approx(np.diag(jacobian)[:2], abs=2e-9)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES.keys())
def test_growth_rates_do_not_depend_on_the_law(changes):
    # infonce samples a law of many atoms: its moments have the error of the sample.
    laws = [law for law in LAWS.values() if changes.get("loss") != "infonce" or not isinstance(law, Gaussian)]
    rates = [growth_rates(replace(C4, latents=(law,), **changes))[0] for law in laws]
    # Each is good to 1e-9, the moments of the laws to rounding.
    assert np.ptp(rates) < 2e-9
    assert abs(rates[0]) > 1e-3


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_growth_rates_of_units_without_a_scale_are_known_where_the_norm_grows_for_ever(activation):
    model = replace(C4, activation=activation, weight_decay=0.0, latents=(ThreePoint(kurtosis=3.0),))
    assert uninformative_state(model).squared_norm == math.inf
    for r in (0.5, 2.0):
        jacobian = Flow(model).jacobian(np.array([0.0, r]))
        assert growth_rates(model, squared_norm=r) == pytest.approx(jacobian[:1, 0], abs=2e-9)
    assert np.isnan(growth_rates(replace(C4, weight_decay=0.0))).all()


def test_the_start_decides_between_two_growth_rates():
    low, high = (growth_rates(TWO_NORMS, squared_norm=r) for r in (1e-3, 1.0))
    for rates, r in ((low, 1e-3), (high, 1.0)):
        rest = uninformative_state(TWO_NORMS, squared_norm=r).squared_norm
        assert rates == pytest.approx(Flow(TWO_NORMS).jacobian(np.array([0.0, rest]))[:1, 0], abs=2e-9)
    assert abs(low - high) > 1e-4  # far more than either is uncertain


@pytest.mark.parametrize("constraint", ["none", "sphere"])
def test_growth_changes_sign_at_the_threshold(constraint):
    model = replace(C4, constraint=constraint, weight_decay=0.0 if constraint == "sphere" else 0.6)
    threshold = learnability_threshold(model)
    m, r = threshold.values[0], threshold.attrs["squared_norm"]
    for factor, sign in ((0.99, -1), (1.01, 1)):
        flow = Flow(replace(model, latents=(ThreePoint(second_moment=factor * m, kurtosis=4.0),)))
        assert np.sign(flow.velocity(np.array([1e-4, r]))[0]) == sign


def test_resting_norms_of_a_cubic_unit_alternate_in_stability():
    model = ContrastiveModel(latents=(ThreePoint(),), activation=(0, 1, 0, -0.1), learning_rate=0.3, weight_decay=0.6)
    roots = resting_norms(model)
    assert [stable for _, stable in roots] == [False, True, False]
    flow = Flow(model)
    assert [flow.velocity(np.array([0.0, r]))[1] for r, _ in roots] == pytest.approx([0, 0, 0], abs=1e-12)
    # A start above the last, unstable root diverges: the largest stable root stands for it.
    assert [uninformative_state(model, squared_norm=r).squared_norm for r in (0.1, 2.0, 50.0)] == [roots[1][0]] * 3


def test_models_that_differ_in_their_latents_share_the_search_for_resting_norms(monkeypatch):
    searched = []

    def make_flow(model):
        searched.append(model)
        return Flow(model)

    monkeypatch.setattr(threshold_module, "Flow", make_flow)
    threshold_module._find_resting_norms.cache_clear()
    laws = (ThreePoint(kurtosis=3.0),), (ThreePoint(second_moment=0.4),), (ThreePoint(), ThreePoint(kurtosis=2.0))
    first, *others = (resting_norms(replace(C4, latents=latents)) for latents in laws)
    assert others == [first, first]
    assert len(searched) == 1
    assert resting_norms(replace(C4, learning_rate=0.9 * C4.learning_rate)) != first


TWO_NORMS = ContrastiveModel(
    latents=(ThreePoint(),), activation=(0.0, 0.9, 0.86, -0.08, -0.16, -0.01), learning_rate=0.02,
    weight_decay=0.85, base_noise_variance=0.5, augmentation_noise_variance=0.0,
)  # fmt: skip


def test_start_decides_between_two_stable_norms():
    model = TWO_NORMS
    roots = resting_norms(model)
    assert [stable for _, stable in roots] == [True, False, True, False]
    (low, _), (edge, _), (high, _), (last, _) = roots
    starts = (0.0, 0.5 * edge, 1.01 * edge, 0.99 * last, 2.0 * last)
    assert [uninformative_state(model, squared_norm=r).squared_norm for r in starts] == [low, low, high, high, high]


def test_the_spectral_loss_stops_the_growth_of_a_linear_unit():
    # h = z, q = 0, so that z is Gaussian of variance v = r s2, covariance k = r kappa: Delta_1 = 2 (z_2 - z_1 z_3^2),
    # Delta_2 = 2 z_1, Delta_3 = -2 z_1^2 z_3.
    model = ContrastiveModel(latents=(ThreePoint(),), activation="linear", loss="spectral", learning_rate=0.05)
    s2, kappa, eta = model.noise_variance, model.noise_covariance, model.learning_rate

    def growth(r):
        v, k = r * s2, r * kappa
        variance = s2 * (4 * (v - 2 * k * v + 3 * v**3) + 4 * v + 12 * v**3) + 2 * kappa * 4 * (k - v * v)
        return 2 * eta * (4 * kappa - 4 * s2 * v) + eta**2 * variance / r

    roots = resting_norms(model)
    assert [stable for _, stable in roots] == [False, True, False]
    assert [growth(r) for r, _ in roots[1:]] == pytest.approx([0, 0], abs=1e-10)
    state = uninformative_state(model)
    assert state.squared_norm == roots[1][0]
    assert state.gain == pytest.approx(4 * (1 - state.squared_norm * s2), abs=1e-9)  # g = 4 m q (1 - E h^2)


def test_no_gain_means_no_threshold():
    even = ContrastiveModel(latents=(ThreePoint(),), activation=(1.0, 0.0, 1.0), weight_decay=3.0)
    assert learnability_threshold(even).values == [math.inf]  # collapsed, h'(0) = 0
    growing = replace(C4, weight_decay=0.0)
    assert math.isnan(learnability_threshold(growing).values[0])
    assert learnability_threshold(growing).attrs["squared_norm"] == math.inf


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (replace(C4, latents=(Atoms(values=(0.0, 1.0), weights=(0.5, 0.5)),)), "feature 1 has mean 0.5, must be 0"),
        (replace(C4, l1_penalty=0.1), "l1_penalty = 0.1"),
    ],
    ids=["mean", "l1"],
)
def test_refusals(model, message):
    with pytest.raises(ClhdError, match=message):
        learnability_threshold(model)


@pytest.mark.parametrize(
    ("constraint", "norm", "message"),
    [
        ("none", -1, "squared_norm = -1: must be a finite number, 0 or more"),
        ("sphere", 2, "squared_norm = 2: must be 1 with constraint = 'sphere'"),
    ],
)
def test_a_start_must_have_a_norm(constraint, norm, message):
    model = replace(C4, constraint=constraint, weight_decay=0.0)
    for function in (uninformative_state, growth_rates, learnability_threshold):
        with pytest.raises(ClhdError, match=message):
            function(model, squared_norm=norm)
