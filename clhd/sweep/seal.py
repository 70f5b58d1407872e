"""`check_summary`, `write_sealed`: a summary is what was written, or it is refused.

No experiment names the variables of a summary, and Zarr chooses their chunks. So a digest of the metadata of each, and
of the names of its files, stands in the attributes of the group: what was changed or lost since is named. A summary is
made again in seconds.
"""

import json
import warnings
from hashlib import blake2b
from pathlib import Path
from typing import Any

import xarray as xr
from zarr.codecs import ZstdCodec

from clhd.sweep.axis import is_plain_name
from clhd.sweep.documents import (
    AGAIN,
    FILE,
    Document,
    MetadataError,
    compare_copies,
    find_problem,
    get_gathered,
    read_document,
    read_group,
    write_document,
)
from clhd.sweep.metadata import Coordinate, list_coordinates, parse_attribute

_SEAL = "seal"


def check_summary(path: Path) -> dict[str, Coordinate]:
    """Check the metadata of a summary, and return the values that its coordinates must have; raises MetadataError."""
    group = read_group(path)
    attributes, gathered = group["attributes"], get_gathered(group)

    def refuse(text: str) -> MetadataError:
        return MetadataError(f"{path / FILE}: {text}; {AGAIN}")

    if "experiment" not in attributes or not {"replica_count", "theory_status"} & gathered.keys():
        raise MetadataError(f"{path}: is no summary of an experiment; {AGAIN}")
    experiment = parse_attribute(attributes["experiment"], refuse)
    if not all(isinstance(attributes.get(name), str) for name in ("code", "created")):
        raise refuse("code and created are no text")
    lengths = {"time": len(experiment.times)} | {axis.name: len(axis) for axis in experiment.axes}
    for name in gathered:
        if not is_plain_name(name):
            raise refuse(f"{name!r:.60} is no name")
        document = read_document(path / name / FILE)
        problem = find_problem(document, {}, checksum=True)
        # Of a number without dims, none are named at all.
        dims = [] if isinstance(document, str) else document.get("dimension_names") or []
        if not problem and not isinstance(document, str):
            if not isinstance(dims, list) or len(dims) != len(document["shape"]):
                problem = f"dimension_names = {dims!r:.60}"
            elif any(lengths.setdefault(dim, size) != size for dim, size in zip(dims, document["shape"], strict=True)):
                problem = f"shape = {document['shape']}, which is not that of the experiment"
        if problem:
            raise MetadataError(f"{path / name / FILE}: {problem}; {AGAIN}")
    compare_copies(path, list(gathered), gathered, AGAIN)
    noted = attributes.get(_SEAL)
    if not isinstance(noted, dict):
        raise refuse("has no seal, as those of earlier versions")
    for name, digest in _digest(path, group).items():
        if noted.get(name) != digest:
            raise MetadataError(f"{path / name}: is not what was written; {AGAIN}")
    coordinates = list_coordinates(experiment.axes, experiment.times)
    return {name: found for name, found in coordinates.items() if name in gathered}


def write_sealed(dataset: xr.Dataset, path: Path) -> None:
    """Write a summary, its chunks with checksums, and note in it what was written."""
    encoding = {name: {"compressors": [ZstdCodec(level=3, checksum=True)]} for name in dataset.variables}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        dataset.to_zarr(str(path), encoding=encoding, zarr_format=3, consolidated=True)
    group = read_group(path)
    group["attributes"][_SEAL] = _digest(path, group)
    write_document(path / FILE, group)


def _digest(path: Path, group: Document) -> dict[str, str]:
    """A digest of the metadata and the file names of each array, and of the attributes of the group."""
    contents: dict[str, Any] = {FILE: {name: v for name, v in group["attributes"].items() if name != _SEAL}}
    for name in get_gathered(group):
        files = sorted(str(file.relative_to(path)) for file in (path / name / "c").rglob("*") if file.is_file())
        contents[name] = [read_document(path / name / FILE), files]
    return {
        name: blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=8).hexdigest()
        for name, content in contents.items()
    }
