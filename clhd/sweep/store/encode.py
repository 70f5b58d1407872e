"""`describe_array` returns the metadata of an array, `encode_chunk` the content of a chunk, both as Zarr writes them.

Zarr takes a quarter of a second to load and some milliseconds to write a chunk of five small files; without it they
take less than one. `clhd.sweep.store.decode` is the way back.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numcodecs.zstd import compress
from numpy.typing import NDArray

from clhd.sweep.store.decode import LENGTH_BYTES, TEXT, find_byte_order, find_fill_value
from clhd.sweep.store.documents import Document, read_chunks

CODEC: dict[str, Any] = {"name": "zstd", "configuration": {"level": 3, "checksum": True}}


def describe_array(
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: Any,
    fill_value: Any,
    keys: Mapping[str, Any],
    dims: Sequence[str],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metadata of an array.

    Parameters
    ----------
    dtype : type
        `str` for texts.
    keys : mapping
        How the files of its chunks are named: one of `KEY_ENCODINGS`.
    """
    is_text = dtype is str
    kind = TEXT if is_text else np.dtype(dtype).name
    fill = fill_value if is_text else np.dtype(dtype).type(fill_value).item()
    codec: dict[str, Any] = {"name": "vlen-utf8", "configuration": {}} if is_text else {"name": "bytes"}
    if not is_text and np.dtype(dtype).itemsize > 1:
        codec["configuration"] = {"endian": "little"}
    names = {"dimension_names": list(dims)} if dims else {}
    return {
        "shape": list(shape),
        "data_type": kind,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(chunks)}},
        "chunk_key_encoding": dict(keys),
        "fill_value": "NaN" if isinstance(fill, float) and math.isnan(fill) else fill,
        "codecs": [codec, CODEC],
        "attributes": dict(attributes),
        **names,
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def encode_chunk(values: NDArray[Any], document: Document) -> bytes:
    """Return the content of the file of a chunk; behind values at the end of a dim come fill values."""
    shape = tuple(read_chunks(document))
    is_text = document["data_type"] == TEXT
    dtype = values.dtype if is_text else np.dtype(document["data_type"]).newbyteorder(find_byte_order(document))
    if values.shape != shape:
        whole = np.full(shape, find_fill_value(document), dtype)
        whole[tuple(slice(0, length) for length in values.shape)] = values
        values = whole
    data = _encode_texts(values) if is_text else np.ascontiguousarray(values, dtype).tobytes()
    settings = document["codecs"][-1].get("configuration") or {}
    return bytes(compress(data, settings.get("level", 0), settings.get("checksum", False)))


def _encode_texts(texts: NDArray[Any]) -> bytes:
    """Return the number of texts and, for each, its length and its UTF-8."""
    encoded = [str(text).encode() for text in texts.ravel().tolist()]
    parts = [len(encoded).to_bytes(LENGTH_BYTES, "little")]
    for text in encoded:
        parts += [len(text).to_bytes(LENGTH_BYTES, "little"), text]
    return b"".join(parts)
