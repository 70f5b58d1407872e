"""The conditioned engine: its law against the full engine, which draws the noise of every view, and wrong variants.

Seeds and the level are fixed here: 1e-4 for each case, shared by its comparisons.
"""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import clhd
from clhd.systems.contrastive.simulation.full import FullReplica
from tests.systems.contrastive.simulation.naive_chain import naive_forces, sample_latents

FloatArray = NDArray[np.float64]

LEVEL = 1e-4
RUNS = 3000
OVERLAP = np.array([0.4, -0.2])
SPHERE: dict[str, Any] = {"constraint": "sphere", "weight_decay": 0.0}
ORTHOGONAL: dict[str, Any] = {"loss": "covariance", "background": "orthogonal"}


def make_model(**changes: Any) -> clhd.ContrastiveModel:
    settings: dict[str, Any] = {
        "latents": (clhd.TwoPoint(second_moment=1.5, skewness=1.0), clhd.ThreePoint(second_moment=0.8, kurtosis=3.0)),
        "learning_rate": 1.5,
        "weight_decay": 0.4,
        "base_noise_variance": 0.6,
        "augmentation_noise_variance": 0.6,
        "noise_correlation": -0.5,
    }
    return clhd.ContrastiveModel(**(settings | changes))


def start(model: clhd.ContrastiveModel, n: int, engine: str, key: str = "test") -> FullReplica:
    return FullReplica(model, n, key, 0, overlap=OVERLAP, squared_norm=1.0, engine=engine)


def repeat(model: clhd.ContrastiveModel, n: int, engine: str, runs: int = RUNS) -> FloatArray:
    """Overlaps, squared norm and the last weight after independent runs from one start, shape (runs, p + 2)."""
    run = start(model, n, engine)
    w = run.weights.copy()
    columns = np.empty((runs, len(OVERLAP) + 2))
    for row in columns:
        run.weights[:] = w
        run.advance(15)
        q, r = run.order_parameters()
        row[:] = (*q, r, run.weights[-1])
    return columns


def least_pvalue(one: FloatArray, other: FloatArray) -> float:
    # Rounded, since steps that change nothing (relu), and the sphere, leave atoms that rounding errors would split.
    pairs = zip(np.round(one, 9).T, np.round(other, 9).T, strict=True)
    return min(float(stats.ks_2samp(a, b).pvalue) for a, b in pairs)


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "three views": ({}, 9),
    "few dimensions, opposite noise": ({"base_noise_variance": 0.0, "noise_correlation": -1.0}, 4),
    "infonce": ({"loss": "infonce", "negatives": 3}, 65),
    "elastic net": ({"l1_penalty": 0.6}, 8),
    "relu on the sphere": ({"activation": "relu", **SPHERE}, 130),
    "sparse features": ({"feature_law": "sparse", "feature_fraction": 0.3}, 20),
    "batch": ({"loss": "covariance", "batch": 3}, 12),
    "orthogonal": (ORTHOGONAL, 5),
    "orthogonal, elastic net": ({**ORTHOGONAL, "l1_penalty": 0.6}, 129),
    "orthogonal, three views on the sphere": ({"background": "orthogonal", **SPHERE}, 10),
}


@pytest.mark.parametrize("case", CASES)
def test_it_has_the_law_of_the_full_engine(case: str) -> None:
    changes, n = CASES[case]
    model = make_model(**changes)
    assert least_pvalue(repeat(model, n, "full"), repeat(model, n, "conditioned")) > LEVEL / 4


# A step in plain numpy, three views and the isotropic background, with one thing left out.
WRONG = {
    "noise along the weights twice": {"removes_along": False},
    "no noise along the weights": {"has_along": False},
    "no covariance of the views": {"has_covariance": False},
}


def naive_step(
    model: clhd.ContrastiveModel,
    w: FloatArray,
    features: FloatArray,
    rng: np.random.Generator,
    removes_along: bool = True,
    has_along: bool = True,
    has_covariance: bool = True,
) -> FloatArray:
    runs, n = w.shape
    latents = [sample_latents(model, runs, rng) for _ in range(2)]
    c = np.stack([latents[0], latents[0], latents[1]], axis=1)
    matrix = model.noise_variance * np.eye(3)
    matrix[0, 1] = matrix[1, 0] = model.noise_covariance if has_covariance else 0.0
    e = rng.multivariate_normal(np.zeros(3), matrix, size=runs)
    norm = np.linalg.norm(w, axis=1, keepdims=True)
    z = np.einsum("rvj,rj->rv", c, w @ features.T / n) + norm / math.sqrt(n) * e
    h, d, _ = model.unit(z)
    delta = naive_forces(model, h, d)
    g, u = rng.standard_normal((runs, n)), w / norm
    if removes_along:
        g -= np.sum(u * g, axis=1, keepdims=True) * u
    noise = np.sqrt(np.einsum("rv,vu,ru->r", delta, matrix, delta))[:, None] * g
    if has_along:
        noise += np.sum(delta * e, axis=1, keepdims=True) * u
    force = np.einsum("rv,rvj->rj", delta, c) @ features / math.sqrt(n) + noise
    return w + model.learning_rate * (force / math.sqrt(n) - model.weight_decay * w / n)


def repeat_naive(model: clhd.ContrastiveModel, n: int, runs: int, **variant: bool) -> FloatArray:
    run, rng = start(model, n, "full"), np.random.default_rng(5)
    w = np.tile(run.weights, (runs, 1))
    for _ in range(15):
        w = naive_step(model, w, run.features, rng, **variant)
    return np.column_stack([w @ run.features.T / n, np.sum(w**2, axis=1) / n, w[:, -1]])


def test_the_comparison_rejects_every_wrong_variant() -> None:
    # Equal noise in the two views of a linear unit, in few dimensions: the noise along the weights then counts most.
    model = make_model(noise_correlation=1.0, activation="linear", learning_rate=0.2)
    runs = 10_000
    reference = repeat(model, 5, "conditioned", runs)
    assert least_pvalue(reference, repeat_naive(model, 5, runs)) > LEVEL / 4
    for name, variant in WRONG.items():
        assert least_pvalue(reference, repeat_naive(model, 5, runs, **variant)) < LEVEL / 4, name


@pytest.mark.parametrize("changes", [{}, {**ORTHOGONAL, **SPHERE}])
def test_segments_do_not_change_bits_and_the_padding_stays_zero(changes: dict[str, Any]) -> None:
    whole, parts = (start(make_model(**changes), 70, "conditioned") for _ in range(2))
    whole.advance(40)
    for steps in (1, 0, 7, 32):
        parts.advance(steps)
        parts.order_parameters()
    np.testing.assert_array_equal(whole.weights, parts.weights)
    assert np.all(whole._engine.weights[70:] == 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_law": "rademacher"}, "noise_law = 'rademacher': the conditioned engine needs 'gaussian'"),
        ({"loss": "covariance", "units": 2, "latents": (clhd.ThreePoint(),)}, "units = 2: the conditioned engine"),
    ],
)
def test_what_it_cannot_simulate_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(clhd.ClhdError, match=message):
        clhd.simulate_sgd(make_model(**changes), dimension=10, time=[1], initial="random", engine="conditioned")
