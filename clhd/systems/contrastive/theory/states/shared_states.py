"""Two units that have learned the same feature: whether they part, and the penalty from which on they do.

Equal units stay equal. At rest on feature j both have the overlap q, and all entries of the Gram matrix are r. Small
deviations fall into three kinds, which do not mix to first order, because the units may be exchanged and a direction
outside the features may be reflected:

| kind | variables | what grows |
|---|---|---|
| joint | both overlaps and norms move together | two equal units leave the state |
| antisymmetric | half differences of the overlaps and of the norms | the units take different features |
| distance | w_1 - w_2 outside the features and outside w_1 | the units part without a feature |

*Rates.* Let one unit deviate by delta and the other by sigma delta, with delta . xi_j / n = u and the change
x = 2 delta . w / n of its norm. Its pre-activations move by zeta = u c + noise. Let e_c and e_d be the mean and the
half difference, over the two views, of the noise e of the pre-activations. Given e, the noise of zeta has the means
alpha_c e_c and alpha_d e_d, and the noise along the feature has the means beta_c e_c and beta_d e_d,

    V_c = F_c r + s_o (r - q^2),    F_d = s_a (1 - rho) / 2,
    alpha_c = [F_c x / 2 + s_o (x / 2 - q u)] / V_c,    alpha_d = x / 2 r,    beta_c = F_c q / V_c,    beta_d = q / r;

F_c = s_b + s_a (1 + rho) / 2, s_o = 0 with the isotropic background; F_c = s_a (1 + rho) / 2, s_o = s_b with the
orthogonal one. What is left of both noises has the covariance F (u - alpha q) in either mode. With the forces of
`shared_averages.py`, and a_c, a_d = E sum dDelta zeta for zeta = a random sign of each sample, equal or opposite in its
views,

    du/dt = eta {E sum dDelta (c + beta e) + F_c (u - alpha_c q) a_c + F_d (u - alpha_d q) a_d - lam u},
    dx/dt = 2 eta {E sum (dDelta z + Delta zeta) - lam x} + 2 eta^2 E sum K Delta dDelta,
    rate of another feature k:     eta (m_k a_c + F_c a_c + F_d a_d - lam),
    rate of the distance:          eta (N_c a_c + F_d a_d - lam) + eta^2 E sum K dDelta dDelta / 2,

where N_c = s_b + s_a (1 + rho) / 2, and zeta in the last average is noise of variances N_c and F_d in its two modes.

| symbol | name | unit or scale |
|---|---|---|
| q, r | ``overlap``, ``squared_norm`` | of w_i xi_i, of w_i^2 |
| lam_c | ``decorrelation``; critical: `find_critical_penalty` | |
| | ``joint_rate``, ``antisymmetric_rate``, ``distance_rate`` | 1 / time |
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_count
from clhd.core.lazy import optimize
from clhd.errors import InputError
from clhd.systems.contrastive.model.activations import RELU
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.states.pure_states import find_pure_state
from clhd.systems.contrastive.theory.states.shared_averages import SharedAverages

# Newton's method: its steps, the velocity at which it ends, and the overlap below which nothing is shared.
_MOST_STEPS, _RESIDUAL, _LEAST_OVERLAP = 30, 1e-11, 1e-3
# The penalty is raised from 0 by steps of this size times 1 + the penalty, up to the largest.
_PENALTY_STEP, _LARGEST_PENALTY = 0.1, 1e3
_SHORTEST_STEP = 1e-3  # share of that step: where even this one fails, the state has ended


@dataclass(frozen=True)
class SharedState:
    """Two equal units at rest on one feature.

    Attributes
    ----------
    overlap, squared_norm : float
        q > 0 and r, of both units.
    joint_rate, antisymmetric_rate, distance_rate : float
        Largest growth rates of the three kinds of deviations, per unit of time; that of the distance is of w_1 - w_2.
    """

    overlap: float
    squared_norm: float
    joint_rate: float
    antisymmetric_rate: float
    distance_rate: float

    @property
    def splitting_rate(self) -> float:
        """Rate at which the units part: the larger of the antisymmetric rate and that of the distance."""
        return max(self.antisymmetric_rate, self.distance_rate)


@dataclass(frozen=True)
class CriticalPenalty:
    """The penalty from which on two units part that share a feature.

    Attributes
    ----------
    penalty : float
        lam_c; 0 if they part without a penalty, infinity if no penalty up to 1000 parts them.
    overlap, squared_norm : float
        q and r of both units there; NaN at infinity.
    """

    penalty: float
    overlap: float
    squared_norm: float


def find_shared_state(model: ContrastiveModel, feature: int = 1) -> SharedState | None:
    """Find the state in which two units share a feature, and the growth rates of deviations from it.

    Parameters
    ----------
    model : ContrastiveModel
        With two units, the covariance loss, a smooth activation, latents of mean zero, no L1 penalty and no sphere.
    feature : int
        The shared feature, from 1.

    Returns
    -------
    SharedState or None
        The state to which that of one unit alone leads as the penalty is raised from 0 to that of the model; None if
        one unit does not learn the feature, or the state ends before.

    Raises
    ------
    ClhdError
        If the model is not as above.
    """
    branch = _Branch(model, feature)
    if not branch.follow(model.decorrelation):
        return None
    deviations = branch.at(model.decorrelation)
    return SharedState(
        overlap=branch.overlap,
        squared_norm=branch.squared_norm,
        joint_rate=deviations.largest_rate(1.0),
        antisymmetric_rate=deviations.largest_rate(-1.0),
        distance_rate=deviations.distance_rate(),
    )


def find_critical_penalty(model: ContrastiveModel, feature: int = 1) -> CriticalPenalty | None:
    """Find the smallest penalty at which the state in which two units share a feature loses its stability.

    Parameters
    ----------
    model : ContrastiveModel
        As of `find_shared_state`; its ``decorrelation`` does not matter.
    feature : int
        The shared feature, from 1.

    Returns
    -------
    CriticalPenalty or None
        None if one unit does not learn the feature, or the state ends before it loses its stability.

    Raises
    ------
    ClhdError
        As of `find_shared_state`.
    """
    branch = _Branch(model, feature)
    if branch.start is None:
        return None

    def splitting_rate(penalty: float) -> float:
        return branch.at(penalty).splitting_rate() if branch.follow(penalty) else math.nan

    lower, upper = 0.0, 0.0
    rate = splitting_rate(upper)
    while rate < 0 and upper < _LARGEST_PENALTY:
        lower, upper = upper, upper + _PENALTY_STEP * (1 + upper)
        rate = splitting_rate(upper)
    if math.isnan(rate):  # the state ends on the way, perhaps after it has lost its stability
        upper = branch.penalty
        rate = splitting_rate(upper)
        if not rate >= 0:
            return None
    if rate < 0:
        return CriticalPenalty(math.inf, math.nan, math.nan)
    critical = lower if upper == lower else float(optimize.brentq(splitting_rate, lower, upper, xtol=1e-9))
    branch.follow(critical)
    return CriticalPenalty(critical, branch.overlap, branch.squared_norm)


class _Branch:
    """The shared states that continue the pure state of one unit as the penalty grows.

    `penalty` is the one that was reached last.
    """

    def __init__(self, model: ContrastiveModel, feature: int) -> None:
        check_shared(model)
        j = parse_count("feature", feature, minimum=1) - 1
        if j >= model.features:
            raise InputError(f"feature = {feature!r}: must be at most {model.features}")
        self._alone = replace(model, units=1, decorrelation=0.0, latents=(model.latents[j],))
        self._rivals = [law.moment(2) for k, law in enumerate(model.latents) if k != j]
        pure = find_pure_state(self._alone, 1)
        self.start = None if pure is None else (pure.overlap, pure.squared_norm)
        self.penalty, (self.overlap, self.squared_norm) = 0.0, self.start or (0.0, 0.0)
        self.deviations: _Deviations | None = None

    def at(self, penalty: float) -> "_Deviations":
        """Return the deviations at a penalty that the branch reaches."""
        self.follow(penalty)
        assert self.deviations is not None
        return self.deviations

    def follow(self, penalty: float) -> bool:
        """Move along the branch to `penalty`; return False if it ends before, or does not begin."""
        if self.start is None:
            return False
        while (step := penalty - self.penalty) != 0 or self.deviations is None:
            largest = _PENALTY_STEP * (1 + self.penalty)
            # Where the state bends, Newton's method needs a shorter step than where it does not.
            size = min(abs(step), largest)
            while not self._solve(penalty if size == abs(step) else self.penalty + math.copysign(size, step)):
                size *= 0.5
                if size < _SHORTEST_STEP * largest:
                    return False
        return True

    def _solve(self, penalty: float) -> bool:
        """Find the state of rest for a penalty near the present one, by Newton's method with the first Jacobian."""
        slope: FloatArray | None = None
        x = np.array([self.overlap, self.squared_norm])
        for _ in range(_MOST_STEPS):
            if not (x[0] > _LEAST_OVERLAP and x[1] > x[0] ** 2):
                return False
            deviations = _Deviations(self._alone, self._rivals, penalty, *x)
            velocity = deviations.velocity()
            slope = deviations.jacobian(1.0) if slope is None else slope
            if np.abs(velocity).max() < _RESIDUAL:
                self.penalty, (self.overlap, self.squared_norm) = penalty, map(float, x)
                self.deviations = deviations
                return True
            x = x - np.linalg.solve(slope, velocity)
        return False


class _Deviations:
    """Velocities of two equal units at one state, and of small deviations from it."""

    def __init__(self, model: ContrastiveModel, rivals: list[float], penalty: float, q: float, r: float) -> None:
        self._model, self._rivals, self._q, self._r = model, rivals, q, r
        s_b, s_a, rho = model.base_noise_variance, model.augmentation_noise_variance, model.noise_correlation
        self._common, self._difference = 0.5 * s_a * (1 + rho), 0.5 * s_a * (1 - rho)
        self._outside, self._all_common = s_b, s_b + self._common
        if model.background == "isotropic":
            self._common, self._outside = self._all_common, 0.0
        self._averages = SharedAverages(model, penalty, q, r)
        # E sum dDelta zeta for a random sign of each sample in either mode, by sigma.
        self._own: dict[float, tuple[float, float]] = {}

    def velocity(self) -> FloatArray:
        """Return the velocity of (q, r)."""
        averages, eta, lam = self._averages, self._model.learning_rate, self._model.weight_decay
        along = averages.step(averages.force, averages.latent + self._noise_along_feature())
        square = averages.square(averages.force, averages.force)
        norm = averages.step(averages.force, averages.z)
        return np.array([eta * (along - lam * self._q), 2 * eta * (norm - lam * self._r) + eta**2 * square])

    def jacobian(self, sigma: float) -> FloatArray:
        """Return the matrix that takes a deviation (u, x) to its velocity."""
        return np.array([self._change(1.0, 0.0, sigma), self._change(0.0, 1.0, sigma)]).T

    def largest_rate(self, sigma: float) -> float:
        """Return the largest real part of all growth rates with this sigma."""
        own = float(np.linalg.eigvals(self.jacobian(sigma)).real.max())
        equal, opposite = self._signs(sigma)
        drift = self._common * equal + self._difference * opposite - self._model.weight_decay
        return max([own, *(self._model.learning_rate * (m * equal + drift) for m in self._rivals)])

    def splitting_rate(self) -> float:
        """Return the rate at which the units part."""
        return max(self.largest_rate(-1.0), self.distance_rate())

    def distance_rate(self) -> float:
        """Return the growth rate of w_1 - w_2 in a direction outside the features and outside both units."""
        averages, eta = self._averages, self._model.learning_rate
        equal, opposite = self._signs(-1.0)
        square = 0.0
        for variance, signs in ((self._all_common, (1.0, 1.0)), (self._difference, (1.0, -1.0))):
            if variance > 0:
                moved = averages.deviate(np.outer(signs, averages.sign), -1.0)
                square += variance * averages.square(moved, moved)
        drift = self._all_common * equal + self._difference * opposite - self._model.weight_decay
        return eta * drift + 0.5 * eta**2 * square

    def _change(self, u: float, x: float, sigma: float) -> tuple[float, float]:
        """Return the velocity of a deviation (u, x)."""
        averages, eta, lam = self._averages, self._model.learning_rate, self._model.weight_decay
        q, r, variance = self._q, self._r, self._variance_of_mean()
        inner = self._common * 0.5 * x + self._outside * (0.5 * x - q * u)
        alpha_c, alpha_d = inner / variance if variance > 0 else 0.0, 0.5 * x / r
        move = u * averages.latent + self._combine(alpha_c, alpha_d)
        force = averages.deviate(move, sigma)
        equal, opposite = self._signs(sigma)
        along = averages.step(force, averages.latent + self._noise_along_feature())
        along += self._common * (u - alpha_c * q) * equal + self._difference * (u - alpha_d * q) * opposite
        norm = averages.step(force, averages.z) + averages.step(averages.force, move)
        square = averages.square(averages.force, force)
        return eta * (along - lam * u), 2 * eta * (norm - lam * x) + 2 * eta**2 * square

    def _signs(self, sigma: float) -> tuple[float, float]:
        """Return a_c and a_d."""
        if sigma not in self._own:
            averages = self._averages
            moves = [np.outer(signs, averages.sign) for signs in ((1.0, 1.0), (1.0, -1.0))]
            equal, opposite = (averages.step(averages.deviate(move, sigma), move) for move in moves)
            self._own[sigma] = equal, opposite
        return self._own[sigma]

    def _noise_along_feature(self) -> FloatArray:
        """Return the mean given e of the noise along the feature."""
        variance = self._variance_of_mean()
        return self._combine(self._common * self._q / variance if variance > 0 else 0.0, self._q / self._r)

    def _variance_of_mean(self) -> float:
        """Return V_c."""
        return self._common * self._r + self._outside * max(self._r - self._q**2, 0.0)

    def _combine(self, of_mean: float, of_difference: float) -> FloatArray:
        """Return factors times the mean and the half difference of the noise e, shape (2, node)."""
        noise = self._averages.noise
        mean, half = 0.5 * of_mean * (noise[0] + noise[1]), 0.5 * of_difference * (noise[0] - noise[1])
        return np.stack([mean + half, mean - half])


def check_shared(model: ContrastiveModel) -> None:
    """Raise ClhdError if there is no theory of shared states for the model."""
    if model.units != 2:
        raise InputError(f"units = {model.units}: must be 2 for a state that units share")
    if model.is_sphere or not model.has_zero_mean_latents:
        raise InputError("a state that units share is known with constraint = 'none' and latents of mean 0 only")
    if model.unit.code == RELU:
        raise InputError("activation = 'relu': must be a smooth one for a state that units share")
    if model.l1_penalty > 0:
        raise InputError(f"l1_penalty = {model.l1_penalty!r}: must be 0 for a state that units share")
