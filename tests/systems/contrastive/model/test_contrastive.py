"""`ContrastiveModel` is a value: checked once, frozen, hashable, with a text that never changes by accident."""

import math
from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

import clhd
from clhd.errors import ClhdError
from clhd.systems.contrastive.model.activations import RELU, TANH
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import Atoms, Gaussian, ThreePoint, TwoPoint

ONE = (ThreePoint(second_moment=1.5),)
MANY = (
    "ContrastiveModel(latents=(ThreePoint(second_moment=0x1.8000000000000p+0,kurtosis=0x1.4000000000000p+2),"
    "Gaussian()),activation=(0x0.0p+0,0x1.0000000000000p+0,0x1.0000000000000p-1),"
    "weight_decay=0x1.3333333333333p-1,base_noise_variance=0x1.0000000000000p+0,"
    "noise_correlation=-0x1.0000000000000p-1,noise_law=student_t,noise_degrees_of_freedom=0x1.4000000000000p+2)"
)
COVARIANCE = (
    "ContrastiveModel(latents=(ThreePoint(second_moment=0x1.8000000000000p+0)),loss=covariance,"
    "background=orthogonal,batch=4,centred=False,units=2,decorrelation=0x1.0000000000000p+0)"
)
INFONCE = (
    "ContrastiveModel(latents=(ThreePoint(second_moment=0x1.8000000000000p+0)),loss=infonce,"
    "temperature=0x1.0000000000000p+0,negatives=1)"
)
COEFFICIENTS = "or the coefficients of a polynomial from the lowest power up"
POLYNOMIAL = "a polynomial must have degree 1 to 9, its coefficients given from the lowest power up, the last one not 0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "sigmoid"}, "activation = 'sigmoid': must be one of erf, linear, relu, tanh"),
        (
            {"activation": None},
            "activation = None: must be one of erf, linear, relu, tanh, " + COEFFICIENTS,
        ),
        ({"activation": [0, "a"]}, "activation = [0, 'a']: must be a list of numbers"),
        ({"activation": [0, math.inf]}, "activation = [0, inf]: must hold finite numbers only"),
        (
            {"activation": [1.0]},
            "activation = [1.0]: " + POLYNOMIAL,
        ),
        (
            {"activation": [1, 2, 0]},
            "activation = [1, 2, 0]: " + POLYNOMIAL,
        ),
        ({"loss": "hinge"}, "loss = 'hinge': must be one of bilinear, covariance, infonce, spectral"),
        ({"loss": 1}, "loss = 1: must be one of bilinear, covariance, infonce, spectral"),
        ({"temperature": 0.5}, "temperature = 0.5: is only for loss = 'infonce', and loss is 'bilinear'"),
        (
            {"negatives": 2, "loss": "spectral"},
            "negatives = 2: is only for loss = 'infonce', and loss is 'spectral'",
        ),
        ({"loss": "infonce", "temperature": 0}, "temperature = 0: must be a finite number greater than 0"),
        ({"loss": "infonce", "negatives": 0}, "negatives = 0: must be a whole number, 1 or more"),
        ({"loss": "infonce", "negatives": 1.5}, "negatives = 1.5: must be a whole number, 1 or more"),
        ({"loss": "infonce", "negatives": 65}, "negatives = 65: must be a whole number from 1 to 64"),
        ({"batch": 2}, "batch = 2: is only for loss = 'covariance', and loss is 'bilinear'"),
        (
            {"centred": False, "loss": "infonce"},
            "centred = False: is only for loss = 'covariance', and loss is 'infonce'",
        ),
        ({"units": 2}, "units = 2: is only for loss = 'covariance', and loss is 'bilinear'"),
        ({"decorrelation": 1}, "decorrelation = 1.0: is only for loss = 'covariance', and loss is 'bilinear'"),
        ({"loss": "covariance", "batch": 1}, "batch = 1: must be at least 2 with centred = true"),
        ({"loss": "covariance", "batch": 0}, "batch = 0: must be a whole number, 1 or more"),
        ({"loss": "covariance", "batch": 65}, "batch = 65: must be a whole number from 1 to 64"),
        ({"loss": "covariance", "batch": 2.5}, "batch = 2.5: must be a whole number, 1 or more"),
        ({"loss": "covariance", "centred": "yes"}, "centred = 'yes': must be true or false"),
        ({"loss": "covariance", "centred": 1}, "centred = 1: must be true or false"),
        ({"loss": "covariance", "units": 0}, "units = 0: must be a whole number, 1 or more"),
        ({"loss": "covariance", "units": 5}, "units = 5: must be a whole number from 1 to 4"),
        (
            {"loss": "covariance", "units": 2, "decorrelation": -1},
            "decorrelation = -1: must be a finite number, 0 or more",
        ),
        ({"loss": "covariance", "decorrelation": 1}, "decorrelation = 1.0: must be 0 with one unit"),
        ({"decorrelation_function": "cube"}, "decorrelation_function = 'cube': must be one of square"),
        (
            {"loss": "covariance", "temperature": 1},
            "temperature = 1: is only for loss = 'infonce', and loss is 'covariance'",
        ),
        ({"background": "none"}, "background = 'none': must be one of isotropic, orthogonal"),
        ({"learning_rate": 0}, "learning_rate = 0: must be a finite number greater than 0"),
        ({"learning_rate": -0.5}, "learning_rate = -0.5: must be a finite number greater than 0"),
        ({"learning_rate": 1e300}, "learning_rate = 1e+300: must not exceed 1e+50 in size"),
        ({"activation": [0, 1e300]}, "activation = [0, 1e+300]: must hold no number that exceeds 1e+50 in size"),
        ({"learning_rate": math.nan}, "learning_rate = nan: must be a finite number greater than 0"),
        ({"learning_rate": "1e-3"}, "learning_rate = '1e-3': must be a number"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1: must be a finite number, 0 or more"),
        ({"base_noise_variance": -1}, "base_noise_variance = -1: must be a finite number, 0 or more"),
        (
            {"augmentation_noise_variance": math.inf},
            "augmentation_noise_variance = inf: must be a finite number, 0 or more",
        ),
        ({"noise_correlation": 1.5}, "noise_correlation = 1.5: must be a number from -1 to 1"),
        ({"noise_correlation": -1.0000001}, "noise_correlation = -1.0000001: must be a number from -1 to 1"),
        ({"constraint": "cube"}, "constraint = 'cube': must be one of none, sphere"),
        ({"l1_penalty": -1}, "l1_penalty = -1: must be a finite number, 0 or more"),
        ({"noise_law": "cauchy"}, "noise_law = 'cauchy': must be one of gaussian, rademacher, student_t"),
        ({"feature_law": "dense"}, "feature_law = 'dense': must be one of gaussian, rademacher, sparse"),
        ({"constraint": "sphere", "weight_decay": 0.1}, "weight_decay = 0.1: must be 0 with constraint = 'sphere'"),
        ({"constraint": "sphere", "l1_penalty": 0.1}, "l1_penalty = 0.1: must be 0 with constraint = 'sphere'"),
        ({"noise_law": "student_t"}, "noise_degrees_of_freedom = None: must be a number"),
        (
            {"noise_law": "student_t", "noise_degrees_of_freedom": 2},
            "noise_degrees_of_freedom = 2: must be a finite number greater than 2",
        ),
        (
            {"noise_degrees_of_freedom": 5},
            "noise_degrees_of_freedom = 5: is only for noise_law = 'student_t', and noise_law is 'gaussian'",
        ),
        ({"feature_law": "sparse"}, "feature_fraction = None: must be a number"),
        (
            {"feature_law": "sparse", "feature_fraction": 1.5},
            "feature_fraction = 1.5: must be a number greater than 0, at most 1",
        ),
        (
            {"feature_law": "sparse", "feature_fraction": 0},
            "feature_fraction = 0: must be a number greater than 0, at most 1",
        ),
        (
            {"feature_fraction": 0.5},
            "feature_fraction = 0.5: is only for feature_law = 'sparse', and feature_law is 'gaussian'",
        ),
        ({"latents": ()}, "latents: 0 laws given, must be 1 to 6 discrete ones (1 to 3 if one of them is continuous)"),
        (
            {"latents": ONE * 7},
            "latents: 7 laws given, must be 1 to 6 discrete ones (1 to 3 if one of them is continuous)",
        ),
        (
            {"latents": (Gaussian(), *ONE * 3)},
            "latents: 4 laws given, must be 1 to 6 discrete ones (1 to 3 if one of them is continuous)",
        ),
        ({"latents": (1.5,)}, "latents: 1.5 must be a latent law, such as ThreePoint(second_moment=1.5)"),
        ({"latents": 1.5}, "latents = 1.5: must be a list of latent laws, such as ThreePoint(second_moment=1.5)"),
        ({"latents": "abc"}, "latents = 'abc': must be a list of latent laws, such as ThreePoint(second_moment=1.5)"),
        ({"learning_rate": 10**400}, f"learning_rate = {10**400}: must be a number"),
        (
            {"batch": np.array([2, 3])},
            "batch = array([2, 3]): is only for loss = 'covariance', and loss is 'bilinear'",
        ),
    ],
)
def test_a_bad_parameter_gets_one_sentence_with_what_is_allowed(arguments: dict, message: str) -> None:
    with pytest.raises(ClhdError) as error:
        ContrastiveModel(**{"latents": ONE, **arguments})
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (clhd.simulate_sgd, {"dimension": 10, "time": [1], "overlap": [0.1]}),
        (clhd.integrate_ode, {"time": [1], "overlap": [0.1]}),
        (clhd.predict_fluctuations, {"time": [1], "overlap": [0.1]}),
        (clhd.solve_pde, {"time": [1], "overlap": [0.1]}),
        (clhd.find_fixed_points, {}),
        (clhd.learnability_threshold, {}),
        (clhd.attraction_region, {"cosine_similarity_1": [0], "cosine_similarity_2": [0]}),
        (clhd.trace_separatrices, {}),
        (clhd.selection_probability, {"time": 1}),
    ],
)
def test_features_without_a_model_get_one_sentence(function: Callable, arguments: dict) -> None:
    with pytest.raises(ClhdError, match=r"^model = .* must be a clhd\.ContrastiveModel$"):
        function(list(ONE), **arguments)


def test_a_clhd_error_can_be_caught_as_the_builtin() -> None:
    with pytest.raises(ValueError, match="noise_correlation"):
        ContrastiveModel(latents=ONE, noise_correlation=2)


def test_a_model_is_a_value() -> None:
    model = ContrastiveModel(latents=list(ONE), activation=[0, 1, 0, np.float64(-0.5)], learning_rate=1)
    same = ContrastiveModel(
        latents=ONE, activation=(0.0, 1.0, -0.0, -0.5), learning_rate=np.float32(1), weight_decay=-0.0
    )
    assert model == same
    assert hash(model) == hash(same)
    assert model.canonical() == same.canonical()
    assert len({model, same, replace(model, learning_rate=2.0)}) == 2
    with pytest.raises(AttributeError, match="cannot assign"):
        model.learning_rate = 2.0  # type: ignore[misc]


def test_one_law_stands_for_a_list_of_one() -> None:
    assert ContrastiveModel(latents=ONE[0]) == ContrastiveModel(latents=ONE)


# Every parameter set to something else than its default; the keys must be all the parameters there are.
OTHER_VALUES = {
    "latents": (ThreePoint(second_moment=1.5), TwoPoint(skewness=2.0)),
    "activation": "erf",
    "loss": "spectral",
    "learning_rate": 0.25,
    "weight_decay": 0.125,
    "base_noise_variance": 1.0,
    "augmentation_noise_variance": 0.25,
    "noise_correlation": -0.5,
    "constraint": "sphere",
    "l1_penalty": 0.125,
    "noise_law": "rademacher",
    "noise_degrees_of_freedom": 5.0,
    "feature_law": "rademacher",
    "feature_fraction": 0.25,
    "temperature": 0.5,
    "negatives": 4,
    "background": "orthogonal",
    "batch": 4,
    "centred": False,
    "units": 2,
    "decorrelation": 1.0,
}
# There is one penalty so far.
ALONE = {"decorrelation_function"}
NEEDS = {
    "noise_degrees_of_freedom": {"noise_law": "student_t"},
    "feature_fraction": {"feature_law": "sparse"},
    "temperature": {"loss": "infonce"},
    "negatives": {"loss": "infonce"},
    "batch": {"loss": "covariance"},
    "centred": {"loss": "covariance"},
    "units": {"loss": "covariance"},
    "decorrelation": {"loss": "covariance", "units": 2},
}


def test_every_parameter_changes_the_text_of_the_model() -> None:
    assert set(OTHER_VALUES) | ALONE == {spec.name for spec in fields(ContrastiveModel)}
    texts = {ContrastiveModel(latents=ONE).canonical()}
    for name, value in OTHER_VALUES.items():
        texts.add(ContrastiveModel(**{"latents": ONE, name: value, **NEEDS.get(name, {})}).canonical())
    assert len(texts) == 1 + len(OTHER_VALUES)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (
            ContrastiveModel(latents=ONE),
            "ContrastiveModel(latents=(ThreePoint(second_moment=0x1.8000000000000p+0)))",
        ),
        (
            ContrastiveModel(latents=ONE, activation="tanh", learning_rate=0.5, constraint="none", l1_penalty=0.0),
            "ContrastiveModel(latents=(ThreePoint(second_moment=0x1.8000000000000p+0)))",
        ),
        (
            ContrastiveModel(latents=ONE, loss="infonce", negatives=1),
            INFONCE,
        ),
        (
            ContrastiveModel(
                latents=ONE,
                loss="covariance",
                batch=4,
                centred=False,
                units=2,
                decorrelation=1,
                background="orthogonal",
            ),
            COVARIANCE,
        ),
        (
            ContrastiveModel(
                latents=(ThreePoint(second_moment=1.5, kurtosis=5.0), Gaussian()),
                activation=(0.0, 1.0, 0.5),
                weight_decay=0.6,
                base_noise_variance=1.0,
                noise_correlation=-0.5,
                noise_law="student_t",
                noise_degrees_of_freedom=5,
            ),
            MANY,
        ),
    ],
    ids=["defaults", "defaults_spelled_out", "infonce", "covariance", "many"],
)
def test_the_text_of_a_model_is_frozen(model: ContrastiveModel, text: str) -> None:
    # Random streams are keyed by it: a change here changes the bits of every result ever stored.
    assert model.canonical() == text


@pytest.mark.parametrize(("correlation", "covariance"), [(-1.0, 0.25), (0.0, 1.0), (0.5, 1.375), (1.0, 1.75)])
def test_the_noise_of_two_views_has_the_covariance_of_the_theory(correlation: float, covariance: float) -> None:
    model = ContrastiveModel(
        latents=ONE, base_noise_variance=1.0, augmentation_noise_variance=0.75, noise_correlation=correlation
    )
    assert (model.noise_variance, model.noise_covariance) == (1.75, covariance)


def test_a_step_takes_a_pair_and_the_negatives_of_the_loss() -> None:
    views = [ContrastiveModel(latents=ONE, loss=loss).views for loss in ("bilinear", "spectral", "infonce")]
    assert views == [3, 3, 3]
    many = ContrastiveModel(latents=ONE, loss="infonce", negatives=8)
    assert (many.views, many.samples) == (10, 9)


def test_a_step_of_the_covariance_loss_takes_two_views_of_each_sample() -> None:
    model = ContrastiveModel(latents=ONE, loss="covariance")
    assert (model.batch, model.centred, model.units, model.views, model.samples) == (2, True, 1, 4, 2)
    single = ContrastiveModel(latents=ONE, loss="covariance", batch=1, centred=False)
    assert (single.views, single.samples) == (2, 1)


@pytest.mark.parametrize(
    "changes", [{"loss": "covariance", "units": 2}, {"loss": "infonce", "background": "orthogonal"}]
)
def test_a_model_without_a_theory_says_so(changes: dict) -> None:
    with pytest.raises(ClhdError, match=r"units = 2: must be 1|background = .*: must be 'isotropic'") as caught:
        _ = ContrastiveModel(latents=ONE, **changes).loss_terms
    assert "theory: none" not in str(caught.value)  # that is a key of one system's experiments


def test_a_model_tells_what_the_theory_asks_for() -> None:
    skewed = ContrastiveModel(latents=(TwoPoint(skewness=1.0), ThreePoint()), activation="relu", constraint="sphere")
    assert (skewed.features, skewed.is_sphere, skewed.unit.code) == (2, True, RELU)
    assert (skewed.has_symmetric_latents, skewed.has_zero_mean_latents) == (False, True)
    shifted = ContrastiveModel(latents=Atoms(values=(0.0, 2.0), weights=(0.5, 0.5)))
    assert (shifted.features, shifted.is_sphere, shifted.unit.code) == (1, False, TANH)
    assert (shifted.has_symmetric_latents, shifted.has_zero_mean_latents) == (False, False)
    values, weights = skewed.latent_atoms()
    assert values.shape == (4, 2)
    assert weights.sum() == pytest.approx(1)
