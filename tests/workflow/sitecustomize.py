"""Python imports this at its start where its folder is on the path: processes of a workflow then know a toy system."""

from clhd.core.surroundings import limit_threads

limit_threads()  # as the command does, before the next import has numpy start threads

from clhd.systems.registry import list_systems  # noqa: E402

list_systems()["flaky"] = "tests.workflow.flaky:FlakySystem"
