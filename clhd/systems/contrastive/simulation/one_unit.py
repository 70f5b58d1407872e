"""The exact projected chain of one unit, for the covariance loss and for the orthogonal background.

A step needs the noise of each view along the weights, and what its sum over the views adds in the other directions,
which is Gaussian once the forces are known. So a step draws V + p + 2 numbers, of which one makes a chi-square number,
not the V (p + 1) of `frame_chain.py`. Equations and derivation: docs/theory.md, "One unit". The noise of
the views a, b of a pair is x_+ + x_- and x_+ - x_-; the *mode* x_m has the variance k_m, and k^xi_m along a feature.
With independent normal numbers X, e, G, H:

    tau_m^2 = k^xi_m |q|^2 + k_m |l|^2,      z_a = q . c + tau_+ X_+ + tau_- X_-,      Delta = -dF/dz,
    Delta_+- = Delta_a +- Delta_b,      P_m = sum Delta_m X_m / tau_m,      W_m = sum Delta_m^2  (over the pairs),
    D = sum_m k_m W_m,   D^xi = sum_m k^xi_m W_m,   E = e sqrt(sum_m W_m k^xi_m k_m / tau_m^2) / (|q| |l|),
    q <- (1 - eta lam / n) q + (eta / n) [sum_v Delta_v c_v + q (sum_m k^xi_m P_m + |l|^2 E) + sqrt(D^xi) G_q],
    l <- (1 - eta lam / n) l + (eta / n) [l (sum_m k_m P_m - |q|^2 E) + sqrt(D) H_l],
    and then, for its last entry, l <- sqrt(l^2 + (eta / n)^2 D X),      X ~ chi-square,

with one mode for a view of its own. On the sphere, (q, l) is then divided by its length. G_q is G without its part
along q, H_l is H without its part along l. With the orthogonal background the base noise is absent from k^xi.

| symbol | name | shape |
|---|---|---|
| q, l | q, rest | (feature, lanes), (further + 1, lanes) |
| c | latent | (sample, feature, lanes) |
| X, e, G, H, number of the chi-square | rows of normal, in this order | (number, lanes) |
| k^xi, k | along_features, elsewhere | (mode, lanes) |
| tau, 1 / tau^2 | root, inverse | (mode, lanes) |
| |q|^2, |l|^2, 1 / (|q| |l|)^2 | along, across, over | (lanes,) |
| z, Delta | pre-activation, force; then Delta_+, Delta_- | (unit = 1, view, lanes) |
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
from clhd.systems.contrastive.model.losses import LOSSES, covariance, forces
from clhd.systems.contrastive.simulation.lockstep import (
    LANES,
    Lockstep,
    choose_samplers,
    draw_random_start,
    sample_latents,
)
from clhd.systems.contrastive.simulation.point import Point

BitArray = NDArray[np.uint64]

# A part of the weights that is shorter than this has no direction, and gets one: its square is far below the rounding
# error of the other part, and the products of the step do not underflow.
_SHORT = 1e-30


def count_numbers(features: int, views: int, further: int = 0) -> int:
    """Return how many normal numbers a step of one lane draws: whole pairs, and six at least."""
    across = (features if features > 1 else 0) + (further + 1 if further > 0 else 0)
    numbers = views + 2 + across
    return max(6, numbers + numbers % 2)


def unit_type(features: int, further: int, views: int, samples: int, modes: int, atoms: int) -> np.dtype[np.void]:
    """Return the record type of one group of lanes; see `projected.group_type`."""
    numbers = count_numbers(features, views, further)
    shapes: dict[str, tuple[int, ...]] = {
        # Constants of the point.
        "rate": (),
        "decay": (),
        "along_features": (modes,),
        "elsewhere": (modes,),
        "gamma_d": (),
        "gamma_c": (),
        "is_there": (),
        "temperature": (),
        "scale": (features,),
        "values": (features, atoms),
        "cumulative": (features, atoms),
        # State.
        "q": (features,),
        "rest": (further + 1,),
        # Work space.
        "normal": (numbers,),
        "uniform": (),
        "fraction": (numbers // 6,),
        "bits": (numbers // 6,),
        "chi_square": (),
        "c": (samples, features),
        "along": (),
        "across": (),
        "root": (modes,),
        "inverse": (modes,),
        "square": (modes,),
        "product": (modes,),
        "form": (modes,),
        "over": (),
        "z": (1, views),
        "h": (1, views),
        "d": (1, views),
        "delta": (1, views),
        "mean": (),
        "slope": (1, 1),
    }
    return np.dtype([(name, np.float64, (*shape, LANES)) for name, shape in shapes.items()])


@kernel
def _draw_numbers(state: BitArray, samplers: IntArray, group: Any) -> None:
    """Draw all random numbers of a step: normal numbers, the chi-square number and the latents."""
    normal, sixes = group.normal, len(group.bits)
    for k in range(sixes):
        fill_six_normals(state, normal[6 * k : 6 * k + 6], group.fraction[k], group.bits[k])
    for row in range(6 * sixes, len(normal), 2):
        fill_normal_pairs(state, normal[row], normal[row + 1])
    last = normal[len(normal) - 1]
    transform_to_chi_squares(state, last, group.gamma_d, group.gamma_c, group.fraction[0], group.chi_square)
    sample_latents(state, samplers, group)


@kernel
def _measure(group: Any) -> None:
    """Write |q|^2, |l|^2, tau and the inverses; a part without a direction gets its last one."""
    root, inverse, square = group.root, group.inverse, group.square
    _measure_part(group.q, group.along)
    _measure_part(group.rest, group.across)
    for i in range(LANES):
        # One division gives the inverses of all factors.
        lengths = group.along[i] * group.across[i]
        product = lengths
        for m in range(len(root)):
            total = group.along_features[m, i] * group.along[i] + group.elsewhere[m, i] * group.across[i]
            root[m, i] = math.sqrt(total)
            square[m, i] = total if total > 0.0 else 1.0
            product *= square[m, i]
        quotient = 1.0 / product
        over = quotient
        for m in range(len(root)):
            over *= square[m, i]
            others = lengths
            for k in range(len(root)):
                others *= square[k, i] if k != m else 1.0
            inverse[m, i] = quotient * others
        group.over[i] = over


@kernel
def _measure_part(part: FloatArray, length: FloatArray) -> None:
    """Write the squared length of a part of the weights."""
    last = part[len(part) - 1]
    for i in range(LANES):
        total = 0.0
        for j in range(len(part)):
            total += part[j, i] * part[j, i]
        is_short = total < _SHORT * _SHORT
        last[i] = _SHORT if is_short else last[i]
        length[i] = _SHORT * _SHORT if is_short else total


@kernel
def _find_row(sample: int, group: Any) -> int:
    """Return the first view of a sample; with two modes all samples are pairs, with three the first one alone."""
    return 2 * sample if len(group.root) == 2 else sample + (1 if sample > 0 else 0)


@kernel
def _project(group: Any) -> None:
    """Write z of all views."""
    q, c, normal, root = group.q, group.c, group.normal, group.root
    for sample in range(len(c)):
        v = _find_row(sample, group)
        is_pair = len(root) == 2 or sample == 0
        first, second = group.z[0, v], group.z[0, v + 1 if is_pair else v]
        for i in range(LANES):
            signal = 0.0
            for j in range(len(q)):
                signal += q[j, i] * c[sample, j, i]
            if is_pair:
                plus, minus = root[0, i] * normal[v, i], root[1, i] * normal[v + 1, i]
                first[i] = signal + plus + minus
                second[i] = signal + plus - minus
            else:
                first[i] = signal + root[len(root) - 1, i] * normal[v, i]


@kernel
def _split_into_modes(group: Any) -> None:
    """Replace the forces of each pair by their sum and difference."""
    delta = group.delta[0]
    for sample in range(len(group.c) if len(group.root) == 2 else 1):
        plus, minus = delta[2 * sample], delta[2 * sample + 1]
        for i in range(LANES):
            one, other = plus[i], minus[i]
            plus[i] = one + other
            minus[i] = one - other


@kernel
def _sum_modes(group: Any) -> None:
    """Write P_m tau_m and W_m of each mode; row by row, since many views in one loop over lanes do not vectorise."""
    delta, normal, modes = group.delta[0], group.normal, len(group.root)
    for m in range(modes):
        product, form = group.product[m], group.form[m]
        product[:] = 0.0
        form[:] = 0.0
        for v in range(m, len(delta), 2 if modes == 2 else (len(delta) if m < 2 else 1)):
            force, number = delta[v], normal[v]
            for i in range(LANES):
                product[i] += force[i] * number[i]
                form[i] += force[i] * force[i]


@kernel
def _move(group: Any) -> None:
    """Make the step of (q, l) from the forces of the modes."""
    q, rest, c, delta, normal = group.q, group.rest, group.c, group.delta[0], group.normal
    modes, views, last = len(group.root), len(delta), len(rest) - 1
    row_q = views + 1
    row_rest = row_q + (len(q) if len(q) > 1 else 0)
    for i in range(LANES):
        along, across = group.along[i], group.across[i]
        gain_q, gain, form_q, form, variance = 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(modes):
            k_q, k, inverse = group.along_features[m, i], group.elsewhere[m, i], group.inverse[m, i]
            square = group.form[m, i]
            product = group.product[m, i] * (group.root[m, i] * inverse)
            gain_q += k_q * product
            gain += k * product
            form_q += k_q * square
            form += k * square
            variance += (k_q * k) * (inverse * square)
        exchange = math.sqrt(variance * group.over[i]) * normal[views, i]
        gain_q += across * exchange
        gain -= along * exchange
        decay, rate = group.decay[i], group.rate[i]
        spread = 0.0
        if len(q) > 1:
            spread = math.sqrt(form_q)
            dot = 0.0
            for j in range(len(q)):
                dot += q[j, i] * normal[row_q + j, i]
            gain_q -= spread * dot * (group.over[i] * across)
        for j in range(len(q)):
            moved = q[j, i] * gain_q
            if len(q) > 1:
                moved += spread * normal[row_q + j, i]
            for sample in range(len(c)):
                moved += delta[_find_row(sample, group), i] * c[sample, j, i]
            q[j, i] = decay * q[j, i] + rate * moved
        if last > 0:
            spread = math.sqrt(form)
            dot = 0.0
            for j in range(last + 1):
                dot += rest[j, i] * normal[row_rest + j, i]
            gain -= spread * dot * (group.over[i] * along)
            for j in range(last):
                moved = rest[j, i] * gain + spread * normal[row_rest + j, i]
                rest[j, i] = decay * rest[j, i] + rate * moved
        moved = rest[last, i] * gain
        if last > 0:
            moved += spread * normal[row_rest + last, i]
        moved = decay * rest[last, i] + rate * moved
        rest[last, i] = math.sqrt(moved * moved + rate * rate * form * (group.is_there[i] * group.chi_square[i]))


@kernel
def _return_to_sphere(q: FloatArray, rest: FloatArray) -> None:
    """Divide (q, l) by its length."""
    for i in range(LANES):
        total = 0.0
        for j in range(len(q)):
            total += q[j, i] * q[j, i]
        for j in range(len(rest)):
            total += rest[j, i] * rest[j, i]
        factor = 1.0 / math.sqrt(total)
        for j in range(len(q)):
            q[j, i] *= factor
        for j in range(len(rest)):
            rest[j, i] *= factor


# One kernel for batches and one for three views: each compiles the forces of its own losses only, a fifth less. What
# they share stands twice, since kernels of their own for it would compile for a tenth longer, with no step faster.
@kernel
def _advance_batch(
    steps: int,
    activation: int,
    coefficients: FloatArray,
    centred: bool,
    sphere: bool,
    samplers: IntArray,
    state: BitArray,
    group: Any,
) -> None:
    """Advance all lanes of a group by `steps` steps of the covariance loss, in place."""
    z, h, d = group.z, group.h, group.d
    for _ in range(steps):
        _draw_numbers(state, samplers, group)
        _measure(group)
        _project(group)
        for v in range(z.shape[1]):
            activate(activation, coefficients, z[0, v], h[0, v], d[0, v])
        # One unit has no penalty: its weight, for which any row stands here, plays no part.
        covariance.forces(centred, covariance.SQUARE, group.mean, h, d, group.mean, group.slope, group.delta)
        _split_into_modes(group)
        _sum_modes(group)
        _move(group)
        if sphere:
            _return_to_sphere(group.q, group.rest)


@kernel
def _advance_views(
    steps: int,
    activation: int,
    coefficients: FloatArray,
    loss: int,
    sphere: bool,
    samplers: IntArray,
    state: BitArray,
    group: Any,
) -> None:
    """Advance all lanes of a group by `steps` steps of a loss of three or more views, in place."""
    z, h, d = group.z, group.h, group.d
    for _ in range(steps):
        _draw_numbers(state, samplers, group)
        _measure(group)
        _project(group)
        for v in range(z.shape[1]):
            activate(activation, coefficients, z[0, v], h[0, v], d[0, v])
        forces(loss, group.temperature, h[0], d[0], group.delta[0])
        _split_into_modes(group)
        _sum_modes(group)
        _move(group)
        if sphere:
            _return_to_sphere(group.q, group.rest)


class UnitGroup(Lockstep):
    """Up to `LANES` replicas of points of one `family`, by the chain of one unit for every loss and background."""

    def _choose_type(self, model: ContrastiveModel, atoms: int) -> np.dtype[np.void]:
        modes = 2 if model.loss == "covariance" else 3
        return unit_type(model.features, self._further, model.views, model.samples, modes, atoms)

    def _list_codes(self, model: ContrastiveModel) -> tuple[Any, ...]:
        return (
            model.unit.code,
            model.unit.coefficient_array,
            bool(model.centred) if model.loss == "covariance" else LOSSES[model.loss].code,
            model.is_sphere,
            choose_samplers(model, len(self._group["bits"])),
        )

    def _list_constants(self, model: ContrastiveModel, n: int) -> dict[str, float | FloatArray]:
        base, augmentation = model.base_noise_variance, model.augmentation_noise_variance
        # The base noise is that of both views of a pair, so it is in their sum and not in their difference.
        modes = [(base, (1 + model.noise_correlation) / 2), (0.0, (1 - model.noise_correlation) / 2), (base, 1.0)]
        kept = 1.0 if model.background == "isotropic" else 0.0
        variances = [[factor * common + share * augmentation for common, share in modes] for factor in (kept, 1.0)]
        count = len(self._group["root"])
        return {
            "rate": model.learning_rate / n,
            "decay": 1 - model.learning_rate * model.weight_decay / n,
            "along_features": np.array(variances[0])[:count, None],
            "elsewhere": np.array(variances[1])[:count, None],
            "temperature": model.softmax_temperature,
        }

    def _fill_chi_squares(self, lanes: slice, model: ContrastiveModel, n: int) -> None:
        degrees = n - model.features - self._further - 1
        group = self._group
        group["is_there"][lanes] = 1.0 if degrees >= 1 else 0.0
        full = np.full(lanes.stop - lanes.start, float(max(degrees, 1)))
        gamma_constants(full, group["gamma_d"][lanes], group["gamma_c"][lanes])

    def _start(self, pieces: Sequence[tuple[Point, Sequence[int]]]) -> None:
        group, n = self._group, pieces[0][0].dimension
        chi_square = draw_random_start(self._state, group["q"], n)
        begin = 0
        for point, replicas in pieces:
            lanes = slice(begin, begin + len(replicas))
            q, rest = group["q"][:, lanes], group["rest"][-1, lanes]
            if point.overlap is None:
                # q_j ~ N(0, r / n); the n - p other directions of w give the rest of the squared norm.
                scale = math.sqrt(point.squared_norm / n)
                q *= scale
                rest[:] = scale * np.sqrt(chi_square[lanes])
                if point.model.is_sphere:
                    length = np.sqrt(np.sum(q**2, axis=0) + rest**2)
                    q /= length
                    rest /= length
            else:
                q[:] = np.reshape(point.overlap, (-1, 1))
                rest[:] = math.sqrt(max(point.squared_norm - float(np.sum(np.square(point.overlap))), 0.0))
            begin = lanes.stop

    def restart(self, overlap: FloatArray) -> None:
        """Set the state of a unit that lies in the span of features and further directions.

        `overlap` has the shape (lanes, feature + further); its squares add up to the squared norm.
        """
        features = len(self._group["q"])
        self._group["q"][:, : self.lanes] = overlap[:, :features].T
        self._group["rest"][:-1, : self.lanes] = overlap[:, features:].T
        self._group["rest"][-1, : self.lanes] = 0.0

    def advance(self, steps: int) -> None:
        advance: Any = _advance_batch if len(self._group["root"]) == 2 else _advance_views
        advance(steps, *self._codes, self._state, self._group)

    def order_parameters(self) -> FloatArray:
        weights = np.vstack([self._group["q"], self._group["rest"]])[:, : self.lanes].T
        return np.column_stack([weights[:, :-1], np.sum(weights**2, axis=1)])
