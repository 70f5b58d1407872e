"""`find_missing`, `check_files`: are the files of a store all there? Nothing is read, so it takes no time.

On a file system of a network each look asks another machine: so several at a time. And there a machine may go on saying
for a minute that a file is not there, which another one has written: so what seems to be missing is looked for twice.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path

from clhd.sweep.plan.blocks import ChunkIndex
from clhd.sweep.store.layout import LEDGER
from clhd.sweep.store.store import TEXTS, Store, StoreError, describe_damage

_AT_ONCE = 10
_CHUNKS_PER_THREAD = 200


def find_missing(store: Store) -> dict[ChunkIndex, Path]:
    """Find chunks that have a status but lack files.

    Returns
    -------
    dict of tuple of int to Path
        By chunk, the first of the files that it lacks.

    Raises
    ------
    StoreError
        If that cannot be said just now.
    """
    # Texts have a file only where there is something to say.
    variables = [name for name in (*store.outputs, *LEDGER) if name not in TEXTS]
    tails = {name: "/0" * (store.count_inner_dims(name)) for name in variables}

    def look_for(chunks: Sequence[ChunkIndex]) -> dict[ChunkIndex, Path]:
        lacking = {}
        for index in chunks:
            chunk = "/".join(("c", *map(str, index)))
            if _is_there(f"{store.path}/status/{chunk}"):
                for name, tail in tails.items():
                    file = f"{store.path}/{name}/{chunk}{tail}"
                    if not (_is_there(file) or _is_there_after_all(file)):
                        lacking[index] = Path(file)
                        break
        return lacking

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = list(threads.map(look_for, _batch(store.chunk_indices())))
    return {index: file for lacking in found for index, file in lacking.items()}


def check_files(store: Store) -> None:
    """Raise DamagedChunkError if a chunk lacks files although it has a status."""
    for file in find_missing(store).values():
        raise describe_damage(file)


def _batch(indices: Iterator[ChunkIndex]) -> Iterator[list[ChunkIndex]]:
    while batch := list(islice(indices, _CHUNKS_PER_THREAD)):
        yield batch


def _is_there(file: str) -> bool:
    """False if there is no such file; what cannot be said is an error, unlike with os.path.exists."""
    try:
        os.stat(file)  # noqa: PTH116  # a Path for each of many files would take most of the time
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{file}: cannot be looked for: {error.strerror}") from None
    return True


def _is_there_after_all(file: str) -> bool:
    """Look once more, after the machine has been made to ask for what is in the folder."""
    for folder in Path(file).parents:
        with suppress(FileNotFoundError, NotADirectoryError):
            next(folder.iterdir(), None)
            break
    return _is_there(file)
