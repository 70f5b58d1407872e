"""`check_seal`, `write_seal`, `mend`: what a store says of itself is what was written, or it is refused.

Chunks carry checksums; what says how to read them does not. A shape, a type or a seed that is damaged would turn right
bytes into wrong numbers. So the attributes of the group hold a seal:

| entry of the attribute ``seal`` | what |
|---|---|
| arrays | by name, a digest of the metadata of each array |
| files | those of the coordinates; of a summary, all: they must be there |
| digest | of the two above, and of all other attributes |

The metadata of an array stand twice, in its own ``zarr.json`` and gathered in that of the group: the copy that has the
digest is right. A seal tells of accidents; whoever forges a store can seal it, hence `find_danger`.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from clhd.sweep.spec.grid import is_plain_name
from clhd.sweep.store.metadata import (
    FILE,
    FRESH,
    REPAIR,
    Document,
    MetadataError,
    find_danger,
    find_difference,
    read_document,
    suggest,
    write_document,
)

_SEAL = "seal"
_encode = json.JSONEncoder(sort_keys=True).encode
_ADOPT = "clhd run EXPERIMENT.yaml --repair adopts the store"
_GROUP = {"zarr_format", "node_type", "attributes", "consolidated_metadata"}


class Seal(BaseModel):
    """Digests of the metadata of arrays, files that must be there, and a digest of all, with the attributes."""

    arrays: dict[str, str]
    files: list[str]
    digest: str


@dataclass(frozen=True)
class Contents:
    """What a store says of itself.

    Parameters
    ----------
    attributes : mapping
    arrays : mapping of name to document
        The metadata of each array.
    """

    attributes: dict[str, Any]
    arrays: dict[str, Document]


def check_seal(path: Path, *, files: bool = True) -> Contents:
    """Check that a store says of itself what was written, and return that.

    Parameters
    ----------
    path : Path
    files : bool
        False if some may be missing.

    Raises
    ------
    MetadataError
        Names the first file that is not what was written, what is wrong, and what mends it.
    """
    group, seal = _read_sealed(path)
    remedy = suggest(path, REPAIR)
    arrays = _check_arrays(path, seal.arrays, group, remedy)
    for file in seal.files if files else ():
        if not (path / file).is_file():
            raise MetadataError(f"{path / file}: is missing; {remedy}")
    return Contents(group["attributes"], arrays)


def check_copies(path: Path) -> Contents:
    """Check of a store without a seal that the two copies of its metadata agree; raises MetadataError likewise."""
    group = _read_group(path)
    digests = {name: _digest(document) for name, document in _get_gathered(group).items()}
    return Contents(group["attributes"], _check_arrays(path, digests, group, FRESH))


def has_seal(path: Path) -> bool:
    """False for a store of an earlier version; raises MetadataError if there is no store at all."""
    return _SEAL in _read_group(path)["attributes"]


def write_seal(path: Path, names: Iterable[str], whole: Collection[str]) -> None:
    """Gather the metadata of a store in one file, and seal it.

    Parameters
    ----------
    path : Path
    names : iterable of str
        All arrays.
    whole : collection of str
        Those of which all files are there by now.
    """
    group = _read_group(path)
    arrays: dict[str, Any] = {name: read_document(path / name / FILE) for name in sorted(names)}
    files = [file for name in whole for file in list_chunks(path / name)]
    seal = Seal(
        arrays={name: _digest(document) for name, document in arrays.items()},
        files=sorted(str(file.relative_to(path)) for file in files),
        digest="",
    )
    _write_sealed(path, group | {"consolidated_metadata": _gather(arrays)}, seal)


def list_chunks(array: Path) -> list[Path]:
    """The files of an array, but for what was left of one in the middle of its writing."""
    found = [array / "c", *(array / "c").rglob("*")]  # of a number without dims, c is the file itself
    return [file for file in found if file.is_file() and file.suffix != ".partial"]


def change_attributes(path: Path, **changes: Any) -> None:
    """Change attributes of a store in one step; raises MetadataError if they are not what was written."""
    group, seal = _read_sealed(path)
    group["attributes"] |= changes
    _write_sealed(path, group, seal)


def mend(path: Path) -> None:
    """Write metadata of arrays again from that copy which is right; nothing if one of them has none.

    Raises
    ------
    MetadataError
        If not all can be mended.
    """
    group, seal = _read_sealed(path)
    gathered, right = _get_gathered(group), {}
    for name, digest in seal.arrays.items():
        for document in (gathered.get(name), read_document(path / name / FILE)):
            if isinstance(document, dict) and _digest(document) == digest:
                right[name] = document
        if name not in right:
            raise MetadataError(f"{path / name / FILE}: is not what was written, nor is its copy; {suggest(path)}")
    for name, document in right.items():
        if _digest(read_document(path / name / FILE)) != seal.arrays[name]:
            (path / name).mkdir(exist_ok=True)
            write_document(path / name / FILE, document)
    if _digest(group.get("consolidated_metadata")) != _digest(_gather(right)):
        write_document(path / FILE, group | {"consolidated_metadata": _gather(right)})


def _read_group(path: Path) -> dict[str, Any]:
    """The metadata of a group, whose attributes are a table."""
    group = read_document(path / FILE)
    if isinstance(group, str):
        raise MetadataError(f"{path / FILE}: {group}, so that {path.name} cannot be opened as a store; {suggest(path)}")
    if (group.get("zarr_format"), group.get("node_type")) != (3, "group") or not group.keys() <= _GROUP:
        raise MetadataError(f"{path / FILE}: is no group of Zarr format 3; {suggest(path)}")
    if not isinstance(group.get("attributes"), dict):
        raise MetadataError(f"{path / FILE}: has no attributes; {suggest(path)}")
    return group


def _read_sealed(path: Path) -> tuple[dict[str, Any], Seal]:
    """The metadata of a group whose attributes are what was written, and its seal."""
    group = _read_group(path)
    attributes = group["attributes"]
    if _SEAL not in attributes:
        raise MetadataError(f"{path / FILE}: has no seal, as those of earlier versions; {suggest(path, _ADOPT)}")
    try:
        seal = Seal.model_validate(attributes[_SEAL])
    except ValidationError:
        seal = None
    if seal is None or seal.digest != _digest_all(attributes, seal) or not all(map(is_plain_name, seal.arrays)):
        raise MetadataError(f"{path / FILE}: is not what was written; {suggest(path)}")
    return group, seal


def _check_arrays(path: Path, digests: Mapping[str, str], group: Document, remedy: str) -> dict[str, Document]:
    """The metadata of arrays, of which both copies are what digests say."""
    gathered = _get_gathered(group)
    arrays: dict[str, Document] = {}
    for name, digest in digests.items():
        document = read_document(path / name / FILE) if is_plain_name(name) else "has a strange name"
        problem = document if isinstance(document, str) else find_danger(document)
        if not problem and _digest(document) != digest:
            copy = gathered.get(name)
            problem = find_difference(document, copy if _digest(copy) == digest else {})  # type: ignore[arg-type]
        if problem or isinstance(document, str):
            raise MetadataError(f"{path / name / FILE}: {problem}; {remedy}")
        arrays[name] = document
    if _digest(group.get("consolidated_metadata")) != _digest(_gather(arrays)):
        differing = (f"contradicts {name}/{FILE}" for name in arrays if _digest(gathered.get(name)) != digests[name])
        problem = next(differing, "its gathered metadata are not what was written")
        raise MetadataError(f"{path / FILE}: {problem}; {remedy}")
    return arrays


def _get_gathered(group: Document) -> dict[str, Any]:
    inner = group.get("consolidated_metadata")
    found = inner.get("metadata") if isinstance(inner, dict) else None
    return found if isinstance(found, dict) else {}


def _gather(arrays: Mapping[str, Document]) -> dict[str, Any]:
    return {"kind": "inline", "must_understand": False, "metadata": arrays}


def _digest(content: Any) -> str:
    return blake2b(_encode(content).encode(), digest_size=8).hexdigest()


def _digest_all(attributes: Document, seal: Seal) -> str:
    return _digest([{name: value for name, value in attributes.items() if name != _SEAL}, seal.arrays, seal.files])


def _write_sealed(path: Path, group: dict[str, Any], seal: Seal) -> None:
    """Write the metadata of a group with its seal, in one step."""
    group = json.loads(json.dumps(group))  # as they will be read, so that the digest is of that
    seal.digest = _digest_all(group["attributes"], seal)
    group["attributes"][_SEAL] = seal.model_dump()
    write_document(path / FILE, group)
