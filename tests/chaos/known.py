"""Reads the content of a store at a moment, and compares it with the expected content, bit for bit."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

LEDGER = ("status", "run", "attempts")
KINDS = ("simulation", "theory")
_OK = 1


@dataclass(frozen=True)
class Known:
    """The content of a store.

    Parameters
    ----------
    places : list of list
        The coordinates along each dim of the status.
    values : dict of name to array
        The outputs; their leading dims are those of the status.
    ledger : dict of name to array
    chunks : shape of a chunk of the status
    runs : int
        How many runs had begun.
    torn : int
        Chunks of which data were there already, but no status.
    """

    places: list[list[Any]]
    values: dict[str, NDArray[Any]]
    ledger: dict[str, NDArray[Any]]
    chunks: tuple[int, ...]
    runs: int
    torn: int

    @property
    def is_ok(self) -> NDArray[np.bool_]:
        return self.ledger["status"] == _OK

    @property
    def blocks(self) -> int:
        return self.count_chunks(np.ones(self.ledger["status"].shape, bool))

    def inside(self, other: "Known") -> Any:
        """Index that picks the places of this store from the arrays of a larger one."""
        positions = []
        for mine, all_places in zip(self.places, other.places, strict=True):
            where = {place: position for position, place in enumerate(all_places)}
            positions.append([where[place] for place in mine])
        return np.ix_(*positions)

    def count_chunks(self, entries: NDArray[np.bool_]) -> int:
        """In how many chunks at least one of some entries lies."""
        where = np.argwhere(entries) // np.array(self.chunks)
        return len(np.unique(where, axis=0))


def read_known(path: Path) -> Known | None:
    """What a store holds; None if there is none. A chunk that cannot be read raises, as zarr does."""
    if not (path / "zarr.json").exists():
        return None
    group = zarr.open_group(str(path), mode="r")
    attributes: dict[str, Any] = {name: read_table(value) for name, value in group.attrs.items()}
    status: Any = group["status"]
    names: list[str] = attributes["outputs"]
    complete = set(list_chunks(path, "status"))
    written = {index[: status.ndim] for index in list_chunks(path, names[-1])}
    return Known(
        places=[np.asarray(group[dim]).tolist() for dim in attributes["dims"]],
        values={name: np.asarray(group[name]) for name in names},
        ledger={name: np.asarray(group[name]) for name in LEDGER},
        chunks=status.chunks,
        runs=len(attributes["runs"]),
        torn=len(written - complete),
    )


def read_table(value: Any) -> Any:
    """An attribute; a table or list that is a text as what it says."""
    is_table = isinstance(value, str) and value[:1] in ("{", "[")
    return json.loads(value) if is_table else value


def list_chunks(path: Path, name: str) -> dict[tuple[int, ...], Path]:
    """The files of the chunks of a variable by their index, of the generation that the record of the store names."""
    record = json.loads((path / "zarr.json").read_bytes()).get("consolidated_metadata")
    array = record["metadata"][name] if record else json.loads((path / name / "zarr.json").read_bytes())
    separator = array["chunk_key_encoding"]["configuration"]["separator"]
    folder = path / name / ("c" if separator == "/" else "")
    found = {}
    for file in folder.rglob("*"):
        words = file.relative_to(folder).as_posix().split(separator)
        if file.is_file() and all(word.isdigit() for word in words):
            found[tuple(map(int, words))] = file
    return found


def find_wrong(known: Known, reference: Known) -> list[str]:
    """Quantities whose bits are not those of an undisturbed run, where the status says ok."""
    where = known.inside(reference)
    is_ok = known.is_ok
    return [
        name
        for name, values in known.values.items()
        if values[is_ok].tobytes() != reference.values[name][where][is_ok].tobytes()
    ]


def find_recomputed(before: Known, after: Known) -> NDArray[np.bool_]:
    """Entries that were ok before, and were computed again or lost since."""
    where = before.inside(after)
    same = after.is_ok[where]
    for name in ("run", "attempts"):
        same &= after.ledger[name][where] == before.ledger[name]
    return before.is_ok & ~same


def find_late_writes(path: Path, before: Known, reign: int) -> list[str]:
    """Files of chunks that a dead run wrote after another had taken the store over, at `reign` (ns since 1970)."""
    after = read_known(path)
    if after is None or after.ledger["run"].shape != before.ledger["run"].shape:
        return []
    late = []
    for index, file in list_chunks(path, "status").items():
        region = tuple(slice(i * n, (i + 1) * n) for i, n in zip(index, after.chunks, strict=True))
        if after.ledger["run"][region].max() >= before.runs:
            continue  # the successor computed something in it itself
        chunks = [chunk for name in after.values for chunk in list_chunks(path, name).items()]
        files = [file, *(part for place, part in chunks if place[: len(index)] == index)]
        late += [str(part.relative_to(path)) for part in files if part.stat().st_mtime_ns > reign]
    return late


def copy_stores(source: Path, target: Path) -> None:
    """Copy the two stores of an experiment and its summary, while others may write: each status before the data.

    What has a status in the copy then had its data before that, as any reader may expect.
    """
    for name in (*(f"{stage}.zarr" for stage in KINDS), "summary.zarr"):
        for _ in range(10):
            store = source / name
            before = _identify(store)
            shutil.rmtree(target / name, ignore_errors=True)
            if before is not None:
                _copy_tree(store / "status", target / name / "status")
                # Not the status again: what has one by now may have had no data when these were copied.
                _copy_tree(store, target / name, but="status")
            if _identify(store) == before:
                break


def _identify(path: Path) -> tuple[int, Any] | None:
    """Which folder it is, and which generation of the store; None if there is none."""
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        return path.stat().st_ino, attributes.get("generation")
    except FileNotFoundError:
        return None


def _copy_tree(source: Path, target: Path, but: str = "") -> None:
    """Copy all but one entry, and pass over what vanishes meanwhile."""
    try:
        entries = list(os.scandir(source))
    except FileNotFoundError:
        return
    target.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        if entry.name == but:
            continue
        if entry.is_dir():
            _copy_tree(Path(entry.path), target / entry.name)
        else:
            with suppress(FileNotFoundError):
                shutil.copyfile(entry.path, target / entry.name)


def count_links(folder: Path) -> int:
    """Files of chunks that are in two stores at once, as while one grows."""
    count = 0
    for place, _, names in os.walk(folder):  # which passes over what vanishes meanwhile
        for name in names:
            with suppress(FileNotFoundError):
                count += Path(place, name).stat().st_nlink > 1
    return count // 2


def read_summary(path: Path) -> dict[str, bytes]:
    """The bits of every variable of a summary."""
    group = zarr.open_group(str(path), mode="r")
    return {name: _to_bytes(np.asarray(array)) for name, array in group.arrays()}


def _to_bytes(values: NDArray[Any]) -> bytes:
    if values.dtype.kind in "OUT":
        return "\0".join(map(str, values.ravel().tolist())).encode()
    return values.tobytes()


def find_stray_files(folder: Path) -> list[str]:
    """What is left in a folder of results, as paths in it, that no undisturbed run leaves."""
    allowed = {"simulation.zarr", "theory.zarr", "summary.zarr", "figures", "logs"}
    stray = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).parts
        if len(name) == 1:
            is_own = name[0] in allowed or path.suffix in (".lock", ".writing", ".done")
        elif name[0].endswith(".zarr") and path.is_file():
            # Also files of the generation before, which go at the next run.
            is_own = path.name == "zarr.json" or (len(name) > 2 and path.name.replace(".", "").isdigit())
            is_own = is_own or name[2:] == ("c",)
        else:
            is_own = True
        if not is_own:
            stray.append(str(path.relative_to(folder)))
    return stray


def is_consolidated(path: Path) -> bool:
    """True if a store opens by its gathered metadata, which is fast and without a warning."""
    return zarr.open_group(str(path), mode="r").metadata.consolidated_metadata is not None
