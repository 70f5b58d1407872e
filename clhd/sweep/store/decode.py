"""`read_array` returns the values of a variable of a store, or of a region, from its chunk files; `read_dataset` all.

They do without Zarr, which is slow to load and to open. What they read is what clhd writes: one chunk grid, numbers
or texts, and Zstandard; `clhd.sweep.store.documents.find_danger` has refused all else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, Literal

import numpy as np
from numcodecs.zstd import decompress
from numpy.typing import NDArray

from clhd.core.lazy import xr
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.documents import Document, read_chunks

TEXT = "string"
LENGTH_BYTES = 4  # of the number of texts, and of each length


def find_dtype(document: Document) -> np.dtype[Any]:
    """Return the type of the values of an array, as numpy has them."""
    kind = document["data_type"]
    return np.dtypes.StringDType() if kind == TEXT else np.dtype(kind)


def find_fill_value(document: Document) -> Any:
    """Return the value of what was not written, from the metadata of an array, which write NaN as a text."""
    value = document["fill_value"]
    return value if document["data_type"] == TEXT else np.dtype(document["data_type"]).type(value)


def find_byte_order(document: Document) -> Literal["big", "little"]:
    """Return the order of the bytes of a number, from the metadata of an array."""
    configuration = document["codecs"][0].get("configuration") or {}
    return "big" if configuration.get("endian") == "big" else "little"


def read_array(files: ChunkFiles, name: str, region: Sequence[slice] = ()) -> NDArray[Any]:
    """Return the values of a variable, all or those of a region.

    Parameters
    ----------
    files : ChunkFiles
    name : str
    region : sequence of slice, optional
        Slices with step 1; dims without a slice are read in full.

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
            values[there] = _decode(content, document)[own]
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

    Parameters
    ----------
    files : ChunkFiles
    only : collection of str, optional
        The variables; by default all.
    places : mapping of dim to positions, optional
        What of each dim is wanted, ascending; by default all.
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


def _decode(content: bytes, document: Document) -> NDArray[Any]:
    """Return the values of a whole chunk; at the end of a dim it holds fill values behind those of the array."""
    data, shape = decompress(content), read_chunks(document)
    if document["data_type"] == TEXT:
        return np.array(_decode_texts(data), dtype=np.dtypes.StringDType()).reshape(shape)
    dtype = np.dtype(document["data_type"]).newbyteorder(find_byte_order(document))
    return np.frombuffer(data, dtype).reshape(shape)


def _decode_texts(data: bytes) -> list[str]:
    """Return texts from their number and, for each, its length and its UTF-8."""
    count, place, texts = int.from_bytes(data[:LENGTH_BYTES], "little"), LENGTH_BYTES, []
    for _ in range(count):
        start = place + LENGTH_BYTES
        place = start + int.from_bytes(data[place:start], "little")
        if place > len(data):
            raise ValueError("the texts of a chunk end too early")
        texts.append(data[start:place].decode())
    return texts
