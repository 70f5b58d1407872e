"""Python imports this at its start where its folder is on the path: processes of a workflow then know a toy system."""

from clhd.systems.registry import SYSTEMS

SYSTEMS["flaky"] = "tests.workflow.flaky:FlakySystem"
