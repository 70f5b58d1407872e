"""One ``zarr.json`` as plain JSON: `read_document`, `write_document`, and `find_danger`, before Zarr sees it.

Zarr loads any codec that such a file names, and a codec can run code. So Zarr is given only what clhd could have
written, also where the checksum of a file is right.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
