"""`check_store`: what a store says of itself, against what its experiment says that it must be.

Chunks carry checksums; what says how to read them does not. A shape, a type or a coordinate that is damaged would turn
right bytes into wrong numbers. What must be so, beside what `clhd.sweep.documents` wants of every array:

| what | must be |
|---|---|
| attributes of the group | of their types; the experiment one that parses |
| variables | the outputs, the ledger, the coordinates, and no others |
| shape, dimension names | those of the experiment's axes and replicas |
| chunks | of one shape, in all variables |
| type, fill value | float64 and NaN for outputs, those of the ledger for it |
| gathered metadata | the same as those of each array |
| coordinates | the values of axes, times, replicas, to the last bit |

There are two copies of the metadata of an array, its own and the gathered one: `restore_metadata` mends the one by the
other, where the experiment, which stands in a third place, says which is right.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from clhd.errors import ClhdError
from clhd.sweep.axis import Axis, is_plain_name
from clhd.sweep.documents import (
    AGAIN,
    FILE,
    FRESH,
    REPAIR,
    Document,
    MetadataError,
    compare_copies,
    find_problem,
    get_gathered,
    is_count,
    read_chunks,
    read_document,
    read_group,
    suggest,
    write_document,
)
from clhd.sweep.experiment import REPLICAS_PER_BLOCK, Experiment, parse_experiment
from clhd.sweep.road import Kind, Road

# The dim of a coordinate, and its values.
Coordinate = tuple[str, Sequence[Any]]
_MOST_SECONDS = 1e12  # and runs: no run has had more of either


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
    kind: Kind
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    outputs: tuple[str, ...]

    def coordinates(self) -> dict[str, Coordinate]:
        """The coordinates that the experiment gives."""
        axes = [axis for axis in self.experiment.axes if axis.name in self.dims]
        found = list_coordinates(axes, self.experiment.times)
        if self.kind == "simulation":
            found[self.dims[-1]] = (self.dims[-1], range(self.shape[-1]))
        return found


def list_coordinates(axes: Sequence[Axis], times: Sequence[float]) -> dict[str, Coordinate]:
    """The coordinates of axes and times: those of its parameters for each axis, and labels if there are several."""
    found: dict[str, Coordinate] = {"time": ("time", times)}
    for axis in axes:
        found |= {name: (axis.name, [value[k] for value in axis.values]) for k, name in enumerate(axis.parameters)}
        if not axis.is_single:
            found[axis.name] = (axis.name, [axis.label(position) for position in range(len(axis))])
    return found


def check_store(path: Path, group: Document, ledger: Mapping[str, tuple[Any, Any, str]]) -> Layout:
    """Check the metadata of the store of a road.

    Parameters
    ----------
    path : Path
    group : mapping
        What `read_group` returned.
    ledger : mapping of name to (type, fill value, meaning)

    Raises
    ------
    MetadataError
        Names the file, what is wrong with it, and what mends it.
    """
    layout = _read_layout(path, group["attributes"])
    gathered = get_gathered(group)
    names = []
    for name, problem in _find_problems(layout, ledger, lambda name: read_document(path / name / FILE)):
        if problem:
            raise MetadataError(f"{path / name / FILE}: {problem}; {REPAIR}")
        names.append(name)
    compare_copies(path, names, gathered, REPAIR)
    return layout


def _read_layout(path: Path, attributes: Document) -> Layout:
    """What the attributes of a store say that it holds."""

    def refuse(text: str) -> MetadataError:
        return MetadataError(f"{path / FILE}: {text}; {FRESH}")

    kind = attributes.get("kind")
    dims: Any = attributes.get("dims")
    outputs: Any = attributes.get("outputs")
    size = attributes.get("replicas_per_entry", 1)
    other = {"simulation": "theory", "theory": "simulation"}.get(str(kind))
    if other is None or path.name.lstrip(".").startswith(other):
        raise refuse(f"kind = {kind!r:.60} is not that of this store")
    for name, found in (("dims", dims), ("outputs", outputs)):
        if not isinstance(found, list) or not all(isinstance(entry, str) and is_plain_name(entry) for entry in found):
            raise refuse(f"{name} = {found!r:.60} is no list of names")
    if type(attributes.get("version")) is not int or type(size) is not int or size not in {1, REPLICAS_PER_BLOCK}:
        raise refuse("version and replicas_per_entry are not those of a store")
    if not _are_runs(attributes.get("runs")):
        raise refuse("runs is no list of runs")
    experiment = parse_attribute(attributes.get("experiment"), refuse)
    if (experiment.keep == "moments" and kind == "simulation") != (size > 1):
        raise refuse(f"keep = {experiment.keep} and replicas_per_entry = {size} contradict each other")
    axes = [axis for axis in experiment.axes if axis.name in dims]
    names, shape = [axis.name for axis in axes], [len(axis) for axis in axes]
    if kind == "simulation":
        names, shape = [*names, "replica_block" if size > 1 else "replica"], [*shape, experiment.replicas // size]
    if dims != names:
        raise refuse(f"dims = {', '.join(dims)}, not {', '.join(names)}")
    together = " ".join(name for axis in axes if not axis.is_single for name in axis.parameters)
    if attributes.get("coordinates", "") != together:
        raise refuse("coordinates are not those of the axes")
    known: Kind = "simulation" if kind == "simulation" else "theory"
    return Layout(experiment, known, tuple(names), tuple(shape), tuple(outputs))


def parse_attribute(table: Any, refuse: Callable[[str], MetadataError]) -> Experiment:
    """The experiment in the attributes of a store, its parameters as they stand."""
    if not isinstance(table, dict):
        raise refuse("experiment is no table")
    try:
        return parse_experiment(table, source="experiment", check=False)
    except ClhdError as error:
        raise refuse(str(error).splitlines()[0]) from None


def _are_runs(runs: Any) -> bool:
    texts, numbers = ("started", "code"), ("seconds", "computed")
    return isinstance(runs, list) and all(
        isinstance(run, dict)
        and all(isinstance(run.get(name), str) for name in texts)
        and all(type(run.get(name, 0)) in {int, float} and 0 <= run.get(name, 0) < _MOST_SECONDS for name in numbers)
        and isinstance(run.get("dependencies", {}), dict)
        for run in runs
    )


def _find_problems(
    layout: Layout, ledger: Mapping[str, tuple[Any, Any, str]], read: Callable[[str], Document | str]
) -> Iterator[tuple[str, str]]:
    """Of every array that a store must have, what is wrong with its metadata, or nothing."""
    chunks = read_chunks(read("status"), layout.shape)
    for name, (dtype, fill, _) in ledger.items():
        wanted: dict[str, Any] = {"shape": layout.shape, "dimension_names": layout.dims, "chunks": chunks}
        wanted |= {"data_type": "string" if dtype is str else np.dtype(dtype).name}
        wanted["fill_value"] = fill if isinstance(fill, str) else np.dtype(dtype).type(fill).item()
        yield name, find_problem(read(name), wanted, checksum=True)
    given = layout.coordinates()
    sizes = {name: len(values) for name, (_, values) in given.items()}
    for name, (dim, values) in given.items():
        yield name, find_problem(read(name), {"shape": (len(values),), "dimension_names": (dim,)})
    for name in layout.outputs:
        document = read(name)
        names: Any = [] if isinstance(document, str) else document.get("dimension_names")
        is_right = isinstance(names, list) and all(isinstance(dim, str) for dim in names)
        tail = names[len(layout.dims) :] if is_right else []
        for dim in tail:
            if dim not in sizes and is_plain_name(dim):
                own = read(dim)
                shape = () if isinstance(own, str) else own.get("shape")
                sizes[dim] = shape[0] if isinstance(shape, list) and len(shape) == 1 and is_count(shape[0]) else 0
                yield dim, find_problem(own, {"shape": (sizes[dim],), "dimension_names": (dim,)})
        lengths = tuple(sizes.get(dim, 0) for dim in tail)
        wanted = {"shape": (*layout.shape, *lengths), "chunks": None if chunks is None else (*chunks, *lengths)}
        wanted |= {"dimension_names": (*layout.dims, *tail), "data_type": "float64", "fill_value": "NaN"}
        yield name, find_problem(document, wanted, checksum=True)


def check_coordinates(path: Path, wanted: Mapping[str, Coordinate], read: Callable[[str], Any]) -> None:
    """Check the values of coordinates.

    Parameters
    ----------
    path : Path
        Of the store.
    wanted : mapping of name to dim and values
    read : callable
        Returns the values of a coordinate by its name.

    Raises
    ------
    MetadataError
        Names the first that is damaged or has other values.
    """
    remedy = AGAIN if path.name.startswith("summary") else REPAIR
    for name, (_, values) in wanted.items():
        try:
            found = np.asarray(read(name))
        except Exception:  # codecs raise what they like
            raise MetadataError(f"{path / name}: is damaged; {remedy}") from None
        must = np.array(values)
        if must.dtype.kind in "OU":
            found, must = found.astype(object), must.astype(object)
        if found.shape != must.shape or not np.array_equal(found, must):
            if not _has_files(path / name):
                raise MetadataError(f"{path / name}: is missing; {remedy}")
            raise MetadataError(f"{path / name}: holds other values than the experiment has; {suggest(path)}")


def _has_files(variable: Path) -> bool:
    """True if a variable has a chunk; one that holds nothing but its fill value need not have any."""
    return any(file.is_file() for file in (variable / "c").rglob("*"))


def check_road(path: Path, layout: Layout, road: Road, group: zarr.Group) -> None:
    """Check that a store holds what a road stores, under the names and coordinates that it gives them.

    Raises
    ------
    MetadataError
        If it does not.
    """
    try:
        outputs, axes = road.stored, road.grid.axes
    except ClhdError:
        raise
    except Exception as error:  # a constant of another type, which only this code finds
        raise MetadataError(f"{path / FILE}: experiment cannot be understood: {error}; {FRESH}") from None
    dims = tuple(axis.name for axis in axes) + layout.dims[len(layout.dims) - road.is_simulation :]
    if dims != layout.dims or tuple(outputs.variables) != layout.outputs:
        raise MetadataError(f"{path / FILE}: dims or outputs are not those of its experiment; {FRESH}")
    for name, output in outputs.variables.items():
        found: Any = group[name].metadata
        if tuple(found.dimension_names or ()) != layout.dims + output.dims:
            raise MetadataError(f"{path / name / FILE}: dimension_names = {found.dimension_names}; {FRESH}")
    wanted = layout.coordinates() | {name: (name, values) for name, (values, _) in outputs.coordinates.items()}
    check_coordinates(path, wanted, lambda name: group[name][...])  # type: ignore[index]


def restore_metadata(path: Path, ledger: Mapping[str, tuple[Any, Any, str]]) -> list[Path]:
    """Write the metadata of arrays again that are wrong, from the other copy, and return their files.

    Nothing is written unless all of it can be mended: one of the two copies of each array must be right.
    """
    group = read_group(path)
    layout, gathered = _read_layout(path, group["attributes"]), get_gathered(group)

    def own(name: str) -> Document | str:
        return read_document(path / name / FILE)

    right: dict[str, Document] = {}
    for read in (own, lambda name: gathered.get(name, "is not there")):
        for name, problem in _find_problems(layout, ledger, read):
            document = read(name)
            if not problem and not isinstance(document, str):
                right.setdefault(name, document)
    if any(problem for _, problem in _find_problems(layout, ledger, lambda name: right.get(name, "is not there"))):
        return []
    damaged = [name for name in right if own(name) != right[name]]
    for name in damaged:
        (path / name).mkdir(exist_ok=True)
        write_document(path / name / FILE, right[name])
    if gathered != right:
        inner = {"kind": "inline", "must_understand": False, "metadata": {name: right[name] for name in sorted(right)}}
        write_document(path / FILE, {**group, "consolidated_metadata": inner})
    return [path / name / FILE for name in damaged] + ([path / FILE] if gathered != right else [])


def restore_coordinates(path: Path, layout: Layout, group: zarr.Group) -> None:
    """Write coordinates of an open store again that cannot be read or are missing, from its experiment.

    One that can be read, and has other values, is left as it is: nobody knows then which of the two is right.
    """
    for name, (_, values) in layout.coordinates().items():
        array: Any = group[name]
        try:
            array[...]
            is_there = _has_files(path / name)
        except Exception:  # codecs raise what they like
            is_there = False
        if not is_there:
            column = np.array(values)
            array[...] = column.astype(object) if column.dtype.kind in "OU" else column
