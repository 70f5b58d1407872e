"""Python imports this at its start where its folder is on the path: processes of a workflow then know a toy system."""

from clhd.systems.registry import list_systems

list_systems()["flaky"] = "tests.workflow.flaky:FlakySystem"
