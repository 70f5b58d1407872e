"""Blocks become results: dispatch, tasks, progress."""
