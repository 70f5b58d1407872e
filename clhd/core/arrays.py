"""Types of arrays, for annotations; `pad` makes rows of one length."""

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def pad(values: FloatArray, room: int, filling: float = np.nan) -> FloatArray:
    """Return values of shape (count,) as an array of shape (room,), with a filling behind them; count <= room."""
    return np.append(values, np.full(room - len(values), filling))
