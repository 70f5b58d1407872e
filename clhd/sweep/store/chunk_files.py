"""`ChunkFiles`: the chunk files of a store or a summary, each bound to its store, its place and its version.

A chunk file is what Zarr writes and a trailer behind it. The trailer is a skippable frame of Zstandard (RFC 8878,
section 3.1.2), so that every reader of Zarr skips it; readers of clhd check it.

| bytes of the trailer | content |
|---|---|
| 0 to 7 | magic number of a skippable frame, and the number of bytes that follow |
| 8 to 11 | version: the number of the write of this chunk of the ledger; 0 for coordinates and summaries |
| 12 to 27 | blake2b of identity of the store, array, place, version, and the bytes that Zarr wrote |

The place of a chunk of results is the values of the axes and the replicas that it holds, so that it stays right while
the store grows. Other arrays are written anew in each generation: theirs is the generation and the index of the chunk.
So a file that was damaged, moved to another place, or taken from another store is noticed. A task writes the status of
a chunk last, and all files of one write have the same version: a file whose version is below the version of its status
was put back from an earlier write.

The metadata are read once. Then a reader that is open while the store is replaced reads either what it has opened or,
if the files are gone, gets an error that says so.

`LEDGER`: the variables of every store that tell the state of each run.

`read_array` returns the values of a variable, or of a region, from its chunk files; `read_dataset` those of all. They
do without Zarr, which is slow to load and to open. They read what clhd writes, see `clhd.sweep.store.zarr_format`.
"""

from __future__ import annotations

import json
import os
import struct
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clhd.core.files import read_small
from clhd.core.lazy import xr
from clhd.errors import ResultsError
from clhd.sweep.plan.blocks import ChunkIndex, chunk_counts
from clhd.sweep.store.metadata import REPAIR, Metadata, MetadataError, check_metadata, choose_remedy
from clhd.sweep.store.zarr_format import (
    FILE,
    chunk_key,
    decode_chunk,
    find_dtype,
    find_fill_value,
    parse_chunk_key,
    read_chunks,
)
from clhd.systems.declarations import Status

STATUS = "status"
# Variables that have a file only where there was an error.
TEXTS = ("error_type", "error_message")
# Type, fill value, meaning. The status is last, as it is written.
LEDGER: dict[str, tuple[Any, Any, str]] = {
    "attempts": (np.int16, 0, "number of attempts"),
    "seconds": (np.float32, 0.0, "share of the wall time of its block, s"),
    "run": (np.int16, -1, "index of the run that computed it, in the attribute runs"),
    "error_type": (str, "", "type of the last error"),
    "error_message": (str, "", "message of the last error"),
    STATUS: (np.int8, Status.NOT_RUN, "result of the last attempt"),
}
_MAGIC = 0x184D2A5C
_DIGEST_BYTES = 16
_HEAD = struct.Struct("<III")  # magic number, bytes that follow, version
TRAILER_BYTES = _HEAD.size + _DIGEST_BYTES


class StoreError(ResultsError):
    """A store that cannot be used in its present state."""


class DamagedChunkError(StoreError):
    """A chunk whose file is damaged or missing."""


class ChunkFiles:
    """The chunk files of a store, or of a summary, with its metadata as they were when it was opened."""

    def __init__(self, root: Path, metadata: Metadata) -> None:
        self.root = root
        self.metadata = metadata
        self._identity = metadata.identity
        self._identity_text = json.dumps(self._identity)
        status = metadata.arrays.get(STATUS) if "outputs" in metadata.attributes else None  # a summary has none
        # Variables whose chunks exist where there is a status, and the number of dims of the status.
        self._guarded = {*LEDGER, *metadata.attributes["outputs"]} if status else set()
        self._ledger_dims = len(status["shape"]) if status else 0
        self._labels = [list(map(json.dumps, labels)) for labels in self._list_labels()] if status else []
        self.sizes: list[int] | None = None  # of the chunks of numbers that are written, if somebody has looked at all
        # Trailers of the status that were read, if whoever has opened the store looks at it once, as at one moment.
        self.trailers: dict[ChunkIndex, bytes] | None = None
        self._versions: dict[ChunkIndex, int] = {}  # of chunks that are being written
        self._seen: tuple[int, int] | None = None  # the record, when it was last found to be of this generation

    def file(self, name: str, index: ChunkIndex) -> Path:
        """Return the path of the file of one chunk of a variable."""
        return Path(self._name_file(name, index))

    def _name_file(self, name: str, index: ChunkIndex) -> str:
        """Return the path as a text: to make a Path of each of many files takes as long as reading them."""
        return f"{self.root}/{name}/{chunk_key(index, self.metadata.arrays[name])}"

    def _list_labels(self) -> Iterator[list[Any]]:
        """Yield what the chunks along each dim of the ledger hold: values of an axis, or a range of replicas."""
        attributes, status = self.metadata.attributes, self.metadata.arrays[STATUS]
        # An experiment that was read without its system has whole numbers in place of floats.
        axes = json.loads(json.dumps(attributes["experiment"]["axes"]), parse_int=float)
        for dim, length, size in zip(attributes["dims"], status["shape"], read_chunks(status), strict=True):
            starts = range(0, length, size)
            if dim not in axes:
                yield [[start, min(start + size, length)] for start in starts]
            elif isinstance(axes[dim], list):
                yield [axes[dim][start : start + size] for start in starts]
            else:
                columns = axes[dim]["together"]
                yield [{name: column[start : start + size] for name, column in columns.items()} for start in starts]

    def _find_place(self, name: str, index: ChunkIndex) -> str:
        """Return the place of a chunk, to which its trailer binds it, as JSON."""
        if name not in self._guarded:
            return json.dumps([self.metadata.generation, *index])
        return f"[{', '.join([labels[i] for labels, i in zip(self._labels, index, strict=False)])}]"

    def add_trailer(self, name: str, index: ChunkIndex, data: bytes) -> bytes:
        """Return the content of the file of a chunk that is written now: what Zarr wrote, and the trailer."""
        if not self._identity:
            return data
        place = index[: self._ledger_dims]
        version = (self._versions.get(place) or self.read_version(place) or 0) if name in self._guarded else 0
        return data + self.make_trailer(name, index, version, data)

    def make_trailer(self, name: str, index: ChunkIndex, version: int, data: bytes) -> bytes:
        """Return the trailer of a chunk."""
        where = f"[{self._identity_text}, {json.dumps(name)}, {self._find_place(name, index)}, {version}]".encode()
        digest = blake2b(data, key=blake2b(where, digest_size=32).digest(), digest_size=_DIGEST_BYTES).digest()
        return _HEAD.pack(_MAGIC, TRAILER_BYTES - 8, version) + digest

    def write_chunk(self, name: str, index: ChunkIndex, data: bytes) -> None:
        """Write the file of a chunk in one step: what Zarr would write, and the trailer. It is not synced."""
        path = self._name_file(name, index)
        partial = f"{path}.{uuid.uuid4().hex}.partial"
        content = self.add_trailer(name, index, data)
        try:
            try:
                file = open(partial, "xb", buffering=0)  # noqa: PTH123, SIM115 (called for each of many small files)
            except FileNotFoundError:
                self._make_folders(name, path)
                file = open(partial, "xb", buffering=0)  # noqa: PTH123, SIM115
            with file:
                written = file.write(content)
                while written < len(content):  # a disk that is full takes a part, and then says so
                    written += file.write(content[written:])
            os.replace(partial, path)  # noqa: PTH105
        except BaseException:
            with suppress(OSError):
                os.unlink(partial)  # noqa: PTH108
            raise

    def _make_folders(self, name: str, path: str) -> None:
        """Make the folders of a file below that of its array, which is there unless the store was just moved away."""
        place = f"{self.root}/{name}"
        for part in path.removeprefix(f"{place}/").split("/")[:-1]:
            place = f"{place}/{part}"
            with suppress(FileExistsError):
                os.mkdir(place)  # noqa: PTH102

    def bind(self, path: Path) -> None:
        """Add the trailer to a chunk file that Zarr has just written without this store."""
        name = path.relative_to(self.root).parts[0]
        index = parse_chunk_key(path.relative_to(self.root / name).as_posix(), self.metadata.arrays[name])
        assert index is not None  # the caller lists chunk files
        data = path.read_bytes()
        path.write_bytes(data + self.make_trailer(name, index, 0, data))

    def read_chunk(self, name: str, index: ChunkIndex) -> bytes | None:
        """Return what Zarr wrote into the file of a chunk; None if it was not written.

        Raises
        ------
        DamagedChunkError
            If the chunk is damaged, or is missing although it was written.
        StoreError
            If the store was replaced since it was opened.
        """
        is_guarded = name in self._guarded
        # Read the version of the status before the data: a task that is writing now writes the status last.
        floor = self.read_version(index[: self._ledger_dims]) if is_guarded and name != STATUS else 0
        place = self._name_file(name, index)
        try:
            content = read_small(place)
        except (FileNotFoundError, NotADirectoryError):
            if is_guarded and name in TEXTS and floor is not None:
                return None
            if is_guarded and (name == STATUS or floor is None):
                self._check_kept()
                return None
            raise self.describe_damage(Path(place)) from None
        if not self._identity:
            return content
        if self._check_trailer(place, name, index, content) < (floor or 0):
            raise self.describe_damage(Path(place))
        return content[:-TRAILER_BYTES]

    def read_version(self, index: ChunkIndex) -> int | None:
        """Return the version of the status of a chunk; None if it has no status."""
        if self.trailers and index in self.trailers:
            return int(_HEAD.unpack_from(self.trailers[index])[2])
        place = self._name_file(STATUS, index)
        try:
            content = read_small(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return self._check_trailer(place, STATUS, index, content) if self._identity else 0

    def _check_trailer(self, path: str, name: str, index: ChunkIndex, content: bytes) -> int:
        """Return the version in the trailer of a chunk file; raise DamagedChunkError if the trailer is wrong."""
        data, trailer = content[:-TRAILER_BYTES], content[-TRAILER_BYTES:]
        version = int(_HEAD.unpack_from(trailer)[2]) if len(trailer) == TRAILER_BYTES else 0
        if trailer != self.make_trailer(name, index, version, data):
            raise self.describe_damage(Path(path))
        if name == STATUS and self.trailers is not None:
            self.trailers[index] = trailer
        return version

    def begin_write(self, index: ChunkIndex) -> None:
        """Give all files of a chunk that are written from now on the next version."""
        version = self.read_version(index)
        self._versions[index] = 1 if version is None else version + 1

    def digest(self) -> str:
        """Return the digest of all results: it changes with every write, and is the same in a copy of the store.

        Every write of a chunk ends with its status, whose trailer says the version and the content.
        """
        found = blake2b(self.metadata.identity.encode(), digest_size=8)
        status = self.metadata.arrays[STATUS]
        known = self.trailers or {}
        for index in np.ndindex(*chunk_counts(status["shape"], read_chunks(status))):
            with suppress(FileNotFoundError, NotADirectoryError):
                trailer = known.get(index) or read_small(self._name_file(STATUS, index))[-TRAILER_BYTES:]
                found.update(repr(index).encode() + trailer)
        return found.hexdigest()

    def list_sizes(self) -> list[int]:
        """Return the size of each file that belongs to the store: of metadata, and of chunks that are written.

        They are looked up by their names: of the folders, most hold one file, so listing them takes much longer.
        """
        arrays, known = self.metadata.arrays, self.sizes
        files = [FILE, *(f"{name}/{FILE}" for name in arrays), *self.metadata.files]
        for name in self._guarded if known is None else self._guarded.intersection(TEXTS):
            if name not in TEXTS or self._has_chunks(name):
                shape, status = arrays[name]["shape"], arrays[STATUS]
                tail = (0,) * (len(shape) - self._ledger_dims)  # dims within a run are not divided
                indices = np.ndindex(*chunk_counts(status["shape"], read_chunks(status)))
                files += [f"{name}/{chunk_key(index + tail, arrays[name])}" for index in indices]
        found = (self._find_size(f"{self.root}/{file}") for file in files)
        return [*(known or ()), *(size for size in found if size is not None)]

    @staticmethod
    def _find_size(path: str) -> int | None:
        """Return the size of a file; None if there is none, as of errors mostly, or while a run replaces it."""
        try:
            return os.stat(path).st_size  # noqa: PTH116 (a Path of each takes longer)
        except OSError:
            return None

    def _has_chunks(self, name: str) -> bool:
        """Return False if the folder of a variable has nothing but its metadata, as mostly that of errors."""
        try:
            return any(entry != FILE for entry in os.listdir(f"{self.root}/{name}"))  # noqa: PTH208
        except OSError:
            return True

    def describe_damage(self, path: Path) -> StoreError:
        """Return the error for a damaged or missing file of a chunk: why it is so, and what helps."""
        if not self.is_kept():
            return StoreError(f"{self.root}: was replaced or moved while it was open; open it again")
        is_guarded, exists = path.relative_to(self.root).parts[0] in self._guarded, path.exists()
        command = "`clhd run FILE --repair`" if exists else "`clhd run FILE`"
        remedy = f"{command} recomputes it" if is_guarded else choose_remedy(self.root, REPAIR)
        if exists:
            return DamagedChunkError(f"{path}: is damaged, or another file stands in its place; {remedy}")
        return DamagedChunkError(f"{path}: is missing although it was written; {remedy}")

    def _check_kept(self) -> None:
        """Raise StoreError if the files of this generation are gone; look again only if the record has changed."""
        try:
            state = (self.root / FILE).stat()
            seen: tuple[int, int] | None = (state.st_ino, state.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError):
            seen = None
        if seen is None or (seen != self._seen and not self.is_kept()):
            raise StoreError(f"{self.root}: was replaced or moved while it was open; open it again")
        self._seen = seen

    def is_kept(self) -> bool:
        """Return False if the files of this generation are gone: the store was moved, or replaced more than once."""
        try:
            now = check_metadata(self.root)
        except MetadataError:
            return (self.root / FILE).exists()
        is_same = now.identity == self.metadata.identity or not self._guarded  # a summary is replaced in its folder
        return is_same and now.generation - self.metadata.generation in (0, 1)


def read_array(files: ChunkFiles, name: str, region: Sequence[slice] = ()) -> NDArray[Any]:
    """Return the values of a variable, all or those of a region: slices with step 1, for the first dims or for all.

    Raises
    ------
    StoreError
        If a chunk is damaged or missing, see `ChunkFiles.read_chunk`.
    ValueError, RuntimeError
        If the content of a chunk cannot be understood.
    """
    document = files.metadata.arrays[name]
    shape, sizes = document["shape"], read_chunks(document)
    bounds = [piece.indices(length) for piece, length in zip(region, shape, strict=False)]
    bounds += [(0, length, 1) for length in shape[len(bounds) :]]
    lengths = [max(stop - start, 0) for start, stop, _ in bounds]
    values = np.full(lengths, find_fill_value(document), find_dtype(document))
    if not values.size:
        return values
    pieces = [_divide(*bound, size) for bound, size in zip(bounds, sizes, strict=True)]
    for parts in product(*pieces):
        content = files.read_chunk(name, tuple(number for number, _, _ in parts))
        if content is not None:
            own, there = (tuple(part[k] for part in parts) for k in (1, 2))
            values[there] = decode_chunk(content, document)[own]
    return values


def _divide(start: int, stop: int, _: int, size: int) -> list[tuple[int, slice, slice]]:
    """Return, for each chunk along a dim that has a part of a range, its number, this part in it, and in the range."""
    found = []
    for number in range(start // size, -(-stop // size)):
        first, last = max(number * size, start), min((number + 1) * size, stop)
        found.append((number, slice(first - number * size, last - number * size), slice(first - start, last - start)))
    return found


def read_dataset(
    files: ChunkFiles, only: Collection[str] | None = None, places: Mapping[str, Sequence[int]] | None = None
) -> xr.Dataset:
    """Return variables in memory, with tables in the attributes as tables; raises what `read_array` does.

    By default these are all variables as a whole; `places` are the wanted positions along some dims, ascending.
    """
    variables: dict[str, xr.Variable] = {}
    attributes = dict(files.metadata.attributes)
    names = set(str(attributes.pop("coordinates", "")).split())  # as xarray writes coordinates that are no dim
    for name, document in files.metadata.arrays.items():
        if only is not None and name not in only:
            continue
        values, words = _read_places(files, name, places or {}), dict(document["attributes"])
        words.pop("_FillValue", None)  # it is NaN
        names |= set(str(words.pop("coordinates", "")).split())
        values = values.astype(words.pop("dtype", values.dtype))  # xarray writes truth values as numbers
        variables[name] = xr.Variable(document.get("dimension_names") or (), values, words)
    names |= {name for name, variable in variables.items() if variable.dims == (name,)}
    coordinates = {name: variables.pop(name) for name in sorted(names & variables.keys())}
    return xr.Dataset(variables, coordinates, attributes)


def _read_places(files: ChunkFiles, name: str, places: Mapping[str, Sequence[int]]) -> NDArray[Any]:
    """Return the values of a variable at some positions along its dims; only chunks between them are read."""
    dims = files.metadata.arrays[name].get("dimension_names") or ()
    wanted = [places.get(dim) for dim in dims]
    if not any(own is not None for own in wanted):
        return read_array(files, name)
    region = [slice(None) if own is None else slice(min(own, default=0), max(own, default=-1) + 1) for own in wanted]
    values = read_array(files, name, region)
    for axis, (own, piece) in enumerate(zip(wanted, region, strict=True)):
        if own is not None:
            values = values.take([position - piece.start for position in own], axis)
    return values
