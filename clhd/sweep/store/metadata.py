"""The metadata of a store: `check_metadata` reads and checks them, `restore_metadata` repairs them.

Chunks carry checksums, but the JSON files that say how to read them do not: a damaged shape, type or seed would turn
right bytes into wrong numbers. So the ``zarr.json`` of the group is the record of a store, under one checksum:

| entry | content |
|---|---|
| consolidated_metadata | metadata of each array, in the form of Zarr; without this entry xarray warns at opening |
| attributes | experiment, system, runs; tables are JSON texts, so that netCDF can hold them |
| attributes.identity | of the results: chunks belong to one identity, also in a store that has grown |
| attributes.generation | number of this state of the store under its name; it decides how chunk files are named |
| attributes.metadata_checksum.files | chunk files that must exist: of the coordinates; of a summary, all |
| attributes.metadata_checksum.digest | of everything above |

clhd reads the record alone. The ``zarr.json`` of each array must say the same for other programs, and is restored from
the record.

A checksum detects damage, not forgery: whoever can write to a store can also write a right checksum. So Zarr is given
only what passes `find_danger`.
"""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from clhd.core.files import check_folders, make_folder
from clhd.errors import ResultsError
from clhd.sweep.spec.grid import is_plain_name
from clhd.sweep.store.zarr_format import (
    FILE,
    Document,
    find_danger,
    parse_chunk_key,
    read_document,
    write_document,
)

FRESH = "`clhd run FILE --fresh` computes everything again and keeps these results under another name"
REPAIR = "`clhd run FILE --repair` restores it"
SUMMARISE = "`clhd summarise FILE` writes it again"
_UPGRADE = "`clhd run FILE --repair` upgrades it"
_DAMAGED = "was changed or damaged after clhd wrote it (checksum differs)"

_CHECKSUM = "metadata_checksum"
_CHECKSUM_NAMES = (_CHECKSUM, "seal")  # stores written by earlier versions have the second name
_TABLES = ("experiment", "declaration", "runs", "rests_on", "dims", "outputs")  # attributes that are JSON texts
_GROUP_KEYS = {"zarr_format", "node_type", "attributes", "consolidated_metadata"}
_encode = json.JSONEncoder(sort_keys=True).encode


class MetadataError(ResultsError):
    """The metadata of a store are not as clhd wrote them."""


class Checksum(BaseModel):
    """The checksum of the record of a store, and the chunk files that must exist, relative to the store."""

    files: list[str]
    digest: str


@dataclass(frozen=True)
class Metadata:
    """The metadata of a store."""

    document: Document  # the record: the ``zarr.json`` of the group
    arrays: dict[str, Document]  # metadata of each array, by its name
    files: tuple[str, ...] = ()  # chunk files that must exist, relative to the store

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Attributes of the group; tables as tables."""
        return decode_attributes(self.document["attributes"])

    @property
    def identity(self) -> str:
        """Identity of the results; empty in stores of earlier versions, whose chunks have no trailers."""
        return str(self.attributes.get("identity", ""))

    @property
    def generation(self) -> int:
        """Number of this state of the store under its name."""
        return int(self.attributes.get("generation", 0))


def decode_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a group with tables in place of JSON texts; a text that is no JSON stays a text."""
    decoded = dict(attributes)
    for name in _TABLES:
        if isinstance(attributes.get(name), str):
            with suppress(ValueError, RecursionError):
                decoded[name] = json.loads(attributes[name])
    return decoded


def encode_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes as a store holds them: tables as JSON texts."""
    tables = {name: json.dumps(attributes[name]) for name in _TABLES if name in attributes}
    return dict(attributes) | {name: text for name, text in tables.items() if not isinstance(attributes[name], str)}


def check_metadata(path: Path, *, files: bool = True) -> Metadata:
    """Return the metadata of a store, after a check that they are as clhd wrote them.

    With `files` false, files of coordinates may be missing.

    Raises
    ------
    MetadataError
        Names the first wrong file, the difference, and the command that helps.
    """
    group, checksum = _read_checked_group(path)
    remedy = choose_remedy(path, REPAIR)
    arrays = _get_arrays(group)
    for name, document in arrays.items():
        danger = find_danger(document) if is_plain_name(name) else "has a name that clhd does not use"
        if danger:
            raise MetadataError(f"{path / FILE}: {name}: {danger}; {remedy}")
    for file in checksum.files if files else ():
        if not os.path.isfile(f"{path}/{file}"):  # noqa: PTH113 (a Path for each of many files would take most of the time)
            raise MetadataError(f"{path / file}: is missing; {remedy}")
    return Metadata(group, arrays, tuple(checksum.files))


def check_array_files(path: Path, metadata: Metadata) -> None:
    """Raise MetadataError if the ``zarr.json`` of an array, which other programs read, differs from the record."""
    _check_arrays(path, metadata.document, choose_remedy(path, REPAIR))


def check_old_metadata(path: Path) -> Metadata:
    """Return the metadata of a store without a checksum; raise MetadataError if its files contradict each other."""
    group = _read_group(path)
    arrays = _check_arrays(path, group, FRESH)
    for name, document in arrays.items():
        if danger := find_danger(document):
            raise MetadataError(f"{path / name / FILE}: {danger}; {FRESH}")
    return Metadata(group, arrays)


def has_checksum(path: Path) -> bool:
    """Return False for a store of an earlier clhd; raise MetadataError if there is no store."""
    return not _read_group(path)["attributes"].keys().isdisjoint(_CHECKSUM_NAMES)


def write_checksum(path: Path, names: Iterable[str], whole: Collection[str]) -> None:
    """Write the record of a store, of all arrays, and its checksum; files of whole arrays must exist from now on."""
    record = _consolidate(path, names)
    found = [file for name in whole for file in list_chunks(path / name, record["metadata"][name])]
    files = sorted(str(file.relative_to(path)) for file in found)
    _write_group(path, _read_group(path) | {"consolidated_metadata": record}, files)


def list_chunks(folder: Path, document: Document) -> list[Path]:
    """List the chunk files of an array whose names follow its metadata; those of other generations do not."""
    files = (file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if parse_chunk_key(file.relative_to(folder).as_posix(), document) is not None]


def change_attributes(path: Path, **changes: Any) -> None:
    """Change attributes of a store in one step; raise MetadataError if they were damaged before."""
    group, checksum = _read_checked_group(path)
    group["attributes"] |= changes
    _write_group(path, group, checksum.files)


def restore_metadata(path: Path) -> None:
    """Restore the ``zarr.json`` of arrays from the record; or the arrays in the record, from those files.

    Raises
    ------
    MetadataError
        If the attributes are damaged, or an array both in the record and in its own file; nothing is written then.
    """
    group = _read_group(path)
    if not _is_intact(group):
        group |= {"consolidated_metadata": _consolidate(path, _list_arrays(path))}
        if not _is_intact(group):
            raise MetadataError(f"{path / FILE}: {_DAMAGED}; {choose_remedy(path)}")
        write_document(path / FILE, group)
    restore_array_files(path)


def restore_array_files(path: Path) -> None:
    """Write the ``zarr.json`` of each array that differs from the record."""
    for name, document in _get_arrays(_read_group(path)).items():
        if _encode(read_document(path / name / FILE)) != _encode(document):
            make_folder(path / name)
            write_document(path / name / FILE, document)


def _read_group(path: Path) -> dict[str, Any]:
    """Read the metadata of the group of a store."""
    group, remedy = read_document(path / FILE), choose_remedy(path)
    if isinstance(group, str):
        raise MetadataError(f"{path / FILE}: {group}, so the store cannot be opened; {remedy}")
    if (group.get("zarr_format"), group.get("node_type")) != (3, "group") or not group.keys() <= _GROUP_KEYS:
        raise MetadataError(f"{path / FILE}: is not a group of Zarr format 3; {remedy}")
    if not isinstance(group.get("attributes"), dict):
        raise MetadataError(f"{path / FILE}: has no attributes; {remedy}")
    return group


def _read_checked_group(path: Path) -> tuple[dict[str, Any], Checksum]:
    """Read the metadata of a group, and check them against their checksum."""
    group = _read_group(path)
    if group["attributes"].keys().isdisjoint(_CHECKSUM_NAMES):
        raise MetadataError(f"{path / FILE}: was written by an older clhd; {choose_remedy(path, _UPGRADE)}")
    checksum = _get_checksum(group)
    if checksum is None or not _is_intact(group):
        can_restore = _is_intact(group | {"consolidated_metadata": _consolidate(path, _list_arrays(path))})
        raise MetadataError(f"{path / FILE}: {_DAMAGED}; {choose_remedy(path, REPAIR if can_restore else FRESH)}")
    return group, checksum


def _get_checksum(group: Document) -> Checksum | None:
    """Return the checksum of a group; None if it cannot be understood."""
    attributes = group["attributes"]
    entry = next(attributes[name] for name in _CHECKSUM_NAMES if name in attributes)
    try:
        return Checksum.model_validate_json(entry) if isinstance(entry, str) else Checksum.model_validate(entry)
    except ValidationError:
        return None


def _is_intact(group: Document) -> bool:
    """Return True if the metadata of a group have their checksum."""
    checksum = _get_checksum(group)
    return checksum is not None and checksum.digest == _digest_group(group, checksum.files)


def _digest_group(group: Document, files: Sequence[str]) -> str:
    """Return the digest of the attributes, of the metadata of all arrays, and of the names of files that must exist."""
    attributes = {name: value for name, value in group["attributes"].items() if name not in _CHECKSUM_NAMES}
    return _digest([attributes, {name: _digest(array) for name, array in _get_arrays(group).items()}, files])


def _digest(content: Any) -> str:
    return blake2b(_encode(content).encode(), digest_size=8).hexdigest()


def _write_group(path: Path, group: dict[str, Any], files: Sequence[str]) -> None:
    """Write the metadata of a group with their checksum, in one step."""
    group = json.loads(json.dumps(group | {"attributes": encode_attributes(group["attributes"])}))  # as they are read
    checksum = Checksum(files=list(files), digest=_digest_group(group, files))
    attributes = {name: value for name, value in group["attributes"].items() if name not in _CHECKSUM_NAMES}
    write_document(path / FILE, group | {"attributes": attributes | {_CHECKSUM: checksum.model_dump_json()}})


def _get_arrays(group: Document) -> dict[str, Document]:
    """Return the metadata of arrays in the record of a group; none if the record has another form."""
    record = group.get("consolidated_metadata")
    arrays = record.get("metadata") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(arrays, dict):
        return {}
    return arrays if _encode({**record, "metadata": {}}) == _encode(_make_record({})) else {}


def _make_record(arrays: Document) -> dict[str, Any]:
    """Return the consolidated metadata of arrays, as Zarr reads them."""
    return {"kind": "inline", "must_understand": False, "metadata": arrays}


def _consolidate(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the consolidated metadata of a store, from the files of its arrays."""
    return _make_record({name: read_document(path / name / FILE) for name in sorted(names)})


def _list_arrays(path: Path) -> list[str]:
    return [file.parent.name for file in path.glob(f"*/{FILE}")]


def _check_arrays(path: Path, group: Document, remedy: str) -> dict[str, Document]:
    """Return the metadata of all arrays, after a check that their files agree with the record."""
    arrays = _get_arrays(group)
    right: Any
    for name, right in arrays.items():
        is_plain = is_plain_name(name)
        document = read_document(f"{path}/{name}/{FILE}") if is_plain else "has a name that clhd does not use"
        if not isinstance(document, str):
            check_folders(path, f"{path}/{name}/c")
            # Mostly in the same order, too; texts, since 1 is not 1.0 here.
            is_same = repr(document) == repr(right) or _encode(document) == _encode(right)
            document = "" if is_same else _find_difference(document, right)
        if document:
            raise MetadataError(f"{path / name / FILE}: {document}; {remedy}")
    return arrays


def _find_difference(document: Document, right: Any) -> str:
    """Describe one difference between the metadata of an array and the record."""
    for key, value in right.items() if isinstance(right, dict) else ():
        if document.get(key) != value:
            return f"{key} = {document.get(key)!r:.60}, not {value!r:.60}"
    return "was changed or damaged after clhd wrote it"


def choose_remedy(path: Path, remedy: str = FRESH) -> str:
    """Return the command that helps with a damaged store; a summary is always written again, in seconds."""
    return SUMMARISE if path.name.lstrip(".").startswith("summary") else remedy
