"""`write_archive` and `unpack_archive`: results with all that is needed to compute them again, as one zip.

| path in the archive | content |
|---|---|
| ro-crate-metadata.json | what the archive holds, as RO-Crate 1.1 |
| manifest-sha256.txt | the SHA-256 of every other file, as `sha256sum --check` reads it |
| archive.json | folder of the results and files of the experiments |
| its own path | the list of experiments, their files and systems, the claims, lock.txt if there is one |
| results/NAME/ | stores and figure of each experiment; beside them claims, report, assets of a paper |
| installed.txt | versions of all packages that were installed when the archive was written |
"""

import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

from clhd.core.files import replace_file
from clhd.errors import FileError, InputError, ResultsError, explain_unwritable
from clhd.sweep.spec.config import ConfigContent
from clhd.sweep.spec.experiment import STAGES, stage_path
from clhd.sweep.store.lock import hold_lock
from clhd.sweep.store.provenance import describe_code, now
from clhd.systems.registry import is_file_name

METADATA = "ro-crate-metadata.json"
_CRATE = "https://w3id.org/ro/crate/1.1"
_ENCODINGS = {".json": "application/json", ".yaml": "application/yaml", ".html": "text/html", ".txt": "text/plain"}
MANIFEST, CONTENTS = "manifest-sha256.txt", "archive.json"
_LOCK = Path("requirements/lock.txt")
_PRODUCTS = ("claims*.json", ".claims.json", "report.html", ".report.json", "figures/**/*", "latex/**/*")
_CHUNK = 1 << 20
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


def write_archive(config: ConfigContent, source: Path, results: Path, output: Path, licence: str | None = None) -> int:
    """Write an archive of all experiments of a list that have results; return the number of files in it.

    Parameters
    ----------
    source : Path
        The file of the list.
    output : Path
        The zip; an older file of this name is replaced when the new one is whole.
    licence : str, optional
        Address of the licence of the results.

    Raises
    ------
    ClhdError
        If a file lies outside of the working directory, there are no results, or a run is writing them.
    """
    found = [name for name in config.experiments if any(stage_path(results / name, stage).is_dir() for stage in STAGES)]
    if not found:
        raise InputError(f"{results}: holds no results of these experiments; create them with `clhd run FILE`")
    settings = sorted(set(_list_settings(config, source, found)))
    products = sorted({path for pattern in _PRODUCTS for path in results.glob(pattern) if _is_plain(path)})
    places = {path: _place(path) for path in (*settings, *products)}
    folder = _place(results)
    contents = {
        "results": folder,
        "experiments": {name: _place(config.files[name]) for name in found},
        "code": describe_code(),
    }
    installed = sorted({f"{item.metadata['Name']}=={item.version}" for item in distributions()}, key=str.lower)
    crate = describe_crate(
        f"Results of clhd: {source.name}",
        now(),
        describe_code(),
        {f"{folder}/{name}": config.experiments[name].description or name for name in found},
        [*places.values(), CONTENTS, MANIFEST, "installed.txt"],
        licence,
    )
    with explain_unwritable(output), replace_file(output) as file, ExitStack() as stack:
        for name in found:
            for stage in STAGES:
                stack.enter_context(_hold_still(stage_path(results / name, stage)))
        for path in (path for name in found for path in _list_results(results / name)):
            places[path] = _place(path)
        with ZipFile(file, "w", ZIP_DEFLATED, strict_timestamps=False) as archive:
            sums = {place: _add(archive, path, place) for path, place in places.items()}
            texts = {CONTENTS: json.dumps(contents, indent=2), "installed.txt": "\n".join(installed) + "\n"}
            for place, text in {**texts, METADATA: json.dumps(crate, indent=2)}.items():
                archive.writestr(place, text)
                sums[place] = sha256(text.encode()).hexdigest()
            archive.writestr(MANIFEST, "".join(f"{digest}  {place}\n" for place, digest in sorted(sums.items())))
    return len(sums) + 1


@contextmanager
def _hold_still(store: Path) -> Iterator[None]:
    """Let no run write a store meanwhile; where it is read-only and so has no lock, raise ResultsError if one did."""
    with ExitStack() as stack:
        before = None
        try:
            stack.enter_context(hold_lock(store))
        except FileError as error:
            if error.errno not in _READ_ONLY:
                raise
            before = _list_states(store)
        yield
        if before is not None and _list_states(store) != before:
            raise ResultsError(f"{store}: was written while it was archived; archive it when its run has ended")


def _list_states(store: Path) -> list[tuple[Path, int, int, int]]:
    """All files of a store; a file that is replaced has another number."""
    found = ((path, path.stat()) for path in sorted(store.rglob("*")) if path.is_file())
    return [(path, state.st_ino, state.st_mtime_ns, state.st_size) for path, state in found]


def _list_settings(config: ConfigContent, source: Path, names: list[str]) -> Iterator[Path]:
    """The files that say what was computed."""
    if source.is_file():
        yield source
    for path in (config.claims, _LOCK):
        if path is not None and path.is_file():
            yield path
    for name in names:
        file = config.files[name]
        yield file
        system = config.experiments[name].system
        if is_file_name(system):
            yield file.parent / system.rpartition(":")[0]


def _list_results(folder: Path) -> Iterator[Path]:
    """The files of the stores and of the figure of one experiment; not locks, logs and stores that were moved aside."""
    for place in (*(stage_path(folder, stage) for stage in STAGES), folder / "figures"):
        yield from sorted(path for path in place.rglob("*") if _is_plain(path))


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _place(path: Path) -> str:
    """The path in the archive: that from the working directory."""
    for place in (Path(os.path.normpath(path.absolute())), path.resolve()):  # the path may have links to this folder
        if place.is_relative_to(Path.cwd()):
            return place.relative_to(Path.cwd()).as_posix()
    raise InputError(f"{path}: lies outside of this folder, and an archive holds only what lies in it")


def _add(archive: ZipFile, path: Path, place: str) -> str:
    """Add a file; return its SHA-256."""
    digest = sha256()
    with path.open("rb") as source, archive.open(place, "w", force_zip64=True) as target:
        while block := source.read(_CHUNK):
            digest.update(block)
            target.write(block)
    return digest.hexdigest()


def unpack_archive(path: Path, folder: Path) -> dict[str, Any]:
    """Unpack an archive into an empty folder and check every file; return what archive.json says.

    Raises
    ------
    FileError
        If it is no archive of clhd, or a file is damaged, missing or unknown, or would lie outside of the folder.
    """
    if not path.is_file():
        raise FileError(f"{path}: there is no such file")
    try:
        with ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            for name in names:
                parts = PurePosixPath(name).parts
                if name.startswith("/") or "\\" in name or ".." in parts or not name.isprintable():
                    raise FileError(f"{path}: holds {name!r:.80}, which is no path of an archive of clhd")
            archive.extractall(folder, names)
        lines = [line.partition("  ") for line in (folder / MANIFEST).read_text(encoding="utf-8").splitlines()]
        sums = {name: digest for digest, _, name in lines}
        contents: dict[str, Any] = json.loads((folder / CONTENTS).read_text(encoding="utf-8"))
        experiments, results = contents["experiments"], contents["results"]
        is_right = isinstance(results, str) and all(isinstance(file, str) for file in experiments.values())
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, FileNotFoundError) as error:
        raise FileError(f"{path}: is not an archive of `clhd archive`, or damaged: {error}") from None
    wrong = [name for name in names if name != MANIFEST and sums.get(name) != _digest(folder / name)]
    wrong += sorted(set(sums) - set(names))
    if wrong or not is_right or not {results, *experiments.values()} <= {results, *sums}:
        raise FileError(f"{path}: {wrong[0] if wrong else CONTENTS} is not what `clhd archive` wrote")
    return contents


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def describe_crate(
    title: str, date: str, code: str, experiments: Mapping[str, str], files: Sequence[str], licence: str | None
) -> dict[str, Any]:
    """Return the metadata of an archive.

    The date is as ISO 8601 writes it; `code` is the version of clhd with its commit; the experiments are descriptions
    of folders of results, and the files are others that are worth a name; `licence` is an address.
    """
    folders = {f"{folder}/": text for folder, text in experiments.items()}
    clhd = {"@id": "#clhd", "@type": "SoftwareApplication", "name": "clhd", "version": code}
    chosen = {"@id": licence or "#licence", "@type": "CreativeWork"}
    chosen |= {"name": licence or "No licence was chosen", "description": "The licence of these results."}
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": title,
        "description": f"Results of clhd: {', '.join(experiments)}. `clhd verify` computes a share of them again.",
        "datePublished": date,
        "license": {"@id": chosen["@id"]},
        "hasPart": [{"@id": name} for name in (*files, *folders)],
        "mentions": {"@id": "#run"},
    }
    made = [{"@id": name} for name in folders]
    run: dict[str, Any] = {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "The computation of these results",
        "instrument": {"@id": "#clhd"},
        "result": made[0] if len(made) == 1 else made,  # as RO-Crate recommends
    }
    about = {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": _CRATE},
        "about": {"@id": "./"},
    }
    parts = [{"@id": name, "@type": "Dataset", "name": name, "description": text} for name, text in folders.items()]
    graph = [about, root, chosen, clhd, run, *map(_describe_file, files), *parts]
    return {"@context": f"{_CRATE}/context", "@graph": graph}


def _describe_file(name: str) -> dict[str, str]:
    suffix = f".{name.rpartition('.')[2]}"
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "encodingFormat": _ENCODINGS.get(suffix, "application/octet-stream"),
    }
