"""`BoundStore`: the files of a store as Zarr sees them, see `clhd.sweep.store.chunk_files`.

Zarr takes a third of a second to load, and a millisecond for each array that it opens. So it is loaded only to write,
and to open results that are read later; `clhd.sweep.store.chunk_files` reads without it.
"""

import json
import os
import sys
import threading
from typing import TYPE_CHECKING

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.zarr_format import FILE, parse_chunk_key

if TYPE_CHECKING:
    import xarray as xr


def _start_threads_anew() -> None:
    """Have dask 2026.8 start its threads again in a fork, which has none of its parent's; else a read may never end.

    Readers need it, also without distributed, so it is not among the private parts in `clhd.sweep.cluster.dask_quirks`.
    """
    threaded = sys.modules.get("dask.threaded")
    if threaded is not None:
        threaded.default_pool, threaded.pools_lock = None, threading.Lock()  # type: ignore[attr-defined]
        threaded.pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_threads_anew)


class BoundStore(LocalStore):
    """The folder of a store, or of a summary, with its metadata as they were when it was opened."""

    def __init__(self, files: ChunkFiles, *, read_only: bool = True) -> None:
        super().__init__(files.root, read_only=read_only)
        self.files = files

    def with_read_only(self, read_only: bool = False) -> "BoundStore":
        """Return the same store, to read or to write."""
        return type(self)(self.files, read_only=read_only)

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the content of a file without its trailer; None if it does not exist and need not exist.

        Raises
        ------
        DamagedChunkError
            If a chunk is damaged, or is missing although it was written.
        StoreError
            If the store was replaced since it was opened.
        """
        name, _, rest = key.rpartition("/") if key.endswith(FILE) else key.partition("/")
        document = self.files.metadata.arrays.get(name) if name else self.files.metadata.document
        if document is None:
            return None
        if key.endswith(FILE):
            data: bytes | None = json.dumps(document).encode()
        else:
            index = parse_chunk_key(rest, document)
            data = None if index is None else self.files.read_chunk(name, index)
        return None if data is None else (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return the content of a file; see `get_sync`. One file takes less time than a change of thread."""
        return self.get_sync(key, prototype=prototype, byte_range=byte_range)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file; a chunk with its trailer."""
        name, _, rest = key.partition("/")
        arrays = self.files.metadata.arrays
        index = parse_chunk_key(rest, arrays[name]) if name in arrays else None
        if index is not None:
            data = self.files.add_trailer(name, index, value.to_bytes())
            value = default_buffer_prototype().buffer.from_bytes(data)
        super().set_sync(key, value)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file; see `set_sync`."""
        self.set_sync(key, value)

    def open_dataset(self, *, dask: bool = False) -> "xr.Dataset":
        """Open all variables; coordinates are read now, the others when they are used, or by Dask.

        Raises
        ------
        StoreError
            If a file is damaged or missing; also when values are read.
        """
        import xarray as xr  # noqa: PLC0415 (half of the time in which `clhd status` starts)

        dataset: xr.Dataset = xr.open_zarr(self, zarr_format=3, consolidated=True, chunks={} if dask else None)
        for coordinate in dataset.coords.values():
            coordinate.load()
        return dataset
