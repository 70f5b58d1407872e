"""Write files so that nothing of anyone else is changed and no file is ever half written.

| function | what it does |
|---|---|
| replace_file, write_file | write a new hidden file, which takes its name at the end, in one step |
| write_new_files | write several files where there are none: all or nothing |
| read_small | read a file in fewer calls of the system than Python's own |
| open_fixed | open a file of a fixed name, such as a lock, that is not replaced |
| make_folder | make a folder for such files |
| check_folders | refuse links among the folders of a store |
| sync_tree, sync_folder | have the disk keep files and names, also if the power fails |

A link that has the name of one of these files is replaced or refused: its target is never opened to write. Links above,
such as results/ on another disk, are the user's own and are followed.
"""

import errno
import fcntl
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from clhd.errors import ClhdError, ResultsError, explain_unwritable

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MODE = 0o666  # the umask takes away from it
_SYNCING_THREADS = 32
_SMALL = 2**16  # bytes that are read at once


def read_small(path: str) -> bytes:
    """Return the content of a file; of thousands of small ones, in half the time of `Path.read_bytes`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, _SMALL)
        if len(content) == _SMALL:
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                content += file.read()
        return content
    finally:
        os.close(descriptor)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a new file that takes the name of `path` when the context ends; if it fails, nothing has changed.

    What has the name before is replaced, also a link. Several processes may write the same file: one of them wins.

    Raises
    ------
    OSError
        If the file cannot be written, or a folder has its name.
    """
    unfinished, descriptor = _create_unfinished(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            unfinished.replace(path)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise
    sync_folder(path.parent)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file by `replace_file`; a text as UTF-8."""
    with replace_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_new_files(texts: Mapping[Path, str]) -> None:
    """Write files where there are none, with the folders that they lack; if one cannot be written, all are gone again.

    Raises
    ------
    FileError
        If something has the name of a file, or it cannot be written.
    """
    made: list[Path] = []
    try:
        for path, text in texts.items():
            with explain_unwritable(path):
                for folder in reversed(path.parents):
                    if not folder.exists():
                        folder.mkdir()
                        made.append(folder)
                with path.open("x", encoding="utf-8") as file:
                    made.append(path)
                    file.write(text)
    except BaseException:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _create_unfinished(path: Path) -> tuple[Path, int]:
    """Create a hidden file beside `path`, and delete those of killed processes; return its path and descriptor.

    A file is locked while it is written, so an unlocked file has lost its writer.
    """
    for leftover in path.parent.glob(f".{_escape(path.name)}.*.partial"):
        _delete_leftover(leftover)
    while True:
        unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
        descriptor = os.open(unfinished, _NEW, _MODE)
        with suppress(OSError):  # without locks, leftovers stay
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_same(descriptor, unfinished):  # else another process has just taken it for a leftover
            return unfinished, descriptor
        os.close(descriptor)


def _escape(name: str) -> str:
    """Return a name as a pattern that matches only itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _delete_leftover(path: Path) -> None:
    """Delete an unfinished file unless it is being written."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        finally:
            os.close(descriptor)


def is_same(descriptor: int, path: Path) -> bool:
    """Return True if an open file still has its name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    return False


def open_fixed(path: Path, *, create: bool = True) -> int:
    """Open a file to read and write, not through a link; return its descriptor.

    Parameters
    ----------
    path : Path
    create : bool
        Create the file if it does not exist; it is empty then.

    Raises
    ------
    ClhdError
        If the name is that of a link, or of something else than a file.
    OSError
        If the file cannot be opened.
    """
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe must not block
    try:
        descriptor = os.open(path, flags | (os.O_CREAT if create else 0), _MODE)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) and (path.is_symlink() or path.exists()):
            raise _refuse(path) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _refuse(path)
    return descriptor


def _refuse(path: Path) -> ClhdError:
    kind = f"a link to {path.readlink()}" if path.is_symlink() else "no file"
    return ResultsError(f"{path}: is {kind}, and clhd writes a file of this name; move it away")


def make_folder(path: Path) -> None:
    """Make a folder and the folders above it, unless it exists.

    Raises
    ------
    ClhdError
        If a link has its name.
    OSError
        If the folder cannot be made.
    """
    if path.is_symlink():
        raise _refuse_folder(path)
    path.mkdir(parents=True, exist_ok=True)


def check_folders(root: Path, folder: Path | str) -> None:
    """Raise ClhdError if a folder below `root`, down to `folder`, is a link, through which clhd would write."""
    place = str(root)
    for part in str(folder).removeprefix(f"{root}/").split("/"):  # parts of a Path would take most of the time
        place = f"{place}/{part}"
        if os.path.islink(place):  # noqa: PTH114 (called for each of many files)
            raise _refuse_folder(Path(place))


def _refuse_folder(path: Path) -> ClhdError:
    return ResultsError(
        f"{path}: is a link to {path.readlink()}, and clhd writes into a folder of this name; move it away"
    )


def sync_tree(path: Path) -> None:
    """Have the disk keep a folder with all files and folders in it; return when it does.

    A file with another name elsewhere, such as a chunk that a larger store shares with the old one, only gets its name
    here kept: its content is as safe as it was.
    """
    with ThreadPoolExecutor(_SYNCING_THREADS) as threads:  # file systems write what is asked for at once together
        places = (os.path.join(place, name) for place, _, files in os.walk(path) for name in (*files, ""))  # noqa: PTH118
        for _ in threads.map(_sync_own, places):
            pass


def _sync_own(path: str) -> None:
    state = os.lstat(path)
    if stat.S_ISDIR(state.st_mode) or (stat.S_ISREG(state.st_mode) and state.st_nlink == 1):
        _sync(path)


def sync_folder(path: Path) -> None:
    """Have the disk keep the names of the files in a folder."""
    _sync(path)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)
