"""`find_missing`: find missing chunk files without reading any, which is fast.

On a network file system each look-up asks another machine, so several run at a time; and for a minute a machine may
not see a file that another machine has written, so a file that seems to be missing is looked up twice.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from clhd.sweep.plan.blocks import ChunkIndex
from clhd.sweep.store.bound import STATUS, TEXTS, StoreError
from clhd.sweep.store.documents import chunk_key
from clhd.sweep.store.layout import LEDGER
from clhd.sweep.store.store import Store

_THREADS = 10
_CHUNKS_PER_THREAD = 200


def find_missing(store: Store) -> dict[ChunkIndex, Path]:
    """Find chunks that have a status but lack files, or have empty files.

    Returns
    -------
    dict of tuple of int to Path
        The first missing file of each such chunk.

    Raises
    ------
    StoreError
        If the file system cannot be asked.
    """
    # Texts have a file only where there was an error.
    variables = [name for name in (*store.outputs, *LEDGER) if name not in TEXTS]
    # Texts, since paths would take most of the time: for each variable, its folder, and what its chunks are called.
    places = [(f"{store.path}/{name}", store.files.metadata.arrays[name]) for name in variables]
    tails = [(0,) * store.count_inner_dims(name) for name in variables]
    status, ledger = f"{store.path}/{STATUS}", store.files.metadata.arrays[STATUS]

    def look_for(chunks: Sequence[ChunkIndex]) -> dict[ChunkIndex, Path]:
        missing = {}
        for index in chunks:
            if _exists(f"{status}/{chunk_key(index, ledger)}"):
                for (folder, document), tail in zip(places, tails, strict=True):
                    file = f"{folder}/{chunk_key(index + tail, document)}"
                    if not (_exists(file) or _exists_after_refresh(file)):
                        missing[index] = Path(file)
                        break
        return missing

    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(look_for, _batch(store.chunk_indices())))
    return {index: file for missing in found for index, file in missing.items()}


def _batch(indices: Iterator[ChunkIndex]) -> Iterator[list[ChunkIndex]]:
    while batch := list(islice(indices, _CHUNKS_PER_THREAD)):
        yield batch


def _exists(file: str) -> bool:
    """Return False if there is no such file, or it is empty; raise StoreError if that is unknown."""
    try:
        return os.stat(file).st_size > 0  # noqa: PTH116  # a Path for each of many files would take most of the time
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{file}: cannot be looked up: {error.strerror}") from None


def _exists_after_refresh(file: str) -> bool:
    """Look up a file once more, after listing its folder, which refreshes what a network file system remembers."""
    for folder in Path(file).parents:
        with suppress(FileNotFoundError, NotADirectoryError):
            next(folder.iterdir(), None)
            break
    return _exists(file)
