"""`read_document`, `find_danger`: a ``zarr.json`` as plain JSON, before Zarr sees it.

Zarr opens whatever codec such a document names, and those can run code. So it is given only what clhd could have
written, whatever else is known of a document.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError
from clhd.sweep.spec.grid import is_plain_name

FILE = "zarr.json"
FRESH = "clhd run EXPERIMENT.yaml --fresh moves the store aside and computes all again"
REPAIR = "clhd run EXPERIMENT.yaml --repair writes it again"
AGAIN = "clhd summarise EXPERIMENT.yaml makes it again"
_FIXED: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "storage_transformers": [],
}
_KEYS = {"shape", "data_type", "chunk_grid", "fill_value", "codecs", "attributes", "dimension_names", *_FIXED}
_TYPES = {"string", "bool", "int8", "int16", "int32", "int64", "float32", "float64"}
_CODECS = (["bytes", "zstd"], ["vlen-utf8", "zstd"])
Document = Mapping[str, Any]


class MetadataError(ClhdError):
    """A store whose metadata are not what clhd wrote."""


def suggest(path: Path, remedy: str = FRESH) -> str:
    """What mends a store; a summary is made again in seconds, whatever it lacks."""
    return AGAIN if path.name.lstrip(".").startswith("summary") else remedy


def read_document(path: Path) -> dict[str, Any] | str:
    """A JSON document, or what is wrong with it."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return "is no JSON"
    return document if isinstance(document, dict) else "is no table"


def write_document(path: Path, document: Document) -> None:
    """Write a JSON document in one step, also for a machine that loses power right then."""
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError:
        with suppress(OSError):
            unfinished.unlink()
        raise


def find_danger(document: Document) -> str:
    """What Zarr must not be given, of the metadata of an array, or nothing."""
    if not document.keys() <= _KEYS:
        return "has other keys than those of an array"
    for key, value in _FIXED.items():
        if document.get(key, []) != value:
            return f"{key} = {document.get(key)!r:.60}"
    kind = document.get("data_type")
    if not isinstance(kind, str) or kind not in _TYPES:
        return f"data_type = {kind!r:.60}"
    shape = document.get("shape")
    if not _are_counts(shape):
        return f"shape = {shape!r:.60}"
    names = document.get("dimension_names") or []  # of a number without dims, none are named at all
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


def read_chunks(document: Document) -> Sequence[int]:
    """The shape of a chunk, if the metadata of an array name one."""
    grid = document.get("chunk_grid")
    inner = grid.get("configuration") if isinstance(grid, dict) and grid.get("name") == "regular" else None
    return inner.get("chunk_shape", ()) if isinstance(inner, dict) else ()


def _are_counts(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and number > 0 for number in numbers)


def find_difference(document: Document, right: Document) -> str:
    """How the metadata of an array differ from what was written, by one example, if that is known."""
    for key, value in right.items():
        if document.get(key) != value:
            return f"{key} = {document.get(key)!r:.60}, not {value!r:.60}"
    return "is not what was written"
