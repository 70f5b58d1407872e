"""Checks of initial states (overlap q, squared norm r) for simulation and theory, and the cosine similarity.

A state must have |q|^2 <= r, because the overlaps are components of w, and r = 1 on the sphere.

With d > 1 units the overlap is a matrix Q (unit, feature), and the squared norm a Gram matrix R_ik = w_i . w_k / n, or
one number r. The number stands for units of squared norm r each, whose parts outside the features are orthogonal to
each other. R - Q Q' must have no negative eigenvalue.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from clhd.core.arrays import FloatArray
from clhd.core.checks import parse_choice, parse_number, parse_vector, read_array
from clhd.errors import InputError
from clhd.systems.contrastive.model.contrastive import ContrastiveModel

# |q|^2 may exceed r by rounding, because states with |q|^2 = r are allowed. So may a squared norm miss 1 on the sphere,
# and a Gram matrix symmetry: they are often computed from weights.
_ROUNDING = 1e-12


def parse_initial(initial: str, overlap: Any) -> None:
    """Check that an overlap is given with ``initial="fixed"`` and not given with "random"."""
    if parse_choice("initial", initial, ("fixed", "random")) == "fixed" and overlap is None:
        raise InputError("overlap = None: must be given with initial = 'fixed'")
    if initial == "random" and overlap is not None:
        raise InputError(f"overlap = {overlap!r}: must not be given with initial = 'random'")


def cosine_similarity(overlap: FloatArray, squared_norm: FloatArray) -> FloatArray:
    """Return S = q / sqrt r, NaN at r = 0.

    Parameters
    ----------
    overlap : array of shape (..., feature)
        q.
    squared_norm : array of shape (...)
        r.

    Returns
    -------
    array of shape (..., feature)
    """
    norm = squared_norm[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norm > 0, overlap / np.sqrt(norm), np.nan)


def parse_norm(model: ContrastiveModel, squared_norm: Any, *, may_be_zero: bool = True) -> float:
    """Return the squared norm of a start; it must be finite, not negative (or above 0), and 1 on the sphere."""
    limits: dict[str, float] = {"minimum": 0} if may_be_zero else {"above": 0}
    norm = parse_number("squared_norm", squared_norm, **limits)
    if not model.is_sphere:
        return norm
    if _put_on_sphere(norm) != 1:
        raise InputError(f"squared_norm = {squared_norm!r}: must be 1 with constraint = 'sphere'")
    return 1.0


def _put_on_sphere(norms: FloatArray | float) -> FloatArray:
    """Return squared norms, of which those that miss 1 by rounding are 1."""
    return np.where(np.abs(norms - 1) > _ROUNDING, norms, 1.0)


def factorise_rest(overlap: FloatArray, squared_norm: Any) -> FloatArray:
    """Return a lower triangle L with L L' = R - Q Q', shape (unit, unit), for the overlap Q of several units.

    Raises
    ------
    ClhdError
        If there is none, because R - Q Q' has a negative eigenvalue.
    """
    if np.ndim(squared_norm) == 0:
        gram = np.where(np.eye(len(overlap)) > 0, float(squared_norm), overlap @ overlap.T)
    else:
        gram = np.array(squared_norm, dtype=np.float64)
    rest, scale = gram - overlap @ overlap.T, float(np.trace(gram))
    if np.linalg.eigvalsh(rest)[0] < -_ROUNDING * scale:
        raise InputError(
            f"overlap = {overlap.tolist()!r}: squared_norm - overlap overlap' must have no negative eigenvalue, "
            f"and squared_norm is {np.asarray(squared_norm).tolist()!r}"
        )
    for k in range(len(rest)):  # Cholesky's method, for matrices that may be singular
        rest[k, k] = math.sqrt(max(rest[k, k] - rest[k, :k] @ rest[k, :k], 0.0))
        below = rest[k + 1 :, k] - rest[k + 1 :, :k] @ rest[k, :k]
        rest[k + 1 :, k] = below / rest[k, k] if rest[k, k] > math.sqrt(_ROUNDING * scale) else 0.0
    return np.tril(rest)


def _parse_gram(model: ContrastiveModel, squared_norm: Any) -> tuple[tuple[float, ...], ...]:
    """Return the Gram matrix of several units as a tuple of rows."""
    rows = [parse_vector("squared_norm", row, length=model.units) for row in squared_norm]
    gram = np.array(rows) + 0.0
    is_square = gram.shape == (model.units, model.units)
    rounding = _ROUNDING * float(np.abs(gram).max(initial=0.0))
    if not is_square or np.any(np.abs(gram - gram.T) > rounding) or np.any(np.diag(gram) < 0):
        raise InputError(
            f"squared_norm = {squared_norm!r}: must be a number, or symmetric rows of {model.units} "
            "with no negative diagonal"
        )
    gram = (gram + gram.T) / 2
    if model.is_sphere:
        if np.any(_put_on_sphere(np.diag(gram)) != 1):
            raise InputError(f"squared_norm = {squared_norm!r}: must be 1 on its diagonal with constraint = 'sphere'")
        np.fill_diagonal(gram, 1.0)
    return tuple(tuple(row) for row in gram.tolist())


def _parse_units(model: ContrastiveModel, overlap: Any, squared_norm: Any) -> tuple[tuple[float, ...], ...]:
    """Return the overlaps of several units as a tuple of rows."""
    try:
        matrix = read_array(overlap)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (model.units, model.features) or not np.all(np.isfinite(matrix)):
        raise InputError(
            f"overlap = {overlap!r}: must be a row of {model.features} finite numbers for each of {model.units} units"
        )
    factorise_rest(matrix, squared_norm)
    return tuple(tuple(row) for row in (matrix + 0.0).tolist())


def parse_units_norm(model: ContrastiveModel, squared_norm: Any) -> float | tuple[tuple[float, ...], ...]:
    """Return the squared norm of a start of any number of units: a number, or the rows of a Gram matrix."""
    if model.units > 1 and np.ndim(squared_norm) > 0:
        return _parse_gram(model, squared_norm)
    return parse_norm(model, squared_norm)


def parse_units_overlap(
    model: ContrastiveModel, overlap: Any, squared_norm: Any
) -> tuple[float, ...] | tuple[tuple[float, ...], ...]:
    """Return the overlap of a start of any number of units: the numbers of one unit, or a row of each unit."""
    if model.units > 1:
        return _parse_units(model, overlap, squared_norm)
    return parse_overlap(model, overlap, squared_norm)


def parse_start(model: ContrastiveModel, overlap: Any, squared_norm: Any) -> FloatArray:
    """Return the state (overlap, squared norm) of one start, shape (feature + 1,).

    Raises
    ------
    ClhdError
        If the overlap is not one finite number per feature, or no state has these values.
    """
    norm = parse_norm(model, squared_norm)
    plain = np.atleast_1d(np.asarray(overlap, dtype=object)).tolist()
    return np.append(_parse_overlap(plain, norm, model.features), norm)


def parse_overlap(model: ContrastiveModel, overlap: Any, squared_norm: Any) -> tuple[float, ...]:
    """Return the overlap of one start as a tuple; raises as `parse_start` does."""
    if type(overlap) is tuple and all(type(q) is float for q in overlap):
        return _remember_overlap(overlap, parse_norm(model, squared_norm), model.features)
    return tuple(parse_start(model, overlap, squared_norm)[:-1].tolist())


@lru_cache(maxsize=1024)
def _remember_overlap(overlap: tuple[float, ...], norm: float, features: int) -> tuple[float, ...]:
    """Check an overlap once: most points of a large grid share it, and repeated checks would slow its planning."""
    return tuple(_parse_overlap(list(overlap), norm, features).tolist())


def _parse_overlap(overlap: list[Any], norm: float, features: int) -> FloatArray:
    vector = parse_vector("overlap", overlap, length=features)
    length = float(vector @ vector)
    if length > norm * (1 + _ROUNDING):
        raise InputError(
            f"overlap = {vector.tolist()!r}: the sum of its squares, {length:.6g}, "
            f"must not exceed squared_norm = {norm:g}"
        )
    return vector + 0.0


def parse_starts(model: ContrastiveModel, overlap: Any, squared_norm: Any) -> FloatArray:
    """Return the states of one start (a vector of overlaps) or of several (one row each), shape (start, feature + 1).

    Parameters
    ----------
    model : ContrastiveModel
    overlap : array-like of shape (feature,) or (start, feature)
    squared_norm : float or array-like of shape (start,)

    Raises
    ------
    ClhdError
        If a shape is wrong, a value is not finite, or no state has these values.
    """
    try:
        overlaps = read_array(overlap)
    except (TypeError, ValueError):
        raise InputError(f"overlap = {overlap!r}: must be a list of numbers, one per feature") from None
    if overlaps.ndim < 2:
        return parse_start(model, overlap, squared_norm)[None]
    if overlaps.ndim > 2 or overlaps.shape[1] != model.features or overlaps.size == 0:
        raise InputError(
            f"overlap: has shape {overlaps.shape}, must be one row of overlaps per start, "
            f"shape (starts, {model.features})"
        )
    if np.ndim(squared_norm) == 0:
        norms = np.full(len(overlaps), parse_norm(model, squared_norm))
    else:
        norms = parse_vector("squared_norm", squared_norm, length=len(overlaps))
    if model.is_sphere:
        norms = _put_on_sphere(norms)
    bad = ~(
        np.isfinite(overlaps).all(axis=1)
        & ((norms == 1) | (not model.is_sphere))
        & ((overlaps**2).sum(axis=1) <= norms * (1 + _ROUNDING))
    )
    if bad.any():  # parse_start raises with the reason
        first = int(bad.argmax())
        parse_start(model, overlaps[first], norms[first])
    return np.column_stack([overlaps, norms])
