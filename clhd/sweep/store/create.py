"""`create_store` writes an empty store, `write_dataset` a summary; both with the checksum of their metadata.

| array | chunks | files |
|---|---|---|
| coordinate | one | written at creation |
| output, ledger | all of one shape, see `clhd.sweep.store.store` | written by tasks |
| variable of a summary | as Zarr chooses | written at creation |
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from clhd.errors import explain_unwritable
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import REPLICAS_PER_BLOCK
from clhd.sweep.store.layout import FORMAT, LEDGER, make_column
from clhd.sweep.store.metadata import write_checksum
from clhd.sweep.store.provenance import now
from clhd.sweep.store.store import Store
from clhd.systems.declarations import Parameter, Status, describe

_BLOCK_WORDS = {
    "long_name": "block of replicas",
    "units": "1",
    "description": f"index of a block of {REPLICAS_PER_BLOCK} consecutive replicas, from 0",
}
_REPLICA_WORDS = describe("replica", description="index of the independent run, from 0")
_CODECS = [ZstdCodec(level=3, checksum=True)]
# A coordinate: its name, dim, values and attributes.
_Column = tuple[str, str, Any, Mapping[str, str]]


def create_store(path: Path, stage: Stage, chunks: tuple[int, ...], runs: Sequence[Mapping[str, Any]] = ()) -> Store:
    """Create an empty store for a stage, under a hidden name until it is complete; return the open store.

    Parameters
    ----------
    path : Path
    stage : Stage
    chunks : tuple of int
        Shape of a chunk.
    runs : sequence of mapping
        Runs that have filled the store so far.

    Raises
    ------
    ClhdError
        If it cannot be written.
    """
    hidden = path.with_name(f".{path.name}.new")
    with explain_unwritable(path):
        remove_tree(hidden)
        _write_empty(hidden, stage, chunks, runs)
        hidden.rename(path)
    return Store(path, "r+")


def remove_tree(path: Path) -> None:
    """Delete a folder, or a link to a folder, if it exists."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def write_dataset(dataset: xr.Dataset, path: Path) -> None:
    """Write a summary, with checksums of its chunks and of its metadata."""
    encoding = {name: {"compressors": _CODECS} for name in dataset.variables}
    dataset.to_zarr(str(path), encoding=encoding, zarr_format=3, consolidated=False)
    names = [str(name) for name in dataset.variables]
    write_checksum(path, names, whole=names)


def _write_empty(path: Path, stage: Stage, chunks: tuple[int, ...], runs: Sequence[Mapping[str, Any]]) -> None:
    shape, dims = stage.shape, tuple(axis.name for axis in stage.grid.axes) + stage.entry_dim
    attributes = _describe_stage(stage, dims) | {"runs": [dict(run) for run in runs]}
    group = zarr.open_group(str(path), mode="w", zarr_format=3, attributes=attributes)
    sizes: dict[str, int] = {}
    for name, dim, values, words in _list_columns(stage):
        _write_coordinate(group, name, dim, values, words)
        sizes[name] = len(values)
    for name, output in stage.stored.variables.items():
        tail = tuple(sizes[dim] for dim in output.dims)
        group.create_array(
            name,
            shape=shape + tail,
            chunks=chunks + tail,
            dtype="float64",
            fill_value=float("nan"),
            compressors=_CODECS,
            dimension_names=dims + output.dims,
            attributes=dict(output.words),
        )
    for name, (dtype, fill, meaning) in LEDGER.items():
        group.create_array(
            name,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            fill_value=fill if dtype is str else np.dtype(dtype).type(fill),
            compressors=_CODECS,
            dimension_names=dims,
            attributes=_describe_entry(name, meaning),
        )
    write_checksum(path, [*sizes, *stage.stored.variables, *LEDGER], whole=sizes.keys())


def _describe_stage(stage: Stage, dims: Sequence[str]) -> dict[str, Any]:
    """Return the attributes of a store, without its runs."""
    attributes: dict[str, Any] = {
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


def _write_coordinate(group: zarr.Group, name: str, dim: str, values: Any, words: Mapping[str, str]) -> None:
    column = make_column(values)
    is_text = column.dtype == object
    array = group.create_array(
        name,
        shape=column.shape,
        chunks=column.shape,
        dtype=str if is_text else column.dtype,
        fill_value="" if is_text else column.dtype.type(0),
        compressors=_CODECS,
        dimension_names=(dim,),
        attributes=dict(words),
        config={"write_empty_chunks": True},  # Zarr writes no file for a chunk of fill values otherwise
    )
    array[...] = column


def describe_words(parameter: Parameter, name: str, component: str) -> dict[str, str]:
    """Return the attributes of a coordinate that holds the values of a parameter."""
    base, _, index = name.rpartition("_")
    is_one = parameter.per_component and index.isdigit()
    long_name = f"{base.replace('_', ' ')} of {component} {index}" if is_one else name.replace("_", " ")
    symbol = f"{parameter.symbol}_{index}" if is_one and parameter.symbol else parameter.symbol
    return {"long_name": long_name, "symbol": symbol, "units": parameter.units, "description": parameter.meaning}
