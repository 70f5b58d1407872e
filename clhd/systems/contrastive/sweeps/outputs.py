"""`label_outputs`: the outputs of a half with the words of `model.labels`; `find_diverged`: the status of runs."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.systems.contrastive.model.labels import WORDS
from clhd.systems.declarations import FloatArray, Output, Outputs, Status, Value

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
