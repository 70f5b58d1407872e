"""Python imports this at its start where its folder is on the path: the processes of a job then know a toy system.

And workers do not begin while there is a file ``hold`` in the working directory.
"""

import sys
import time
from pathlib import Path

from clhd.systems.registry import list_systems

list_systems()["slow"] = "tests.cluster.slow:SlowSystem"

end = time.monotonic() + 300
while "distributed.cli.dask_worker" in sys.orig_argv and Path("hold").exists() and time.monotonic() < end:
    time.sleep(0.1)
