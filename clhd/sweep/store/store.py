"""`Store`: the Zarr group of the results of one stage, with a ledger of the state of every run.

| variable | dims | meaning |
|---|---|---|
| outputs of the stage, or their moments | axes, replica, dims of the output | values; NaN where not computed |
| status | axes, replica | 0 not_run, 1 ok, 2 diverged, 3 not_converged, 4 failed |
| attempts | axes, replica | number of attempts |
| seconds | axes, replica | share of the wall time of its block |
| run | axes, replica | index of the run that computed it, in the attribute ``runs`` |
| error_type, error_message | axes, replica | last failure, else empty |

A theory has no replicas; ``keep: moments`` has blocks of replicas, ``replica_block``. All these variables share one
chunk shape, so a task writes whole files. It writes the status last: a chunk with a status is complete. Chunks carry
trailers, see `clhd.sweep.store.chunk_files`. A chunk file is replaced in one step but not synced, so a power failure
can leave damaged or missing files, which `Store.find_damage` finds. `find_missing` finds missing files without reading
any, which is fast. On a network file system each look-up asks another machine, so several run at a time; and for a
minute a machine may not see a file that another machine has written, so a file that seems to be missing is looked up
twice.
"""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.arrays import BoolArray
from clhd.core.files import check_folders
from clhd.sweep.plan.blocks import ChunkIndex, chunk_counts, chunk_region
from clhd.sweep.plan.moments import BLOCK_COUNTS, count_runs
from clhd.sweep.store.chunk_files import LEDGER, STATUS, TEXTS, ChunkFiles, StoreError, read_array, read_dataset
from clhd.sweep.store.layout import FORMAT, read_layout, read_outputs
from clhd.sweep.store.metadata import MetadataError, change_attributes, check_metadata
from clhd.sweep.store.zarr_format import FILE, chunk_key, encode_chunk, find_dtype, find_fill_value, read_chunks
from clhd.systems.declarations import Status
from clhd.systems.protocol import System
from clhd.systems.stored import restore_system

if TYPE_CHECKING:
    import xarray as xr

# Of `find_missing`.
_THREADS, _CHUNKS_PER_THREAD = 10, 200


class Store:
    """An open store.

    Raises
    ------
    ClhdError
        If there is no store, another program wrote it, or its metadata are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        metadata = check_metadata(path)
        self.attributes: dict[str, Any] = metadata.attributes
        if self.attributes.get("clhd_store") != FORMAT:
            raise StoreError(f"{path}: has another format than this version of clhd writes; move it to another folder")
        self.layout = read_layout(path, metadata)
        self._metadata = metadata
        self.coordinates = tuple(metadata.arrays.keys() - {*self.layout.outputs, *LEDGER})
        self.files = ChunkFiles(path, metadata)
        status = metadata.arrays[STATUS]
        self.dims, self.shape, self.chunks = self.layout.dims, self.layout.shape, tuple(read_chunks(status))
        self.kind, self.experiment = self.layout.kind, self.layout.experiment
        self.outputs = list(self.layout.outputs)
        # Replicas of one entry along the last dim: 1, or the size of a block.
        self.entry_size = int(self.attributes.get("replicas_per_entry", 1))

    def read_dataset(self, names: Sequence[str], places: Mapping[str, Sequence[int]]) -> "xr.Dataset":
        """Return variables and all coordinates at some positions along each dim, in memory; raises as `read` does."""
        try:
            return read_dataset(self.files, {*names, *self.coordinates}, places)
        except StoreError:
            raise
        except Exception:  # codecs and file systems raise errors of any type
            damaged = next((path for name in names for path, _ in self._find_damage_of(name)), None)
            if damaged is None:
                raise
            raise self.files.describe_damage(damaged) from None

    def stored_system(self) -> System | None:
        """Return the system as the store describes it, which computes nothing; None in stores of earlier versions."""
        if self.layout.declaration is None:
            return None
        outputs = read_outputs(self.files, self.layout)
        return restore_system(self.layout.declaration, self.kind, outputs, self.attributes["version"])

    def list_inner_dims(self, name: str) -> tuple[str, ...]:
        """Return the dims of an output within a run, such as time; they are not divided into chunks."""
        return tuple(self._metadata.arrays[name].get("dimension_names") or ())[len(self.shape) :]

    def inner_shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an output within a run."""
        return tuple(self._metadata.arrays[name]["shape"][len(self.shape) :])

    def count_inner_dims(self, name: str) -> int:
        """Return the number of dims within a run."""
        return len(self.inner_shape(name))

    def chunk_indices(self) -> Iterator[ChunkIndex]:
        """Iterate over the indices of all chunks."""
        return np.ndindex(*chunk_counts(self.shape, self.chunks))

    def region(self, index: ChunkIndex) -> tuple[slice, ...]:
        """Return the slices of a variable that a chunk holds."""
        return chunk_region(index, self.shape, self.chunks)

    def chunk_number(self, index: ChunkIndex) -> int:
        """Return the number of a chunk among all chunks of a variable."""
        return int(np.ravel_multi_index(index, chunk_counts(self.shape, self.chunks))) if index else 0

    def read(self, name: str, region: Sequence[slice] = ()) -> NDArray[Any]:
        """Return the values of a variable, all or those of a region, see `clhd.sweep.store.chunk_files.read_array`.

        Raises
        ------
        DamagedChunkError
            If a chunk of the region is damaged, or is missing although it has a status.
        """
        try:
            return read_array(self.files, name, region)
        except StoreError:
            raise
        except Exception:  # codecs and file systems raise errors of any type
            damaged = next((path for path, _ in self._find_damage_of(name)), None)
            if damaged is None:
                raise
            raise self.files.describe_damage(damaged) from None

    def status(self) -> NDArray[np.int8]:
        """Return the status of every entry; not_run where it cannot be read."""
        try:
            return read_array(self.files, STATUS)
        except Exception:
            status = np.zeros(self.shape, np.int8)
            damaged = {index for _, index in self._find_damage_of(STATUS)}
            for index in self.chunk_indices():
                if index not in damaged:
                    status[self.region(index)] = read_array(self.files, STATUS, self.region(index))
            return status

    def count_runs(self, selected: BoolArray, status: NDArray[np.int8] | None = None) -> dict[str, int]:
        """Return the number of runs with each status among the selected entries; `status` saves reading it again.

        Raises
        ------
        DamagedChunkError
            If `status` is not given and a chunk of it is damaged.
        """
        # Read the status before the counts: a task writes it after them.
        status = (self.read(STATUS) if status is None else status)[selected]
        counts = {name: self.read(name)[selected] for name in BLOCK_COUNTS} if self.entry_size > 1 else None
        return count_runs(status, self.entry_size, counts)

    def read_chunk(self, index: ChunkIndex) -> dict[str, NDArray[Any]]:
        """Return the values of every variable in a chunk; fill values, without reading files, if it has no status."""
        if not self.has_status(index):
            return self.make_chunk(index)
        return {name: self.read(name, self.region(index)) for name in (*self.outputs, *LEDGER)}

    def has_status(self, index: ChunkIndex) -> bool:
        """Return False if nothing of a chunk was computed yet."""
        return self._file(STATUS, index).exists()

    def make_chunk(self, index: ChunkIndex) -> dict[str, NDArray[Any]]:
        """Return a chunk of fill values."""
        shape = tuple(piece.stop - piece.start for piece in self.region(index))
        empty = {}
        for name in (*self.outputs, *LEDGER):
            document = self._metadata.arrays[name]
            empty[name] = np.full(shape + self.inner_shape(name), find_fill_value(document), find_dtype(document))
        return empty

    def merge_chunk(self, index: ChunkIndex, needed: BoolArray, data: Mapping[str, NDArray[Any]], run: int) -> None:
        """Write computed entries of a chunk, its status last; entries that have a result by now are kept.

        The caller must be the only writer of the chunk, see `guard_writing`. Then no result is lost, whichever process
        is killed, even if another task has written to the chunk since this one began.

        Parameters
        ----------
        needed : array of bool, of the shape of the chunk
            The entries that were computed.
        data : mapping of name to array
            Values of outputs and of the ledger; variables without values stay as they are. Attempts are counted here.
        run : int
            Index of the run that computed them, in the attribute ``runs``.
        """
        chunk = self.read_chunk(index)
        is_new = needed & ((chunk["status"] == Status.NOT_RUN) | (chunk["status"] == Status.FAILED))
        if not is_new.any():
            return
        chunk["attempts"][is_new] += 1
        chunk["run"][is_new] = run
        for name in data.keys() - {"attempts", "run"}:
            chunk[name][is_new] = data[name][is_new]
        self.write_chunk(index, chunk)

    def write_chunk(self, index: ChunkIndex, chunk: Mapping[str, NDArray[Any]]) -> None:
        """Write one chunk of every variable, the status last."""
        self.files.begin_write(index)
        for name in (*self.outputs, *LEDGER):
            self._check_folders(name, index)
            if name in TEXTS and not np.any(chunk[name] != ""):  # without an error there is no file
                if (file := self._file(name, index)).exists():
                    file.unlink()
                continue
            data = encode_chunk(chunk[name], self._metadata.arrays[name])
            self.files.write_chunk(name, index + (0,) * self.count_inner_dims(name), data)

    def take_chunk(self, index: ChunkIndex, other: "Store", source: ChunkIndex) -> None:
        """Take the files of a chunk with the same points and replicas from another store of the same encoding.

        They are hard links, unless the other store is of an earlier version. Files are never changed, only replaced, so
        the two stores do not affect each other.
        """
        version = other.files.read_version(source)
        if version is None:
            return
        is_same = self.files.metadata.identity == other.files.metadata.identity
        for name in (*self.outputs, *LEDGER):
            old, new = other._file(name, source), self._file(name, index)
            if not old.exists():
                continue
            new.parent.mkdir(parents=True, exist_ok=True)
            if is_same:
                with suppress(OSError):  # file systems without hard links
                    os.link(old, new)
                    continue
            tail = (0,) * self.count_inner_dims(name)
            data = other.files.read_chunk(name, source + tail)
            if data is not None:
                new.write_bytes(data + self.files.make_trailer(name, index + tail, version, data))

    def _file(self, name: str, index: ChunkIndex) -> Path:
        """Return the path of the file of one chunk of a variable."""
        return self.files.file(name, index + (0,) * self.count_inner_dims(name))

    def _check_folders(self, name: str, index: ChunkIndex) -> None:
        """Raise ClhdError if a chunk of a variable would be written or deleted through a link."""
        check_folders(self.path, self._file(name, index).parent)

    def _find_damage_of(self, name: str) -> Iterator[tuple[Path, ChunkIndex]]:
        """Iterate over the damaged or missing files of a variable, with their chunks."""
        for index in self.chunk_indices():
            try:
                read_array(self.files, name, self.region(index))
            except Exception as error:
                is_other = isinstance(error, OSError) and error.errno not in (errno.EIO, None)
                if is_other or isinstance(error, MemoryError):
                    raise  # the chunk need not be damaged
                yield self._file(name, index), index

    def find_damage(self) -> list[tuple[Path, ChunkIndex]]:
        """Return the damaged or missing files of all variables, with their chunks."""
        return [found for name in (*self.outputs, *LEDGER) for found in self._find_damage_of(name)]

    def remove_leftover_files(self) -> None:
        """Delete the partial files of writes that were killed."""
        for file in self.path.rglob("*.partial"):
            file.unlink(missing_ok=True)

    def delete_chunk(self, index: ChunkIndex) -> None:
        """Delete the files of a chunk, the status first, and folders that are empty then; its entries are not_run."""
        for name in reversed((*self.outputs, *LEDGER)):
            file = self._file(name, index)
            self._check_folders(name, index)
            file.unlink(missing_ok=True)
            with suppress(OSError):
                os.removedirs(file.parent)

    def exists(self) -> bool:
        """Return False if the store was moved or deleted since it was opened."""
        return (self.path / FILE).is_file()

    def update_attributes(self, **changes: Any) -> None:
        """Change attributes of the store in one step; raise FileNotFoundError if the store was moved."""
        try:
            change_attributes(self.path, **changes)
        except MetadataError:
            (self.path / FILE).stat()
            raise
        self.attributes.update(changes)


def find_missing(store: Store, sizes: list[int] | None = None) -> dict[ChunkIndex, Path]:
    """Return the first missing file of each chunk that has a status but lacks files, or has empty files.

    The list, if there is one, takes the sizes of the files that were found.

    Raises
    ------
    StoreError
        If the file system cannot be asked.
    """
    # Texts have a file only where there was an error.
    variables = [name for name in (*store.outputs, *LEDGER) if name not in (STATUS, *TEXTS)]
    # Texts, since paths would take most of the time: for each variable, its folder, and what its chunks are called.
    places = [(f"{store.path}/{name}", store.files.metadata.arrays[name]) for name in variables]
    tails = [(0,) * store.count_inner_dims(name) for name in variables]
    status, ledger = f"{store.path}/{STATUS}", store.files.metadata.arrays[STATUS]

    def look_for(chunks: Sequence[ChunkIndex]) -> dict[ChunkIndex, Path]:
        missing: dict[ChunkIndex, Path] = {}
        for index in chunks:
            if _exists(f"{status}/{chunk_key(index, ledger)}", sizes):
                for (folder, document), tail in zip(places, tails, strict=True):
                    file = f"{folder}/{chunk_key(index + tail, document)}"
                    if not (_exists(file, sizes) or _exists_after_refresh(file)):
                        missing.setdefault(index, Path(file))
        return missing

    batches = list(_batch(store.chunk_indices()))
    if len(batches) == 1:
        return look_for(batches[0])
    with ThreadPoolExecutor(_THREADS) as threads:
        found = list(threads.map(look_for, batches))
    return {index: file for missing in found for index, file in missing.items()}


def _batch(indices: Iterator[ChunkIndex]) -> Iterator[list[ChunkIndex]]:
    while batch := list(islice(indices, _CHUNKS_PER_THREAD)):
        yield batch


def _exists(file: str, sizes: list[int] | None = None) -> bool:
    """Return False if there is no such file, or it is empty; raise StoreError if that is unknown."""
    try:
        size = os.stat(file).st_size  # noqa: PTH116  # a Path for each of many files would take most of the time
        if sizes is not None:
            sizes.append(size)
        return size > 0
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
