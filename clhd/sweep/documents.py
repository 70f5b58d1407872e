"""`find_problem`: what is wrong with a ``zarr.json``, read as plain JSON before Zarr sees it.

Zarr opens whatever such a document names, codecs that run code too, and takes its word for how bytes become numbers. So
the metadata of an array must be what clhd writes:

| what | must be |
|---|---|
| shape, chunks, dimension names, type, fill value | what the caller wants |
| codecs | numbers or text, then zstd; where data stand with a checksum |
| attributes | words, none of which makes xarray scale or mask what it reads |
| anything else | as always; no key but these |
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clhd.errors import ClhdError
from clhd.sweep.axis import is_plain_name

FILE = "zarr.json"
FRESH = "clhd run EXPERIMENT.yaml --fresh moves the store aside and computes all again"
REPAIR = "clhd run EXPERIMENT.yaml --repair writes it again"
AGAIN = "clhd summarise EXPERIMENT.yaml makes it again"
_FIXED = {
    "zarr_format": 3,
    "node_type": "array",
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "storage_transformers": [],
}
_KEYS = {"shape", "data_type", "chunk_grid", "fill_value", "codecs", "attributes", "dimension_names", *_FIXED}
_NUMBERS = ("int8", "int16", "int32", "int64", "float32", "float64")
# Others, such as scale_factor, change the numbers that xarray reads.
_WORDS = {"long_name", "symbol", "units", "description", "flag_meanings", "coordinates"}
_NAN_OF_XARRAY = "AAAAAAAA+H8="
Document = Mapping[str, Any]


class MetadataError(ClhdError):
    """A store whose metadata are not what clhd writes."""


def read_group(path: Path) -> dict[str, Any]:
    """The metadata of a group.

    Raises
    ------
    MetadataError
        If there are none, or they are of another format of Zarr.
    """
    document = read_document(path / FILE)
    if isinstance(document, str):
        raise MetadataError(
            f"{path / FILE}: {document}, so that {path.name} cannot be opened as a store; {suggest(path)}"
        )
    if (document.get("zarr_format"), document.get("node_type")) != (3, "group"):
        raise MetadataError(f"{path / FILE}: is no group of Zarr format 3; {suggest(path)}")
    if not isinstance(document.get("attributes"), dict):
        raise MetadataError(f"{path / FILE}: has no attributes; {suggest(path)}")
    return document


def suggest(path: Path) -> str:
    """What mends a store as a whole."""
    return AGAIN if path.name.startswith("summary") else FRESH


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


def get_gathered(group: Document) -> dict[str, Any]:
    """The gathered metadata, if there are any."""
    inner = group.get("consolidated_metadata")
    found = inner.get("metadata") if isinstance(inner, dict) else None
    return found if isinstance(found, dict) else {}


def compare_copies(path: Path, names: Sequence[str], gathered: Document, remedy: str) -> None:
    """Raise MetadataError unless the gathered metadata are those of the arrays."""
    for name in names:
        if gathered.get(name) != read_document(path / name / FILE):
            raise MetadataError(f"{path / FILE}: contradicts {name}/{FILE}; {remedy}")
    if len(gathered) > len(names):
        raise MetadataError(f"{path / FILE}: names other variables than there are; {remedy}")


def is_count(value: Any) -> bool:
    """True for a whole number above 0."""
    return type(value) is int and value > 0


def read_chunks(document: Document | str, shape: Sequence[int]) -> tuple[int, ...] | None:
    """The shape of a chunk, if the metadata of an array name one that is possible."""
    grid = {} if isinstance(document, str) else document.get("chunk_grid")
    inner = grid.get("configuration") if isinstance(grid, dict) and grid.get("name") == "regular" else None
    chunks = inner.get("chunk_shape") if isinstance(inner, dict) else None
    if not isinstance(chunks, list) or len(chunks) != len(shape):
        return None
    is_possible = all(is_count(size) and size <= length for size, length in zip(chunks, shape, strict=True))
    return tuple(chunks) if is_possible else None


def find_problem(document: Document | str, wanted: Document, *, checksum: bool = False) -> str:
    """What is wrong with the metadata of an array, or nothing.

    Parameters
    ----------
    document : mapping, or text
        The metadata, or why there are none.
    wanted : mapping
        What they must say; ``chunks`` is the shape of a chunk, or None if no chunk is possible.
    checksum : bool
        True if chunks must have one.
    """
    if isinstance(document, str):
        return document
    document = {"dimension_names": [], "storage_transformers": [], **document}  # left out where they are empty
    if set(document) != _KEYS:
        return "has other keys than those of an array"
    for key, value in _FIXED.items():
        if document[key] != value:
            return f"{key} = {document[key]!r:.60}"
    names = document["dimension_names"]
    if not isinstance(names, list) or not all(isinstance(name, str) and is_plain_name(name) for name in names):
        return f"dimension_names = {names!r:.60}"
    shape = document["shape"]
    if not isinstance(shape, list) or not all(is_count(length) for length in shape):
        return f"shape = {shape!r:.60}"
    for key in wanted.keys() - {"chunks"}:
        found, must = document[key], wanted[key]
        must = list(must) if isinstance(must, tuple) else must
        if found != must or isinstance(found, bool):
            return f"{key} = {found!r:.60}, not {must!r:.60}"
    chunks = read_chunks(document, shape)
    if chunks is None or chunks != wanted.get("chunks", chunks):
        return f"chunk_grid = {document['chunk_grid']!r:.90}"
    if not _are_codecs(document["codecs"], document["data_type"], checksum=checksum):
        return f"codecs = {document['codecs']!r:.90}"
    return _find_strange_word(document["attributes"])


def _are_codecs(codecs: Any, dtype: Any, *, checksum: bool) -> bool:
    """True for little-endian numbers or text, then zstd."""
    if not isinstance(codecs, list) or len(codecs) != 2 or not all(isinstance(codec, dict) for codec in codecs):
        return False
    names = [codec.get("name") for codec in codecs]
    first, second = (codec.get("configuration", {}) for codec in codecs)
    if dtype == "string":
        is_right = names[0] == "vlen-utf8" and first == {}
    else:
        is_right = names[0] == "bytes" and first == ({} if dtype == "int8" else {"endian": "little"})
    is_right &= dtype in (*_NUMBERS, "string") and set(codecs[0]) | set(codecs[1]) <= {"name", "configuration"}
    has_form = names[1] == "zstd" and isinstance(second, dict) and set(second) == {"level", "checksum"}
    return (
        is_right
        and has_form
        and type(second["level"]) is int
        and second["checksum"] in ((True,) if checksum else (True, False))
    )


def _find_strange_word(attributes: Any) -> str:
    """An attribute that is no word about an array, or nothing."""
    if not isinstance(attributes, dict):
        return "has no attributes"
    for name, value in attributes.items():
        is_flags = name == "flag_values" and isinstance(value, list)
        is_word = name in _WORDS and isinstance(value, str) and not (name == "units" and " since " in value)
        if not is_flags and not is_word and (name, value) != ("_FillValue", _NAN_OF_XARRAY):
            return f"the attribute {name!r:.60} = {value!r:.60}"
    return ""


def write_document(path: Path, document: Document) -> None:
    """Write a JSON document in one step, also for a machine that loses power right then."""
    unfinished = path.with_name(f".{path.name}.partial")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
