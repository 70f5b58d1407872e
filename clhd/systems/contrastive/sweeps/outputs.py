"""`label_outputs`: the outputs of a half with the words of `model.labels`; `find_diverged`: the status of runs.

`predict_each` computes one point of a theory after the other: a point without an answer does not stop the others.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import FloatArray
from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.declarations import NotConvergedError, Output, Outputs, Result, Status, Value

NOTHING = Outputs(variables={})


def label_outputs(
    dims: Mapping[str, tuple[str, ...]],
    coordinates: Mapping[str, Sequence[Any]],
    may_be_nan: Collection[str] = ("cosine_similarity",),
) -> Outputs:
    """Return outputs whose variables and coordinates carry their words.

    Parameters
    ----------
    dims : mapping of output to dims
        Every name stands in `WORDS`.
    coordinates : mapping of dim to values
        Those of dims that no output has are left out.
    may_be_nan : collection of str
        Outputs for which NaN can be a result; the cosine similarity is undefined at squared norm 0.
    """
    used = {dim for of_one in dims.values() for dim in of_one}
    return Outputs(
        variables={
            name: Output(dims=of_one, words=WORDS[name], may_be_nan=name in may_be_nan) for name, of_one in dims.items()
        },
        coordinates={name: (values, WORDS[name]) for name, values in coordinates.items() if name in used},
    )


def number_features(constants: Mapping[str, Value], default: int = 1) -> range:
    """Return the numbers of the features, from 1."""
    return range(1, int(constants.get("features", default)) + 1)  # type: ignore[arg-type]


def find_diverged(squared_norm: FloatArray) -> NDArray[np.int8]:
    """Return the status of each run by its squared norm, whose last dim is the time: NaN once it has diverged."""
    return np.where(np.isnan(squared_norm).any(axis=-1), Status.DIVERGED, Status.OK).astype(np.int8)


def predict_each(
    points: Sequence[Any],
    predict: Callable[[Any], Mapping[str, FloatArray]],
    dims: Mapping[str, tuple[str, ...]],
    sizes: Mapping[str, int],
) -> Result:
    """Return the outputs of all points; NaN, and the error, where a point has no answer.

    Parameters
    ----------
    points : sequence
    predict : callable
        Returns the outputs of one point, or raises NotConvergedError. A point has diverged if its ``squared_norm``, if
        it has one, becomes NaN.
    dims : mapping of output to dims
    sizes : mapping of dim to int
    """
    values = {name: np.full((len(points), *(sizes[dim] for dim in inner)), np.nan) for name, inner in dims.items()}
    errors: dict[tuple[int, ...], Exception] = {}
    for k, point in enumerate(points):
        try:
            found = predict(point)
        except NotConvergedError as error:
            errors[k,] = error
            continue
        for name, array in found.items():
            values[name][k] = array
    status = np.full(len(points), Status.OK, np.int8)
    if "squared_norm" in values:
        status = find_diverged(values["squared_norm"].reshape(len(points), -1))
    for place in errors:
        status[place] = Status.NOT_CONVERGED
    return Result(values=values, status=status, errors=errors)
