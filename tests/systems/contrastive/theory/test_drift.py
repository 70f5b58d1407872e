"""The drift of the ODE: known limits, symmetries, Stein's form against the forces themselves, the Jacobian."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.activations import ACTIVATIONS as NAMES
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Atoms, Gaussian, ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.flow.drift import Flow

ACTIVATIONS = [*NAMES, (0.1, 1.0, 0.3, -0.2)]
SMOOTH = [activation for activation in ACTIVATIONS if activation != "relu"]


def model_with(**changes):
    settings = {
        "latents": (ThreePoint(second_moment=1.5, kurtosis=2.0), TwoPoint(second_moment=1.2, skewness=0.8)),
        "weight_decay": 0.6,
        "noise_correlation": -0.5,
    }
    return ContrastiveModel(**(settings | changes))


def fine_normal_nodes(count=401):
    """Trapezoid rule for N(0, 1), exact to rounding for all that is smooth here."""
    x = np.linspace(-9, 9, count)
    return x, norm.pdf(x) * (x[1] - x[0])


@pytest.mark.parametrize("activation", ["tanh", (0.2, 0.0, 0.5), (0.1, 1.0, 0.3, -0.2)])
@pytest.mark.parametrize("kurtosis", [1.0, 3.0])
def test_a_feature_without_a_signal_changes_nothing(activation, kurtosis):
    """Its latent has two or three equal atoms, 0."""
    model = model_with(activation=activation)
    silent = model_with(activation=activation, latents=(ThreePoint(second_moment=0, kurtosis=kurtosis), *model.latents))
    g, *others = Flow(model).terms(np.array([0.5, -0.3]), 0.9)
    more_g, *more_others = Flow(silent).terms(np.array([0.2, 0.5, -0.3]), 0.9)
    np.testing.assert_allclose([*more_g, *more_others], [0.0, *g, *others], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("correlation", [-1.0, 0.3, 1.0])
def test_g_A_and_D_are_the_averages_of_the_forces_themselves(activation, correlation):
    # The definitions of the limit (drift along the features, along w, noise of one step), with Delta from L, not the
    # formulas that follow from Stein's lemma and from expanding the products.
    model = model_with(activation=activation, noise_correlation=correlation)
    q, r = np.array([0.5, -0.3]), 0.9
    s2, kappa = model.noise_variance, model.noise_covariance
    x, weights = fine_normal_nodes()
    alpha, beta = math.sqrt(r * (s2 + kappa) / 2), math.sqrt(max(r * (s2 - kappa) / 2, 0))
    e_1, e_2 = alpha * x[:, None] + beta * x, alpha * x[:, None] - beta * x
    e_3 = math.sqrt(r * s2) * x
    values, shares = model.latent_atoms()

    def mean_3(function):  # over the negative: its own latent and noise
        return sum(p * weights @ function(c, *model.unit(c @ q + e_3)[:2]) for c, p in zip(values, shares, strict=True))

    h_3, hh_3 = mean_3(lambda c, h, d: h), mean_3(lambda c, h, d: h * h)
    hdd_3, de_3 = mean_3(lambda c, h, d: d * d), mean_3(lambda c, h, d: d * e_3)
    g, along, variance = np.zeros(2), 0.0, 0.0
    for c, p in zip(values, shares, strict=True):
        (h_1, d_1, _), (h_2, d_2, _) = model.unit(c @ q + e_1), model.unit(c @ q + e_2)

        def mean(function, p=p):
            return p * (weights @ function @ weights)

        g += c * mean(d_1 * (h_2 - h_3) + h_1 * d_2)
        g -= mean(h_1) * sum(
            p3 * c3 * (weights @ model.unit(c3 @ q + e_3)[1]) for c3, p3 in zip(values, shares, strict=True)
        )
        along += mean(e_1 * d_1 * (h_2 - h_3) + e_2 * h_1 * d_2) - mean(h_1) * de_3
        squares = d_1**2 * (h_2**2 - 2 * h_2 * h_3 + hh_3) + h_1**2 * d_2**2 + h_1**2 * hdd_3
        variance += s2 * mean(squares) + 2 * kappa * mean(d_1 * (h_2 - h_3) * h_1 * d_2)
    found = Flow(model).terms(q, r)
    # 1e-9: what the theory promises; the reference is good to rounding.
    np.testing.assert_allclose(found[0], g, rtol=0, atol=1e-9)
    assert found[1] == pytest.approx(along / r, abs=1e-9)
    assert found[2] == pytest.approx(variance, rel=1e-10, abs=1e-9)


def spectral_integrands(model, q, r, c, c_3, e):
    """sum_v Delta_v c_v, sum_v Delta_v e_v / r and Delta' K Delta of the spectral loss, with Delta from L."""
    (h_1, d_1, _), (h_2, d_2, _), (h_3, d_3, _) = (model.unit(x @ q + y) for x, y in zip((c, c, c_3), e, strict=True))
    delta = 2 * d_1 * h_2 - 2 * h_1 * d_1 * h_3**2, 2 * h_1 * d_2, -2 * h_1**2 * h_3 * d_3
    g = [(delta[0] + delta[1]) * c[..., j] + delta[2] * c_3[..., j] for j in range(len(q))]
    along = sum(x * y for x, y in zip(delta, e, strict=True)) / r
    square = model.noise_variance * sum(x * x for x in delta) + 2 * model.noise_covariance * delta[0] * delta[1]
    return [*g, along, square]


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("correlation", [-1.0, 0.3, 1.0])
def test_the_terms_of_the_spectral_loss_are_the_averages_of_its_forces(activation, correlation):
    model = model_with(activation=activation, noise_correlation=correlation, loss="spectral")
    q, r = np.array([0.5, -0.3]), 0.9
    s2, kappa = model.noise_variance, model.noise_covariance
    x, weights = fine_normal_nodes(73)
    u, v, w = x[:, None, None], x[:, None], x
    alpha, beta = math.sqrt(r * (s2 + kappa) / 2), math.sqrt(max(r * (s2 - kappa) / 2, 0))
    e = alpha * u + beta * v, alpha * u - beta * v, math.sqrt(r * s2) * w
    values, shares = model.latent_atoms()
    total = np.zeros(4)
    for c, p in zip(values, shares, strict=True):
        for c_3, p_3 in zip(values, shares, strict=True):
            for k, integrand in enumerate(spectral_integrands(model, q, r, c, c_3, e)):
                full = np.broadcast_to(integrand, (len(x),) * 3)
                total[k] += p * p_3 * (weights @ (weights @ (full @ weights)))
    g, alignment, variance = Flow(model).terms(q, r)
    np.testing.assert_allclose([*g, alignment, variance], total, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("correlation", [-1.0, 0.3])
def test_the_terms_of_the_spectral_loss_with_relu_are_those_of_a_sample(correlation):
    model = model_with(activation="relu", noise_correlation=correlation, loss="spectral")
    q, r, size, rng = np.array([0.5, -0.3]), 0.9, 2_000_000, np.random.default_rng(5)
    s2, kappa = model.noise_variance, model.noise_covariance
    values, shares = model.latent_atoms()
    c, c_3 = values[rng.choice(len(shares), p=shares, size=(2, size))]
    x = rng.standard_normal((3, size))
    alpha, beta = math.sqrt(r * (s2 + kappa) / 2), math.sqrt(max(r * (s2 - kappa) / 2, 0))
    e = alpha * x[0] + beta * x[1], alpha * x[0] - beta * x[1], math.sqrt(r * s2) * x[2]
    integrands = np.array(spectral_integrands(model, q, r, c, c_3, e))
    error = integrands.std(axis=1) / math.sqrt(size)
    g, alignment, variance = Flow(model).terms(q, r)
    # Level 1e-5 for eight numbers, and room for the tail of D.
    assert np.all(np.abs(integrands.mean(axis=1) - [*g, alignment, variance]) < 5 * error)


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 1.0])
def test_A_of_relu_holds_the_delta_at_its_kink(correlation):
    # At q = 0 (closed form): E[delta h] - E[delta] E[h] = (sqrt(1 - corr^2) - 1) / 2 pi, E[h' h'] = orthant.
    model = model_with(activation="relu", noise_correlation=correlation, base_noise_variance=0.0)
    s2 = model.noise_variance
    expected = 2 * s2 * (math.sqrt(1 - correlation**2) - 1) / (2 * math.pi)
    expected += 2 * correlation * s2 * (0.25 + math.asin(correlation) / (2 * math.pi))
    for squared_norm in (0.0, 1e-8, 1.0, 3.0):
        assert Flow(model).terms(np.zeros(2), squared_norm)[1] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("activation", ["tanh", "erf", (0.0, 1.0, 0.3)])
def test_terms_are_continuous_where_the_squared_norm_vanishes(activation):
    flow = Flow(model_with(activation=activation))
    g, alignment, variance = flow.terms(np.zeros(2), 0.0)
    slope = flow.model.unit(np.zeros(1))[1][0]
    curve = flow.model.unit(np.zeros(1))[2][0]
    assert np.all(g == 0)
    # h(0) = 0: of A's averages only E[h' h'] is left.
    assert alignment == pytest.approx(2 * flow.model.noise_covariance * slope**2, abs=1e-13)
    assert variance == 0.0
    near = flow.terms(np.full(2, 1e-6), 1e-8)
    # Derivatives here are below 20, so states 1e-6 and 1e-8 away differ by less than 1e-4.
    assert abs(near[1] - alignment) < 1e-4 * (1 + abs(curve))
    assert np.abs(near[0]).max() < 1e-4
    assert 0 < near[2] < 1e-4


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_without_noise_nothing_diffuses(activation):
    flow = Flow(model_with(activation=activation, base_noise_variance=0.0, augmentation_noise_variance=0.0))
    g, alignment, variance = flow.terms(np.array([0.4, 0.2]), 1.0)
    assert (alignment, variance) == (0.0, 0.0)
    values, weights = flow.model.latent_atoms()
    h, d, _ = flow.model.unit(values @ [0.4, 0.2])
    expected = 2 * (weights * h * d) @ values - 2 * (weights @ h) * ((weights * d) @ values)
    np.testing.assert_allclose(g, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_permuting_the_features_permutes_the_velocity(activation):
    model = model_with(activation=activation)
    turned = model_with(activation=activation, latents=model.latents[::-1])
    velocity = Flow(model).velocity(np.array([0.5, -0.2, 1.1]))
    # Equal but for the order of sums.
    np.testing.assert_allclose(
        Flow(turned).velocity(np.array([-0.2, 0.5, 1.1])), velocity[[1, 0, 2]], rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_flipping_a_symmetric_feature_flips_its_velocity(activation):
    latents = (ThreePoint(second_moment=1.5, kurtosis=2.0), ThreePoint(kurtosis=4.0))
    flow = Flow(model_with(activation=activation, latents=latents))
    velocity = flow.velocity(np.array([0.5, 0.2, 1.1]))
    np.testing.assert_allclose(flow.velocity(np.array([0.5, -0.2, 1.1])), velocity * [1, -1, 1], rtol=1e-12, atol=1e-13)


def test_gaussian_latents_of_equal_moments_can_be_rotated():
    flow = Flow(model_with(latents=(Gaussian(second_moment=1.5),) * 2))
    length = 0.7
    radial = []
    for angle in (0.0, 0.4, 0.7, math.pi / 4):
        direction = np.array([math.cos(angle), math.sin(angle)])
        g, alignment, variance = flow.terms(length * direction, 1.0)
        assert abs(g @ [-direction[1], direction[0]]) < 1e-9  # the promise of the rules of continuous laws
        radial.append((g @ direction, alignment, variance))
    np.testing.assert_allclose(radial, np.tile(radial[0], (4, 1)), rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", ["tanh", "erf", (0.0, 1.0, 0.0, 0.2)])
def test_the_jacobian_at_the_collapsed_state_is_exact(activation):
    # G = 2 h'(0)^2, A = 2 kappa h'(0)^2 and the growth rate of r.
    model = model_with(activation=activation)
    slope, s2, kappa = model.unit(np.zeros(1))[1][0], model.noise_variance, model.noise_covariance
    eta, decay = model.learning_rate, model.weight_decay
    rates = [eta * (2 * (law.second_moment + kappa) * slope**2 - decay) for law in model.latents]
    rates.append(2 * eta * (2 * kappa * slope**2 - decay) + eta**2 * slope**4 * (4 * s2**2 + 2 * kappa**2))
    np.testing.assert_allclose(Flow(model).jacobian(np.zeros(3)), np.diag(rates), rtol=0, atol=1e-9)


def test_relu_grows_from_the_uninformative_state_as_its_closed_form_says():
    model = model_with(activation="relu", constraint="sphere", weight_decay=0.0, noise_correlation=0.4)
    correlation = model.noise_covariance / model.noise_variance
    growth = 0.5 + (math.sqrt(1 - correlation**2) + math.asin(correlation) - 1) / math.pi
    variance = Flow(model).terms(np.zeros(2), 1.0)[2]
    eta = model.learning_rate
    rates = [eta * (law.second_moment * growth - eta * variance / 2) for law in model.latents]
    np.testing.assert_allclose(Flow(model).jacobian(np.array([0.0, 0.0, 1.0])), np.diag(rates), rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("state", [(0.5, -0.3, 1.0), (0.05, 0.02, 0.01), (1.2, 0.8, 3.0)])
def test_the_jacobian_is_the_limit_of_difference_quotients(activation, state):
    _compare_with_quotients(Flow(model_with(activation=activation)), np.array(state))


@pytest.mark.parametrize("augmentation_noise_variance", [0.0, 0.5])
@pytest.mark.parametrize("activation", ["tanh", "erf", "relu", (0.0, 1.0, 0.0, 0.2)])
@pytest.mark.parametrize("state", [(0.0, 0.0, 1.0), (0.5, -0.3, 1.0), (0.977, 0.0, 1.019), (0.9, 0.3, 0.91)])
def test_with_the_orthogonal_background_the_jacobian_is_right_up_to_the_features(
    activation, state, augmentation_noise_variance
):
    # The velocity is known for |q|^2 <= r only. In the last state r - |q|^2 is 0.01, so quotients take short steps.
    model = model_with(
        activation=activation,
        loss="covariance",
        batch=2,
        background="orthogonal",
        augmentation_noise_variance=augmentation_noise_variance,
    )
    state = np.array(state)
    _compare_with_quotients(Flow(model), state, largest=0.1 * (state[2] - state[:2] @ state[:2]))


@pytest.mark.parametrize("state", [(0.5, -0.3, 1.0), (0.98, 0.0, 1.0), (0.9, 0.43, 1.0)])
def test_on_the_sphere_the_jacobian_with_the_orthogonal_background_is_right_up_to_the_features(state):
    model = model_with(
        loss="covariance", batch=2, background="orthogonal", constraint="sphere", weight_decay=0.0,
        augmentation_noise_variance=0.0,
    )  # fmt: skip
    state = np.array(state)
    _compare_with_quotients(Flow(model), state, largest=0.1 * (1.0 - state[:2] @ state[:2]), variables=2)


def _compare_with_quotients(flow, state, largest=np.inf, variables=3):
    found = flow.jacobian(state)
    for j in range(variables):
        # Richardson's extrapolation of central differences, independent of the stencil's order. For relu and near
        # r = 0 steps are short against sqrt(r), the width over which the averages vary.
        step = min(0.01 * (min(1.0, state[2]) if j == 2 else min(1.0, math.sqrt(state[2]))), largest)
        table = []
        for halving in range(4):
            shift = np.zeros(3)
            shift[j] = step / 2**halving
            table.append((flow.velocity(state + shift) - flow.velocity(state - shift)) / (2 * shift[j]))
        for order in range(1, 4):
            table = [(4**order * b - a) / (4**order - 1) for a, b in pairwise(table)]
        # 1e-9 of the largest element, and the rounding of the quotients: 1e-13 / (step / 8).
        np.testing.assert_allclose(
            found[:, j], table[0][:variables], rtol=0, atol=1e-9 * np.abs(found).max() + 1e-12 / step
        )


def test_on_the_sphere_the_jacobian_has_one_row_per_component():
    flow = Flow(model_with(constraint="sphere", weight_decay=0.0))
    assert flow.jacobian(np.array([0.3, 0.2, 1.0])).shape == (2, 2)
    assert flow.velocity(np.array([0.3, 0.2, 1.0]))[-1] == 0.0


def test_relu_has_no_jacobian_where_the_norm_vanishes():
    assert np.all(np.isnan(Flow(model_with(activation="relu")).jacobian(np.zeros(3))))


def test_latents_with_a_mean_push_the_overlap_off_zero():
    # At q = 0 the overlap drifts by 2 eta Cov(h_1', h_2) mu.
    law = Atoms(values=(-0.5, 1.0), weights=(0.3, 0.7))
    flow = Flow(model_with(activation=(0.0, 1.0, 0.5), latents=(law,)))
    kappa = flow.model.noise_covariance
    # h = z + z^2 / 2, h' = 1 + z: Cov(h_1', h_2) = r kappa.
    expected = 2 * flow.model.learning_rate * 0.8 * kappa * law.mean
    assert flow.velocity(np.array([0.0, 0.8]))[0] == pytest.approx(expected, abs=1e-13)


@pytest.mark.parametrize("law", [{"noise_law": "rademacher"}, {"feature_law": "rademacher"}])
def test_the_limit_does_not_depend_on_the_laws_of_noise_and_features(law):
    state = np.array([0.3, 0.2, 1.0])
    np.testing.assert_array_equal(Flow(model_with(**law)).velocity(state), Flow(model_with()).velocity(state))


def test_an_l1_penalty_is_refused_with_the_reason():
    with pytest.raises(ClhdError, match=r"l1_penalty = 0\.1: must be 0 here, because .* partial differential equation"):
        Flow(model_with(l1_penalty=0.1))


@pytest.mark.parametrize("values", [(-1.0, 2.0), (-1.0, 0.0, 1.0)])
def test_relu_has_a_velocity_where_the_weights_are_a_feature_up_to_rounding(values):
    """Rounding of |q|^2 beyond r must not matter, though no base noise is left there."""
    model = ContrastiveModel(
        latents=(Atoms(values=values, weights=(1 / len(values),) * len(values)),), activation="relu",
        loss="covariance", background="orthogonal", augmentation_noise_variance=0.0, weight_decay=0.3,
    )  # fmt: skip
    flow = Flow(model)
    norms = np.linspace(0.1, 2.0, 40)
    beyond = [r for r in norms if np.sqrt(r) ** 2 > r]
    assert beyond
    for r in beyond:
        found, inside = (flow.velocity(np.array([np.sqrt(r), norm])) for norm in (r, r * (1 + 1e-14)))
        np.testing.assert_allclose(found, inside, rtol=0, atol=1e-6)
