"""`ClhdError`: every mistake that a user can correct is one clear line, never a traceback."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ClhdError(ValueError):
    """A mistake that a user can correct. The message is one line: the name, the value found, and what is allowed.

    It is a ``ValueError``, so that callers can catch the builtin.
    """


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Turn errors of the file system in a block, such as a full disk, into one line that names `path`.

    Raises
    ------
    ClhdError
        Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ClhdError(describe_unwritable(path, error)) from None


def describe_unwritable(path: Path | str, error: OSError) -> str:
    """Return an error of the file system as one line, with what helps against a full disk."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "; free some, then the same command goes on from there" if is_full else ""
    return f"{path}: cannot be written: {error.strerror or error}{remedy}"


def check_link(path: Path) -> None:
    """Raise ClhdError if a path contains a link whose target does not exist, such as a disk that is not mounted."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = place.readlink()
            raise ClhdError(f"{place}: is a link to {target}, which does not exist; create it, or mount its disk")


class SimulationStopped(RuntimeError):
    """The caller asked a running simulation to stop; its results are dropped."""
