"""`read_layout` checks that a store has the shape of its experiment; `check_stage`, that it fits this version of clhd.

| part of the store | what it must be |
|---|---|
| attributes of the group | of the right types; ``experiment`` can be parsed |
| variables | the outputs, the ledger, the coordinates, and no others |
| shape, names of dims | those of the experiment's axes and replicas |
| chunks | of one shape, in all variables |
| coordinates | equal to the values of axes, times, replicas and outputs, to the last bit |

The checksum of the metadata shows that a store is as it was written; these checks show that it was written correctly.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from clhd.errors import ClhdError
from clhd.sweep.plan.moments import MEAN_OF_BLOCK
from clhd.sweep.plan.stage import Stage
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.spec.grid import Axis
from clhd.sweep.spec.rounds import StageKind
from clhd.sweep.store.chunk_files import LEDGER, ChunkFiles, read_array
from clhd.sweep.store.metadata import (
    FRESH,
    REPAIR,
    SUMMARISE,
    Metadata,
    MetadataError,
    check_metadata,
    choose_remedy,
)
from clhd.sweep.store.zarr_format import FILE, Document, read_chunks
from clhd.systems.declarations import Output, Outputs
from clhd.systems.stored import Declaration, restore_output

FORMAT = 1
ENTRY_DIMS = ("replica", "replica_block")
# A coordinate: its dim and its values.
Coordinate = tuple[str, Sequence[Any]]


class _Run(BaseModel):
    model_config = ConfigDict(strict=True)
    started: str
    code: str
    seconds: float = 0.0
    computed: int = 0
    dependencies: dict[str, Any] = {}


class _Attributes(BaseModel):
    """The attributes that clhd reads again."""

    model_config = ConfigDict(strict=True)
    kind: StageKind
    version: int
    experiment: dict[str, Any]
    dims: list[str]
    outputs: list[str]
    replicas_per_entry: int = 1
    declaration: Declaration | None = None  # stores of earlier versions have none
    runs: list[_Run]


@dataclass(frozen=True)
class Layout:
    """The variables, dims and shape of a store."""

    experiment: Experiment  # whose points and replicas have a place in the store
    kind: StageKind
    dims: tuple[str, ...]  # of the variables of the ledger; outputs have more dims behind these
    shape: tuple[int, ...]
    outputs: tuple[str, ...]
    declaration: Declaration | None  # what the store says of its system; None in stores of earlier versions

    @property
    def has_replicas(self) -> bool:
        """True if the last dim of the ledger is the replica, or the block of replicas."""
        return bool(self.dims) and self.dims[-1] in ENTRY_DIMS

    def coordinates(self) -> dict[str, Coordinate]:
        """Return the coordinates that follow from the experiment; dims of outputs have coordinates of their own."""
        axes = [axis for axis in self.experiment.axes if axis.name in self.dims]
        has_time = self.declaration is None or self.declaration.time is not None
        found: dict[str, Coordinate] = {"time": ("time", self.experiment.times)} if has_time else {}
        for axis in axes:
            found |= {name: (axis.name, [value[k] for value in axis.values]) for k, name in enumerate(axis.parameters)}
            if not axis.is_single:
                found[axis.name] = (axis.name, [axis.label(position) for position in range(len(axis))])
        if self.has_replicas:
            found[self.dims[-1]] = (self.dims[-1], range(self.shape[-1]))
        return found


def read_layout(path: Path, metadata: Metadata) -> Layout:
    """Return the layout of a store; raise MetadataError if its metadata contradict the experiment in its attributes."""
    try:
        attributes = _Attributes.model_validate(metadata.attributes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _refuse(path, f"{where}: {first['msg']}") from None
    experiment, kind = _parse(path, attributes.experiment), attributes.kind
    if path.name.lstrip(".").startswith("theory" if kind == "simulation" else "simulation"):
        raise _refuse(path, f"kind = {kind!r} contradicts the name of the store")
    size = Stage(experiment, kind).entry_size
    if attributes.replicas_per_entry != size:
        raise _refuse(path, f"replicas_per_entry = {attributes.replicas_per_entry}, not {size}")
    axes = [axis for axis in experiment.axes if axis.name in attributes.dims]
    dims, shape = [axis.name for axis in axes], [len(axis) for axis in axes]
    declaration = attributes.declaration
    if kind == "simulation" or (declaration is not None and declaration.per_replica):
        dims, shape = [*dims, ENTRY_DIMS[size > 1]], [*shape, experiment.replicas // size]
    if attributes.dims != dims:
        raise _refuse(path, f"dims = {', '.join(attributes.dims)}, not {', '.join(dims)}")
    layout = Layout(experiment, kind, tuple(dims), tuple(shape), tuple(attributes.outputs), declaration)
    _check_shapes(path, layout, metadata.arrays)
    return layout


def _refuse(path: Path, text: str) -> MetadataError:
    return MetadataError(f"{path / FILE}: {text:.200}; {choose_remedy(path)}")


def _parse(path: Path, table: Mapping[str, Any]) -> Experiment:
    """Return the experiment in the attributes of a store; its parameters are not checked."""
    try:
        return parse_stored(json.dumps(table))
    except ClhdError as error:
        raise _refuse(path, str(error).splitlines()[0]) from None


@lru_cache(maxsize=8)
def parse_stored(text: str) -> Experiment:
    """Return the experiment that results hold as JSON: mostly the same in all stages, so it is parsed once."""
    return parse_experiment(json.loads(text), check=False)


def _check_shapes(path: Path, layout: Layout, arrays: Mapping[str, Document]) -> None:
    """Check that a store holds the arrays of its layout, with their dims and shapes, and no others."""
    expected: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        name: ((dim,), (len(values),)) for name, (dim, values) in layout.coordinates().items()
    }
    expected |= dict.fromkeys((*LEDGER, *layout.outputs), (layout.dims, layout.shape))
    names = expected.keys() | {dim for name in layout.outputs for dim in _get_dims(arrays.get(name, {}))}
    if arrays.keys() != names:
        different = ", ".join(sorted(arrays.keys() ^ names))
        raise _refuse(path, f"has other variables than its experiment: {different}")
    chunks = read_chunks(arrays["status"])
    for name, (dims, shape) in expected.items():
        document, count = arrays[name], len(dims)
        found = _get_dims(document)[:count], tuple(document["shape"][:count])
        is_longer = len(document["shape"]) > count and name not in layout.outputs
        has_chunks = name not in (*LEDGER, *layout.outputs) or read_chunks(document)[:count] == chunks
        if found != (dims, shape) or is_longer or not has_chunks:
            raise MetadataError(f"{path / name / FILE}: its shape, dims or chunks contradict its experiment; {FRESH}")


def _get_dims(document: Document) -> tuple[str, ...]:
    return tuple(document.get("dimension_names") or ())  # an array without dims has no such key


def check_summary(path: Path) -> Metadata:
    """Return the metadata of a summary, after a check; raise MetadataError if they are damaged, or of an older clhd."""
    metadata = check_metadata(path)
    if not {"replica_count", "theory_status"} & metadata.arrays.keys() or "experiment" not in metadata.attributes:
        raise MetadataError(f"{path}: is not the summary of an experiment; {SUMMARISE}")
    if not metadata.identity:
        raise MetadataError(f"{path}: was written by an older clhd; {SUMMARISE}")
    _parse(path, metadata.attributes["experiment"])
    return metadata


def read_outputs(files: ChunkFiles, layout: Layout) -> Outputs:
    """Return the outputs of a stage, as its system declared them, from the metadata of its store.

    Where the store holds moments X_count, X_mean and X_squares, the output is X.
    """
    declaration, metadata = layout.declaration, files.metadata
    assert declaration is not None  # the caller has checked
    names = layout.outputs
    if layout.dims[-1:] == (ENTRY_DIMS[1],):
        names = tuple(name.removesuffix("_mean") for name in names if name.endswith("_mean"))
    variables: dict[str, Output] = {}
    coordinates: dict[str, tuple[Sequence[Any], Mapping[str, str]]] = {}
    for name in names:
        document = metadata.arrays[name if name in metadata.arrays else f"{name}_mean"]
        dims, words = _get_dims(document)[len(layout.dims) :], dict(document.get("attributes") or {})
        words["long_name"] = str(words.get("long_name", name)).removeprefix(MEAN_OF_BLOCK)
        variables[name] = restore_output(name, dims, words, declaration)
        for dim in set(dims) - {"time", *coordinates}:
            values = _read_column(files, dim)
            coordinates[dim] = (values.tolist(), metadata.arrays[dim].get("attributes") or {})
    return Outputs(variables=variables, coordinates=coordinates)


def make_column(values: Any) -> NDArray[Any]:
    """Return the values of a coordinate as Zarr accepts them: texts as objects."""
    column = np.array(values)
    return column.astype(object) if column.dtype.kind in "OUT" else column


def list_coordinates(path: Path, layout: Layout, stage: Stage) -> dict[str, NDArray[Any]]:
    """Return the values of all coordinates; raise MetadataError if this version cannot read the experiment."""
    values = {name: values for name, (_, values) in layout.coordinates().items()}
    values |= {name: own for name, (own, _) in _find_outputs(path, stage)[0].coordinates.items()}
    return {name: make_column(column) for name, column in values.items()}


def _find_outputs(path: Path, stage: Stage) -> tuple[Outputs, tuple[Axis, ...]]:
    """Return the variables that a stage stores, and its axes."""
    try:
        return stage.stored, stage.grid.axes
    except ClhdError:
        raise
    except Exception as error:  # a constant of a wrong type raises anything in a system
        raise _refuse(path, f"its experiment cannot be understood: {error}") from None


def _read_column(files: ChunkFiles, name: str) -> NDArray[Any]:
    """Return the values of a coordinate of a store; raise MetadataError if they cannot be read."""
    try:
        return make_column(read_array(files, name))
    except ClhdError:
        raise
    except Exception:  # codecs raise errors of any type
        raise MetadataError(f"{files.root / name}: is damaged; {REPAIR}") from None


def check_stage(files: ChunkFiles, layout: Layout, stage: Stage) -> None:
    """Raise MetadataError if a store has other dims, outputs or coordinates than a stage."""
    path = files.root
    outputs, axes = _find_outputs(path, stage)
    dims = tuple(axis.name for axis in axes) + stage.entry_dim
    if dims != layout.dims or tuple(outputs.variables) != layout.outputs:
        raise _refuse(path, "its dims or outputs contradict its experiment")
    for name, output in outputs.variables.items():
        found = _get_dims(files.metadata.arrays[name])
        if found != layout.dims + output.dims:
            raise MetadataError(f"{path / name / FILE}: dimension_names = {found}; {FRESH}")
    for name, values in list_coordinates(path, layout, stage).items():
        column = _read_column(files, name)
        if not np.array_equal(column, values):
            raise MetadataError(f"{path / name}: its values contradict the experiment; {FRESH}")
