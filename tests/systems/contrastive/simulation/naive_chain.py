"""The projected chain as its definition reads: p + 1 noise components for every view, plain numpy, many replicas.

An independent second implementation (it draws all components instead of the reduced set), and the home of the wrong
variants that the statistical tests must reject.
"""

import numpy as np


def sample_latents(model, replicas, rng):
    """Latent vectors of shape (replicas, feature), drawn from the laws themselves."""
    columns = []
    for law in model.latents:
        if law.is_discrete:
            values, weights = law.atoms()
            columns.append(rng.choice(values, size=replicas, p=weights))
        else:
            draw = {
                "gaussian": lambda: rng.standard_normal(replicas),
                "uniform": lambda: rng.uniform(-np.sqrt(3), np.sqrt(3), replicas),
                "laplace": lambda: rng.laplace(scale=np.sqrt(0.5), size=replicas),
            }[law.sampler]
            columns.append(law.scale * draw())
    return np.stack(columns, axis=1)


def naive_forces(model, h, d):
    """Forces (replicas, view), written out once more, from h and h' of the same shape."""
    first, others = h[:, :1], h[:, 1:]
    if model.loss == "infonce":
        with np.errstate(over="raise"):
            weights = np.exp(first * others / model.temperature)
        weights /= weights.sum(axis=1, keepdims=True)
        positive = np.arange(others.shape[1]) == 0
        own = d[:, :1] * (h[:, 1:2] - (weights * others).sum(axis=1, keepdims=True))
        return np.concatenate([own, first * d[:, 1:] * (positive - weights)], axis=1) / model.temperature
    if model.loss == "spectral":
        own = 2 * d[:, 0] * h[:, 1] - 2 * h[:, 0] * d[:, 0] * h[:, 2] ** 2
        return np.stack([own, 2 * h[:, 0] * d[:, 1], -2 * h[:, 0] ** 2 * h[:, 2] * d[:, 2]], axis=1)
    return np.stack([d[:, 0] * (h[:, 1] - h[:, 2]), h[:, 0] * d[:, 1], -h[:, 0] * d[:, 2]], axis=1)


def naive_chain(
    model,
    dimension,
    overlap,
    squared_norm,
    steps,
    replicas,
    rng,
    *,
    fluctuating_rest=True,
    along_weights=True,
    covariance_in_rest=True,
    noise_covariance=None,
):
    """Overlaps (replicas, feature) and squared norms (replicas,) after `steps` steps of SGD.

    The wrong variants: the chi-square number replaced by its mean (fluctuating_rest), the squared noise along w left
    out of |step|^2 (along_weights), the covariance of the two views left out of the quadratic form
    (covariance_in_rest), noise drawn with another covariance (noise_covariance).
    """
    n, p, eta, lam = dimension, model.features, model.learning_rate, model.weight_decay
    s2, kappa = model.noise_variance, model.noise_covariance
    drawn = kappa if noise_covariance is None else noise_covariance
    q = np.tile(np.asarray(overlap, float), (replicas, 1))
    r = np.full(replicas, float(squared_norm))
    for _ in range(steps):
        positive = sample_latents(model, replicas, rng)
        negatives = [sample_latents(model, replicas, rng) for _ in range(model.views - 2)]
        c = np.stack([positive, positive, *negatives], axis=1)
        x = rng.standard_normal((replicas, model.views, p + 1))
        noise = np.sqrt(s2) * x
        if s2 > 0:
            noise[:, 1] = drawn / np.sqrt(s2) * x[:, 0] + np.sqrt(max(s2 - drawn**2 / s2, 0)) * x[:, 1]
        b, t = noise[..., :p], noise[..., p]
        across = np.sqrt(np.maximum(r - np.sum(q**2, axis=1), 0))
        z = np.einsum("rj,rvj->rv", q, c + b) + across[:, None] * t
        h, d, _ = model.unit(z)
        delta = naive_forces(model, h, d)
        u = np.einsum("rv,rvj->rj", delta, c + b)
        form = s2 * np.sum(delta**2, axis=1) + covariance_in_rest * 2 * kappa * delta[:, 0] * delta[:, 1]
        degrees = n - p - 1
        rest = rng.chisquare(degrees, replicas) if fluctuating_rest else degrees
        along = np.sum(delta * t, axis=1) if along_weights else 0
        square = np.sum(u**2, axis=1) + along**2 + form * rest
        decay = 1 - eta * lam / n
        r = decay**2 * r + 2 * decay * eta / n * np.sum(delta * z, axis=1) + (eta / n) ** 2 * square
        q = decay * q + eta / n * u
        if model.is_sphere:
            q, r = q / np.sqrt(r)[:, None], np.ones(replicas)
    return q, r
