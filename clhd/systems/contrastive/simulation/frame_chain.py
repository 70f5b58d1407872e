"""The exact projected chain in the frame of features and units, for what `projected.py` does not simulate.

It simulates the covariance loss with one unit or several, and the orthogonal background with every loss. The frame has
p + d orthonormal directions: the features, and d others that span the rest of the units w_1..w_d. In this frame the
units are (Q, L), and w_i . w_k / n = R_ik with R = Q Q' + L L'. The noise of view v along the features is f_v, and
along the other directions it is t_v. One step (docs/theory.md, "The chain in a frame"):

    z_iv = Q_i . (c_v + f_v) + L_i . t_v,      Delta = -dF/dz,
    D_ik = sum_uv K_uv Delta_iu Delta_kv,      C C' = D,
    Q  <- (1 - eta lam / n) Q + (eta / n) sum_v Delta_v (c_v + f_v)',
    Y   = (1 - eta lam / n) L + (eta / n) sum_v Delta_v t_v',
    L L' <- Y Y' + (eta / n)^2 C W C',         W ~ Wishart_d, n - p - d degrees of freedom,

then, on the sphere, each row of (Q, L) is divided by its length. With the orthogonal background the base noise is
absent from f, and present in t and K. W = A A' with Bartlett's lower triangle A: A_ii^2 is a chi-square number with
n - p - d - i + 1 degrees of freedom (i from 1), A_ij a normal number; with less than d degrees the last columns are 0.

| symbol | name | shape |
|---|---|---|
| Q, L | q, rest | (unit, feature, lanes), (unit, unit, lanes) |
| c | latent | (sample, feature, lanes) |
| c + f, t | first rows of normal | (view * (feature + unit), lanes): view by view |
| A | last rows of normal, then bartlett | row by row, the diagonal first; then (unit, unit, lanes) |
| z, Delta | pre-activation, force | (unit, view, lanes) |
| D, then C | form | (unit, unit, lanes) |
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.kernels import kernel
from clhd.core.streams import fill_chi_squares, fill_normal_pairs, gamma_constants
from clhd.systems.contrastive.model.activations import activate
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.latents import SAMPLERS
from clhd.systems.contrastive.model.losses import LOSSES, covariance, forces
from clhd.systems.contrastive.model.state import factorise_rest
from clhd.systems.contrastive.simulation.lockstep import LANES, Lockstep, sample_latents
from clhd.systems.contrastive.simulation.point import Point

FloatArray = NDArray[np.float64]
BitArray = NDArray[np.uint64]

# Code of the covariance loss in the kernel; the other losses have theirs.
_COVARIANCE = -1


def needs_frame(model: ContrastiveModel) -> bool:
    """Return True if the model is simulated by the chain of this module."""
    return model.loss == "covariance" or model.background != "isotropic"


def frame_type(features: int, units: int, views: int, samples: int, atoms: int) -> np.dtype[np.void]:
    """Return the record type of one group of lanes; see `projected.group_type`."""
    directions = features + units
    numbers = views * directions + units * (units + 1) // 2
    shapes: dict[str, tuple[int, ...]] = {
        # Constants of the point. Each pair of numbers is that of the features and that of the other directions.
        "rate": (),
        "decay": (),
        "variance": (),
        "covariance": (),
        "sigma": (2,),
        "common": (2,),
        "own": (2,),
        "gamma_d": (units,),
        "gamma_c": (units,),
        "is_there": (units,),
        "temperature": (),
        "weight": (),
        "scale": (features,),
        "values": (features, atoms),
        "cumulative": (features, atoms),
        # State.
        "q": (units, features),
        "rest": (units, units),
        # Work space; `chi_square` also holds sums that are used at once.
        "normal": (numbers + numbers % 2,),
        "uniform": (),
        "chi_square": (),
        "c": (samples, features),
        "z": (units, views),
        "h": (units, views),
        "d": (units, views),
        "delta": (units, views),
        "mean": (units, 2),
        "slope": (units, units),
        "form": (units, units),
        "bartlett": (units, units),
        "moved": (units, directions),
    }
    return np.dtype([(name, np.float64, (*shape, LANES)) for name, shape in shapes.items()])


@kernel
def _is_second(loss: int, v: int) -> bool:
    """Return True if view v is the second one of its pair; its first one is view v - 1."""
    return v % 2 == 1 if loss == _COVARIANCE else v == 1


@kernel
def _set_zero(row: FloatArray) -> None:
    for i in range(LANES):
        row[i] = 0.0


@kernel
def _add_product(row: FloatArray, one: FloatArray, other: FloatArray) -> None:
    for i in range(LANES):
        row[i] += one[i] * other[i]


@kernel
def _factorise(matrix: FloatArray) -> None:
    """Replace symmetric matrices, shape (unit, unit, lanes), by their lower Cholesky factors.

    They may be singular: a pivot of 0, or below 0 by rounding, leaves a column of zeros. NaN stays NaN.
    """
    for k in range(len(matrix)):
        pivot = matrix[k, k]
        for m in range(k):
            before = matrix[k, m]
            for i in range(LANES):
                pivot[i] -= before[i] * before[i]
        for i in range(LANES):
            pivot[i] = math.sqrt(0.0 if pivot[i] <= 0.0 else pivot[i])
        for other in range(k + 1, len(matrix)):
            row = matrix[other, k]
            for m in range(k):
                one, before = matrix[other, m], matrix[k, m]
                for i in range(LANES):
                    row[i] -= one[i] * before[i]
            for i in range(LANES):
                quotient = row[i] / pivot[i]
                row[i] = quotient if pivot[i] != 0.0 else 0.0
            _set_zero(matrix[k, other])


@kernel
def _draw_bartlett(state: BitArray, group: Any) -> None:
    """Draw all normal numbers of a step, and write Bartlett's lower triangle A of each lane."""
    bartlett, normal, chi_square = group.bartlett, group.normal, group.chi_square
    for row in range(0, len(normal), 2):
        fill_normal_pairs(state, normal[row], normal[row + 1])
    row = group.z.shape[1] * group.moved.shape[1]
    for k in range(len(bartlett)):
        fill_chi_squares(state, normal[row], group.gamma_d[k], group.gamma_c[k], group.uniform, chi_square)
        diagonal, is_there = bartlett[k, k], group.is_there[k]
        for i in range(LANES):
            diagonal[i] = is_there[i] * math.sqrt(chi_square[i])
        row += 1
        for m in range(k):
            _set_zero(bartlett[k, m])
            _add_product(bartlett[k, m], group.is_there[m], normal[row])
            _set_zero(bartlett[m, k])
            row += 1


@kernel
def _draw_views(state: BitArray, loss: int, samplers: NDArray[np.int64], group: Any) -> None:
    """Turn the first rows of ``group.normal`` into c + f and t of all views."""
    y, directions = group.normal, group.moved.shape[1]
    for m in range(len(group.c)):
        sample_latents(state, samplers, group, m)
    for v in range(group.z.shape[1] - 1, -1, -1):  # backwards: second views are mixed from first ones, still normal
        for j in range(directions):
            row, part = y[v * directions + j], 0 if j < len(samplers) else 1
            sigma, common, own = group.sigma[part], group.common[part], group.own[part]
            if _is_second(loss, v):
                first = y[(v - 1) * directions + j]
                for i in range(LANES):
                    row[i] = sigma[i] * (common[i] * first[i] + own[i] * row[i])
            else:
                for i in range(LANES):
                    row[i] *= sigma[i]
            if j < len(samplers):
                latent = group.c[v // 2 if loss == _COVARIANCE else max(v - 1, 0), j]
                for i in range(LANES):
                    row[i] += latent[i]


@kernel
def _project(group: Any) -> None:
    """Write z_iv = Q_i . (c_v + f_v) + L_i . t_v."""
    q, rest, y, z = group.q, group.rest, group.normal, group.z
    features = q.shape[1]
    directions = features + len(q)
    for k in range(len(q)):
        for v in range(z.shape[1]):
            for i in range(LANES):
                total = 0.0
                for j in range(features):
                    total += q[k, j, i] * y[v * directions + j, i]
                for m in range(len(q)):
                    total += rest[k, m, i] * y[v * directions + features + m, i]
                z[k, v, i] = total


@kernel
def _collect(loss: int, group: Any) -> None:
    """Write sum_v Delta_v (c_v + f_v, t_v)' to `moved`, and D to `form`."""
    moved, form, delta, y, crossed = group.moved, group.form, group.delta, group.normal, group.chi_square
    views, directions = delta.shape[1], moved.shape[1]
    for k in range(len(moved)):
        for j in range(directions):
            for i in range(LANES):
                total = 0.0
                for v in range(views):
                    total += delta[k, v, i] * y[v * directions + j, i]
                moved[k, j, i] = total
        for m in range(k + 1):
            row = form[k, m]
            _set_zero(row)
            _set_zero(crossed)
            for v in range(views):
                _add_product(row, delta[k, v], delta[m, v])
                if _is_second(loss, v):
                    _add_product(crossed, delta[k, v], delta[m, v - 1])
                    _add_product(crossed, delta[k, v - 1], delta[m, v])
            for i in range(LANES):
                row[i] = group.variance[i] * row[i] + group.covariance[i] * crossed[i]


@kernel
def _move(group: Any) -> None:
    """Make the step of (Q, L) from `moved`, `form` and `bartlett`."""
    q, rest, moved, form, bartlett = group.q, group.rest, group.moved, group.form, group.bartlett
    decay, rate, entry = group.decay, group.rate, group.chi_square
    units, features = q.shape[0], q.shape[1]
    _factorise(form)
    for k in range(units):
        for j in range(features):
            for i in range(LANES):
                q[k, j, i] = decay[i] * q[k, j, i] + rate[i] * moved[k, j, i]
        for m in range(units):
            row = moved[k, features + m]
            for i in range(LANES):
                row[i] = decay[i] * rest[k, m, i] + rate[i] * row[i]
        # Row k of (eta / n) C A. Entry m needs the entries m and later of this row of C.
        for m in range(k + 1):
            _set_zero(entry)
            for other in range(m, k + 1):
                _add_product(entry, form[k, other], bartlett[other, m])
            for i in range(LANES):
                form[k, m, i] = rate[i] * entry[i]
    for k in range(units):
        for m in range(k + 1):
            row = rest[k, m]
            _set_zero(row)
            for other in range(units):
                _add_product(row, moved[k, features + other], moved[m, features + other])
                _add_product(row, form[k, other], form[m, other])
    _factorise(rest)


@kernel
def _return_to_sphere(group: Any) -> None:
    """Divide each row of (Q, L) by its length."""
    q, rest, square = group.q, group.rest, group.chi_square
    for k in range(len(q)):
        _set_zero(square)
        for j in range(q.shape[1]):
            _add_product(square, q[k, j], q[k, j])
        for m in range(len(q)):
            _add_product(square, rest[k, m], rest[k, m])
        for i in range(LANES):
            square[i] = 1.0 / math.sqrt(square[i])
        for j in range(q.shape[1]):
            for i in range(LANES):
                q[k, j, i] *= square[i]
        for m in range(len(q)):
            for i in range(LANES):
                rest[k, m, i] *= square[i]


@kernel
def _advance(
    steps: int,
    activation: int,
    coefficients: FloatArray,
    loss: int,
    centred: bool,
    penalty: int,
    sphere: bool,
    samplers: NDArray[np.int64],
    state: BitArray,
    group: Any,
) -> None:
    """Advance all lanes of a group by `steps` steps, in place."""
    z, h, d, delta = group.z, group.h, group.d, group.delta
    for _ in range(steps):
        _draw_bartlett(state, group)
        _draw_views(state, loss, samplers, group)
        _project(group)
        for k in range(len(z)):
            for v in range(z.shape[1]):
                activate(activation, coefficients, z[k, v], h[k, v], d[k, v])
        if loss == _COVARIANCE:
            covariance.forces(centred, penalty, group.weight, h, d, group.mean, group.slope, delta)
        else:
            forces(loss, group.temperature, h[0], d[0], delta[0])
        _collect(loss, group)
        _move(group)
        if sphere:
            _return_to_sphere(group)


class FrameGroup(Lockstep):
    """Up to `LANES` replicas of points of one `family`, by the chain in the frame of features and units."""

    def _choose_type(self, model: ContrastiveModel, atoms: int) -> np.dtype[np.void]:
        return frame_type(model.features + self._further, model.units, model.views, model.samples, atoms)

    def _list_codes(self, model: ContrastiveModel) -> tuple[Any, ...]:
        return (
            model.unit.code,
            model.unit.coefficient_array,
            LOSSES[model.loss].code if model.loss in LOSSES else _COVARIANCE,
            bool(model.centred),
            covariance.DECORRELATIONS[model.decorrelation_function],
            model.is_sphere,
            np.array([SAMPLERS[law.sampler] for law in model.latents]),
        )

    def _list_constants(self, model: ContrastiveModel, n: int) -> dict[str, float | FloatArray]:
        kept = 1.0 if model.background == "isotropic" else 0.0
        # Along the features the base noise may be absent.
        variance = np.array([kept, 1.0]) * model.base_noise_variance + model.augmentation_noise_variance
        covariances = np.array([kept, 1.0]) * model.base_noise_variance
        covariances += model.noise_correlation * model.augmentation_noise_variance
        with np.errstate(invalid="ignore", divide="ignore"):
            common = np.where(variance > 0, np.clip(covariances / variance, -1.0, 1.0), 0.0)
        return {
            "rate": model.learning_rate / n,
            "decay": 1 - model.learning_rate * model.weight_decay / n,
            "variance": model.noise_variance,
            "covariance": model.noise_covariance,
            "sigma": np.sqrt(variance)[:, None],
            "common": common[:, None],
            "own": np.sqrt(1 - common**2)[:, None],
            "temperature": model.softmax_temperature,
            "weight": model.decorrelation,
        }

    def _fill_chi_squares(self, lanes: slice, model: ContrastiveModel, n: int) -> None:
        for k in range(model.units):
            self._set_degrees(k, lanes, n - model.features - self._further - model.units - k)

    def _set_degrees(self, k: int, lanes: slice, degrees: int) -> None:
        """Set the degrees of freedom of row k of Bartlett's triangle; below 1 its column is 0."""
        group = self._group
        group["is_there"][k, lanes] = 1.0 if degrees >= 1 else 0.0
        full = np.full(lanes.stop - lanes.start, float(max(degrees, 1)))
        gamma_constants(full, group["gamma_d"][k, lanes], group["gamma_c"][k, lanes])

    def _start(self, pieces: Sequence[tuple[Point, Sequence[int]]]) -> None:
        group, state = self._group, self._state
        units, features = len(group["q"]), len(group["q"][0])
        n = pieces[0][0].dimension
        spare = np.empty(LANES)
        for k in range(units):
            for j in range(features):
                fill_normal_pairs(state, group["q"][k, j], spare)
        # R - Q Q' of random weights is a Wishart matrix with n - p degrees of freedom: L is its Bartlett triangle.
        for k in range(units):
            self._set_degrees(k, slice(0, LANES), n - features - k)
        _draw_bartlett(state, group)
        group["rest"][:] = group["bartlett"]
        begin = 0
        for point, replicas in pieces:
            lanes = slice(begin, begin + len(replicas))
            self._fill_chi_squares(lanes, point.model, n)
            self._start_lanes(group["q"][..., lanes], group["rest"][..., lanes], point)
            begin = lanes.stop

    def _start_lanes(self, q: FloatArray, rest: FloatArray, point: Point) -> None:
        """Scale the random start of the lanes of one point, or replace it by the fixed one."""
        if point.overlap is None:
            scale = math.sqrt(point.squared_norm / point.dimension)
            q *= scale
            rest *= scale
            if point.model.is_sphere:
                length = np.sqrt(np.sum(q**2, axis=1) + np.sum(rest**2, axis=1))[:, None]
                q /= length
                rest /= length
        else:
            overlap = np.array(point.overlap).reshape(len(q), -1)
            q[:, : point.model.features] = overlap[..., None]
            q[:, point.model.features :] = 0.0
            rest[:] = factorise_rest(overlap, point.squared_norm)[..., None]

    def restart(self, overlap: FloatArray) -> None:
        self._group["q"][0, :, : self.lanes] = overlap.T
        self._group["rest"][0, 0, : self.lanes] = 0.0

    def advance(self, steps: int) -> None:
        arguments: Any = (steps, *self._codes, self._state, self._group)
        _advance(*arguments)

    def order_parameters(self) -> FloatArray:
        q, rest = self._group["q"][..., : self.lanes], self._group["rest"][..., : self.lanes]
        gram = np.einsum("kji,mji->ikm", q, q) + np.einsum("kji,mji->ikm", rest, rest)
        return np.concatenate([np.moveaxis(q, -1, 0).reshape(self.lanes, -1), gram.reshape(self.lanes, -1)], axis=1)
