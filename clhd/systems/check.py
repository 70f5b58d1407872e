"""`check_result`: compares what a half computed with what it declared; a false result fails its runs, not the sweep."""

from collections.abc import Mapping

import numpy as np

from clhd.systems.declarations import NotConvergedError, Outputs, Result, Status


class ResultError(RuntimeError):
    """A result that is not what its system declared: a fault of the system, found before anything is stored."""


def check_result(
    result: Result, outputs: Outputs, sizes: Mapping[str, int], shape: tuple[int, ...], where: str
) -> Result:
    """Check names, shapes and types of a result; fail each run whose status is ok although an output is NaN.

    Parameters
    ----------
    result : Result
    outputs : Outputs
        What the half declares.
    sizes : mapping of dim to int
        Number of positions along each dim of the outputs.
    shape : tuple of int
        (points, replicas), or (points,) without replicas.
    where : str
        Names system and stage in messages.

    Returns
    -------
    Result
        A run with an infinite output is ``DIVERGED``; one with an error is ``FAILED``, or ``NOT_CONVERGED``.

    Raises
    ------
    ResultError
        If a name, a shape or a type is not the declared one: then no number of the result can be trusted.
    """
    if result.values.keys() != outputs.variables.keys():
        found, wanted = (", ".join(sorted(names)) for names in (result.values, outputs.variables))
        raise ResultError(f"{where}: returned the outputs {found}; it declares {wanted}")
    status = np.asarray(result.status)
    if status.shape != shape or status.dtype.kind not in "iu" or not np.isin(status, list(Status)).all():
        raise ResultError(f"{where}: status must be a Status for each of {shape}, not {status.dtype} of {status.shape}")
    errors = dict(result.errors)
    status = status.astype(np.int8)
    for name, output in outputs.variables.items():
        values = np.asarray(result.values[name])
        wanted_shape = shape + tuple(sizes[dim] for dim in output.dims)
        if values.shape != wanted_shape or values.dtype != np.float64:
            dims = ", ".join(("point", "replica")[: len(shape)] + output.dims)
            raise ResultError(
                f"{where}: output {name} is {values.dtype} of shape {values.shape}; "
                f"it must be float64 of shape {wanted_shape}, for ({dims})"
            )
        inner = tuple(range(len(shape), values.ndim))
        infinite = np.isinf(values).any(axis=inner) & (status == Status.OK)
        status = np.where(infinite, np.int8(Status.DIVERGED), status)
        if output.may_be_nan:
            continue
        for place in map(tuple, np.argwhere(np.isnan(values).any(axis=inner) & (status == Status.OK)).tolist()):
            message = f"{where}: output {name} of shape {values.shape[len(shape) :]} is NaN, though the status is ok"
            errors.setdefault(place, ResultError(message))
    for place, error in errors.items():
        status[place] = Status.NOT_CONVERGED if isinstance(error, NotConvergedError) else Status.FAILED
    return Result(values=result.values, status=status, errors=errors)
