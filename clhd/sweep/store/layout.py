"""`read_layout`: what a store must hold, by the experiment in its attributes; `check_stage`: and by the code.

| what | must be |
|---|---|
| attributes of the group | of their types; the experiment one that parses |
| variables | the outputs, the ledger, the coordinates, and no others |
| shape, names of dims | those of the experiment's axes and replicas |
| chunks | of one shape, in all variables |
| coordinates | the values of axes, times, replicas and outputs, to the last bit |

A seal says already that a store is what was written. This says that what was written is a store, of this code.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from clhd.errors import ClhdError
from clhd.sweep.plan.moments import MEAN_OF_BLOCK
from clhd.sweep.plan.stage import Stage, StageKind
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.spec.grid import Axis
from clhd.sweep.store.checksums import Contents, check_seal
from clhd.sweep.store.metadata import AGAIN, FILE, FRESH, REPAIR, Document, MetadataError, read_chunks, suggest
from clhd.systems.declarations import Outputs, Status
from clhd.systems.stored import Declaration, restore_output

FORMAT = 1
ENTRY_DIMS = ("replica", "replica_block")
LEDGER: dict[str, tuple[Any, Any, str]] = {
    "attempts": (np.int16, 0, "how often it was tried"),
    "seconds": (np.float32, 0.0, "share of the wall time of its block, s"),
    "run": (np.int16, -1, "entry of the attribute runs that computed it"),
    "error_type": (str, "", "of the last failure"),
    "error_message": (str, "", "of the last failure"),
    "status": (np.int8, Status.NOT_RUN, "what is known of it"),
}
# The dim of a coordinate, and its values.
Coordinate = tuple[str, Sequence[Any]]


class _Run(BaseModel):
    model_config = ConfigDict(strict=True)
    started: str
    code: str
    seconds: float = 0.0
    computed: int = 0
    dependencies: dict[str, Any] = {}


class _Attributes(BaseModel):
    """Those that are read again."""

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
    """What a store holds.

    Parameters
    ----------
    experiment : Experiment
        That the store has room for.
    kind : str
        "simulation" or "theory".
    dims, shape : tuple
        Of the ledger; those of outputs begin with them.
    outputs : tuple of str
    """

    experiment: Experiment
    kind: StageKind
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    outputs: tuple[str, ...]
    declaration: Declaration | None

    @property
    def has_replicas(self) -> bool:
        """True if the last dim of the ledger is that of the replicas, or of blocks of them."""
        return bool(self.dims) and self.dims[-1] in ENTRY_DIMS

    def coordinates(self) -> dict[str, Coordinate]:
        """The coordinates that the experiment gives; outputs may have more."""
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


def read_layout(path: Path, contents: Contents) -> Layout:
    """What a store holds.

    Parameters
    ----------
    path : Path
    contents : Contents
        What the store says of itself.

    Raises
    ------
    MetadataError
        If that is no store, or not of its experiment.
    """
    try:
        attributes = _Attributes.model_validate(contents.attributes)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _refuse(path, f"{where}: {first['msg']}") from None
    experiment, kind = _parse(path, attributes.experiment), attributes.kind
    if path.name.lstrip(".").startswith("theory" if kind == "simulation" else "simulation"):
        raise _refuse(path, f"kind = {kind!r} is not that of this store")
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
    _check_shapes(path, layout, contents.arrays)
    return layout


def _refuse(path: Path, text: str) -> MetadataError:
    return MetadataError(f"{path / FILE}: {text:.200}; {suggest(path)}")


def _parse(path: Path, table: Mapping[str, Any]) -> Experiment:
    """The experiment in the attributes of a store, its parameters as they stand."""
    try:
        return parse_experiment(table, check=False)
    except ClhdError as error:
        raise _refuse(path, str(error).splitlines()[0]) from None


def _check_shapes(path: Path, layout: Layout, arrays: Mapping[str, Document]) -> None:
    """Check that a store holds the arrays of its layout, and no others."""
    wanted: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        name: ((dim,), (len(values),)) for name, (dim, values) in layout.coordinates().items()
    }
    wanted |= dict.fromkeys((*LEDGER, *layout.outputs), (layout.dims, layout.shape))
    own = {dim for name in layout.outputs for dim in _get_dims(arrays.get(name, {}))}
    if arrays.keys() != wanted.keys() | own:
        names = ", ".join(sorted(arrays.keys() ^ (wanted.keys() | own)))
        raise _refuse(path, f"holds other variables than its experiment has: {names}")
    chunks = read_chunks(arrays["status"])
    for name, (dims, shape) in wanted.items():
        document, count = arrays[name], len(dims)
        found = _get_dims(document)[:count], tuple(document["shape"][:count])
        is_longer = len(document["shape"]) > count and name not in layout.outputs
        has_chunks = name not in (*LEDGER, *layout.outputs) or read_chunks(document)[:count] == chunks
        if found != (dims, shape) or is_longer or not has_chunks:
            raise MetadataError(f"{path / name / FILE}: has another shape than its experiment gives it; {FRESH}")


def _get_dims(document: Document) -> tuple[str, ...]:
    return tuple(document.get("dimension_names") or ())  # of a number without dims, none are named at all


def check_summary(path: Path) -> dict[str, Any]:
    """Check that a summary is what was written, and return its attributes; raises MetadataError."""
    contents = check_seal(path)
    attributes = contents.attributes
    if not {"replica_count", "theory_status"} & contents.arrays.keys() or "experiment" not in attributes:
        raise MetadataError(f"{path}: is no summary of an experiment; {AGAIN}")
    _parse(path, attributes["experiment"])
    return attributes


def recall_outputs(path: Path, layout: Layout, contents: Contents, group: zarr.Group) -> Outputs:
    """Return the outputs of a store by its own metadata, as its system declared them; the moments undone.

    Raises
    ------
    MetadataError
        If a coordinate cannot be read.
    """
    declaration = layout.declaration
    assert declaration is not None  # the caller has looked
    names = layout.outputs
    if layout.dims[-1:] == (ENTRY_DIMS[1],):
        names = tuple(name.removesuffix("_mean") for name in names if name.endswith("_mean"))
    variables, coordinates = {}, {}
    for name in names:
        document = contents.arrays[name if name in contents.arrays else f"{name}_mean"]
        dims, words = _get_dims(document)[len(layout.dims) :], dict(document.get("attributes") or {})
        words["long_name"] = str(words.get("long_name", name)).removeprefix(MEAN_OF_BLOCK)
        variables[name] = restore_output(name, dims, words, declaration)
        for dim in set(dims) - {"time"}:
            values = _read_column(path, group, dim)
            coordinates[dim] = (values.tolist(), contents.arrays[dim].get("attributes") or {})
    return Outputs(variables=variables, coordinates=coordinates)


def make_column(values: Any) -> NDArray[Any]:
    """The values of a coordinate as Zarr takes them: text is an object."""
    column = np.array(values)
    return column.astype(object) if column.dtype.kind in "OUT" else column


def find_damaged(path: Path, but: Collection[str] = ()) -> Path | None:
    """The first variable of a store, but for some, that cannot be read."""
    group = zarr.open_group(str(path), mode="r", zarr_format=3)
    for name, array in group.arrays():
        try:
            if name not in but:
                array[...]
        except Exception:  # codecs raise what they like
            return path / name
    return None


def list_coordinates(path: Path, layout: Layout, stage: Stage) -> dict[str, NDArray[Any]]:
    """The values of all coordinates of a store; raises MetadataError if its experiment is none for this code."""
    values = {name: values for name, (_, values) in layout.coordinates().items()}
    values |= {name: own for name, (own, _) in _find_outputs(path, stage)[0].coordinates.items()}
    return {name: make_column(column) for name, column in values.items()}


def _find_outputs(path: Path, stage: Stage) -> tuple[Outputs, tuple[Axis, ...]]:
    """What a stage stores, and its axes."""
    try:
        return stage.stored, stage.grid.axes
    except ClhdError:
        raise
    except Exception as error:  # a constant of another type, which only this code finds
        raise _refuse(path, f"experiment cannot be understood: {error}") from None


def _read_column(path: Path, group: zarr.Group, name: str) -> NDArray[Any]:
    """The values of a coordinate of a store; raises MetadataError if they cannot be read."""
    try:
        return make_column(group[name][...])  # type: ignore[index]
    except Exception:  # codecs raise what they like
        raise MetadataError(f"{path / name}: is damaged; {REPAIR}") from None


def check_stage(path: Path, layout: Layout, stage: Stage, group: zarr.Group) -> None:
    """Check that a store holds what a stage stores, under the names and coordinates that it gives them.

    Raises
    ------
    MetadataError
        If it does not.
    """
    outputs, axes = _find_outputs(path, stage)
    dims = tuple(axis.name for axis in axes) + stage.entry_dim
    if dims != layout.dims or tuple(outputs.variables) != layout.outputs:
        raise _refuse(path, "dims or outputs are not those of its experiment")
    for name, output in outputs.variables.items():
        found: Any = group[name].metadata
        if tuple(found.dimension_names or ()) != layout.dims + output.dims:
            raise MetadataError(f"{path / name / FILE}: dimension_names = {found.dimension_names}; {FRESH}")
    for name, values in list_coordinates(path, layout, stage).items():
        column = _read_column(path, group, name)
        if not np.array_equal(column, values):
            raise MetadataError(f"{path / name}: holds other values than the experiment has; {FRESH}")
