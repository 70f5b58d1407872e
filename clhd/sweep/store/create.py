"""`create_store` writes an empty store, `write_dataset` a summary; both with the checksum of their metadata.

| array | chunks | files |
|---|---|---|
| coordinate | one | written at creation |
| output, ledger | all of one shape, see `clhd.sweep.store.store` | written by tasks |
| variable of a summary | one, or more of up to 32 MB | written at creation |

*Generations*: a store or a summary is replaced under its name in one step, and whoever reads it keeps what was there.

A new generation is written into a hidden folder beside the store. Its chunk files are named in another way than those
of the generation before (`KEY_ENCODINGS`), so they fit into the same folder:

| step | function | a reader sees |
|---|---|---|
| write the new generation into the hidden folder | the caller | the old generation |
| move its chunk files into the folder of the store | `publish` | the old generation |
| replace the record, ``zarr.json`` of the group | `publish` | the new one; old readers still have their files |
| at the next run: delete the files of the old generation | `remove_leftovers` | the new one; old readers get an error |

A process that is killed leaves files that no record names; `remove_leftovers` deletes them. Callers hold the lock.
"""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from clhd.core.files import make_folder, sync_folder
from clhd.core.lazy import xr
from clhd.errors import explain_unwritable
from clhd.sweep.plan.blocks import CHUNK_BYTES, chunk_counts, chunk_region, widen_chunks
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import REPLICAS_PER_BLOCK
from clhd.sweep.store.chunk_files import LEDGER, ChunkFiles
from clhd.sweep.store.layout import FORMAT, make_column
from clhd.sweep.store.metadata import (
    MetadataError,
    check_metadata,
    encode_attributes,
    list_chunks,
    restore_array_files,
    write_checksum,
)
from clhd.sweep.store.provenance import now
from clhd.sweep.store.store import Store
from clhd.sweep.store.zarr_format import (
    FILE,
    KEY_ENCODINGS,
    Document,
    chunk_key,
    describe_array,
    encode_chunk,
    parse_chunk_key,
)
from clhd.systems.declarations import Parameter, Status, describe


def hidden_path(path: Path) -> Path:
    """Return the path of the folder in which a new generation is written."""
    return path.with_name(f".{path.stem}-new{path.suffix}")


def remove_tree(path: Path) -> None:
    """Delete a folder, or a link to a folder, if it exists."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def next_generation(path: Path) -> int:
    """Return the number of the next generation of a store, also if the store itself was moved aside."""
    numbers = [-1]
    for found in (path, *path.parent.glob(f"{path.stem}-until-*{path.suffix}")):
        with suppress(MetadataError):
            numbers.append(check_metadata(found, files=False).generation)
    return 1 + max(numbers)


def publish(path: Path) -> None:
    """Let the generation in the hidden folder take the name of the store. Raises OSError."""
    hidden = hidden_path(path)
    if not path.exists():
        hidden.rename(path)
        sync_folder(path.parent)
        return
    for array in (folder for folder in hidden.iterdir() if folder.is_dir()):
        make_folder(path / array.name)
        for entry in (entry for entry in array.iterdir() if entry.name != FILE):
            entry.rename(path / array.name / entry.name)
        sync_folder(path / array.name)
    (hidden / FILE).replace(path / FILE)
    sync_folder(path)
    restore_array_files(path)
    remove_tree(hidden)


def remove_leftovers(path: Path) -> None:
    """Delete all files of a store that its record does not name: of older generations, and of killed processes."""
    remove_tree(hidden_path(path))
    arrays = check_metadata(path, files=False).arrays
    for folder in (entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink()):
        if folder.name not in arrays:
            remove_tree(folder)
            continue
        document = arrays[folder.name]
        if document["chunk_key_encoding"] != KEY_ENCODINGS[0]:  # then a folder in it is of another generation
            for link in (entry for entry in folder.iterdir() if entry.is_symlink() and entry.is_dir()):
                link.unlink()
        for file in (Path(root, name) for root, _, names in os.walk(folder) for name in names):
            key = file.relative_to(folder).as_posix()
            if key != FILE and parse_chunk_key(key, document) is None:
                file.unlink(missing_ok=True)
                with suppress(OSError):
                    os.removedirs(file.parent)
    for file in path.glob("*.partial"):
        file.unlink(missing_ok=True)


_BLOCK_WORDS = {
    "long_name": "block of replicas",
    "units": "1",
    "description": f"index of a block of {REPLICAS_PER_BLOCK} consecutive replicas, from 0",
}
_REPLICA_WORDS = describe("replica", description="index of the independent run, from 0")
# long_name, units, coordinates, flag_values and flag_meanings are those of these conventions.
CONVENTIONS = "CF-1.11"
# A coordinate: its name, dim, values and attributes.
_Column = tuple[str, str, Any, Mapping[str, str]]


def create_store(
    path: Path, stage: Stage, chunks: tuple[int, ...], runs: Sequence[Mapping[str, Any]] = (), identity: str = ""
) -> Store:
    """Create an empty store for a stage, with chunks of some shape, and publish it; return the open store.

    It notes the runs that have filled it so far, and the identity of its results: by default, that of the stage.
    """
    with explain_unwritable(path):
        write_empty(path, stage, chunks, runs, identity)
        publish(path)
    return Store(path)


def write_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a summary as the next generation under its name, bound to what it rests on. The caller holds the lock."""
    generation, hidden = next_generation(path), hidden_path(path)
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        remove_leftovers(path)
    remove_tree(hidden)
    keys = KEY_ENCODINGS[generation % 2]
    # An experiment that was read without its system has whole numbers in place of floats.
    dataset = dataset.assign_attrs(Conventions=CONVENTIONS)
    basis = json.dumps([dataset.attrs.get(name) for name in ("experiment", "rests_on", "code")])
    rests_on = json.loads(basis, parse_int=float)
    attributes = encode_attributes(dataset.attrs) | {"identity": make_identity(rests_on), "generation": generation}
    hidden.mkdir(parents=True)
    names = _write_variables(hidden, dataset.assign_attrs(attributes), keys)
    write_checksum(hidden, names, whole=names)
    metadata = check_metadata(hidden)
    store = ChunkFiles(hidden, metadata)
    for name, document in metadata.arrays.items():
        for file in list_chunks(hidden / name, document):
            store.bind(file)
    publish(path)


def _write_variables(folder: Path, dataset: xr.Dataset, keys: Mapping[str, Any]) -> list[str]:
    """Write all variables of a dataset, and its attributes, as xarray does; return the names of the variables."""
    variables, attributes = xr.conventions.encode_dataset_coordinates(dataset)
    document = {"attributes": _as_plain(attributes), "zarr_format": 3, "node_type": "group"}
    (folder / FILE).write_text(json.dumps(document), encoding="utf-8")
    for name, variable in variables.items():
        values, words = variable.values, dict(variable.attrs)
        dtype: Any = values.dtype
        fill: Any = 0
        if dtype.kind in "OTU":
            dtype, fill = str, ""
        elif dtype.kind == "f":  # xarray has what is missing as NaN, and says so in the form of Zarr
            fill, words = math.nan, words | {"_FillValue": base64.b64encode(np.float64("nan").tobytes()).decode()}
        chunks = widen_chunks(values.shape, (1,) * values.ndim, CHUNK_BYTES // 8)
        document = describe_array(values.shape, chunks, dtype, fill, keys, variable.dims, _as_plain(words))
        _write_metadata(folder / str(name), document)
        for index in np.ndindex(*chunk_counts(values.shape, chunks)):
            file = folder / str(name) / chunk_key(index, document)
            file.parent.mkdir(parents=True, exist_ok=True)
            part = values[chunk_region(index, values.shape, chunks)] if values.ndim else values
            file.write_bytes(encode_chunk(part, document))
    return [str(name) for name in variables]


def _as_plain(words: Mapping[Any, Any]) -> dict[str, Any]:
    """Return attributes with lists and numbers of Python in place of numpy's."""
    return {name: own.tolist() if isinstance(own, np.ndarray | np.generic) else own for name, own in words.items()}


def make_identity(*parts: Any) -> str:
    """Return the identity of results: the digest of all that decides which numbers they hold, but the points."""
    return blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def _identify_stage(stage: Stage) -> str:
    """Return the identity of a stage's results: two stores with the same identity have the same bits at a point."""
    experiment = stage.experiment
    constants = {
        name: value for name, value in experiment.resolved()["constants"].items() if name in stage.grid.constants
    }
    axes = [[axis.name, *axis.parameters] for axis in stage.grid.axes]
    source = stage.declaration.source
    settings = [experiment.system, source, stage.kind, stage.version, stage.seed, list(experiment.times)]
    return make_identity(settings, constants, axes, stage.entry_size)


def write_empty(
    path: Path, stage: Stage, chunks: tuple[int, ...], runs: Sequence[Mapping[str, Any]], identity: str
) -> Path:
    """Write an empty store into the hidden folder of `path`, as its next generation; return the hidden path."""
    generation, hidden = next_generation(path), hidden_path(path)
    remove_tree(hidden)
    shape, dims = stage.shape, tuple(axis.name for axis in stage.grid.axes) + stage.entry_dim
    keys = KEY_ENCODINGS[generation % 2]
    state = {"runs": list(runs), "identity": identity or _identify_stage(stage), "generation": generation}
    attributes = encode_attributes(_describe_stage(stage, dims) | state)
    _write_metadata(hidden, {"attributes": attributes, "zarr_format": 3, "node_type": "group"})
    sizes: dict[str, int] = {}
    for name, dim, values, words in _list_columns(stage):
        _write_coordinate(hidden / name, dim, values, words, keys)
        sizes[name] = len(values)
    for name, output in stage.stored.variables.items():
        tail = tuple(sizes[dim] for dim in output.dims)
        places = shape + tail, chunks + tail
        document = describe_array(*places, np.float64, math.nan, keys, dims + output.dims, output.words)
        _write_metadata(hidden / name, document)
    for name, (dtype, fill, meaning) in LEDGER.items():
        document = describe_array(shape, chunks, dtype, fill, keys, dims, _describe_entry(name, meaning))
        _write_metadata(hidden / name, document)
    write_checksum(hidden, [*sizes, *stage.stored.variables, *LEDGER], whole=sizes.keys())
    metadata = check_metadata(hidden)
    store = ChunkFiles(hidden, metadata)
    for file in metadata.files:
        store.bind(hidden / file)
    return hidden


def _write_metadata(folder: Path, document: Document) -> None:
    """Write the metadata of a group or of an array into a new folder; nobody reads them before they are published."""
    folder.mkdir(parents=True)
    (folder / FILE).write_text(json.dumps(document, indent=2), encoding="utf-8")


def _describe_stage(stage: Stage, dims: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a store, without its runs."""
    attributes: dict[str, Any] = {
        "Conventions": CONVENTIONS,
        "title": f"{stage.kind} of {stage.experiment.name}",
        "description": stage.experiment.description,
        "clhd_store": FORMAT,
        "kind": stage.kind,
        "system": stage.experiment.system,
        "version": stage.version,
        "declaration": stage.declaration.model_dump(),
        "experiment": stage.experiment.resolved(),
        "dims": list(dims),
        "outputs": list(stage.stored.variables),
        "replicas_per_entry": stage.entry_size,
        "created": now(),
    }
    if together := [name for axis in stage.grid.axes if not axis.is_single for name in axis.parameters]:
        attributes["coordinates"] = " ".join(together)
    return attributes


def _describe_entry(name: str, meaning: str) -> dict[str, Any]:
    """Return the attributes of a variable of the ledger."""
    words = {"long_name": name.replace("_", " "), "units": "s" if name == "seconds" else "1", "description": meaning}
    if name != "status":
        return words
    names = " ".join(status.name.lower() for status in Status)
    return words | {"flag_values": [int(status) for status in Status], "flag_meanings": names}


def _list_columns(stage: Stage) -> Iterator[_Column]:
    """List all coordinates: times, replicas or blocks of replicas, dims of outputs, axes."""
    if stage.system.time is not None:
        yield "time", "time", stage.time, stage.system.time
    for entry in stage.entry_dim:
        yield entry, entry, range(stage.entries or 0), _BLOCK_WORDS if stage.has_moments else _REPLICA_WORDS
    for name, (values, words) in stage.outputs.coordinates.items():
        yield name, name, values, words
    for axis in stage.grid.axes:
        for k, name in enumerate(axis.parameters):
            parameter = stage.system.find_parameter(name, stage.experiment.constants)
            values = [value[k] for value in axis.values]
            yield name, axis.name, values, describe_words(parameter, name, stage.system.component)
        if not axis.is_single:
            labels = [axis.label(position) for position in range(len(axis))]
            words = {"long_name": axis.name.replace("_", " "), "description": f"{', '.join(axis.parameters)} together"}
            yield axis.name, axis.name, labels, words


def _write_coordinate(folder: Path, dim: str, values: Any, words: Mapping[str, str], keys: Mapping[str, Any]) -> None:
    """Write the metadata of a coordinate, and its values in one chunk; the trailer comes later."""
    column = make_column(values)
    dtype, fill = (str, "") if column.dtype == object else (column.dtype, 0)
    document = describe_array(column.shape, column.shape, dtype, fill, keys, (dim,), words)
    _write_metadata(folder, document)
    file = folder / chunk_key((0,), document)
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(encode_chunk(column, document))


def describe_words(parameter: Parameter, name: str, component: str) -> dict[str, str]:
    """Return the attributes of a coordinate that holds the values of a parameter."""
    base, _, index = name.rpartition("_")
    is_one = parameter.per_component and index.isdigit()
    long_name = f"{base.replace('_', ' ')} of {component} {index}" if is_one else name.replace("_", " ")
    symbol = f"{parameter.symbol}_{index}" if is_one and parameter.symbol else parameter.symbol
    return {"long_name": long_name, "symbol": symbol, "units": parameter.units, "description": parameter.meaning}
