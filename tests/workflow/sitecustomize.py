"""Python imports this at its start where its folder is on the path: processes of a workflow then know a toy system."""

import os

from clhd.core.machine import ONE_THREAD

os.environ |= ONE_THREAD  # as the command sets them, before the next import has numpy start threads

from clhd.systems.registry import list_systems

list_systems()["flaky"] = "tests.workflow.flaky:FlakySystem"
