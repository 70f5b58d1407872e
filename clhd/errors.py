"""The errors of clhd: each is one clear line about what a user can correct, never a traceback.

| error | also caught as | when |
|---|---|---|
| ClhdError | | all of them |
| InputError | ValueError | an experiment, an option or an argument is wrong |
| FileError | OSError | a file cannot be read or written: a full disk, no permission, a disk that is not mounted |
| ResultsError | | results cannot be used as they are: damaged, of other settings, missing, or behind a link |
| LockedError | | another run holds the lock of the results |
| ExtraError | ImportError | a library is missing that one of clhd's extras installs |
| ClusterError | | workers, scheduler or SLURM cannot be had, or are lost |

The command `clhd` prints the line and exits with code 2 for each of them.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)


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


class ExtraError(ClhdError, ImportError):
    """A part of clhd needs a library that is installed only with one of clhd's extras."""


# Libraries that the core of clhd does without, and the extra that installs each.
_EXTRAS = {
    "cryptography": "cluster",
    "dask_jobqueue": "slurm",
    "distributed": "cluster",
    "matplotlib": "plot",
    "sklearn": "attractors",
    "snakemake": "workflow",
}


def describe_missing(error: BaseException) -> str | None:
    """Return one line about a library that is not installed, with the extra that installs it; None for other errors."""
    library = (getattr(error, "name", None) or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if library not in _EXTRAS:
        return None
    return f"this needs {library}, which is not installed: pip install 'clhd[{_EXTRAS[library]}]'"


@contextmanager
def explain_unwritable(path: Path) -> Iterator[None]:
    """Turn errors of the file system in a block that reads and writes, such as a full disk, into one line.

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
    """Raise FileError if a path contains a link whose target does not exist, such as a disk that is not mounted."""
    for place in (path, *path.parents):
        if place.is_symlink() and not place.exists():
            target = place.readlink()
            raise FileError(f"{place}: is a link to {target}, which does not exist; create it, or mount its disk")


class SimulationStopped(RuntimeError):
    """The caller asked a running simulation to stop; its results are dropped."""
