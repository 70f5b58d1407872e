"""`find_shared_state`: two units that have learned the same feature, and whether they part.

Equal units stay equal. At rest on one feature both have the overlap q and the Gram matrix has one entry r. Small
deviations from it fall into three kinds, which do not mix to first order because the units may be exchanged:

| kind | variables | grows if |
|---|---|---|
| joint | both overlaps and norms move together | one pair of equal units would leave the state |
| antisymmetric | half differences of the overlaps and of the norms | the units take different features |
| distance | R_11 + R_22 - 2 R_12, the square of (w_1 - w_2) / sqrt n | units part outside the features |

The distance is quadratic in w_1 - w_2, so half its rate is that of the weights. The penalty on C_12 drives the units
apart.

| symbol | name | unit or scale |
|---|---|---|
| q, r | ``overlap``, ``squared_norm`` | of w_i xi_i, of w_i^2 |
| | ``joint_rate``, ``antisymmetric_rate``, ``distance_rate`` | 1 / time |
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve

from clhd.core.checks import parse_count
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel
from clhd.systems.contrastive.theory.averages import FloatArray
from clhd.systems.contrastive.theory.units import UnitsFlow

_START_TIME = 40.0
# Step of finite differences.
_STEP = 3e-3
_RESIDUAL = 1e-9


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


def find_shared_state(model: ContrastiveModel, feature: int = 1, *, scrambling: int = 0) -> SharedState | None:
    """Find the state in which two units share a feature, and the growth rates of deviations from it.

    Parameters
    ----------
    model : ContrastiveModel
        With two units, the covariance loss, latents of mean zero and no sphere constraint.
    feature : int
        The shared feature, from 1.
    scrambling : int
        Number of the set of batches; others give the error of the averages.

    Returns
    -------
    SharedState or None
        None if two equal units do not learn the feature.

    Raises
    ------
    ClhdError
        If the model has another number of units, a sphere constraint, a latent with a mean, or no theory.
    """
    if model.units != 2:
        raise InputError(f"units = {model.units}: must be 2 for a state that units share")
    if model.is_sphere or not model.has_zero_mean_latents:
        raise InputError("a state that units share is known with constraint = 'none' and latents of mean 0 only")
    j = parse_count("feature", feature, minimum=1) - 1
    if j >= model.features:
        raise InputError(f"feature = {feature!r}: must be at most {model.features}")
    flow = UnitsFlow(model, scrambling=scrambling)

    def joint_velocity(state: FloatArray) -> FloatArray:
        """Velocity of (overlaps, norm) of two equal units."""
        overlap, gram = flow.unpack(flow.velocity(_place(flow, state, np.zeros(len(state)), 0.0)))
        return np.append(overlap[0], gram[0, 0])

    def on_axis(variables: FloatArray) -> FloatArray:
        return joint_velocity(_on_axis(model, j, variables))[[j, -1]]

    path = solve_ivp(lambda _, x: on_axis(x), (0.0, _START_TIME), [0.7, 1.0], rtol=1e-5, atol=1e-7)
    root, details, _, _ = fsolve(on_axis, path.y[:, -1], full_output=True, xtol=1e-12)
    if np.abs(details["fvec"]).max() > _RESIDUAL or abs(root[0]) < 1e-3:
        return None
    state = _on_axis(model, j, root)
    zero = np.zeros(len(state))

    def antisymmetric_velocity(deviation: FloatArray) -> FloatArray:
        """Velocity of the half differences of overlaps and norms."""
        overlap, gram = flow.unpack(flow.velocity(_place(flow, state, deviation, _least_distance(state, deviation))))
        return 0.5 * np.append(overlap[0] - overlap[1], gram[0, 0] - gram[1, 1])

    distance = _STEP**2
    _, change = flow.unpack(flow.velocity(_place(flow, state, zero, distance)))
    return SharedState(
        overlap=float(abs(root[0])),
        squared_norm=float(root[1]),
        joint_rate=_largest_rate(lambda x: joint_velocity(state + x), len(state)),
        antisymmetric_rate=_largest_rate(antisymmetric_velocity, len(state)),
        distance_rate=float(0.5 * (change[0, 0] + change[1, 1] - 2 * change[0, 1]) / distance),
    )


def _on_axis(model: ContrastiveModel, j: int, variables: FloatArray) -> FloatArray:
    """Return (overlaps, norm) with an overlap of feature j alone."""
    state = np.zeros(model.features + 1)
    state[j], state[-1] = variables
    return state


def _place(flow: UnitsFlow, state: FloatArray, deviation: FloatArray, distance: float) -> FloatArray:
    """Return the state of two units with mean (overlaps, norm) `state`, half differences, and squared distance."""
    overlap = np.stack([state[:-1] + deviation[:-1], state[:-1] - deviation[:-1]])
    gram = np.array([[state[-1] + deviation[-1], state[-1]], [state[-1], state[-1] - deviation[-1]]])
    gram[0, 1] = gram[1, 0] = state[-1] - 0.5 * distance
    return flow.pack(overlap, gram)


def _least_distance(state: FloatArray, deviation: FloatArray) -> float:
    """Return a squared distance, of second order in `deviation`, that two units with these differences can have."""
    # w_1 - w_2 has the overlaps 2 deviation, and the product `deviation` of norms with the mean of the units.
    outside = max(state[-1] - state[:-1] @ state[:-1], 1e-12)
    along = deviation[-1] - state[:-1] @ deviation[:-1]
    return float(4.0 * (deviation[:-1] @ deviation[:-1]) + 2.0 * along**2 / outside + 1e-2 * _STEP**2)


def _largest_rate(velocity: Callable[[FloatArray], FloatArray], size: int) -> float:
    """Return the largest real part of the eigenvalues of the Jacobian at 0, by central differences."""
    columns = [(velocity(step) - velocity(-step)) / (2 * _STEP) for step in _STEP * np.eye(size)]
    return float(np.linalg.eigvals(np.array(columns).T).real.max())
