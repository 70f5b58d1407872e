"""Generations: a store or a summary is replaced under its name in one step, and whoever reads it keeps what was there.

A new generation is written into a hidden folder beside the store. Its chunk files are named in another way than those
of the generation before (`KEY_ENCODINGS`), so they fit into the same folder:

| step | function | a reader sees |
|---|---|---|
| write the new generation into the hidden folder | the caller | the old generation |
| move its chunk files into the folder of the store | `publish` | the old generation |
| replace the record, ``zarr.json`` of the group | `publish` | the new one; old readers still have their files |
| at the next run: delete the files of the old generation | `remove_leftovers` | the new one; old readers get an error |

A process that is killed leaves files that no record names; `remove_leftovers` deletes them. Callers hold the lock.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clhd.core.files import make_folder, sync_folder
from clhd.sweep.store.documents import FILE, KEY_ENCODINGS, parse_chunk_key
from clhd.sweep.store.metadata import MetadataError, check_metadata, restore_array_files


def hidden_path(path: Path) -> Path:
    """Return the path of the folder in which a new generation is written."""
    return path.with_name(f".{path.stem}-new{path.suffix}")


def remove_tree(path: Path) -> None:
    """Delete a folder, or a link to a folder, if it exists."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def next_generation(path: Path) -> int:
    """Return the number of the next generation of a store, also if the store itself was moved aside."""
    numbers = [-1]
    for found in (path, *path.parent.glob(f"{path.stem}-until-*{path.suffix}")):
        with suppress(MetadataError):
            numbers.append(check_metadata(found, files=False).generation)
    return 1 + max(numbers)


def publish(path: Path) -> None:
    """Let the generation in the hidden folder take the name of the store. Raises OSError."""
    hidden = hidden_path(path)
    if not path.exists():
        hidden.rename(path)
        sync_folder(path.parent)
        return
    for array in (folder for folder in hidden.iterdir() if folder.is_dir()):
        make_folder(path / array.name)
        for entry in (entry for entry in array.iterdir() if entry.name != FILE):
            entry.rename(path / array.name / entry.name)
        sync_folder(path / array.name)
    (hidden / FILE).replace(path / FILE)
    sync_folder(path)
    restore_array_files(path)
    remove_tree(hidden)


def remove_leftovers(path: Path) -> None:
    """Delete all files of a store that its record does not name: of older generations, and of killed processes."""
    remove_tree(hidden_path(path))
    arrays = check_metadata(path, files=False).arrays
    for folder in (entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()):
        if folder.name not in arrays:
            remove_tree(folder)
            continue
        document = arrays[folder.name]
        if document["chunk_key_encoding"] != KEY_ENCODINGS[0]:  # then a folder in it is of another generation
            for link in (entry for entry in folder.iterdir() if entry.is_symlink() and entry.is_dir()):
                link.unlink()
        for file in _list_files(folder):
            key = file.relative_to(folder).as_posix()
            if key != FILE and parse_chunk_key(key, document) is None:
                file.unlink(missing_ok=True)
                with suppress(OSError):
                    os.removedirs(file.parent)
    for file in path.glob("*.partial"):
        file.unlink(missing_ok=True)


def _list_files(folder: Path) -> Iterator[Path]:
    return (Path(root, name) for root, _, names in os.walk(folder) for name in names)
