"""The errors of clhd: each is one clear line about what a user can correct, never a traceback.

| error | also caught as | when |
|---|---|---|
| ClhdError | | all of them |
| InputError | ValueError | an experiment, an option or an argument is wrong |
| FileError | OSError | a file cannot be read or written: a full disk, no permission, a disk that is not mounted |
| ResultsError | | results cannot be used as they are: damaged, of other settings, missing, or behind a link |
| LockedError | | another run holds the lock of the results |
| ClusterError | | workers, scheduler or SLURM cannot be had, or are lost |

The command `clhd` prints the line and exits with code 2 for each of them.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class ClhdError(Exception):
    """What a user can correct. The message is one line: the name, the value found, and what is allowed."""


class InputError(ClhdError, ValueError):
    """An experiment, an option or an argument is wrong."""


class FileError(ClhdError, OSError):
    """A file or folder cannot be read or written; ``errno`` says why."""


class ResultsError(ClhdError):
    """Results cannot be used as they are: damaged, of other settings, missing, or behind a link."""


class LockedError(ClhdError):
    """Another run holds the lock of the results."""


class ClusterError(ClhdError):
    """Workers, scheduler or SLURM cannot be had, or are lost."""


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Turn errors of the file system in a block, such as a full disk, into one line that names `path`.

    Raises
    ------
    FileError
        Instead of another OSError.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise explain_file_error(path, error) from None


def explain_file_error(path: Path | str, error: OSError) -> FileError:
    """Return an error of the file system as an error of one line."""
    found = FileError(describe_unwritable(path, error))
    found.errno = error.errno
    return found


def describe_unwritable(path: Path | str, error: OSError) -> str:
    """Return an error of the file system as one line, with what helps against a full disk."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "; free some, then the same command goes on from there" if is_full else ""
    return f"{path}: cannot be written: {error.strerror or error}{remedy}"


def check_link(path: Path) -> None:
    """Raise FileError if a path contains a link whose target does not exist, such as a disk that is not mounted."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = place.readlink()
            raise FileError(f"{place}: is a link to {target}, which does not exist; create it, or mount its disk")


class SimulationStopped(RuntimeError):
    """The caller asked a running simulation to stop; its results are dropped."""
