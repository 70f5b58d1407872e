"""Types of arrays, for annotations; `pad`."""

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


def pad(values: FloatArray, room: int, filling: float = np.nan) -> FloatArray:
    """Return the values, and a filling behind them for the rest of the room."""
    return np.append(values, np.full(room - len(values), filling))
