"""States of rest: known answers, zeros of the velocity, eigenvalues, completeness against trajectories, symmetries."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Atoms, Gaussian, ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.flow.ode import integrate_ode
from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points, silent_rates
from clhd.systems.contrastive.theory.states.root_search import sign_symmetries
from clhd.systems.contrastive.theory.states.threshold import uninformative_state

PAIR = ContrastiveModel(
    latents=(ThreePoint(second_moment=1.5), ThreePoint(second_moment=1.5)), learning_rate=0.3, weight_decay=0.6,
    base_noise_variance=0.0, augmentation_noise_variance=0.5,
)  # fmt: skip
SKEWED = replace(
    PAIR,
    latents=(TwoPoint(second_moment=1.5, skewness=1.0), ThreePoint(second_moment=1.2, kurtosis=2.0)),
    base_noise_variance=0.5,
)
MODELS = {
    "three_point": replace(PAIR, latents=(ThreePoint(second_moment=1.5), ThreePoint(second_moment=1.3, kurtosis=2.0))),
    "skewed": SKEWED,
    "cubic": replace(
        SKEWED,
        latents=(TwoPoint(second_moment=1.5, skewness=1.0), ThreePoint(second_moment=1.2)),
        activation=(0.2, 1.0, 0.1, -0.1),
    ),
    "erf": replace(SKEWED, activation="erf", weight_decay=0.3),
    "tanh sphere": replace(SKEWED, constraint="sphere", weight_decay=0.0),
    "relu sphere": replace(SKEWED, activation="relu", constraint="sphere", weight_decay=0.0),
    "relu": replace(SKEWED, activation="relu", weight_decay=2.0),
    "mean": replace(SKEWED, latents=(Atoms(values=(0.0, 2.0), weights=(0.5, 0.5)), ThreePoint(second_moment=1.0))),
    "gaussian": replace(PAIR, latents=(Gaussian(second_moment=1.5), ThreePoint(second_moment=1.3))),
}


@pytest.fixture(scope="module", params=MODELS, ids=str)
def found(request):
    model = MODELS[request.param]
    return model, find_fixed_points(model)


def test_the_search_ends_where_weights_grow_for_ever():
    """Trajectories that went on to the last time would take minutes, and end this test at its time-out."""
    latents = (Atoms(values=(-0.9, 0.1, 0.6), weights=(0.3, 0.2, 0.5)), ThreePoint(second_moment=2.5, kurtosis=3.0))
    linear = replace(SKEWED, latents=latents, activation="linear", loss="covariance", batch=2, centred=False)
    model = replace(linear, learning_rate=2.0, weight_decay=0.3, augmentation_noise_variance=0.0)
    assert find_fixed_points(model).kind.values.tolist() == ["collapsed"]


def test_units_of_the_weights_do_not_matter():
    """h(s z) / s has the states of h, divided by s; weights that grow for ever may do so within one step."""
    latents = (ThreePoint(second_moment=3.0), ThreePoint(second_moment=1.2))
    cubic = ContrastiveModel(
        latents=latents,
        activation=(0.0, 1.0, 0.0, -0.02),
        loss="covariance",
        learning_rate=0.05,
        weight_decay=0.6,
        base_noise_variance=0.3,
        augmentation_noise_variance=0.3,
    )
    one, other = find_fixed_points(cubic), find_fixed_points(replace(cubic, activation=(0.0, 1.0, 0.0, -50.0)))
    np.testing.assert_allclose(50 * other.overlap.values, one.overlap.values, rtol=0, atol=1e-7)
    assert other.kind.values.tolist() == one.kind.values.tolist()


def pure_states(model):
    states = find_fixed_points(model)
    return states.isel(state=states.kind == "pure")


def test_states_are_zeros_of_the_velocity(found):
    model, states = found
    flow = Flow(model)
    for q, r in zip(states.overlap.values, states.squared_norm.values, strict=True):
        assert np.abs(flow.velocity(np.append(q, r))).max() < 1e-10
        assert q @ q <= r * (1 + 1e-9)
    assert states.residual.values.max() < 1e-10


def test_eigenvalues_agree_with_plain_differences_of_the_velocity(found):
    model, states = found
    flow = Flow(model)
    for k in states.state.values:
        q, r = states.overlap.values[k], float(states.squared_norm[k])
        if r == 0:
            continue  # no two-sided difference there; tested below in closed form
        x, size = np.append(q, r), states.sizes["mode"]
        step = 1e-4
        columns = [
            (flow.velocity(x + step * e) - flow.velocity(x - step * e)) / (2 * step) for e in np.eye(len(x))[:size]
        ]
        plain = np.linalg.eigvals(np.array(columns).T[:size, :size])
        plain = plain[np.lexsort((-plain.imag, -plain.real))]
        # Central differences err by step^2 times third derivatives, which reach about 30 here.
        assert states.eigenvalues.values[k] == pytest.approx(plain, abs=1e-6)


def test_every_trajectory_ends_at_a_listed_stable_state(found):
    model, states = found
    flow, rng = Flow(model), np.random.default_rng(5)
    images = sign_symmetries(model)
    targets = [
        np.append(sign * q, r)
        for q, r, stable in zip(states.overlap.values, states.squared_norm.values, states.stable.values, strict=True)
        for sign in images
        if stable
    ]
    for _ in range(12):
        s = rng.standard_normal(model.features)
        start = np.append(s / np.linalg.norm(s) * rng.uniform(0.2, 0.95), 1.0)
        end = solve_ivp(lambda _, x: flow.velocity(x), (0, 800), start, method="LSODA", rtol=1e-8, atol=1e-10).y[:, -1]
        if np.all(np.isfinite(end)):  # a polynomial unit may diverge
            assert min(np.abs(end - target).max() for target in targets) < 1e-4  # the slowest rates are about 0.02


def test_rest_is_kept_by_the_sign_symmetries(found):
    model, states = found
    flow = Flow(model)
    q, r = states.overlap.values[-1], states.squared_norm.values[-1]
    images = np.unique(sign_symmetries(model) * q + 0.0, axis=0)
    assert len(images) == states.multiplicity.values[-1]
    for image in images:
        assert np.abs(flow.velocity(np.append(image, r))).max() < 1e-10


@pytest.mark.parametrize(
    ("correlation", "similarity"), [(-1.0, 0.697), (-0.5, 0.673), (0.0, 0.644), (0.5, 0.606), (1.0, 0.545)]
)
def test_known_cosine_similarity_of_the_tanh_unit(correlation, similarity):
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5),), learning_rate=0.5, weight_decay=0.6,
        base_noise_variance=1.0, augmentation_noise_variance=0.5, noise_correlation=correlation,
    )  # fmt: skip
    state = pure_states(model).squeeze("state")
    # Three digits of a prototype that shares no code with clhd.
    assert float(state.overlap[0] / np.sqrt(state.squared_norm)) == pytest.approx(similarity, abs=6e-4)
    assert state.stable
    assert state.multiplicity == 2


@pytest.mark.parametrize("correlation", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_linear_unit_on_the_sphere_has_its_closed_form(correlation):
    m, eta, s2, kappa = 1.5, 0.5, 1.0, 0.5 + 0.5 * correlation
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=m), Gaussian(second_moment=m)), activation="linear", learning_rate=eta,
        constraint="sphere", base_noise_variance=0.5, augmentation_noise_variance=0.5, noise_correlation=correlation,
    )  # fmt: skip
    # With x = S^2: g = 2 m S, E z^2 = m x + s2, E z_1 z_2 = m x + kappa =: y, fourth moments of z cancel in D, which is
    # s2 (2 E z^2 + 2 E z^2) - ... = 4 s2 (m x + s2) + 2 kappa (m x + kappa); rest: 2 m (1 - x) = eta D / 2.
    x = (2 * m - eta / 2 * (4 * s2**2 + 2 * kappa**2)) / (2 * m + eta / 2 * m * (4 * s2 + 2 * kappa))
    states = pure_states(model)
    assert states.overlap.values == pytest.approx(np.sqrt(x) * np.eye(2), abs=1e-10)
    assert states.marginal.values.all()  # only second moments matter: the two features may be rotated
    assert not states.stable.values.any()


def test_pure_states_lose_stability_at_the_known_kurtosis():
    def largest(kurtosis):
        model = replace(PAIR, latents=(ThreePoint(second_moment=1.5, kurtosis=kurtosis),) * 2)
        states = find_fixed_points(model)
        assert states.sizes["state"] >= 4  # collapsed, two pure, one mixed at least
        return pure_states(model).eigenvalues.real.values[0, 0]

    assert largest(2.0) < 0 < largest(2.15)


def test_gaussian_latents_of_equal_second_moment_are_marginal():
    states = pure_states(replace(PAIR, latents=(Gaussian(second_moment=1.5),) * 2))
    assert states.sizes["state"] == 2
    assert states.marginal.values.all()
    # The quadrature of the Gaussian law keeps the rotation symmetry to its own accuracy.
    assert np.abs(states.eigenvalues.values[:, 0]).max() < 1e-8


def test_a_multiple_root_is_listed_once():
    # Beside a Gaussian winner a rival of equal second moment neither grows nor decays to first order.
    model = replace(PAIR, latents=(Gaussian(second_moment=1.5), ThreePoint(second_moment=1.5)))
    states = find_fixed_points(model)
    assert states.kind.values.tolist() == ["collapsed", "pure", "pure"]
    assert states.marginal.values.tolist() == [False, True, False]


@pytest.mark.parametrize("activation", ["tanh", "erf", "linear", (0.0, 0.8, 0.3)], ids=str)
def test_collapsed_state_has_its_closed_form(activation):
    eta, lam = 0.2, 3.0
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=2.0), TwoPoint(second_moment=0.5, skewness=2.0)), activation=activation,
        learning_rate=eta, weight_decay=lam,
        base_noise_variance=0.3, augmentation_noise_variance=0.4, noise_correlation=-0.5,
    )  # fmt: skip
    s2, kappa, slope = model.noise_variance, model.noise_covariance, float(model.unit(np.zeros(1))[1][0])
    state = find_fixed_points(model).isel(state=0)
    assert state.kind == "collapsed"
    growth = [eta * (2 * slope**2 * (m + kappa) - lam) for m in (2.0, 0.5)]
    norm = eta * (2 * (2 * kappa * slope**2 - lam) + eta * slope**4 * (4 * s2**2 + 2 * kappa**2))
    assert state.eigenvalues.values.real == pytest.approx(sorted([*growth, norm], reverse=True), abs=1e-9)
    assert bool(state.stable) == (max(*growth, norm) < 0)


def test_dying_weights_keep_a_direction_above_its_own_threshold():
    m, eta, lam, s2 = 0.5, 0.3, 1.2, 0.5
    model = replace(PAIR, latents=(ThreePoint(second_moment=m),), weight_decay=lam)
    assert eta * 2 * s2**2 / 2 < m < lam / 2  # between the threshold of S and that of q
    flow = Flow(model)
    start = np.array([0.05, 0.01])
    end = solve_ivp(lambda _, x: flow.velocity(x), (0, 90), start, method="LSODA", rtol=1e-10, atol=1e-30).y[:, -1]
    assert end[1] < 1e-6  # the state dies ...
    limit = (4 * m - eta * 4 * s2**2) / (4 * m + eta * m * 4 * s2)
    # ... on the way S^2 tends to its limit, up to the squared norm that is left and the integration.
    assert end[0] ** 2 / end[1] == pytest.approx(limit, abs=1e-5)
    assert find_fixed_points(model).kind.values.tolist() == ["collapsed"]


def test_uninformative_eigenvalues_have_the_formula_of_the_second_moment():
    model = MODELS["cubic"]
    state, states = uninformative_state(model), find_fixed_points(model)
    found = states.isel(state=np.flatnonzero(states.kind == "uninformative")[0])
    growth = [model.learning_rate * (m * state.gain + state.alignment - model.weight_decay) for m in (1.5, 1.2)]
    assert float(found.squared_norm) == state.squared_norm
    for value in growth:
        assert np.abs(found.eigenvalues.values - value).min() < 1e-10


def test_identical_latents_give_all_permutations():
    three = ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5),) * 3, learning_rate=0.3, weight_decay=0.6, base_noise_variance=0.2
    )
    states = find_fixed_points(three)
    counts = dict(zip(*np.unique(states.kind.values, return_counts=True), strict=True))
    assert counts == {"collapsed": 1, "uninformative": 1, "pure": 3, "mixed": 4}
    assert sorted(states.multiplicity.values.tolist()) == [1, 1, 2, 2, 2, 4, 4, 4, 8]
    assert states.sizes == {"state": 9, "feature": 3, "mode": 4}


def test_a_unit_without_states_gives_an_empty_dataset():
    states = find_fixed_points(ContrastiveModel(latents=(ThreePoint(),), activation=(0.5, 1.0), weight_decay=0.0))
    assert states.sizes["state"] == 0
    assert states.eigenvalues.shape == (0, 2)


def test_l1_penalty_is_refused():
    with pytest.raises(ClhdError, match=r"l1_penalty = 0\.1: must be 0"):
        find_fixed_points(replace(PAIR, l1_penalty=0.1))


@pytest.mark.parametrize(
    ("latent", "augmentation", "expected"),
    [
        (TwoPoint(second_moment=1.0, skewness=1.5), 0.0, 0.9972672823),
        (Atoms(values=(-3.0, 0.0, 3.0), weights=(0.1, 0.8, 0.1)), 0.001, 0.9995279257),
    ],
)
def test_relu_finds_the_state_next_to_a_feature_where_hardly_any_noise_is_left(latent, augmentation, expected):
    model = ContrastiveModel(
        latents=(latent,), activation="relu", loss="covariance", batch=64, background="orthogonal", learning_rate=0.3,
        constraint="sphere", base_noise_variance=1.0 if augmentation == 0.0 else 0.5,
        augmentation_noise_variance=augmentation,
    )  # fmt: skip
    states = find_fixed_points(model)
    assert states.overlap.values[-1] == pytest.approx([expected], abs=1e-9)
    assert states.stable.values[-1]
    # The ODE ends there.
    velocity = Flow(model).velocity
    end = solve_ivp(lambda _, x: velocity(x), (0, 300), [0.9, 1.0], method="LSODA", rtol=1e-9, atol=1e-11).y[:, -1]
    assert end[0] == pytest.approx(expected, abs=1e-7)


def test_relu_states_without_a_jacobian_have_no_eigenvalues():
    base = ContrastiveModel(latents=(Atoms(values=(-0.5, 1.5), weights=(0.4, 0.6)),), activation="relu")
    for decay, is_stable in ((3.0, True), (0.3, False)):
        model = replace(base, weight_decay=decay, learning_rate=0.3)
        states = find_fixed_points(model)
        assert states.kind.values.tolist() == ["collapsed"]
        assert np.isnan(states.eigenvalues.values).all()
        assert states.stable.values.tolist() == [is_stable]
        velocity = Flow(model).velocity
        assert (velocity(np.array([0.5, 1.0]))[-1] < 0) == is_stable
    noiseless = replace(
        base, latents=(TwoPoint(second_moment=1.0, skewness=1.5),), constraint="sphere", base_noise_variance=0.0,
        augmentation_noise_variance=0.0,
    )  # fmt: skip
    states = find_fixed_points(noiseless)
    assert np.isnan(states.eigenvalues.values).all()
    assert not states.stable.values.any()


@pytest.mark.parametrize("augmentation", [0.0, 0.002])
def test_rival_rates_next_to_a_feature_with_the_orthogonal_background(augmentation):
    """The slope along a silent feature must not leave the states that exist, where r - |q|^2 is small."""
    model = ContrastiveModel(
        latents=(Atoms(values=(-0.5, 1.5), weights=(0.4, 0.6)), ThreePoint(second_moment=2.0)),
        activation=(0.0, 1.0, 0.2, -0.1), loss="covariance", batch=64, background="orthogonal", learning_rate=0.05,
        weight_decay=0.3, base_noise_variance=0.5, augmentation_noise_variance=augmentation,
    )  # fmt: skip
    states = find_fixed_points(model)
    rest = states.squared_norm.values - (states.overlap.values**2).sum(axis=1)
    close = [k for k in range(states.sizes["state"]) if states.kind.values[k] == "pure" and rest[k] < 3e-3]
    assert close
    flow = Flow(model)
    for k in close:
        state = np.append(states.overlap.values[k], states.squared_norm.values[k])
        # The silent overlap moves by less than the rest of the weights.
        step = 0.2 * np.sqrt(rest[k])
        slopes = []
        for size in (step, step / 2, step / 4):
            moved = state.copy()
            moved[1] = size
            slopes.append(flow.velocity(moved)[1] / size)
        once = [(4 * fine - coarse) / 3 for coarse, fine in pairwise(slopes)]
        rate = (16 * once[1] - once[0]) / 15
        assert np.abs(states.eigenvalues.values[k] - rate).min() < 1e-8


@pytest.mark.parametrize("constraint", ["sphere", "none"])
def test_relu_without_noise_is_refused_with_several_features(constraint):
    # For c = +-1.22 and +-1.73 the velocity jumps at q_1 / q_2 = 1.41, to which it points from both sides.
    model = ContrastiveModel(
        latents=(ThreePoint(second_moment=1.5), ThreePoint(second_moment=1.5, kurtosis=2.0)), activation="relu",
        constraint=constraint, base_noise_variance=0.0, augmentation_noise_variance=0.0,
    )  # fmt: skip
    with pytest.raises(ClhdError, match="several features need noise"):
        find_fixed_points(model)
    without_signal = (model.latents[0], ThreePoint(second_moment=0.0))
    assert find_fixed_points(replace(model, latents=without_signal)).sizes["state"] > 0


def test_relu_rates_of_silent_features_where_little_noise_smooths_the_kink():
    model = ContrastiveModel(
        latents=(Atoms(values=(-3.0, 0.0, 3.0), weights=(0.1, 0.8, 0.1)), ThreePoint(second_moment=1.0, kurtosis=2.0)),
        activation="relu", loss="covariance", batch=5, background="orthogonal", learning_rate=0.05,
        constraint="sphere", augmentation_noise_variance=0.0,
    )  # fmt: skip
    rest = 1e-5
    q, step = np.sqrt(1 - rest), 0.0025 * np.sqrt(rest)
    slopes = [Flow(model).velocity(np.array([q, size, 1.0]))[1] / size for size in (2 * step, step)]
    assert silent_rates(model, np.array([q, 0.0]), 1.0) == pytest.approx([(4 * slopes[1] - slopes[0]) / 3], abs=1e-6)


def test_a_stable_mixed_state_that_few_starts_reach_is_listed() -> None:
    # Between it and the stable uninformative state lies a saddle at 0.417; the trajectory from (0.6, 0.6) ends there.
    model = ContrastiveModel(
        latents=(TwoPoint(second_moment=1.0, skewness=1.5),) * 2,
        loss="covariance",
        batch=5,
        background="orthogonal",
        constraint="sphere",
        weight_decay=0.0,
        learning_rate=0.05,
        base_noise_variance=1.0,
        augmentation_noise_variance=0.5,
    )
    states = find_fixed_points(model)
    end = integrate_ode(model, overlap=[0.6, 0.6], time=[4000.0]).overlap.values[0]
    np.testing.assert_allclose(states.overlap.values[states.stable.values], [[0.0, 0.0], end], rtol=0, atol=1e-7)
