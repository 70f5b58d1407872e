"""The exact projected chain of several units, with the covariance loss, in the frame of features and units.

The frame has p + d orthonormal directions: the features, and d others that span the rest of the units w_1..w_d. In
this frame the units are (Q, L), and w_i . w_k / n = R_ik with R = Q Q' + L L'. The noise of view v along the features
is f_v, and along the other directions it is t_v. One step (docs/theory.md, "The chain in a frame"):

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

from clhd.core.arrays import FloatArray
from clhd.core.streams import fill_normal_pairs, gamma_constants
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.model.losses import covariance
from clhd.systems.contrastive.model.state import factorise_rest
from clhd.systems.contrastive.simulation.frame_step import advance, draw_bartlett
from clhd.systems.contrastive.simulation.lockstep import LANES, Lockstep, choose_samplers
from clhd.systems.contrastive.simulation.point import Point

BitArray = NDArray[np.uint64]


def frame_type(features: int, units: int, views: int, samples: int, atoms: int) -> np.dtype[np.void]:
    """Return the record type of one group of lanes; see `projected.group_type`."""
    directions = features + units
    numbers = views * directions + units * (units + 1) // 2
    numbers += numbers % 2
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
        "weight": (),
        "scale": (features,),
        "values": (features, atoms),
        "cumulative": (features, atoms),
        # State.
        "q": (units, features),
        "rest": (units, units),
        # Work space; `chi_square` also holds sums that are used at once.
        "normal": (numbers,),
        "uniform": (),
        "fraction": (max(numbers // 6, 1),),
        "bits": (max(numbers // 6, 1),),
        "chi_square": (),
        "c": (samples, features),
        "z": (units, views),
        "h": (units, views),
        "d": (units, views),
        "delta": (units, views),
        "mean": (),
        "slope": (units, units),
        "form": (units, units),
        "bartlett": (units, units),
        "moved": (units, directions),
    }
    return np.dtype([(name, np.float64, (*shape, LANES)) for name, shape in shapes.items()])


class FrameGroup(Lockstep):
    """Up to `LANES` replicas of points of one `family`, by the chain in the frame of features and units."""

    def _choose_type(self, model: ContrastiveModel, atoms: int) -> np.dtype[np.void]:
        return frame_type(model.features, model.units, model.views, model.samples, atoms)

    def _list_codes(self, model: ContrastiveModel) -> tuple[Any, ...]:
        return (
            model.unit.code,
            model.unit.coefficient_array,
            bool(model.centred),
            covariance.DECORRELATIONS[model.decorrelation_function],
            model.is_sphere,
            choose_samplers(model, len(self._group["bits"])),
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
            "own": np.sqrt(variance * (1 - common**2))[:, None],
            "weight": model.decorrelation,
        }

    def _fill_chi_squares(self, lanes: slice, model: ContrastiveModel, n: int) -> None:
        for k in range(model.units):
            self._set_degrees(k, lanes, n - model.features - model.units - k)

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
        draw_bartlett(state, group)
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
            q[:] = overlap[..., None]
            rest[:] = factorise_rest(overlap, point.squared_norm)[..., None]

    def advance(self, steps: int) -> None:
        arguments: Any = (steps, *self._codes, self._state, self._group)
        advance(*arguments)

    def order_parameters(self) -> FloatArray:
        q, rest = self._group["q"][..., : self.lanes], self._group["rest"][..., : self.lanes]
        with np.errstate(over="ignore", invalid="ignore"):  # of runs that diverge
            gram = np.einsum("kji,mji->ikm", q, q) + np.einsum("kji,mji->ikm", rest, rest)
        return np.concatenate([np.moveaxis(q, -1, 0).reshape(self.lanes, -1), gram.reshape(self.lanes, -1)], axis=1)
