"""The one error of what a user can mend: one clear sentence, never a traceback from the depths."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ClhdError(ValueError):
    """A value that clhd refuses, before any work is done.

    The message is one sentence: the name, the value found, and what is allowed.
    It inherits ``ValueError`` so that callers may catch the builtin.
    """


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Writing of a file or folder, of which the file system may have none: a full disk, another's folder.

    Raises
    ------
    ClhdError
        In place of an error of the file system.
    """
    try:
        yield
    except OSError as error:
        raise ClhdError(describe_unwritable(path, error)) from None


def describe_unwritable(path: Path | str, error: OSError) -> str:
    """An error of the file system as one line."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "; free some, then the same command goes on from there" if is_full else ""
    return f"{path}: cannot be written: {error.strerror or error}{remedy}"


def check_link(path: Path) -> None:
    """Raise ClhdError if a path leads over a link to what is not there, such as a disk that is not mounted."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            raise ClhdError(f"{place}: is a link to {place.readlink()}, which is not there; make it, or mount its disk")


class SimulationStopped(RuntimeError):
    """The caller asked a running simulation to stop; nothing of it is kept."""
