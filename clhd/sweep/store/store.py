"""`Store`: the Zarr group that holds what a stage has computed, with a ledger of what is known.

| variable | dims | meaning |
|---|---|---|
| the stage's outputs, or their moments | axes, replica, dims of the output | values; NaN where not computed |
| status | axes, replica | 0 not_run, 1 ok, 2 diverged, 3 not_converged, 4 failed |
| attempts | axes, replica | how often it was tried |
| seconds | axes, replica | share of the wall time of its block |
| run | axes, replica | which run (entry of the attribute ``runs``) computed it |
| error_type, error_message | axes, replica | of the last failure, else empty |

A theory has no replicas; with ``keep: moments`` blocks of them, ``replica_block``, take their place. All of these share
one chunk shape, so that a task writes whole files; data go first and the status last, so that what has a status is
complete. Chunks carry checksums, and what has a status has all its files. A chunk file is replaced in one step, but not
synced: after a power failure `Store.find_damage` finds what is torn or missing.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from clhd.errors import ClhdError
from clhd.sweep.plan.blocks import BoolArray, ChunkIndex, chunk_counts, chunk_region
from clhd.sweep.plan.moments import BLOCK_COUNTS, count_runs
from clhd.sweep.plan.stage import StageKind
from clhd.sweep.spec.experiment import Experiment
from clhd.sweep.store.checksums import change_attributes, check_seal
from clhd.sweep.store.layout import FORMAT, LEDGER, read_layout, recall_outputs
from clhd.sweep.store.metadata import FILE, MetadataError
from clhd.systems.declarations import Status
from clhd.systems.protocol import System
from clhd.systems.stored import restore_system

TEXTS = ("error_type", "error_message")


class StoreError(ClhdError):
    """A store that cannot be used as it is."""


class DamagedChunkError(StoreError):
    """A chunk whose file does not hold what was written, or is gone."""


def describe_damage(path: Path) -> DamagedChunkError:
    """What is wrong with a file of a chunk, and what helps."""
    if path.exists():
        return DamagedChunkError(f"{path}: is damaged; recompute it with clhd run EXPERIMENT.yaml --repair")
    what = "is missing, though its status says that it was written"
    return DamagedChunkError(f"{path}: {what}; recompute it with clhd run EXPERIMENT.yaml")


class Store:
    """An open store.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ClhdError
        If there is none, it is none of clhd's, or its metadata are damaged.
    """

    def __init__(self, path: Path, mode: str = "r") -> None:
        self.path = path
        contents = check_seal(path)
        self.attributes: dict[str, Any] = contents.attributes
        if self.attributes.get("clhd_store") != FORMAT:
            raise StoreError(f"{path}: is no store of this version of clhd; move it away")
        self.layout = read_layout(path, contents)
        self._contents = contents
        self.coordinates = tuple(contents.arrays.keys() - {*self.layout.outputs, *LEDGER})
        self.group = zarr.open_group(str(path), mode=mode, zarr_format=3, use_consolidated=False)  # type: ignore[arg-type]
        self._arrays: dict[str, zarr.Array[Any]] = {}
        status = self._array("status")
        self.dims: tuple[str, ...] = self.layout.dims
        self.shape: tuple[int, ...] = status.shape
        self.chunks: tuple[int, ...] = status.chunks
        self.kind: StageKind = self.layout.kind

    def _array(self, name: str) -> zarr.Array[Any]:
        """A variable; opening one costs as much as reading a chunk, so each is opened once."""
        if name not in self._arrays:
            array: Any = self.group[name]
            # Also what is all NaN has its file, so that a missing one is noticed.
            self._arrays[name] = array if name in TEXTS else array.with_config({"write_empty_chunks": True})
        return self._arrays[name]

    @property
    def experiment(self) -> Experiment:
        """The experiment that the store has room for."""
        return self.layout.experiment

    @property
    def outputs(self) -> list[str]:
        """Names of the computed quantities."""
        return list(self.attributes["outputs"])

    @property
    def has_replicas(self) -> bool:
        """True if the last dim is that of the replicas, or of blocks of them."""
        return self.layout.has_replicas

    def recall_system(self) -> System | None:
        """Return the system as the store remembers it; None for a store of an earlier version, which does not."""
        declaration = self.layout.declaration
        if declaration is None:
            return None
        outputs = recall_outputs(self.path, self.layout, self._contents, self.group)
        return restore_system(declaration, self.kind, outputs, self.attributes["version"])

    def count_inner_dims(self, name: str) -> int:
        """Dims of a variable that are within a run, such as time: they are not divided into chunks."""
        return self._array(name).ndim - len(self.shape)

    def chunk_indices(self) -> Iterator[ChunkIndex]:
        """All chunks."""
        return np.ndindex(*chunk_counts(self.shape, self.chunks))

    def region(self, index: ChunkIndex) -> tuple[slice, ...]:
        """What a chunk holds."""
        return chunk_region(index, self.shape, self.chunks)

    def chunk_number(self, index: ChunkIndex) -> int:
        """Number of a chunk, among all chunks of a variable."""
        return int(np.ravel_multi_index(index, chunk_counts(self.shape, self.chunks))) if index else 0

    def read(self, name: str, region: Sequence[slice] = ()) -> NDArray[Any]:
        """Part of a variable, by default all of it.

        Parameters
        ----------
        name : str
        region : sequence of slice, optional
            Of steps of 1; dims for which there is none are read in full.

        Raises
        ------
        DamagedChunkError
            If a chunk in it is damaged, or is missing although it has a status.
        """
        try:
            values = np.asarray(self._array(name)[tuple(region) or ...])
        except Exception:  # codecs and file systems raise what they like
            if not self.exists():
                raise StoreError(f"{self.path}: has been moved away or deleted while it was read; try again") from None
            damaged = next((path for path, _ in self._find_damage_of(name)), None)
            if damaged is None:
                raise
            raise describe_damage(damaged) from None
        if name not in TEXTS:
            for index in self._chunks_of(region):
                if self._is_missing(name, index):
                    raise describe_damage(self._file(name, index))
        return values

    def _chunks_of(self, region: Sequence[slice]) -> Iterator[ChunkIndex]:
        """The chunks that a region touches."""
        ranges = []
        for axis, (length, size) in enumerate(zip(self.shape, self.chunks, strict=True)):
            first, last, _ = region[axis].indices(length) if axis < len(region) else (0, length, 1)
            ranges.append(range(first // size, -(-last // size)))
        return product(*ranges)

    def _is_missing(self, name: str, index: ChunkIndex) -> bool:
        """True if a chunk has a status, but no file of a variable; only texts are left out where they are empty."""
        # The status first: whoever is writing just now writes it last.
        return name not in TEXTS and self._file("status", index).exists() and not self._file(name, index).exists()

    def status(self) -> NDArray[np.int8]:
        """The status of everything; what cannot be read is not run."""
        array = self._array("status")
        try:
            return np.asarray(array[...])
        except Exception:
            status = np.zeros(self.shape, np.int8)
            damaged = {index for _, index in self._find_damage_of("status")}
            for index in self.chunk_indices():
                if index not in damaged:
                    status[self.region(index)] = array[self.region(index)]
            return status

    @property
    def entry_size(self) -> int:
        """Replicas of one entry along the last dim: 1, or those of a block."""
        return int(self.attributes.get("replicas_per_entry", 1))

    def count_runs(self, wanted: BoolArray, status: NDArray[np.int8] | None = None) -> dict[str, int]:
        """How many replicas of points have each status, of the entries wanted; `status`, if it has just been read."""
        status = (self.status() if status is None else status)[wanted]  # before the counts, which are written before it
        counts = {name: self.read(name)[wanted] for name in BLOCK_COUNTS} if self.entry_size > 1 else None
        return count_runs(status, self.entry_size, counts)

    def read_chunk(self, index: ChunkIndex) -> dict[str, NDArray[Any]]:
        """What a chunk holds of every variable; of one that was never written, without looking at its files."""
        if not self._file("status", index).exists():
            return self.make_chunk(index)
        return {name: self.read(name, self.region(index)) for name in (*self.outputs, *LEDGER)}

    def make_chunk(self, index: ChunkIndex) -> dict[str, NDArray[Any]]:
        """A chunk in which nothing is known."""
        shape = tuple(piece.stop - piece.start for piece in self.region(index))
        empty = {}
        for name in (*self.outputs, *LEDGER):
            array = self._array(name)
            dtype = np.dtypes.StringDType() if name in TEXTS else array.dtype
            empty[name] = np.full(shape + array.shape[len(shape) :], array.fill_value, dtype)
        return empty

    def merge_chunk(self, index: ChunkIndex, needed: BoolArray, data: Mapping[str, NDArray[Any]], run: int) -> None:
        """Write what was computed of one chunk, its status last; what is known by now is kept.

        The caller is its only writer, see `guard_writing`. So nothing is lost or mixed, whatever is killed, and whoever
        else has written to the chunk since this task began.

        Parameters
        ----------
        index : tuple of int
        needed : array of bool, of the shape of the chunk
            What was computed.
        data : mapping of name to array
            Of outputs and of the ledger; what is not there stays as it is. Attempts are counted here.
        run : int
            Entry of the store's runs that computed it.
        """
        held = self.read_chunk(index)
        open_ = needed & ((held["status"] == Status.NOT_RUN) | (held["status"] == Status.FAILED))
        if not open_.any():
            return
        held["attempts"][open_] += 1
        held["run"][open_] = run
        for name in data.keys() - {"attempts", "run"}:
            held[name][open_] = data[name][open_]
        self.write_chunk(index, held)

    def write_chunk(self, index: ChunkIndex, held: Mapping[str, NDArray[Any]]) -> None:
        """Write one chunk of every variable, its status last."""
        region = self.region(index)
        for name in (*self.outputs, *LEDGER):
            if name in TEXTS and not np.any(held[name] != "") and not self._file(name, index).exists():
                continue  # no error, as mostly: no file
            self._array(name)[region] = held[name]

    def adopt_chunk(self, index: ChunkIndex, other: "Store", source: ChunkIndex) -> None:
        """Have the files of a chunk of another store, by a second name for each, or a copy where there are no such.

        A file is never changed, only replaced, so neither store notices what becomes of the other. The two must be of
        the same form.
        """
        if not other._file("status", source).exists():
            return
        for name in (*self.outputs, *LEDGER):
            old, new = other._file(name, source), self._file(name, index)
            if old.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(old, new)
                except OSError:
                    shutil.copyfile(old, new)

    def _file(self, name: str, index: ChunkIndex) -> Path:
        """The file of one chunk of a variable."""
        return self.path.joinpath(name, "c", *map(str, index), *["0"] * self.count_inner_dims(name))

    def _find_damage_of(self, name: str) -> Iterator[tuple[Path, ChunkIndex]]:
        """Files of a variable that cannot be read or are missing, with their chunks."""
        array = self._array(name)
        for index in self.chunk_indices():
            path = self._file(name, index)
            if self._is_missing(name, index):
                yield path, index
            if not path.exists():
                continue
            try:
                array[self.region(index)]
            except Exception as error:
                if isinstance(error, MemoryError) or (
                    isinstance(error, OSError) and error.errno not in (errno.EIO, None)
                ):
                    raise  # nothing is known of the chunk then
                yield path, index

    def find_damage(self) -> list[tuple[Path, ChunkIndex]]:
        """Files of any variable that cannot be read or are missing, with their chunks."""
        return [found for name in (*self.outputs, *LEDGER) for found in self._find_damage_of(name)]

    def remove_strays(self) -> None:
        """Delete what processes that were killed in the middle of writing files have left of them."""
        for stray in self.path.rglob("*.partial"):
            stray.unlink(missing_ok=True)

    def forget(self, index: ChunkIndex) -> None:
        """Make a chunk as if it had never been run; its status goes first, and folders that are empty then last."""
        for name in reversed((*self.outputs, *LEDGER)):
            file = self._file(name, index)
            file.unlink(missing_ok=True)
            with suppress(OSError):
                os.removedirs(file.parent)

    def exists(self) -> bool:
        """False if it has been moved away or deleted since it was opened."""
        return (self.path / FILE).is_file()

    def update_attributes(self, **changes: Any) -> None:
        """Change attributes of the store, and its seal, in one step; raises FileNotFoundError if it was moved away."""
        try:
            change_attributes(self.path, **changes)
        except MetadataError:
            (self.path / FILE).stat()
            raise
        self.attributes.update(changes)
