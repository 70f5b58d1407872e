"""The full simulation: its start, one step against formulas, its law against plain numpy, and what cannot change bits.

Statistical tests: seeds fixed here. Level 1e-4 for each two-sample test; 5 standard errors (6e-7) where the mean and
covariance of a step are compared entry by entry.
"""

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from clhd.core.streams import seed_states
from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import (
    SAMPLERS,
    Atoms,
    Gaussian,
    Laplace,
    Latent,
    ThreePoint,
    TwoPoint,
    Uniform,
)
from clhd.systems.contrastive.simulation.full import FullReplica
from clhd.systems.contrastive.simulation.full_step import draw_latent, latent_tables

FloatArray = NDArray[np.float64]

LEVEL = 1e-4
STANDARD_ERRORS = 5.0
SKEWED = (TwoPoint(second_moment=1.5, skewness=1.0), ThreePoint(second_moment=0.8, kurtosis=3.0))
BASE: dict[str, Any] = {
    "latents": SKEWED,
    "learning_rate": 1.5,
    "weight_decay": 0.4,
    "base_noise_variance": 0.6,
    "augmentation_noise_variance": 0.6,
    "noise_correlation": -0.5,
}
OVERLAP = np.array([0.4, -0.2])


def make_model(**changes: Any) -> ContrastiveModel:
    return ContrastiveModel(**{**BASE, **changes})


def start_replica(model: ContrastiveModel, n: int, replica: int = 0, key: str = "test") -> FullReplica:
    return FullReplica(model, n, key, replica, overlap=OVERLAP[: model.features], squared_norm=1.0)


# --- the start ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "n"), [(1, 3), (2, 4), (2, 127), (3, 128), (2, 20_000)])
@pytest.mark.parametrize("squared_norm", [0.3, 2.0])
def test_a_fixed_start_has_exact_order_parameters(p: int, n: int, squared_norm: float) -> None:
    overlap = np.array([0.3, -0.4, 0.1])[:p]
    run = FullReplica(make_model(latents=(ThreePoint(),) * p), n, "test", 1, overlap=overlap, squared_norm=squared_norm)
    q, r = run.order_parameters()
    np.testing.assert_allclose(q, overlap, rtol=0, atol=1e-14)
    assert r == pytest.approx(squared_norm, rel=1e-14)


def test_a_start_in_the_span_of_the_features_has_no_rest() -> None:
    model = make_model(latents=(ThreePoint(),))
    run = FullReplica(model, 20, "test", 2, overlap=np.array([0.5]), squared_norm=0.25)
    np.testing.assert_allclose(run.weights, 0.5 * run.features[0], rtol=0, atol=1e-15)


def test_the_rest_of_a_fixed_start_has_a_uniformly_random_direction() -> None:
    # In the n - p = 3 dimensions that are left, one coordinate of a random unit vector is uniform on [-1, 1].
    model = make_model(latents=(ThreePoint(),), feature_law="rademacher")
    projections = []
    for replica in range(2000):
        run = FullReplica(model, 4, "test", replica, overlap=np.zeros(1), squared_norm=1.0)
        x = run.features[0]
        other = np.array([x[0], -x[1], x[2], -x[3]])
        projections.append(run.weights @ other / 4)
    assert stats.kstest(projections, stats.uniform(-1, 2).cdf).pvalue > LEVEL


def test_a_random_start_is_gaussian_and_on_the_sphere_if_constrained() -> None:
    run = FullReplica(make_model(), 5000, "test", 3, overlap=None, squared_norm=1.7)
    assert stats.kstest(run.weights, stats.norm(scale=math.sqrt(1.7)).cdf).pvalue > LEVEL
    assert run.order_parameters()[1] != pytest.approx(1.7, rel=1e-6)
    sphere = make_model(constraint="sphere", weight_decay=0.0)
    run = FullReplica(sphere, 5000, "test", 3, overlap=None, squared_norm=1.0)
    assert run.order_parameters()[1] == pytest.approx(1.0, rel=1e-14)


def test_impossible_features_are_refused_before_any_work() -> None:
    with pytest.raises(ClhdError, match="must be a multiple of 2"):
        start_replica(make_model(feature_law="rademacher"), 9)


# --- one step -------------------------------------------------------------------------------------------------------

LATENT_LAWS: dict[str, Latent] = {
    "three_point": ThreePoint(second_moment=1.5, kurtosis=4.0),
    "skewed": TwoPoint(second_moment=0.7, skewness=-2.0),
    "atoms": Atoms(values=(-1.0, 0.25, 3.0, 4.0), weights=(0.1, 0.2, 0.3, 0.4)),
    "gaussian": Gaussian(second_moment=1.3),
    "uniform": Uniform(second_moment=0.4),
    "laplace": Laplace(second_moment=2.0),
}


def test_latents_are_drawn_from_their_laws() -> None:
    assert {law.sampler for law in LATENT_LAWS.values()} == set(SAMPLERS), "a new sampler needs a row"
    # Two laws of different length side by side, so that the shorter table is filled up.
    for name, law in LATENT_LAWS.items():
        tables = latent_tables(
            make_model(latents=(law, ThreePoint(kurtosis=2.0), Atoms(values=(3.0,), weights=(1.0,))))
        )
        state = seed_states(name, [0])
        draws = np.empty((5000, 3))
        for row in draws:
            draw_latent(tables, state, row)
        values, weights = law.atoms()
        if law.is_discrete:
            counts = [np.sum(draws[:, 0] == value) for value in values]
            assert stats.chisquare(counts, 5000 * weights).pvalue > LEVEL / 12
        else:
            scale = math.sqrt(law.moment(2))
            exact = {"gaussian": stats.norm(scale=scale), "laplace": stats.laplace(scale=scale / math.sqrt(2))}
            exact["uniform"] = stats.uniform(-math.sqrt(3) * scale, 2 * math.sqrt(3) * scale)
            assert stats.kstest(draws[:, 0], exact[name].cdf).pvalue > LEVEL / 12
        counts = [np.sum(draws[:, 1] == value) for value in (-math.sqrt(2), 0.0, math.sqrt(2))]
        assert stats.chisquare(counts, [1250, 2500, 1250]).pvalue > LEVEL / 12
        assert np.all(draws[:, 2] == 3.0)


def test_without_signal_and_noise_a_step_is_the_elastic_net_alone() -> None:
    silent = {"latents": (ThreePoint(second_moment=0.0),) * 2, "base_noise_variance": 0.0}
    model = make_model(**silent, augmentation_noise_variance=0.0, l1_penalty=0.7)
    n = 131
    run = start_replica(model, n)
    run.weights[5] = 0.0
    w = run.weights.copy()
    for _ in range(3):
        run.advance(1)
        w = w - 1.5 / n * (0.4 * w + 0.7 * np.sign(w))
        np.testing.assert_allclose(run.weights, w, rtol=0, atol=1e-15)
    assert run.weights[5] == 0.0


def test_without_noise_a_step_is_one_of_the_outcomes_of_the_latents() -> None:
    model = make_model(
        latents=(Atoms(values=(-1.0, 0.5, 2.0), weights=(0.3, 0.3, 0.4)),),
        base_noise_variance=0.0,
        augmentation_noise_variance=0.0,
    )
    n, eta, lam = 10, 1.5, 0.4
    run = start_replica(model, n)
    w, xi = run.weights.copy(), run.features[0]
    outcomes = {}
    for c in (-1.0, 0.5, 2.0):
        for c_other in (-1.0, 0.5, 2.0) if c == 2.0 else {-1.0, 0.5, 2.0} - {c}:  # equal latents: no force
            y, y_other = c * xi / math.sqrt(n), c_other * xi / math.sqrt(n)
            h, h_other = math.tanh(w @ y / math.sqrt(n)), math.tanh(w @ y_other / math.sqrt(n))
            force = (1 - h**2) * (h - h_other) * y + h * (1 - h**2) * y - h * (1 - h_other**2) * y_other
            outcomes[c, c_other] = w + eta / math.sqrt(n) * force - eta / n * lam * w
    seen = set()
    for _ in range(200):
        run.weights[:] = w
        run.advance(1)
        match = [c for c, outcome in outcomes.items() if np.allclose(run.weights, outcome, rtol=0, atol=1e-14)]
        assert len(match) == 1
        seen.update(match)
    assert seen == set(outcomes)


@pytest.mark.parametrize(("base", "augmentation", "rho"), [(0.5, 0.5, 0.3), (0.0, 0.9, -1.0), (0.9, 0.0, 0.0)])
def test_one_step_has_the_mean_and_the_covariance_of_the_formula(base: float, augmentation: float, rho: float) -> None:
    # Linear unit, Gaussian latents: the views are jointly Gaussian, and with d = y_2 - y_3 the force is
    # (b.d) y_1 + (b.y_1) d, b = w / sqrt n, whose moments follow from Isserlis' theorem.
    model = make_model(
        latents=(Gaussian(second_moment=1.2), Gaussian(second_moment=0.5)),
        activation="linear",
        base_noise_variance=base,
        augmentation_noise_variance=augmentation,
        noise_correlation=rho,
    )
    n, eta, lam, samples = 5, 1.5, 0.4, 100_000
    run = start_replica(model, n)
    w = run.weights.copy()
    after = np.empty((samples, n))
    for row in after:
        run.weights[:] = w
        run.advance(1)
        row[:] = run.weights
    signal = run.features.T @ np.diag([1.2, 0.5]) @ run.features / n
    one = signal + model.noise_variance * np.eye(n)  # Cov y_v; Cov d = 2 one
    two = signal + model.noise_covariance * np.eye(n)  # Cov(y_1, y_2) = Cov(y_1, d)
    b = w / math.sqrt(n)
    u, k = one @ b, two @ b
    cross = (b @ k) * two + np.outer(k, k) + 2 * np.outer(u, u)
    second = (2 * b @ u) * one + (b @ u) * 2 * one + 4 * np.outer(k, k) + cross + cross.T
    mean, covariance = 2 * k, second - 4 * np.outer(k, k)
    step = (after - (1 - eta * lam / n) * w) * (math.sqrt(n) / eta)
    assert_mean(step, mean)
    centred = step - mean
    assert_mean(centred[:, :, None] * centred[:, None, :], covariance)


def assert_mean(samples: FloatArray, expected: FloatArray) -> None:
    error = samples.std(axis=0) / math.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(axis=0) - expected) <= STANDARD_ERRORS * error)


# --- the law of many steps --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Runs:
    """Overlaps, squared norm and the last weight of many independent runs from one start."""

    columns: FloatArray  # (runs, p + 2)

    def pvalues(self, other: "Runs") -> list[float]:
        # Rounded, since steps that change nothing (relu) leave atoms that the two programs round differently.
        return [
            stats.ks_2samp(a, b).pvalue
            for a, b in zip(np.round(self.columns, 9).T, np.round(other.columns, 9).T, strict=True)
        ]


def repeat_full(run: FullReplica, steps: int, runs: int) -> Runs:
    w = run.weights.copy()
    columns = np.empty((runs, len(run.features) + 2))
    for row in columns:
        run.weights[:] = w
        run.advance(steps)
        q, r = run.order_parameters()
        row[:] = (*q, r, run.weights[-1])
    run.weights[:] = w
    return Runs(columns)


def repeat_numpy(model: ContrastiveModel, w0: FloatArray, features: FloatArray, steps: int, runs: int) -> Runs:
    """The equations of the model in plain numpy, all runs at once, with nothing of clhd's kernels."""
    generator = np.random.default_rng(77)
    p, n = features.shape
    w = np.tile(w0, (runs, 1))
    eta, lam, lam1 = model.learning_rate, model.weight_decay, model.l1_penalty
    for _ in range(steps):
        c = np.empty((2, runs, p))
        for j, law in enumerate(model.latents):
            c[:, :, j] = generator.choice(law.atoms()[0], p=law.atoms()[1], size=(2, runs))
        y = [c[sample] @ features / math.sqrt(n) for sample in (0, 0, 1)]
        y = [signal + noise for signal, noise in zip(y, numpy_noise(model, generator, (runs, n)), strict=True)]
        z = [np.sum(w * view, axis=1) / math.sqrt(n) for view in y]
        (h1, d1, _), (h2, d2, _), (h3, d3, _) = (model.unit(view) for view in z)
        delta = (d1 * (h2 - h3), h1 * d2, -h1 * d3)
        force = sum(f[:, None] * view for f, view in zip(delta, y, strict=True))
        w = w + eta / math.sqrt(n) * force - eta / n * (lam * w + lam1 * np.sign(w))
        if model.is_sphere:
            w *= math.sqrt(n) / np.linalg.norm(w, axis=1, keepdims=True)
    return Runs(np.column_stack([w @ features.T / n, np.sum(w**2, axis=1) / n, w[:, -1]]))


def numpy_noise(model: ContrastiveModel, generator: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """Noise of the three views from base noise and augmentation noise, or from the definition of the law."""
    if model.noise_law == "rademacher":
        signs = generator.choice([-1.0, 1.0], size=(3, *shape))
        equal = generator.random(shape) < 0.5 * (1 + model.noise_covariance / model.noise_variance)
        signs[1] = np.where(equal, signs[0], -signs[0])
        return math.sqrt(model.noise_variance) * signs
    base = math.sqrt(model.base_noise_variance) * generator.standard_normal((2, *shape))
    both = np.array([[1.0, model.noise_correlation], [model.noise_correlation, 1.0]])
    pair = generator.multivariate_normal(np.zeros(2), both, size=shape, method="eigh")
    added = [pair[..., 0], pair[..., 1], generator.standard_normal(shape)]
    noise = base[[0, 0, 1]] + math.sqrt(model.augmentation_noise_variance) * np.array(added)
    if model.noise_law == "student_t":
        nu = model.noise_degrees_of_freedom or 0.0
        noise *= np.sqrt((nu - 2) / generator.chisquare(nu, size=(2, *shape)))[[0, 0, 1]]
    return noise


CASES: dict[str, tuple[dict[str, Any], int]] = {
    "tanh": ({}, 9),
    "erf_opposite_noise": ({"activation": "erf", "base_noise_variance": 0.0, "noise_correlation": -1.0}, 6),
    "relu_sphere": ({"activation": "relu", "constraint": "sphere", "weight_decay": 0.0}, 10),
    "polynomial_sphere": ({"activation": (0.1, 1.0, 0.3), "constraint": "sphere", "weight_decay": 0.0}, 11),
    "linear_no_augmentation": ({"activation": "linear", "augmentation_noise_variance": 0.0, "learning_rate": 0.3}, 7),
    "elastic_net": ({"l1_penalty": 0.6}, 8),
    "rademacher_noise": ({"noise_law": "rademacher"}, 4),
    "student_noise": ({"noise_law": "student_t", "noise_degrees_of_freedom": 3.0}, 5),
    "sparse_features": ({"feature_law": "sparse", "feature_fraction": 0.3, "l1_penalty": 0.6}, 20),
    "rademacher_features": ({"feature_law": "rademacher", "l1_penalty": 0.6}, 8),
    "three_features": ({"latents": (*SKEWED, Atoms(values=(-1.0, 2.0), weights=(0.5, 0.5)))}, 12),
    "as_few_dimensions_as_can_be": ({}, 4),
    "one_short_of_half_a_chunk": ({}, 63),
    "half_a_chunk": ({}, 64),
    "one_more_than_half_a_chunk": ({}, 65),
    "a_chunk": ({}, 128),
    "one_more_than_a_chunk": ({}, 129),
}


@pytest.mark.parametrize(("changes", "n"), CASES.values(), ids=CASES.keys())
def test_full_simulation_has_the_law_of_plain_numpy(changes: dict[str, Any], n: int) -> None:
    model = make_model(**changes)
    overlap = np.array([0.4, -0.2, 0.1])[: model.features]
    run = FullReplica(model, n, "law", 0, overlap=overlap, squared_norm=1.0)
    steps, runs = 15, 3000
    pvalues = repeat_full(run, steps, runs).pvalues(repeat_numpy(model, run.weights, run.features, steps, runs))
    assert min(pvalues) > LEVEL / len(pvalues), pvalues


UNEVEN = {"activation": (0.1, 1.0, 0.3), "constraint": "sphere", "weight_decay": 0.0}  # an odd h hides the sign of c
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "noise_correlation": ({}, {"noise_correlation": 0.5}),
    "noise_law": ({}, {"noise_law": "student_t", "noise_degrees_of_freedom": 3.0}),
    "l1_penalty": ({}, {"l1_penalty": 0.1}),
    "skewness": (UNEVEN, {"latents": (TwoPoint(second_moment=1.5, skewness=-1.0), SKEWED[1])}),
    "latents_exchanged": ({}, {"latents": SKEWED[::-1]}),
}


@pytest.mark.parametrize(("right", "changes"), WRONG.values(), ids=WRONG.keys())
def test_the_comparison_with_plain_numpy_rejects_a_wrong_model(right: dict[str, Any], changes: dict[str, Any]) -> None:
    run = start_replica(make_model(**right), 9)
    wrong = repeat_numpy(make_model(**right, **changes), run.weights, run.features, 15, 3000)
    assert min(repeat_full(run, 15, 3000).pvalues(wrong)) < LEVEL / 4


def test_every_coordinate_receives_its_own_noise_and_padding_none() -> None:
    # Large features would hide it: without latents the first step spreads all coordinates alike.
    n = 130
    model = make_model(latents=(ThreePoint(second_moment=0.0),), activation="linear", weight_decay=0.0)
    run = start_replica(model, n)
    w = run.weights.copy()
    moved = np.empty((4000, n))
    for row in moved:
        run.weights[:] = w
        run.advance(1)
        row[:] = run.weights - w
    correlation = np.corrcoef(moved.T) - np.eye(n)
    assert np.abs(correlation).max() < 0.15  # standard error 0.016; a coordinate that copies another would have 1
    spread = moved.std(axis=0)
    assert spread.max() / spread.min() < 1.3
    padded = run._engine.weights
    assert len(padded) == 256
    assert np.all(padded[n:] == 0.0)


# --- invariants -------------------------------------------------------------------------------------------------------

NOISES: dict[str, dict[str, Any]] = {
    "gaussian": {},
    "rademacher": {"noise_law": "rademacher"},
    "student_t": {"noise_law": "student_t", "noise_degrees_of_freedom": 4.0},
}


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES.keys())
@pytest.mark.parametrize("more", [{}, {"constraint": "sphere", "weight_decay": 0.0}, {"l1_penalty": 0.2}])
def test_segments_do_not_change_bits(noise: dict[str, Any], more: dict[str, Any]) -> None:
    model = make_model(**noise, **more)
    whole, parts = start_replica(model, 70), start_replica(model, 70)
    whole.advance(40)
    for steps in (1, 0, 7, 32):
        parts.advance(steps)
        parts.order_parameters()
    np.testing.assert_array_equal(whole.weights, parts.weights)


def test_threads_do_not_change_bits_and_replicas_and_keys_differ() -> None:
    def run(job: tuple[str, int]) -> tuple[bytes, bytes]:
        replica = start_replica(make_model(), 300, job[1], job[0])
        replica.advance(300)
        return replica.features.tobytes(), replica.weights.tobytes()

    jobs = [(key, replica) for key in ("one", "other") for replica in range(4)]
    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, jobs)) == alone
    assert len(set(alone)) == len({features for features, _ in alone}) == len({w for _, w in alone}) == len(jobs)


def test_the_sphere_holds() -> None:
    run = start_replica(make_model(constraint="sphere", weight_decay=0.0), 37)
    for _ in range(20):
        run.advance(50)
        assert run.order_parameters()[1] == pytest.approx(1.0, rel=1e-13)


def test_divergence_is_silent_and_shows_in_the_order_parameters() -> None:
    run = start_replica(make_model(activation=(0.0, 1.0, 0.0, 1.0), learning_rate=5.0), 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.advance(2000)
        q, r = run.order_parameters()
    assert not np.isfinite(r)
    assert not np.any(np.isfinite(q))


def test_memory_grows_with_the_dimension_alone() -> None:
    n, p, views = 100_000, 2, 3
    run = start_replica(make_model(), n)
    held = sum(
        array.nbytes
        for array in (*run._engine._state, *run._engine._source, *run._engine._latents)
        if isinstance(array, np.ndarray)
    )
    assert held < 8 * n * (1 + p + views) + 100_000
