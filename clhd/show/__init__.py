"""The page of an experiment to look around in: its axes are controls."""
