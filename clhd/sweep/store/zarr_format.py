"""What the files of a store hold, in the format 3 of Zarr and without Zarr: metadata of arrays, and bytes of chunks.

| function | what it does |
|---|---|
| `read_document`, `write_document` | one ``zarr.json`` as plain JSON |
| `find_danger` | tells what clhd cannot have written in the metadata of an array |
| `chunk_key`, `parse_chunk_key` | names of the files of chunks |
| `describe_array` | metadata of an array |
| `encode_chunk`, `decode_chunk` | content of the file of a chunk: numbers or texts, by Zstandard |

Zarr loads any codec that such a file names, and a codec can run code. So Zarr is given only what clhd could have
written, also where the checksum of a file is right. Zarr takes a quarter of a second to load and some milliseconds to
write a chunk of five small files; without it they take less than one.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numcodecs.zstd import compress, decompress
from numpy.typing import NDArray

from clhd.core.files import read_small, write_file
from clhd.sweep.spec.grid import is_plain_name

FILE = "zarr.json"
_FIXED: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "storage_transformers": [],
}
# How the files of chunks are named, by the parity of the generation of a store: so the files of two generations that
# follow each other never have the same name. A chunk (0, 1) is the file c/0/1, or 0.1.
KEY_ENCODINGS: tuple[dict[str, Any], ...] = (
    {"name": "default", "configuration": {"separator": "/"}},
    {"name": "v2", "configuration": {"separator": "."}},
)
_KEYS = {
    "shape",
    "data_type",
    "chunk_grid",
    "chunk_key_encoding",
    "fill_value",
    "codecs",
    "attributes",
    "dimension_names",
    *_FIXED,
}
_TYPES = {"string", "bool", "int8", "int16", "int32", "int64", "float32", "float64"}
_CODECS = (["bytes", "zstd"], ["vlen-utf8", "zstd"])
Document = Mapping[str, Any]
CODEC: dict[str, Any] = {"name": "zstd", "configuration": {"level": 3, "checksum": True}}
TEXT = "string"
LENGTH_BYTES = 4  # of the number of texts, and of each length


def read_document(path: Path | str) -> dict[str, Any] | str:
    """Read a JSON document; return a text if it cannot be read, which says why."""
    try:
        document = json.loads(read_small(str(path)))
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return "is not JSON"
    return document if isinstance(document, dict) else "is not a JSON object"


def write_document(path: Path, document: Document) -> None:
    """Write a JSON document in one step, which a power failure cannot tear."""
    write_file(path, json.dumps(document))


def find_danger(document: Document) -> str:
    """Describe what clhd cannot have written in the metadata of an array; empty if there is nothing."""
    if not document.keys() <= _KEYS:
        return "has keys that clhd does not write"
    for key, value in _FIXED.items():
        if document.get(key, []) != value:
            return f"{key} = {document.get(key)!r:.60}"
    if document.get("chunk_key_encoding") not in KEY_ENCODINGS:
        return f"chunk_key_encoding = {document.get('chunk_key_encoding')!r:.60}"
    kind = document.get("data_type")
    if not isinstance(kind, str) or kind not in _TYPES:
        return f"data_type = {kind!r:.60}"
    shape = document.get("shape")
    if not _are_counts(shape):
        return f"shape = {shape!r:.60}"
    names = document.get("dimension_names") or []  # an array without dims has no such key
    if not isinstance(names, list) or not all(isinstance(name, str) and is_plain_name(name) for name in names):
        return f"dimension_names = {names!r:.60}"
    chunks = read_chunks(document)
    if not _are_counts(chunks) or not len(chunks) == len(shape) == len(names):  # type: ignore[arg-type]
        return f"chunk_grid = {document.get('chunk_grid')!r:.90}"
    codecs = document.get("codecs")
    is_list = isinstance(codecs, list) and all(isinstance(codec, dict) for codec in codecs)
    if not is_list or [codec.get("name") for codec in codecs or ()] not in _CODECS:
        return f"codecs = {codecs!r:.90}"
    return ""


def chunk_key(index: Sequence[int], document: Document) -> str:
    """Return the name of the file of a chunk, relative to the folder of its array."""
    encoding = KEY_ENCODINGS.index(document["chunk_key_encoding"])
    return "/".join(map(str, ("c", *index))) if encoding == 0 else ".".join(map(str, index)) or "0"


def parse_chunk_key(key: str, document: Document) -> tuple[int, ...] | None:
    """Return the index of a chunk from the name of its file; None for the name of anything else."""
    count = len(document["shape"])
    if document["chunk_key_encoding"] == KEY_ENCODINGS[0]:
        first, *parts = key.split("/")
        if first != "c":
            return None
    else:
        parts = [] if (key, count) == ("0", 0) else key.split(".")
    is_index = len(parts) == count and all(part.isdecimal() and str(int(part)) == part for part in parts)
    return tuple(map(int, parts)) if is_index else None


def read_chunks(document: Document) -> Sequence[int]:
    """Return the shape of a chunk from the metadata of an array; empty if they do not say it."""
    grid = document.get("chunk_grid")
    inner = grid.get("configuration") if isinstance(grid, dict) and grid.get("name") == "regular" else None
    return inner.get("chunk_shape", ()) if isinstance(inner, dict) else ()


def _are_counts(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number > 0 for number in numbers)


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


def describe_array(
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: Any,
    fill_value: Any,
    keys: Mapping[str, Any],
    dims: Sequence[str],
    attributes: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the metadata of an array; texts have the dtype `str`, and the keys are one of `KEY_ENCODINGS`."""
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


def decode_chunk(content: bytes, document: Document) -> NDArray[Any]:
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
