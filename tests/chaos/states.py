"""Copies a folder before each change of its files by this process; audit events of Python announce the changes."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

# Audit events of what changes files: how many paths come first, and where their folders' descriptors are.
_CHANGES = {
    "os.rename": 2, "os.link": 2, "os.symlink": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1,
    "os.utime": 1, "os.chmod": 1,
}  # fmt: skip
_FOLDERS = {"os.rename": (2, 3), "os.link": (2, 3), "os.remove": (1,), "os.mkdir": (2,), "os.rmdir": (1,)}


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with everything in it; files that were one file under several names are so in the copy."""
    copies: dict[int, str] = {}

    def copy(path: str, place: str) -> None:
        known = copies.setdefault(Path(path).lstat().st_ino, place)
        if known is place:
            shutil.copy2(path, place, follow_symlinks=False)
        else:
            os.link(known, place)

    shutil.copytree(source, target, symlinks=True, copy_function=copy)


def watch_files(folder: Path, act: Callable[[int, Path | None], None]) -> None:
    """Call a function before each change of a file in a folder, with its number and, if it is opened, the file.

    Other threads that want to change a file wait meanwhile.
    """
    prefix, count, turn = str(folder), [0], threading.RLock()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            is_change = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else (mode or "r") != "r"
            paths = [path] if is_change and isinstance(path, str | os.PathLike) else []
        elif event in _CHANGES:
            paths = list(_find_paths(event, arguments))
        else:
            return
        if any(os.path.abspath(path).startswith(prefix) for path in paths):  # noqa: PTH100
            with turn:
                count[0] += 1
                act(count[0], Path(os.path.abspath(paths[0])) if event == "open" else None)  # noqa: PTH100

    sys.addaudithook(hook)


def _find_paths(event: str, arguments: tuple[Any, ...]) -> Iterator[str]:
    """Yield the paths that an event is about; some are given as an open file, or relative to an open folder."""
    for path, place in zip(arguments[: _CHANGES[event]], (*_FOLDERS.get(event, ()), None, None), strict=False):
        if isinstance(path, int):
            yield os.readlink(f"/proc/self/fd/{path}")  # noqa: PTH115
        elif isinstance(path, str | bytes | os.PathLike):
            folder = arguments[place] if place is not None else -1
            above = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else ""  # noqa: PTH115
            yield os.path.join(above, os.fsdecode(path))  # noqa: PTH118


def digest_folder(folder: Path) -> str:
    """Return a digest of everything in a folder: names, kinds, bytes, and how many names a file has."""
    digest = blake2b()
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        digest.update(f"{path.relative_to(folder)}|{state.st_mode}|{state.st_nlink}|{len(content)}|".encode())
        digest.update(content)
    return digest.hexdigest()


class Recorder:
    """Keeps the states of a folder before each of the changes of its files.

    Parameters
    ----------
    folder, states : Path
        The folder, and where its copies are to be kept.
    every : int
        Only before every so many-th change; 0 for none.
    """

    def __init__(self, folder: Path, states: Path, every: int) -> None:
        self.folder, self.states, self.every = folder, states, every
        self.changes, self.known = 0, set[str]()
        self.opened: Path | None = None
        states.mkdir()

    def act(self, number: int, opened: Path | None) -> None:
        """Keep the folder as it is, and with the file that was opened last still empty."""
        self.changes = number
        if self.every and number % self.every == 0:
            self._keep(str(number))
            if self.opened:
                self._keep(f"{number}-empty", empty=self.opened.relative_to(self.folder))
        self.opened = opened

    def _keep(self, name: str, empty: Path | None = None) -> None:
        copy = self.states / name
        self._copy(copy)
        if empty and (copy / empty).is_file():
            os.truncate(copy / empty, 0)
        if (digest := digest_folder(copy / "results")) in self.known:
            shutil.rmtree(copy)
        self.known.add(digest)

    def _copy(self, copy: Path) -> None:
        """Copy the folder again until nothing changed meanwhile: another thread may still be making its last change."""
        while True:
            with suppress(OSError):  # a file was renamed; shutil.Error is one too
                copy_folder(self.folder, copy)
                if digest_folder(copy / "results") == digest_folder(self.folder / "results"):
                    return
            shutil.rmtree(copy, ignore_errors=True)
