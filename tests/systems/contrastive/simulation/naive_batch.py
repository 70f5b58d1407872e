"""SGD on the losses and backgrounds of the frame chain, twice more in plain numpy, for many replicas at once.

`naive_sgd` moves n-dimensional weights: the honest definition, for small n. `naive_frame` moves the order parameters
with the rest drawn as a matrix of normal numbers, and is the home of the wrong variants that tests must reject.
"""

import numpy as np

from tests.systems.contrastive.simulation.naive_chain import naive_forces, sample_latents


def naive_batch_forces(model, h, d, keep_means=False):
    """Forces (replicas, unit, sample, view) of the covariance loss, or (replicas, 1, view, 1) of the other losses."""
    if model.loss != "covariance":
        return naive_forces(model, h[:, 0, :, 0], d[:, 0, :, 0])[:, None, :, None]
    centre = h.mean(axis=2, keepdims=True) if model.centred and not keep_means else 0
    x = h - centre
    count = model.batch - 1 if model.centred else model.batch
    covariance = np.einsum("rib,rjb->rij", x[..., 0], x[..., 1]) / count
    eye = np.eye(model.units)
    slope = -eye + (1 - eye) * model.decorrelation * 2 * covariance
    first = -np.einsum("rij,rjb->rib", slope, x[..., 1]) / count
    second = -np.einsum("rij,rib->rjb", slope, x[..., 0]) / count
    return d * np.stack([first, second], axis=-1)


def draw_latents(model, replicas, rng):
    """Latents (replicas, sample, view, feature); a negative sample has one view, so it is a sample of its own."""
    if model.loss == "covariance":
        samples = [sample_latents(model, replicas, rng) for _ in range(model.batch)]
        return np.stack(samples, axis=1)[:, :, None, :].repeat(2, axis=2)
    positive = sample_latents(model, replicas, rng)
    negatives = [sample_latents(model, replicas, rng) for _ in range(model.views - 2)]
    return np.stack([positive, positive, *negatives], axis=1)[:, :, None, :]


def noise_matrices(model):
    """Covariances (view, view) of base and augmentation noise over all views of a step."""
    if model.loss == "covariance":
        same = np.kron(np.eye(model.batch), np.ones((2, 2)))
    else:
        same = np.eye(model.views)
        same[:2, :2] = 1
    own = np.eye(len(same))
    rho = model.noise_correlation
    base = model.base_noise_variance * same
    return base, model.augmentation_noise_variance * (own + rho * (same - own))


def root(matrix):
    """A root of a covariance matrix that may be singular."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0))


def as_samples(model, array):
    """Split the views in the last dim into (sample, view)."""
    return array.reshape(*array.shape[:-1], -1, 2 if model.loss == "covariance" else 1)


def naive_sgd(model, dimension, overlap, steps, replicas, rng, squared_norm=1.0):
    """Overlaps (replicas, unit, feature) and Gram matrices (replicas, unit, unit) after SGD in n dimensions."""
    n, p, d = dimension, model.features, model.units
    q = np.array(overlap, float).reshape(d, p)
    w = np.zeros((replicas, d, n))
    w[..., :p] = np.sqrt(n) * q  # xi_j is sqrt(n) times the j-th unit vector
    for k in range(d):
        w[:, k, p + k] = np.sqrt(n * (squared_norm - q[k] @ q[k]))
    base, augmentation = (root(matrix) for matrix in noise_matrices(model))
    eta, lam = model.learning_rate, model.weight_decay
    for _ in range(steps):
        c = draw_latents(model, replicas, rng).reshape(replicas, -1, p)
        noise = np.einsum("uv,rvn->run", base, rng.standard_normal((replicas, len(base), n)))
        if model.background == "orthogonal":
            noise[..., :p] = 0
        y = noise + np.einsum("uv,rvn->run", augmentation, rng.standard_normal((replicas, len(base), n)))
        y[..., :p] += c
        z = np.einsum("rkn,rvn->rkv", w, y) / np.sqrt(n)
        h, slope, _ = model.unit(z)
        delta = naive_batch_forces(model, as_samples(model, h), as_samples(model, slope)).reshape(z.shape)
        w = (1 - eta * lam / n) * w + eta / np.sqrt(n) * np.einsum("rkv,rvn->rkn", delta, y)
        if model.is_sphere:
            w *= np.sqrt(n / np.sum(w**2, axis=2))[..., None]
    return w[..., :p] / np.sqrt(n), np.einsum("rkn,rmn->rkm", w, w) / n


def naive_frame(
    model,
    dimension,
    overlap,
    steps,
    replicas,
    rng,
    *,
    fluctuating_rest=True,
    pair_covariance=True,
    base_along_features=False,
    keep_means=False,
):
    """Overlaps (replicas, unit, feature) and Gram matrices (replicas, unit, unit) after steps of the chain.

    The wrong variants: the Wishart matrix replaced by its mean (fluctuating_rest), the covariance of the two views left
    out of D (pair_covariance), base noise along the features whatever the background is (base_along_features), the
    means over the batch not subtracted (keep_means).
    """
    n, p, d = dimension, model.features, model.units
    q = np.tile(np.array(overlap, float).reshape(d, p), (replicas, 1, 1))
    gram = np.tile(np.eye(d), (replicas, 1, 1)) * np.sum(0 * q, axis=(1, 2), keepdims=True)
    gram = q @ q.transpose(0, 2, 1) + np.eye(d) * (1 - np.sum(q**2, axis=2))[:, None, :]
    base, augmentation = noise_matrices(model)
    everywhere = base + augmentation
    along = everywhere if model.background == "isotropic" or base_along_features else augmentation
    in_form = everywhere if pair_covariance else np.diag(np.diag(everywhere))
    rate, decay = model.learning_rate / n, 1 - model.learning_rate * model.weight_decay / n
    for _ in range(steps):
        c = draw_latents(model, replicas, rng).reshape(replicas, -1, p)
        x = np.einsum("uv,rvj->ruj", root(along), rng.standard_normal((replicas, len(base), p))) + c
        t = np.einsum("uv,rvj->ruj", root(everywhere), rng.standard_normal((replicas, len(base), d)))
        values, vectors = np.linalg.eigh(gram - q @ q.transpose(0, 2, 1))
        rest = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        z = q @ x.transpose(0, 2, 1) + rest @ t.transpose(0, 2, 1)
        h, slope, _ = model.unit(z)
        delta = naive_batch_forces(model, as_samples(model, h), as_samples(model, slope), keep_means)
        delta = delta.reshape(z.shape)
        form = delta @ in_form @ delta.transpose(0, 2, 1)
        values, vectors = np.linalg.eigh(form)
        spread = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
        numbers = rng.standard_normal((replicas, d, n - p - d))
        wishart = numbers @ numbers.transpose(0, 2, 1) if fluctuating_rest else (n - p - d) * np.eye(d)
        q = decay * q + rate * delta @ x
        moved = decay * rest + rate * delta @ t
        gram = q @ q.transpose(0, 2, 1) + moved @ moved.transpose(0, 2, 1)
        gram = gram + rate**2 * spread @ wishart @ spread.transpose(0, 2, 1)
        if model.is_sphere:
            length = np.sqrt(np.einsum("rkk->rk", gram))
            q, gram = q / length[..., None], gram / (length[:, :, None] * length[:, None, :])
    return q, gram
