"""The exact projected chain: online SGD in its order parameters, at a cost that does not depend on n.

With Gaussian noise and L2 (or the sphere) the overlaps q and the squared norm r are themselves a Markov chain at
every finite n (docs/theory.md, "The projected chain"). One step, for the noise projected on span(xi_1..xi_p, w):

    z_v = q . c_v + sqrt(r) e_v,      e ~ N(0, K) over the views,      t = sum_v Delta_v e_v,
    D   = sum_uv K_uv Delta_u Delta_v,      u = (q, sqrt(r - |q|^2)) / sqrt(r),      g ~ N(0, 1 - u u'),
    U   = (sum_v Delta_v c_v, 0) + u t + sqrt(D) g,      Y = |U|^2 + D X,      X ~ chi-square, n - p - 1 degrees,
    q  <- (1 - eta lam / n) q + (eta / n) U_(1..p)
    r  <- (1 - eta lam / n)^2 r + 2 (1 - eta lam / n) (eta / n) sum_v Delta_v z_v + (eta / n)^2 Y,

then, on the sphere, q <- q / sqrt(r), r <- 1. V + p + 1 normal numbers and one chi-square suffice.

| symbol | name | shape |
|---|---|---|
| q, r | overlap, squared_norm | (feature, lanes), (lanes,) |
| c | latent | (sample, feature, lanes); sample 0 is the positive pair, the others the negatives |
| z, Delta | pre-activation, force | (view, lanes) |

Replicas advance in lockstep (`lockstep.py`): every array has the lanes last.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray, IntArray
from clhd.core.kernels import kernel
from clhd.core.streams import (
    fill_normal_pairs,
    fill_six_normals,
    gamma_constants,
    transform_to_chi_squares,
)
from clhd.systems.contrastive.model.activations import activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import LOSSES, forces
from clhd.systems.contrastive.simulation.lockstep import (
    LANES,
    Lockstep,
    choose_samplers,
    draw_random_start,
    sample_latents,
)
from clhd.systems.contrastive.simulation.point import Point

BitArray = NDArray[np.uint64]


def group_type(features: int, views: int, atoms: int) -> np.dtype[np.void]:
    """Return the record type of one group of lanes: constants of each lane's point, state, and work space.

    In one record the shapes and distances of all arrays are known when the kernel is compiled, so LLVM unrolls the
    loops over features and views and needs no tests for overlapping memory.
    """
    normals = views + features + 1
    shapes: dict[str, tuple[int, ...]] = {
        # Constants of the point: eta / n, 1 - eta lam / n, noise covariance, chi-square, loss and latents.
        "rate": (),
        "decay": (),
        "variance": (),
        "covariance": (),
        "sigma": (),
        "correlation": (),
        "orthogonal": (),
        "gamma_d": (),
        "gamma_c": (),
        "temperature": (),
        "scale": (features,),
        "values": (features, atoms),
        "cumulative": (features, atoms),
        # State.
        "q": (features,),
        "r": (),
        # Work space.
        "normal": (normals + normals % 2,),
        "uniform": (),
        "bits": (1,),
        "root": (),
        "chi_square": (),
        "c": (views - 1, features),
        "z": (views,),
        "h": (views,),
        "d": (views,),
        "delta": (views,),
    }
    return np.dtype([(name, np.float64, (*shape, LANES)) for name, shape in shapes.items()])


@kernel
def _advance(
    steps: int,
    activation: int,
    coefficients: FloatArray,
    loss: int,
    sphere: bool,
    samplers: IntArray,
    state: BitArray,
    group: Any,
) -> None:
    """Advance all lanes of a group by `steps` steps, in place."""
    q, r, c, normal, chi_square = group.q, group.r, group.c, group.normal, group.chi_square
    z, h, d, delta = group.z, group.h, group.d, group.delta
    for _ in range(steps):
        sixes = len(normal) // 6
        for k in range(sixes):
            fill_six_normals(state, normal[6 * k : 6 * k + 6], group.uniform, group.bits[0])
        for k in range(6 * sixes, len(normal), 2):
            fill_normal_pairs(state, normal[k], normal[k + 1])
        further = normal[len(z) + len(q)]
        transform_to_chi_squares(state, further, group.gamma_d, group.gamma_c, group.uniform, chi_square)
        sample_latents(state, samplers, group)

        for i in range(LANES):
            normal[1, i] = group.correlation[i] * normal[0, i] + group.orthogonal[i] * normal[1, i]
            group.root[i] = math.sqrt(r[i])
            amplitude = group.root[i] * group.sigma[i]
            for v in range(len(z)):
                total = amplitude * normal[v, i]
                for j in range(len(q)):
                    total += q[j, i] * c[max(v - 1, 0), j, i]
                z[v, i] = total
        for v in range(len(z)):
            activate(activation, coefficients, z[v], h[v], d[v])
        forces(loss, group.temperature, h, d, delta)

        for i in range(LANES):
            gradient_variance = 2.0 * group.covariance[i] * delta[0, i] * delta[1, i]
            shared = 0.0
            product = 0.0
            for v in range(len(z)):
                gradient_variance += group.variance[i] * delta[v, i] * delta[v, i]
                shared += delta[v, i] * normal[v, i]
                product += delta[v, i] * z[v, i]
            shared *= group.sigma[i]
            gradient_variance = gradient_variance if gradient_variance > 0.0 else 0.0
            spread = math.sqrt(gradient_variance)

            # Noise orthogonal to w is a normal vector G, reflected so that it becomes orthogonal to u. One division
            # gives both u and the reflection, from sqrt(r) and the length of w orthogonal to the features.
            root = group.root[i]
            dot = 0.0
            rest = r[i]
            for j in range(len(q)):
                dot += q[j, i] * normal[len(z) + j, i]
                rest -= q[j, i] * q[j, i]
            across = math.sqrt(rest if rest > 0.0 else 0.0)
            reflection = 1.0 / (root * (root + across)) if root > 0.0 else 0.0
            inverse = reflection * (root + across)
            last = across * inverse if root > 0.0 else 1.0
            increment = last * shared - spread * (dot * inverse)
            square = increment * increment + gradient_variance * chi_square[i]
            along = shared * inverse - spread * (dot * reflection)
            decay, rate = group.decay[i], group.rate[i]
            for j in range(len(q)):
                increment = q[j, i] * along + spread * normal[len(z) + j, i]
                for v in range(len(z)):
                    increment += delta[v, i] * c[max(v - 1, 0), j, i]
                square += increment * increment
                q[j, i] = decay * q[j, i] + rate * increment
            r[i] = decay * (decay * r[i] + 2.0 * rate * product) + rate * rate * square
        if sphere:
            for i in range(LANES):
                inverse = 1.0 / math.sqrt(r[i])
                r[i] = 1.0
                for j in range(len(q)):
                    q[j, i] *= inverse


class LaneGroup(Lockstep):
    """Up to `LANES` replicas of points of one `family`, by the projected chain of a positive pair and its negatives."""

    def _choose_type(self, model: ContrastiveModel, atoms: int) -> np.dtype[np.void]:
        """Return the record type of the group."""
        return group_type(model.features + self._further, model.views, atoms)

    def _list_codes(self, model: ContrastiveModel) -> tuple[Any, ...]:
        """Return what the kernel branches on."""
        return (
            model.unit.code,
            model.unit.coefficient_array,
            LOSSES[model.loss].code,
            model.is_sphere,
            choose_samplers(model, 1),
        )

    def _list_constants(self, model: ContrastiveModel, n: int) -> dict[str, float]:
        """Return the constants of a point that are one number, by their names in the record."""
        variance, covariance = model.noise_variance, model.noise_covariance
        correlation = min(max(covariance / variance, -1.0), 1.0) if variance > 0 else 0.0
        return {
            "rate": model.learning_rate / n,
            "decay": 1 - model.learning_rate * model.weight_decay / n,
            "variance": variance,
            "covariance": covariance,
            "sigma": math.sqrt(variance),
            "correlation": correlation,
            "orthogonal": math.sqrt(1 - correlation**2),
            "temperature": model.softmax_temperature,
        }

    def _fill_chi_squares(self, lanes: slice, model: ContrastiveModel, n: int) -> None:
        """Write the constants of the chi-square numbers of the lanes of one point."""
        degrees = np.full(lanes.stop - lanes.start, float(n - model.features - self._further - 1))
        gamma_constants(degrees, self._group["gamma_d"][lanes], self._group["gamma_c"][lanes])

    def _start(self, pieces: Sequence[tuple[Point, Sequence[int]]]) -> None:
        """Draw the initial order parameters; lanes with a fixed start also draw, so a group may have both kinds."""
        group, n = self._group, pieces[0][0].dimension
        chi_square = draw_random_start(self._state, group["q"], n)
        begin = 0
        for point, replicas in pieces:
            lanes = slice(begin, begin + len(replicas))
            q, r = group["q"][:, lanes], group["r"][lanes]
            if point.overlap is None:
                # q_j ~ N(0, r / n); the n - p other directions of w give the rest of the squared norm.
                q *= math.sqrt(point.squared_norm / n)
                r[:] = np.sum(q**2, axis=0) + point.squared_norm * chi_square[lanes] / n
                if point.model.is_sphere:
                    q /= np.sqrt(r)
                    r[:] = 1.0
            else:
                q[: point.model.features] = np.array(point.overlap)[:, None]
                q[point.model.features :] = 0.0
                r[:] = point.squared_norm
            begin = lanes.stop

    def restart(self, overlap: FloatArray) -> None:
        """Set the state of a unit that lies in the span of features and further directions.

        `overlap` has the shape (lanes, feature + further); its squares add up to the squared norm.
        """
        self._group["q"][:, : self.lanes] = overlap.T
        self._group["r"][: self.lanes] = np.sum(overlap**2, axis=1)

    def advance(self, steps: int) -> None:
        """Make `steps` steps of SGD in every lane, without the GIL."""
        arguments: Any = (steps, *self._codes, self._state, self._group)
        _advance(*arguments)

    def order_parameters(self) -> FloatArray:
        """Return a copy of overlaps and squared norm of the lanes in use, shape (lanes, feature + further + 1)."""
        state = np.vstack([self._group["q"], self._group["r"][None]])
        return state[:, : self.lanes].T.copy()
