"""Pure states: their stability against rivals, by latent law and activation."""

import numpy as np
import pytest

import clhd
from clhd.systems.contrastive.theory.states.fixed_points import find_fixed_points
from clhd.systems.contrastive.theory.states.pure_states import find_pure_state
from tests.systems.contrastive.theory.example import make_model, three_point

CUBIC = {"constraint": "sphere", "weight_decay": 0.0, "activation": (0.0, 1.0, 0.0, 0.1)}
GAUSSIAN, UNIFORM, LAPLACE = (law(second_moment=1.5) for law in (clhd.Gaussian, clhd.Uniform, clhd.Laplace))


def rival_rate(law, **changes):
    return find_pure_state(make_model(law, law, **changes), 1).rival_rate


@pytest.mark.parametrize("changes", [{}, CUBIC], ids=["tanh", "cubic"])
def test_a_gaussian_pure_state_is_marginal(changes):
    assert rival_rate(GAUSSIAN, **changes) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("law", [UNIFORM, three_point(1), three_point(2)], ids=["uniform", "rademacher", "kurtosis 2"])
def test_saturation_keeps_sub_gaussian_winners_and_expansion_drops_them(law):
    assert rival_rate(law) < -1e-3
    assert rival_rate(law, **CUBIC) > 1e-3


@pytest.mark.parametrize("law", [LAPLACE, three_point(4)], ids=["laplace", "kurtosis 4"])
def test_saturation_drops_super_gaussian_winners_and_expansion_keeps_them(law):
    assert rival_rate(law) > 1e-3
    assert rival_rate(law, **CUBIC) < -1e-3


@pytest.mark.parametrize("kurtosis", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("c", [-0.02, 0.1])
def test_a_cubic_unit_has_the_rate_of_its_closed_form(kurtosis, c):
    """By hand, at kappa = 0: eta times 8 a c m^2 q^2 (3 - k) + 6 c^2 q^4 m^3 k (5 - k), a = 1 + 3 c s2 (r = 1)."""
    settings = make_model(three_point(kurtosis), three_point(kurtosis), **CUBIC | {"activation": (0.0, 1.0, 0.0, c)})
    state = find_pure_state(settings, 1)
    a, m, q2 = 1 + 3 * c * settings.noise_variance, 1.5, state.overlap**2
    first_order = 8 * a * c * m**2 * q2 * (3 - kurtosis)
    second_order = 6 * c**2 * q2**2 * m**3 * kurtosis * (5 - kurtosis)
    assert state.rival_rate == pytest.approx(0.3 * (first_order + second_order), abs=1e-7)


def test_pure_states_are_those_of_the_search_for_all_fixed_points():
    settings = make_model(three_point(1), three_point(2.5))
    states = find_fixed_points(settings)
    for feature in (1, 2):
        state = find_pure_state(settings, feature)
        others = states.overlap.sel(feature=3 - feature)
        row = states.isel(state=int(np.flatnonzero((states.kind == "pure") & (others == 0))[0]))
        assert state.overlap == pytest.approx(row.overlap.sel(feature=feature).item(), abs=1e-9)
        assert state.largest_rate == pytest.approx(row.eigenvalues.values.real.max(), abs=1e-9)


def test_a_feature_that_is_not_learned_has_no_pure_state():
    assert find_pure_state(make_model(three_point(1), three_point(1), weight_decay=6.0), 1) is None


@pytest.mark.parametrize(
    ("feature", "message"),
    [(3, "feature = 3: must be at most 2"), (0, "feature = 0: must be a whole number, 1 or more")],
)
def test_bad_input_gets_one_sentence(feature, message):
    with pytest.raises(clhd.ClhdError, match=message):
        find_pure_state(make_model(three_point(1), three_point(1)), feature)
