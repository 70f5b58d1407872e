"""Averages over the noise of the two views at one state, and tables of them for many states."""
