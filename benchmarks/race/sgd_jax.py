"""SGD in JAX: one replica's step under vmap, steps in one compiled loop, in single and double precision."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.race.sgd_problem import AMPLITUDE, COMMON, ETA, LAM, OWN, FloatArray, S, cosine_similarity, start

jax.config.update("jax_enable_x64", True)


def step(w: jax.Array, positive: jax.Array, negative: jax.Array, x: jax.Array, features: jax.Array) -> jax.Array:
    """One step of one replica, from its random numbers; features of squared length 1."""
    root = jnp.sqrt(jnp.asarray(len(w), w.dtype))
    signal = positive @ features
    y1, y2, y3 = signal + S * x[0], signal + COMMON * x[0] + OWN * x[1], negative @ features + S * x[2]
    h1, h2, h3 = (jnp.tanh(w @ view / root) for view in (y1, y2, y3))
    force = (1 - h1**2) * (h2 - h3) * y1 + h1 * (1 - h2**2) * y2 - h1 * (1 - h3**2) * y3
    return w + ETA / root * force - ETA * LAM / len(w) * w


@partial(jax.jit, donate_argnums=1)
def advance(steps: Any, w: jax.Array, features: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Make `steps` steps of all replicas."""
    replicas, n = w.shape

    def body(_: Any, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        w, key = carry
        key, for_signs, for_noise = jax.random.split(key, 3)
        c = AMPLITUDE * jax.random.rademacher(for_signs, (2, replicas, 2), w.dtype)
        noise = jax.random.normal(for_noise, (replicas, 3, n), w.dtype)
        return jax.vmap(step, (0, 0, 0, 0, None))(w, c[0], c[1], noise, features), key

    return jax.lax.fori_loop(0, steps, body, (w, key))


class Jax:
    """All replicas of one batch."""

    def __init__(self, n: int, replicas: int, seed: int, dtype: Any) -> None:
        features, weights = start(n, replicas, seed)
        self.features = features
        self.unit = jnp.asarray(features / np.sqrt(n), dtype)
        self.weights = jnp.asarray(weights, dtype)
        self.key = jax.random.key(seed)

    def advance(self, steps: int) -> None:
        self.weights, self.key = advance(steps, self.weights, self.unit, self.key)
        self.weights.block_until_ready()

    def cosine_similarity(self) -> FloatArray:
        return cosine_similarity(np.asarray(self.weights), self.features)


def _make(dtype: Any) -> Callable[[int, int, int], Jax]:
    return lambda n, replicas, seed: Jax(n, replicas, seed, dtype)


BATCHED = {f"jax, jit and vmap, {np.dtype(dtype).name}": _make(dtype) for dtype in (jnp.float32, jnp.float64)}
