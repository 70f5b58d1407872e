"""`LEDGER`: the variables of every store that tell the state of each run."""

from typing import Any

import numpy as np

from clhd.systems.declarations import Status

STATUS = "status"
# Variables that have a file only where there was an error.
TEXTS = ("error_type", "error_message")
# Type, fill value, meaning. The status is last, as it is written.
LEDGER: dict[str, tuple[Any, Any, str]] = {
    "attempts": (np.int16, 0, "number of attempts"),
    "seconds": (np.float32, 0.0, "share of the wall time of its block, s"),
    "run": (np.int16, -1, "index of the run that computed it, in the attribute runs"),
    "error_type": (str, "", "type of the last error"),
    "error_message": (str, "", "message of the last error"),
    STATUS: (np.int8, Status.NOT_RUN, "result of the last attempt"),
}
