"""Python imports this at its start where its folder is on the path: the processes of a job then know a toy system."""

from clhd.systems import SYSTEMS

SYSTEMS["slow"] = "tests.cluster.slow:SlowSystem"
