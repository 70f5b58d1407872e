"""`ClhdError`: every mistake that a user can correct is one clear line, never a traceback."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


class ClhdError(ValueError):
    """A mistake that a user can correct. The message is one line: the name, the value found, and what is allowed.

    It is a ``ValueError``, so that callers can catch the builtin.
    """


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Turn errors of the file system in a block that reads and writes, such as a full disk, into one line.

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
    """Return an error of the file system as one line, with what helps against a full disk.

    Most errors do not tell whether a read or a write has failed.
    """
    remedy = "; free some, then the same command goes on from there" if error.errno in _FULL else ""
    if error.errno in (*_FULL, errno.EROFS, errno.EEXIST, errno.ENOTEMPTY):
        what = "written"
    elif error.errno == errno.ENOENT and error.filename and Path(os.fsdecode(error.filename)).parent.is_dir():
        what = "read"  # a new file could have been made there
    else:
        what = "read or written"
    return f"{path}: cannot be {what}: {error.strerror or error}{remedy}"


def check_link(path: Path) -> None:
    """Raise ClhdError if a path contains a link whose target does not exist, such as a disk that is not mounted."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = place.readlink()
            raise ClhdError(f"{place}: is a link to {target}, which does not exist; create it, or mount its disk")


class SimulationStopped(RuntimeError):
    """The caller asked a running simulation to stop; its results are dropped."""
