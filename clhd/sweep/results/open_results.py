"""`open_results`: the results of an experiment as one tree of labelled data, whose values are read when they are used.

This is the one module that loads Zarr, which takes a third of a second, and a millisecond for each array that it opens;
all else reads and writes by `clhd.sweep.store.chunk_files`.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from xarray.backends import BackendEntrypoint
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from clhd.core.lazy import xr
from clhd.errors import ResultsError
from clhd.sweep.spec.experiment import STAGES, stage_path
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.store import Store
from clhd.sweep.store.zarr_format import FILE, parse_chunk_key


def open_results(path: str | Path) -> xr.DataTree:
    """Open the stores of one experiment, lazily.

    Parameters
    ----------
    path : path
        Folder of the experiment, such as ``results/grid``.

    Returns
    -------
    xarray.DataTree

    | node | dims | content |
    |---|---|---|
    | simulation | axes, replica, dims of the outputs | every run with its status, or moments of blocks of runs |
    | theory | axes on which the theory depends, dims of the outputs | predictions |
    | summary | axes, dims of the outputs | mean, standard error, quantiles, theory, z-score, counts |

    A stage without a store is left out. Values are read from the files when they are used, and checked: they are those
    of the moment of opening, whatever runs meanwhile. After two more runs they may be gone, which is an error.

    Raises
    ------
    ClhdError
        If there are no results, or a store does not match its experiment. When values are read: if a file is damaged,
        or was replaced.
    """
    return xr.DataTree.from_dict(_open_parts(Path(path), dask=True), name=Path(path).name)


def _open_parts(path: Path, *, dask: bool) -> dict[str, xr.Dataset]:
    """Return the parts of the results by their path in the tree."""
    found = {name: stage_path(path, name) for name in STAGES if stage_path(path, name).is_dir()}
    if not found:
        raise ResultsError(f"{path}: holds no results; create them with `clhd run FILE`")
    files = {
        name: ChunkFiles(store, check_summary(store)) if name == "summary" else Store(store).files
        for name, store in found.items()
    }
    return {f"/{name}": BoundStore(opened).open_dataset(dask=dask) for name, opened in files.items()}


class ResultsBackend(BackendEntrypoint):
    """Lets ``xarray.open_datatree("results/grid")`` call `open_results`; xarray finds it as an entry point."""

    description = "Results of a clhd experiment, all parts checked"
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Return True for the folder of an experiment."""
        is_path = isinstance(filename_or_obj, str | Path)
        return is_path and any(stage_path(Path(filename_or_obj), name).is_dir() for name in STAGES)

    def open_groups_as_dict(self, filename_or_obj: Any, *, drop_variables: Any = None) -> dict[str, xr.Dataset]:
        """Return the parts of the results by their path in the tree; xarray decides whether Dask reads them."""
        parts = _open_parts(Path(filename_or_obj), dask=False)
        return {"/": xr.Dataset()} | {name: part.drop_vars(drop_variables or []) for name, part in parts.items()}

    def open_datatree(self, filename_or_obj: Any, *, drop_variables: Any = None) -> xr.DataTree:
        """Return the tree of `open_results`."""
        parts = self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables)
        return xr.DataTree.from_dict(parts, name=Path(filename_or_obj).name)


class BoundStore(LocalStore):
    """The folder of a store, or of a summary, as Zarr reads it, with its metadata as they were when it was opened."""

    def __init__(self, files: ChunkFiles) -> None:
        super().__init__(files.root, read_only=True)
        self.files = files

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

    def open_dataset(self, *, dask: bool = False) -> xr.Dataset:
        """Open all variables; coordinates are read now, the others when they are used, or by Dask.

        Raises
        ------
        StoreError
            If a file is damaged or missing; also when values are read.
        """
        dataset: xr.Dataset = xr.open_zarr(self, zarr_format=3, consolidated=True, chunks={} if dask else None)
        for coordinate in dataset.coords.values():
            coordinate.load()
        return dataset


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
