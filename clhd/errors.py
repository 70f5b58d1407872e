"""The one error that a user's mistake raises: one clear sentence, never a traceback from the depths."""


class ClhdError(ValueError):
    """A value that clhd refuses, before any work is done.

    The message is one sentence: the name, the value found, and what is allowed.
    It inherits ``ValueError`` so that callers may catch the builtin.
    """


class SimulationStopped(RuntimeError):
    """The caller asked a running simulation to stop; nothing of it is kept."""
