"""The closed form against integration of the weights, in all its limits; the phase diagram against the formula."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from clhd.systems.latent_variable.model import Network, make_network, measure_area, measure_modes
from clhd.systems.latent_variable.theory import predict_phase, predict_start, solve_modes
from tests.systems.latent_variable.starts import draw_case, make_values

CASES = range(40)


def integrate(network, u, w, time):
    """Gradient flow of all weights by scipy; u and w at each time."""
    d = len(u)

    def move(_, state):
        u, w = state[:d], state[d:]
        force = 2 * network.scale * (network.cross_moment - network.second_moment * network.scale * (u @ w))
        return np.concatenate([network.rate_u * force * w, network.rate_w * force * u])

    smallest = 1e-14 * np.repeat([np.abs(u).max(), np.abs(w).max()], d)
    found = solve_ivp(
        move, (0, time[-1]), np.concatenate([u, w]), method="DOP853", t_eval=time, rtol=1e-12, atol=smallest
    ).y
    return found[:d].T, found[d:].T


@pytest.mark.parametrize("ratio", [1e5, 1e8, 1e12])
@pytest.mark.parametrize("target", [1.0, -30.0, 0.0])
def test_layers_of_very_different_size_keep_their_response(ratio, target):
    """P and M then agree in most digits, and their difference, the response, is far smaller."""
    network = Network(scale=0.7, rate_u=0.5, rate_w=2.0, second_moment=1.3, cross_moment=target)
    u, w = ratio * np.array([1.0, -2.0, 0.5]), np.array([3.0, 1.0, -2.0]) / ratio
    time = np.linspace(0, 4, 9) / (2 * network.speed * sum(measure_modes(network, u, w)))
    us, ws = integrate(network, u, w, time)
    product = np.sum(us * ws, axis=1)
    found = predict_start(network, u, w, time)
    np.testing.assert_allclose(found["response"], network.scale * product, rtol=1e-9, atol=1e-9)
    lengths = np.linalg.norm(us, axis=1) * np.linalg.norm(ws, axis=1)
    np.testing.assert_allclose(found["alignment"], product / lengths, rtol=1e-9, atol=1e-9)


def test_the_cases_hold_every_limit():
    modes = [measure_modes(network, u, w) for network, u, w in map(draw_case, CASES)]
    targets = [draw_case(k)[0].cross_moment for k in CASES]
    zeros = {(plus == 0, minus == 0, b == 0) for (plus, minus), b in zip(modes, targets, strict=True)}
    assert zeros == {
        *((False, False, is_zero) for is_zero in (False, True)),
        *((True, False, is_zero) for is_zero in (False, True)),
        *((False, True, is_zero) for is_zero in (False, True)),
    }


@pytest.mark.parametrize("case", CASES)
def test_the_closed_form_is_the_flow_of_the_weights(case):
    network, u, w = draw_case(case)
    plus, minus = measure_modes(network, u, w)
    # An exact solver drifts off the start whose mode is 0 by rounding, and the more the longer it runs.
    time = np.linspace(0, 4, 9) / (2 * network.speed * (plus + minus + abs(4 * network.drive)))
    us, ws = integrate(network, u, w, time)
    found = predict_start(network, u, w, time)
    product = np.sum(us * ws, axis=1)
    norms = np.linalg.norm(us, axis=1) * np.linalg.norm(ws, axis=1)
    kernel = network.scale**2 * (network.rate_u * np.sum(ws**2, axis=1) + network.rate_w * np.sum(us**2, axis=1))
    for name, known in {
        "response": network.scale * product,
        "norm_product": norms,
        "alignment": product / norms,
        "tangent_kernel": kernel,
    }.items():
        np.testing.assert_allclose(found[name], known, rtol=1e-9, atol=1e-9 * np.abs(known).max(), err_msg=name)
    assert found["kernel_change"] == pytest.approx(kernel[-1] / kernel[0] - 1, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_end_of_the_flow(case):
    """f = b/a and K = K_0 2 D/(P + M); but a start whose mode is 0 is driven to u = w = 0 if b has the other sign."""
    network, u, w = draw_case(case)
    plus, minus = measure_modes(network, u, w)
    root = np.hypot(2 * network.drive, np.sqrt(plus * minus))
    time = np.array([1e4 / (network.speed * (root or 1e-4 * (plus + minus)))])  # where D = 0 all falls as 1/t only
    end = predict_start(network, u, w, time)
    is_driven = (plus == 0 and network.drive >= 0) or (minus == 0 and network.drive <= 0)
    kernel = 0.0 if is_driven else 2 * root / (plus + minus)
    response = 0.0 if is_driven else network.cross_moment / network.second_moment
    tolerance = 1e-7 if root == 0 else 1e-12
    assert end["kernel_change"] == pytest.approx(kernel - 1, abs=tolerance)
    assert end["response"][0] == pytest.approx(
        response, abs=tolerance * network.scale * network.root_rate * (plus + minus)
    )


def test_no_digit_is_lost_where_d_is_rounding():
    """P M of 1e-30: z = 1 + kappa M t to the last digits, for every time that is short against 1/(kappa D)."""
    time = np.array([1e-3, 1.0, 1e3])
    plus, minus = solve_modes(1e-30, 1.0, 0.0, 1.0, time)
    np.testing.assert_allclose(plus, 1e-30 * (1 + time), rtol=1e-14)
    np.testing.assert_allclose(minus, 1 / (1 + time), rtol=1e-14)


def test_a_tiny_mode_keeps_its_digits_until_it_has_grown():
    """Next to the saddle: P z - M/z begins at -1, passes 0 and ends at 4 h, while their product stays."""
    tiny, h = 1e-200, 0.3
    end = solve_modes(tiny, 1.0, h, 1.0, 1e4)
    np.testing.assert_allclose([end[0] - end[1], end[0] * end[1]], [4 * h, tiny], rtol=1e-13)
    on_the_way = solve_modes(tiny, 1.0, h, 1.0, 5.0)  # P is of no account yet: dz/dt = 1 + 4 h z
    np.testing.assert_allclose(on_the_way[1], 1 / (np.exp(6.0) + (np.exp(6.0) - 1) / 1.2), rtol=1e-12)


def test_response_moves_one_way_and_alignment_with_it():
    """The rule of the mechanisms in 300 random starts, at times of all scales."""
    for seed in range(300):
        random = np.random.default_rng([9, seed])
        network = Network(
            scale=1.0, rate_u=np.exp(random.normal()), rate_w=1.0, second_moment=1.0, cross_moment=3 * random.normal()
        )
        found = predict_start(network, *random.normal(size=(2, 3)), np.geomspace(1e-3, 1e2, 60))
        response = found["response"]
        steps = np.diff(response)
        assert np.all(steps >= -1e-12) or np.all(steps <= 1e-12)
        order = np.argsort(np.abs(response))
        assert np.all(np.diff(np.abs(found["alignment"][order])) >= -1e-9)
        assert np.all(np.diff(found["norm_product"][order]) >= -1e-9 * found["norm_product"].max())


def test_area_has_no_cancellation():
    u, w = np.array([1.0, 0.0]), np.array([1.0, 1e-12])
    assert measure_area(u, w) == pytest.approx(1e-24, rel=1e-12)
    assert measure_area(0 * u, w) == 0


PHASES = {
    "neural tangent kernel": ({"scale_exponent": 0.5}, (-0.5, -1.0, -0.5)),
    "mean field": ({"scale_exponent": 1, "rate_exponent_u": -1, "rate_exponent_w": -1}, (0.0, 0.0, 0.0)),
    "feature": ({"scale_exponent": 1.25, "rate_exponent_u": -1.25, "rate_exponent_w": -1.25}, (0.25, 0.25, 0.25)),
    "unbalanced": ({"rate_exponent_u": 1, "rate_exponent_w": 1, "initial_exponent_u": 1}, (-1.0, -2.0, 0.0)),
}


@pytest.mark.parametrize("case", PHASES)
def test_known_scalings_have_known_exponents(case):
    changes, known = PHASES[case]
    assert tuple(predict_phase(make_values(**changes)).values()) == pytest.approx(known)


def test_exponents_are_those_of_the_exact_change_at_large_width():
    """A typical start, with u.w of one standard deviation, between widths 1e9 and 1e10: 300 random scalings.

    Where both terms of the kernel's change are of one order, they may cancel: nothing is asked there, nor at e = 0.
    """
    names = ("scale_exponent", "rate_exponent_u", "rate_exponent_w", "initial_exponent_u", "initial_exponent_w")
    for seed in range(300):
        exponents = np.random.default_rng([10, seed]).integers(-8, 9, size=5) / 4
        values = make_values(**dict(zip(names, exponents.tolist(), strict=True)))
        phase = predict_phase(values)
        index = phase["phase_index"]
        if index == 0 or 2 * index == phase["kernel_exponent"] == -1 - 2 * (phase["alignment_index"] - index):
            continue
        logs = []
        for width in (1e9, 1e10):
            values.network_width = width
            network = make_network(values)
            u, w = (width ** (0.5 - values.__dict__[f"initial_exponent_{layer}"]) for layer in "uw")
            mean = u**2 / network.rate_u + w**2 / network.rate_w
            product = u * w / np.sqrt(width) / network.root_rate
            x = 4 * (network.drive**2 - product**2) / mean**2  # (K_inf/K_0)^2 - 1
            logs.append(np.log10(abs(x) / (1 + np.sqrt(1 + x))))
        assert logs[1] - logs[0] == pytest.approx(phase["kernel_exponent"], abs=0.02), exponents
