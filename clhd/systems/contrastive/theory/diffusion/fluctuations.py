"""`predict_fluctuations` gives the Gaussian fluctuations of the order parameters around the ODE, at large dimension.

In the limit sqrt(n) (X_n(t) - x(t)), X = (q, r), is Gaussian with mean 0 and a covariance C(t) that follows the
linearised ODE, driven by the noise of the steps (linear noise approximation):

    dx/dt = v(x),    dC/dt = J(x) C + C J(x)' + B(x),

with the Jacobian J of the velocity v and the diffusion matrix B (`diffusion_matrix.py`). For S = q / sqrt r the delta
method gives C_S = T C T' with T = [I / sqrt r, -q / (2 r^(3/2))].

J and B vary slowly along the solution and take milliseconds, so they are computed at some times and interpolated.

The standard deviation of S_j at dimension n is sqrt(C_S[j, j] / n), with corrections of relative size 1/n. The
prediction fails if the ODE rests near q = 0 or r = 0, where the fluctuations decide where X_n goes.

| symbol | name | shape | unit or scale |
|---|---|---|---|
| x | ``overlap``, ``squared_norm`` | (time, feature), (time,) | of w_i xi_i, of w_i^2 |
| C | ``covariance`` | (time, p + 1, p + 1) | n times the covariance of (q, r) |
| C_S | ``cosine_similarity_covariance`` | (time, feature, feature) | n times the covariance of S |
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.chebyshev import interpolate
from clhd.core.checks import parse_times
from clhd.core.lazy import integrate, xr
from clhd.systems.contrastive.model.contrastive import ContrastiveModel, check_model
from clhd.systems.contrastive.model.labels import labelled
from clhd.systems.contrastive.model.state import cosine_similarity, parse_initial, parse_start
from clhd.systems.contrastive.theory.diffusion.diffusion_matrix import check_diffusion, diffusion_matrix
from clhd.systems.contrastive.theory.diffusion.diffusion_nodes import count_products
from clhd.systems.contrastive.theory.diffusion.pair_fluctuations import predict_pair_fluctuations
from clhd.systems.contrastive.theory.flow.drift import Flow
from clhd.systems.contrastive.theory.flow.ode import follow_direct, integrate_direct, write_collapsed
from clhd.systems.declarations import NotConvergedError

_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 1e-8, 1e-10
_RTOL_OF_ODE, _ATOL_OF_ODE = 1e-9, 1e-11  # as of `integrate_ode`
# Of J and B between the times at which they are computed, relative to their largest element.
# The trajectory on which they are taken is smoother than that.
_ACCURACY, _PATH_TOLERANCE = 1e-8, 1e-11
# Products of `diffusion_matrix` (2e5 at r = 1, about 5e-9 s each) of one state and of all. The rest of an evaluation
# takes as long as some products.
_MOST_PRODUCTS_OF_STATE, _MOST_PRODUCTS, _PRODUCTS_OF_OTHER_WORK = 5e8, 2e10, 1e6


def predict_fluctuations(
    model: ContrastiveModel,
    overlap: Sequence[float] | FloatArray | None = None,
    squared_norm: float = 1.0,
    time: Sequence[float] | FloatArray = (0.0,),
    *,
    initial: str = "fixed",
) -> xr.Dataset:
    """Predict the covariance of the order parameters around the ODE.

    Parameters
    ----------
    model : ContrastiveModel
        Without an L1 penalty.
    overlap : sequence of float, shape (feature,), of two units (unit, feature)
        Initial overlap, with ``initial="fixed"``; |overlap|^2 <= squared_norm.
    squared_norm : float, of two units also their Gram matrix
        Initial squared norm; with ``initial="random"`` the variance of the weights. 1 on the sphere.
    time : sequence of float
        Output times in steps per dimension, strictly increasing, 0 or later; the initial state is at time 0.
    initial : str
        "fixed": every replica starts at the same order parameters, so C(0) = 0. "random": w ~ N(0, squared_norm I),
        so the overlap is 0 in the limit and C(0) = diag(r, ..., r, 2 r^2), or diag(1, ..., 1, 0) on the sphere.

    Returns
    -------
    xarray.Dataset

    | variable | dims | meaning |
    |---|---|---|
    | overlap | time, feature | q of the ODE |
    | squared_norm | time | r of the ODE |
    | cosine_similarity | time, feature | overlap / sqrt(squared_norm), NaN at 0 |
    | gradient_variance | time | D; not of two units |
    | covariance | time, order_parameter, order_parameter_2 | of sqrt(n) (X_n - x); X = overlap_1, ..., squared_norm |
    | cosine_similarity_covariance | time, feature, feature_2 | of sqrt(n) (S_n - S), NaN where squared_norm is 0 |

    All are NaN from the time on at which the ODE has diverged.

    Of two units, overlap and cosine_similarity have the dim ``unit`` before ``feature``, squared_norm is the Gram
    matrix (unit, unit_2), the order parameters are overlap_1_1, ..., squared_norm_1_1, squared_norm_1_2,
    squared_norm_2_2, and averaging_error(time) is the largest standard error of the covariance by the sets of batches.

    Raises
    ------
    ClhdError
        If a value is not allowed, the model has an L1 penalty, or its loss is not a polynomial (infonce). Also if it
        has three or more units, or two with relu or more than 128 latent atoms together.
    NotConvergedError
        If the ODE or the covariance is given up, because its steps become too short or take too much work; of two units
        also if the ODE diverges.
    """
    check_model(model)
    parse_initial(initial, overlap)
    if model.units > 1:
        return predict_pair_fluctuations(model, overlap, squared_norm, time)
    check_diffusion(model)
    times = parse_times(time)
    state = parse_start(model, np.zeros(model.features) if overlap is None else overlap, squared_norm)
    covariance = np.zeros((len(state), len(state)))
    if initial == "random":
        np.fill_diagonal(covariance, np.append(np.full(model.features, state[-1]), 2 * state[-1] ** 2))
        covariance[-1, -1] *= not model.is_sphere
    return _as_dataset(model, times, *_integrate(model, state, covariance, times))


def _integrate(
    model: ContrastiveModel, state: FloatArray, covariance: FloatArray, times: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return (q, r, D), shape (time, p + 2), and covariances (time, p + 1, p + 1); NaN after a divergence."""
    flow, products_left = Flow(model), _MOST_PRODUCTS
    size = len(state)
    upper = np.triu_indices(size)

    def unpack(packed: FloatArray) -> FloatArray:
        matrix = np.zeros((size, size))
        matrix[upper] = packed
        matrix.T[upper] = packed
        return matrix

    def give_up(time: float, squared_norm: float) -> NotConvergedError:
        reached = f"was given up at time {time:.3g} of {times_left[-1]:g}"
        return NotConvergedError(
            f"the covariance of the fluctuations {reached}, with squared norm {squared_norm:.3g}: too much work"
        )

    def linearise(moments: FloatArray) -> FloatArray:
        """Return J and B at some times on the trajectory, shape (time, 2 (p + 1)^2)."""
        nonlocal products_left
        found = np.zeros((len(moments), 2, size, size))
        for k, x in enumerate(follow(moments)):
            x[-1] = max(x[-1], 0.0)  # a norm that has collapsed may be a little below
            products = count_products(model, x[-1])
            products_left -= max(products, _PRODUCTS_OF_OTHER_WORK)
            if not products < _MOST_PRODUCTS_OF_STATE or products_left < 0:
                raise give_up(moments[k], x[-1])
            partial = flow.jacobian(x)
            found[k, 0, : len(partial), : len(partial)] = partial
            found[k, 1] = diffusion_matrix(model, x[:-1], x[-1])
        return found.reshape(len(moments), -1)

    def velocity(time: float, variables: FloatArray) -> FloatArray:
        jacobian, diffusion = parts(time).reshape(2, size, size)
        drift = jacobian @ unpack(variables)
        return np.asarray((drift + drift.T + diffusion)[upper])

    # If the ODE diverges, the covariance is integrated only to the last output time before.
    path = integrate_direct(flow, state, times, rtol=_RTOL_OF_ODE, atol=_ATOL_OF_ODE)
    write_collapsed(path[None], state[None], _ATOL_OF_ODE)
    times_left = times[np.isfinite(path[:, -2])]
    covariances = np.full((len(times), size, size), np.nan)
    count = len(times_left)
    if count == 0:
        return path, covariances
    if times_left[-1] == 0:
        covariances[0] = covariance
        return path, covariances
    follow = follow_direct(flow, state, times_left[-1], rtol=_PATH_TOLERANCE, atol=_PATH_TOLERANCE)
    parts = interpolate(linearise, 0.0, float(times_left[-1]), accuracy=_ACCURACY)
    reached = integrate.solve_ivp(
        velocity,
        (0.0, times_left[-1]),
        covariance[upper],
        method="LSODA",
        t_eval=times_left,
        rtol=_RELATIVE_TOLERANCE,
        atol=_ABSOLUTE_TOLERANCE,
    ).y
    reached = np.reshape(reached, (len(upper[0]), -1))  # an empty list if it ends before the first time
    if reached.shape[1] < count or not np.isfinite(reached).all():
        raise give_up(times_left[max(reached.shape[1] - 1, 0)], path[count - 1, -2])
    covariances[:count] = [unpack(packed) for packed in reached.T]
    return path, covariances


def _as_dataset(model: ContrastiveModel, times: FloatArray, path: FloatArray, covariances: FloatArray) -> xr.Dataset:
    p = model.features
    overlap, squared_norm = path[:, :-2], path[:, -2]
    norm = np.sqrt(np.where(squared_norm > 0, squared_norm, np.nan))
    similarity = cosine_similarity(overlap, squared_norm)
    slope = np.zeros((len(times), p, p + 1))
    slope[:, :, :p] = np.eye(p) / norm[:, None, None]
    slope[:, :, p] = -0.5 * similarity / norm[:, None] ** 2
    names = [f"overlap_{j}" for j in range(1, p + 1)] + ["squared_norm"]
    features = np.arange(1, p + 1)
    return labelled(
        {
            "overlap": (("time", "feature"), overlap),
            "squared_norm": (("time",), squared_norm),
            "cosine_similarity": (("time", "feature"), similarity),
            "gradient_variance": (("time",), path[:, -1]),
            "covariance": (("time", "order_parameter", "order_parameter_2"), covariances),
            "cosine_similarity_covariance": (
                ("time", "feature", "feature_2"),
                slope @ covariances @ slope.transpose(0, 2, 1),
            ),
        },
        {
            "time": times,
            "feature": features,
            "feature_2": features,
            "order_parameter": names,
            "order_parameter_2": names,
        },
        {"model": model.canonical()},
    )
