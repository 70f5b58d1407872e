"""The ODE of the covariance loss and of the orthogonal background: averages against sampled batches and known cases."""

import math
from dataclasses import replace

import numpy as np
import pytest

from clhd.errors import ClhdError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import ThreePoint, TwoPoint
from clhd.systems.contrastive.theory.flow.drift import Flow

LATENTS = (ThreePoint(second_moment=1.5, kurtosis=2.0), TwoPoint(second_moment=1.2, skewness=0.8))
MODEL = ContrastiveModel(
    latents=LATENTS, loss="covariance", batch=3, learning_rate=0.5, weight_decay=0.6, noise_correlation=-0.5,
    base_noise_variance=0.7, augmentation_noise_variance=0.4,
)  # fmt: skip
OVERLAP, NORM = np.array([0.5, -0.3]), 0.9


def sampled_terms(model, q, r, batches, rng):
    """One sample per batch of the definitions of g, A_a, A_b and D, each from the noise itself: a dict of arrays.

    The augmentation noise pulls along all of w, the base noise of the orthogonal background along w less its features;
    no use is made of Stein's lemma or of an expansion of the products.
    """
    size, p = model.batch, len(q)
    s_b, s_a, rho = model.base_noise_variance, model.augmentation_noise_variance, model.noise_correlation
    is_orthogonal = model.background == "orthogonal"
    values, weights = model.latent_atoms()
    c = values[rng.choice(len(weights), size=(batches, size), p=weights)]
    base_norm = r - q @ q if is_orthogonal else r
    base = math.sqrt(base_norm * s_b) * rng.standard_normal((batches, size))
    first, second = rng.standard_normal((2, batches, size))
    augmented = math.sqrt(r * s_a) * np.stack([first, rho * first + math.sqrt(1 - rho**2) * second])
    z = c @ q + base + augmented
    h, d, _ = model.unit(z)
    if model.centred:
        deviation = h - h.mean(axis=-1, keepdims=True)
        delta = d * deviation[::-1] / (size - 1)
    else:
        delta = d * h[::-1] / size
    both = delta.sum(axis=0)
    squares, products = (delta**2).sum(axis=(0, 2)), 2 * (delta[0] * delta[1]).sum(axis=-1)
    terms = {f"g_{j}": (both * c[..., j]).sum(axis=-1) for j in range(p)}
    terms["A_a"] = (delta * augmented).sum(axis=(0, 2)) / r
    terms["A_b"] = (both * base).sum(axis=-1) / base_norm
    terms["D"] = (s_b + s_a) * squares + (s_b + rho * s_a) * products
    return terms


CASES = {
    f"{activation}-{background}-{'centred' if centred else 'uncentred'}-{batch}": (
        activation,
        background,
        centred,
        batch,
    )
    for activation in ("tanh", "erf", "relu", "linear", (0.1, 1.0, 0.3, -0.2))
    for background, centred, batch in [
        ("isotropic", True, 2),
        ("isotropic", True, 4),
        ("isotropic", False, 1),
        ("orthogonal", True, 3),
        ("orthogonal", False, 2),
    ]
}
# A right formula fails in 1 of 1000 choices of the seed: Bonferroni over all terms of all cases.
LARGEST_Z = 4.6


@pytest.mark.parametrize(("activation", "background", "centred", "batch"), CASES.values(), ids=CASES.keys())
def test_drift_terms_are_the_averages_over_sampled_batches(activation, background, centred, batch):
    model = replace(MODEL, activation=activation, background=background, centred=centred, batch=batch)
    terms = sampled_terms(model, OVERLAP, NORM, 400_000, np.random.default_rng(20240610))
    flow = Flow(model)
    g, alignment, variance = flow.terms(OVERLAP, NORM)
    base = flow.base_alignment(OVERLAP, NORM)
    mean = {name: sample.mean() for name, sample in terms.items()}
    error = {name: sample.std() / math.sqrt(len(sample)) for name, sample in terms.items()}
    found = {"g_0": g[0], "g_1": g[1], "D": variance}
    if background == "orthogonal":
        found["g_0"] += base * OVERLAP[0]
        found["g_1"] += base * OVERLAP[1]
        found |= {"A_a": alignment - base, "A_b": base}
    else:
        assert base == 0.0
        both = terms["A_a"] + terms["A_b"]
        mean["A"], error["A"], found["A"] = both.mean(), both.std() / math.sqrt(len(both)), alignment
    for name, value in found.items():
        assert abs(value - mean[name]) < LARGEST_Z * error[name], name


def test_the_sample_notices_a_gradient_variance_without_the_covariance_of_the_pair():
    """With two samples the term E[h_1' h_2'] Cov(h_1, h_2) is large enough for the test above to notice its absence."""
    model = replace(MODEL, batch=2)
    sample = sampled_terms(model, OVERLAP, NORM, 400_000, np.random.default_rng(1))["D"]
    error = sample.std() / math.sqrt(len(sample))
    h = np.tanh(_sampled_outputs(model, np.random.default_rng(2)))
    slopes = 1 - h**2
    missing = model.noise_covariance * (slopes[0] * slopes[1]).mean() * np.cov(h)[0, 1]
    right = Flow(model).terms(OVERLAP, NORM)[2]
    assert abs(right - sample.mean()) < LARGEST_Z * error < abs(right - missing - sample.mean())


def _sampled_outputs(model, rng, count=400_000):
    values, weights = model.latent_atoms()
    mean = values[rng.choice(len(weights), size=count, p=weights)] @ OVERLAP
    covariance = NORM * np.array(
        [[model.noise_variance, model.noise_covariance], [model.noise_covariance, model.noise_variance]]
    )
    return mean + np.linalg.cholesky(covariance) @ rng.standard_normal((2, count))


def test_a_centred_batch_has_the_drift_of_the_bilinear_loss_and_a_smaller_variance_the_larger_it_is():
    bilinear = Flow(replace(MODEL, loss="bilinear", batch=None, centred=None)).terms(OVERLAP, NORM)
    variances = []
    for batch in (2, 8, 64):
        g, alignment, variance = Flow(replace(MODEL, batch=batch)).terms(OVERLAP, NORM)
        np.testing.assert_allclose(g, bilinear[0], rtol=0, atol=1e-12)
        assert alignment == pytest.approx(bilinear[1], abs=1e-12)
        variances.append(variance)
    assert variances[0] > variances[1] > variances[2]
    # D (B / 2) = X + Y / (B - 1): three batches of one line.
    scaled = np.array(variances) * np.array([2, 8, 64]) / 2
    slope = (scaled[0] - scaled[1]) / (1 - 1 / 7)
    assert scaled[2] == pytest.approx(scaled[1] + slope * (1 / 63 - 1 / 7), rel=1e-12)


@pytest.mark.parametrize("loss", ["bilinear", "spectral", "covariance"])
def test_without_base_noise_the_backgrounds_are_one(loss):
    options = {} if loss == "covariance" else {"batch": None, "centred": None}
    model = replace(MODEL, loss=loss, base_noise_variance=0.0, **options)
    state = np.append(OVERLAP, NORM)
    np.testing.assert_allclose(
        Flow(replace(model, background="orthogonal")).velocity(state), Flow(model).velocity(state), rtol=0, atol=1e-12
    )


def test_without_overlap_the_backgrounds_differ_only_along_the_features():
    isotropic, orthogonal = Flow(MODEL), Flow(replace(MODEL, background="orthogonal"))
    zero = np.zeros(2)
    for a, b in zip(isotropic.terms(zero, NORM), orthogonal.terms(zero, NORM), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-13)
    slope = isotropic.jacobian(np.append(zero, NORM)) - orthogonal.jacobian(np.append(zero, NORM))
    lost = MODEL.learning_rate * orthogonal.base_alignment(zero, NORM)
    np.testing.assert_allclose(slope, np.diag([lost, lost, 0.0]), rtol=0, atol=1e-8)


def test_the_theory_names_what_it_does_not_offer():
    with pytest.raises(ClhdError, match="units = 2: must be 1 here"):
        Flow(replace(MODEL, units=2))
    with pytest.raises(ClhdError, match="background = 'orthogonal': must be 'isotropic'"):
        Flow(ContrastiveModel(latents=LATENTS, loss="infonce", background="orthogonal"))
