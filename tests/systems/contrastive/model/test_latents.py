"""The latent laws have the moments that their parameters name, and a text that tells any two of them apart."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clhd.systems.contrastive.model.latents as latents_module
from clhd.errors import ClhdError
from clhd.systems.contrastive.model.latents import (
    Atoms,
    Gaussian,
    Laplace,
    Latent,
    ThreePoint,
    TwoPoint,
    Uniform,
    product_atoms,
)

# Law, skewness E c^3 / m^(3/2) and kurtosis E c^4 / m^2. A new law needs a row here.
LAWS = {
    "three_point_rademacher": (ThreePoint(second_moment=0.7), 0.0, 1.0),
    "three_point_sparse": (ThreePoint(second_moment=1.5, kurtosis=5.0), 0.0, 5.0),
    "three_point_nearly_rademacher": (ThreePoint(second_moment=2.0, kurtosis=1.0 + 1e-12), 0.0, 1.0),
    "three_point_large_kurtosis": (ThreePoint(second_moment=2.0, kurtosis=1e6), 0.0, 1e6),
    "gaussian": (Gaussian(second_moment=1.3), 0.0, 3.0),
    "uniform": (Uniform(second_moment=0.4), 0.0, 1.8),
    "laplace": (Laplace(second_moment=2.5), 0.0, 6.0),
    "two_point": (TwoPoint(second_moment=1.5), 0.0, 1.0),
    "two_point_right": (TwoPoint(second_moment=1.5, skewness=1.2), 1.2, 1 + 1.2**2),
    "two_point_left": (TwoPoint(second_moment=0.5, skewness=-7.0), -7.0, 1 + 7.0**2),
    "atoms": (Atoms(values=(-1.0, 2.0), weights=(2 / 3, 1 / 3)), 1 / math.sqrt(2), 1.5),
}


def parametrize_laws() -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("law", "skewness", "kurtosis"), LAWS.values(), ids=LAWS.keys())


def test_every_law_has_a_row_in_the_table_of_moments() -> None:
    public = {c for c in vars(latents_module).values() if isinstance(c, type) and issubclass(c, Latent)}
    public = {c for c in public if not c.__name__.startswith("_")} - {Latent}
    assert {type(law) for law, *_ in LAWS.values()} == public


@parametrize_laws()
def test_a_law_has_the_moments_that_its_parameters_name(law: Latent, skewness: float, kurtosis: float) -> None:
    values, weights = law.atoms()
    # The rules of continuous laws have the exact second moment; their tails are cut where 2e-10 of probability is left,
    # at 6.4 standard deviations of the Gaussian, and 6.4^4 2e-10 / 3 = 1e-7 of the fourth moment goes with it.
    tolerance = 1e-13 if law.is_discrete else 1e-6
    m = getattr(law, "second_moment", 2.0)
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    assert weights @ values == pytest.approx(0, abs=1e-14 * math.sqrt(m))
    assert weights @ values**2 == pytest.approx(m, rel=1e-13)
    assert weights @ values**3 / m**1.5 == pytest.approx(skewness, rel=tolerance, abs=1e-13)
    assert weights @ values**4 / m**2 == pytest.approx(kurtosis, rel=tolerance)
    assert law.mean == 0
    assert law.moment(2) == pytest.approx(m, rel=1e-15)
    assert law.scale == pytest.approx(math.sqrt(m), rel=1e-15)


@parametrize_laws()
def test_a_law_is_called_symmetric_exactly_if_it_is(law: Latent, skewness: float, kurtosis: float) -> None:
    assert law.is_symmetric == (skewness == 0)
    values, weights = law.atoms()
    mirrored = np.array_equal(values, -values[::-1]) and np.allclose(weights, weights[::-1], rtol=1e-14, atol=0)
    assert law.is_symmetric == mirrored


@given(second_moment=st.floats(1e-6, 1e6), kurtosis=st.floats(1, 1e9))
def test_the_three_point_law_reaches_every_pair_of_moments(second_moment: float, kurtosis: float) -> None:
    values, weights = ThreePoint(second_moment=second_moment, kurtosis=kurtosis).atoms()
    assert weights.min() >= 0
    assert weights @ values**2 == pytest.approx(second_moment, rel=1e-13)
    assert weights @ values**4 == pytest.approx(kurtosis * second_moment**2, rel=1e-13)


@given(skewness=st.floats(-1e6, 1e6))
def test_the_two_point_law_reaches_every_skewness_without_cancellation(skewness: float) -> None:
    values, weights = TwoPoint(second_moment=1.0, skewness=skewness).atoms()
    assert abs(weights @ values) <= 1e-15
    assert weights @ values**2 == pytest.approx(1, rel=1e-13)
    assert weights @ values**3 == pytest.approx(skewness, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("law", [ThreePoint, Gaussian, Uniform, Laplace, TwoPoint])
def test_a_law_without_second_moment_is_the_constant_zero(law: type[Latent]) -> None:
    values, weights = law(second_moment=0).atoms()  # type: ignore[call-arg]
    assert not values.any()
    assert weights.sum() == pytest.approx(1)


def standard_grid(law: type[Latent]) -> tuple[np.ndarray, np.ndarray]:
    """A rule for the law of second moment 1 with 400 nodes or more, made from its density."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    if law is Uniform:
        return math.sqrt(3) * nodes, weights / 2
    # The half line, cut where less than 1e-17 is left.
    end = 9.0 if law is Gaussian else 28.0
    x = end * (1 + nodes) / 2
    density = np.exp(-(x**2) / 2) if law is Gaussian else np.exp(-math.sqrt(2) * x)
    weights = weights * density / (2 * (weights @ density))
    return np.concatenate([-x, x]), np.concatenate([weights, weights])


@pytest.mark.parametrize("law", [Gaussian, Uniform, Laplace], ids=lambda law: law.__name__)
def test_the_rule_of_a_continuous_law_averages_an_activation_under_noise(law: type[Latent]) -> None:
    noise, noise_weights = standard_grid(Gaussian)

    def squared_output(c: np.ndarray) -> np.ndarray:
        return np.tanh(0.3 + math.sqrt(1.5) * (c[:, None] + noise / math.sqrt(3))) ** 2 @ noise_weights

    values, weights = law(second_moment=1.0).atoms()  # type: ignore[call-arg]
    dense_values, dense_weights = standard_grid(law)
    # The rules promise 1e-9: their tails are cut where 2e-10 of probability is left.
    assert weights @ squared_output(values) == pytest.approx(dense_weights @ squared_output(dense_values), abs=1e-9)


def test_the_atoms_of_independent_latents_are_the_products() -> None:
    first, second = ThreePoint(second_moment=1.5, kurtosis=2.0), TwoPoint(second_moment=0.5, skewness=1.0)
    values, weights = product_atoms((first, second))
    assert values.shape == (6, 2)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights @ values**2, [1.5, 0.5])
    assert weights @ (values[:, 0] ** 2 * values[:, 1] ** 3) == pytest.approx(1.5 * second.moment(3))


def test_a_law_of_which_only_the_atoms_are_given_has_their_mean_and_symmetry() -> None:
    """With a mean of 0 by default, a threshold was given for a law whose zero overlap is no state of rest."""

    @dataclass(frozen=True, kw_only=True)
    class Own(Latent):
        upper: float = 1.0

        def atoms(self) -> tuple[np.ndarray, np.ndarray]:
            return np.array([self.upper, 0.0, -1.0]), np.array([0.25, 0.5, 0.25])

    assert (Own().mean, Own().is_symmetric) == (0.0, True)
    assert (Own(upper=3.0).mean, Own(upper=3.0).is_symmetric) == (0.5, False)


def test_atoms_are_sorted_and_normalised_and_know_their_mean() -> None:
    law = Atoms(values=(2.0, -1.0), weights=(0.5, 0.5))
    assert (law.values, law.weights, law.mean) == ((-1.0, 2.0), (0.5, 0.5), 0.5)
    assert law == Atoms(values=[-1, 2], weights=[0.5, 0.5])
    assert Atoms(values=(-0.3, 0.1, 0.2), weights=(1 / 3, 1 / 3, 1 / 3)).mean == 0  # a sum that rounds to 1e-17


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (ThreePoint(second_moment=1.5), ThreePoint(second_moment=np.nextafter(1.5, 2))),
        (ThreePoint(second_moment=1.5), ThreePoint(second_moment=1.5, kurtosis=1 + 2**-52)),
        (ThreePoint(second_moment=1.5), TwoPoint(second_moment=1.5)),
        (Gaussian(second_moment=1.5), Uniform(second_moment=1.5)),
        (TwoPoint(skewness=0.5), TwoPoint(skewness=-0.5)),
        (TwoPoint(second_moment=0.5), TwoPoint(skewness=0.5)),
        (Atoms(values=(-1, 1), weights=(0.5, 0.5)), Atoms(values=(-1, 2), weights=(0.5, 0.5))),
        (Atoms(values=(-1, 1), weights=(0.5, 0.5)), Atoms(values=(-1, 1), weights=(0.25, 0.75))),
    ],
    ids=lambda law: law.canonical(),
)
def test_laws_that_differ_have_different_texts(one: Latent, other: Latent) -> None:
    assert one != other
    assert one.canonical() != other.canonical()


@pytest.mark.parametrize(
    ("plain", "spelled_out", "text"),
    [
        (ThreePoint(), ThreePoint(second_moment=1, kurtosis=1), "ThreePoint()"),
        (
            ThreePoint(kurtosis=5),
            ThreePoint(second_moment=1.0, kurtosis=5.0),
            "ThreePoint(kurtosis=0x1.4000000000000p+2)",
        ),
        (Gaussian(), Gaussian(second_moment=np.float32(1)), "Gaussian()"),
        (
            TwoPoint(second_moment=0.5),
            TwoPoint(second_moment=0.5, skewness=-0.0),
            "TwoPoint(second_moment=0x1.0000000000000p-1)",
        ),
        (
            Atoms(values=(1, -1), weights=(0.5, 0.5)),
            Atoms(values=np.array([-1.0, 1.0]), weights=[0.5, 0.5]),
            "Atoms(values=(-0x1.0000000000000p+0,0x1.0000000000000p+0),weights=(0x1.0000000000000p-1,0x1.0000000000000p-1))",
        ),
    ],
)
def test_a_text_names_only_what_differs_from_the_defaults(plain: Latent, spelled_out: Latent, text: str) -> None:
    # Frozen: random streams are keyed by these texts.
    assert plain == spelled_out
    assert hash(plain) == hash(spelled_out)
    assert plain.canonical() == spelled_out.canonical() == text


def test_a_law_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        ThreePoint().kurtosis = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("law", "arguments", "message"),
    [
        (ThreePoint, {"kurtosis": 0.5}, "kurtosis = 0.5: must be a finite number, 1 or more"),
        (ThreePoint, {"kurtosis": math.inf}, "kurtosis = inf: must be a finite number, 1 or more"),
        (ThreePoint, {"second_moment": -1}, "second_moment = -1: must be a finite number, 0 or more"),
        (Gaussian, {"second_moment": math.nan}, "second_moment = nan: must be a finite number, 0 or more"),
        (Uniform, {"second_moment": "1"}, "second_moment = '1': must be a number"),
        (Laplace, {"second_moment": None}, "second_moment = None: must be a number"),
        (Laplace, {"second_moment": True}, "second_moment = True: must be a number"),
        (Laplace, {"second_moment": 1j}, "second_moment = 1j: must be a number"),
        (TwoPoint, {"skewness": math.inf}, "skewness = inf: must be a number from -1e+06 to 1e+06"),
        (TwoPoint, {"skewness": -1e7}, "skewness = -10000000.0: must be a number from -1e+06 to 1e+06"),
        (Atoms, {}, "values = (): must hold at least one atom"),
        (Atoms, {"values": 3, "weights": 1}, "values = 3: must be a list of numbers"),
        (Atoms, {"values": [1, 2], "weights": [1]}, "weights = [1]: must be a list of 2 numbers"),
        (Atoms, {"values": [1, 1], "weights": [0.5, 0.5]}, "values = [1, 1]: must be different from each other"),
        (Atoms, {"values": [1, math.nan], "weights": [0.5, 0.5]}, "values = [1, nan]: must hold finite numbers only"),
        (Atoms, {"values": [1, 2], "weights": [0.5, 0.6]}, "weights = [0.5, 0.6]: must be positive and sum to 1"),
        (Atoms, {"values": [1, 2], "weights": [1, 0]}, "weights = [1, 0]: must be positive and sum to 1"),
        (Atoms, {"values": [1, 2], "weights": [-1, 2]}, "weights = [-1, 2]: must be positive and sum to 1"),
    ],
)
def test_a_bad_parameter_of_a_law_gets_one_sentence(law: type[Latent], arguments: dict, message: str) -> None:
    with pytest.raises(ClhdError) as error:
        law(**arguments)
    assert str(error.value) == message


def test_the_base_class_says_which_laws_there_are() -> None:
    with pytest.raises(TypeError, match="use ThreePoint, Gaussian"):
        Latent().atoms()
