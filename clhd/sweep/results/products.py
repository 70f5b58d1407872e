"""Products: figures, pages, claims and the report, each with a record of its files and of what they rest on.

| record | product |
|---|---|
| results/EXPERIMENT/figures/.EXPERIMENT.json | the figure of an experiment and its caption |
| results/EXPERIMENT/.show.json | show.html, the page of an experiment |
| results/.claims.json | claims.json, files of tables, figures of claims and their captions |
| results/.report.json | report.html |

| entry of a record | content |
|---|---|
| files | digest of each file, by its path relative to the folder of the record |
| rests_on | identity of the summary of each experiment; digests of the code of clhd and of the settings file |
| digest | of both |

Dates play no part: a copy, an archive or a clock that was set back changes nothing.

`digest_stores`: what the summary of an experiment rests on; `read_stored_experiment`: what a store was made from.
"""

import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clhd.core.files import read_small, write_file
from clhd.errors import ClhdError
from clhd.sweep.spec.experiment import KINDS, Experiment, StageName, parse_experiment, stage_path
from clhd.sweep.store.chunk_files import ChunkFiles
from clhd.sweep.store.layout import check_summary
from clhd.sweep.store.metadata import check_metadata
from clhd.sweep.store.store import Store

if TYPE_CHECKING:
    from clhd.sweep.spec.config import ConfigContent


def digest_stores(folder: Path, opened: Mapping[StageName, ChunkFiles] | None = None) -> dict[str, str]:
    """Return the digests of the stores of an experiment, on which its summary rests, by stage.

    The folder is that of the experiment; `opened` are files of stores that are open already.
    """
    stores = {kind: path for kind in KINDS if (path := stage_path(folder, kind)).is_dir()}
    files = {kind: (opened or {}).get(kind) or ChunkFiles(path, check_metadata(path)) for kind, path in stores.items()}
    return {kind: found.digest() for kind, found in files.items()}


def read_stored_experiment(path: Path) -> Experiment:
    """Return the experiment in the attributes of a store or of a summary; raise ClhdError if they are damaged."""
    if path.name.startswith("summary"):
        return parse_experiment(check_summary(path).attributes["experiment"], check=False)
    return Store(path).experiment


CODE, SETTINGS = "code of clhd", "settings file"  # with a blank, so that no experiment has these names
_DIGEST_BYTES = 16


def figure_record(folder: Path, name: str) -> Path:
    """Return the path of the record of the figure of an experiment, in the folder of its figures."""
    return folder / f".{name}.json"


def page_path(results: Path, name: str) -> Path:
    """Return the path of the page of an experiment."""
    return results / name / "show.html"


def page_record(results: Path, name: str) -> Path:
    """Return the path of the record of the page of an experiment."""
    return results / name / ".show.json"


def claims_record(results: Path) -> Path:
    """Return the path of the record of the claims."""
    return results / ".claims.json"


def report_record(results: Path) -> Path:
    """Return the path of the record of the report."""
    return results / ".report.json"


def write_record(
    record: Path, files: Iterable[Path], summaries: Mapping[str, str], settings: bytes | None = None
) -> None:
    """Write the record of a product, after its files.

    Parameters
    ----------
    files : iterable of Path
        Below the folder of the record.
    summaries : mapping of experiment to str
        Identities of the summaries that the product rests on.
    settings : bytes, optional
        Text of the file that decides what is made, beside the summaries.
    """
    rests_on = {_summary_key(name): identity for name, identity in summaries.items()} | {CODE: digest_code()}
    if settings is not None:
        rests_on[SETTINGS] = _digest(settings)
    made = {str(file.relative_to(record.parent)): _digest(file.read_bytes()) for file in files}
    content = {"files": dict(sorted(made.items())), "rests_on": dict(sorted(rests_on.items()))}
    write_file(record, json.dumps(content | {"digest": _digest_table(content)}))


def find_faults(
    record: Path,
    results: Path,
    command: str,
    settings: bytes | None = None,
    identities: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, str]:
    """Return what is wrong with a product, in one line each: changed files, and what it rests on that has changed.

    Parameters
    ----------
    command : str
        The command that makes the product again.
    settings : bytes, optional
        See `write_record`.
    identities : mapping of experiment to str, optional
        Identities of summaries that the caller has just read; those of others are read.

    Returns
    -------
    dict of str to str
        By what has changed: the name of an experiment, `CODE`, `SETTINGS`, or the path of a file. Empty if the product
        is as it was made, and rests on what is there now.
    """
    remedy = f"`{command}` makes it again"
    try:
        content = json.loads(record.read_bytes())
        made, rests_on, digest = content["files"], content["rests_on"], content["digest"]
        is_right = digest == _digest_table({"files": made, "rests_on": rests_on})
    except FileNotFoundError:
        return {str(record): f"{record}: is missing, so nobody knows what the files beside it rest on; {remedy}"}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_right = False
    if not is_right:
        return {str(record): f"{record}: was changed or damaged after clhd wrote it; {remedy}"}
    faults = {}
    for name, found in made.items():
        path = record.parent / name
        if not path.is_file():
            faults[str(path)] = f"{path}: is missing; {remedy}"
        elif _digest(path.read_bytes()) != found:
            faults[str(path)] = f"{path}: was changed or damaged after clhd wrote it; {remedy}"
    product = f"{record.parent / record.name.removeprefix('.').removesuffix('.json')}"
    if rests_on.get(CODE) != digest_code():
        faults[CODE] = f"{product}: was made by another version of the code; {remedy}"
    if settings is not None and rests_on.get(SETTINGS) != _digest(settings):
        faults[SETTINGS] = f"{product}: was made before its settings changed; {remedy}"
    for key, identity in rests_on.items():
        name = key.removeprefix(_summary_key(""))
        if name != key and (identities.get(name) or find_identity(results, name)) != identity:
            faults[name] = f"{product}: rests on another summary of {name} than is there now; {remedy}"
    return faults


def find_claims_faults(
    config: "ConfigContent", results: Path, identities: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return what is wrong with the claims, see `find_faults`; nothing if they have not been judged yet."""
    if config.claims is None or not (results / "claims.json").exists():
        return {}
    path = Path(config.claims)
    settings = path.read_bytes() if path.is_file() else None
    return find_faults(claims_record(results), results, "clhd claims", settings, identities)


def find_figure_faults(
    results: Path, name: str, identities: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return what is wrong with the figure of an experiment, see `find_faults`; nothing if it has not been drawn."""
    folder = results / name / "figures"
    if not folder.is_dir() or not any(entry.startswith(f"{name}.") for entry in os.listdir(folder)):  # noqa: PTH208
        return {}
    return find_faults(figure_record(folder, name), results, "clhd plot FILE", identities=identities)


def find_page_faults(results: Path, name: str) -> dict[str, str]:
    """Return what is wrong with the page of an experiment; nothing if it has not been written."""
    if not page_path(results, name).exists():
        return {}
    return find_faults(page_record(results, name), results, f"clhd show {name}")


def find_product_faults(config: "ConfigContent", results: Path) -> list[str]:
    """Return what is wrong with all figures and pages, the claims and the report, one line each."""
    faults = [
        fault
        for name in config.experiments
        for found in (find_figure_faults(results, name), find_page_faults(results, name))
        for fault in found.values()
    ]
    faults += find_claims_faults(config, results).values()
    return [*faults, *find_report_faults(results).values()]


def find_report_faults(results: Path) -> dict[str, str]:
    """Return what is wrong with the report; nothing if it has not been written."""
    return find_faults(report_record(results), results, "clhd report") if (results / "report.html").exists() else {}


def find_identity(results: Path, name: str) -> str:
    """Return the identity of the summary of an experiment; empty if there is none that can be read."""
    try:
        return check_metadata(stage_path(results / name, "summary")).identity
    except ClhdError:
        return ""


@cache
def digest_code() -> str:
    """Return the digest of clhd's own source."""
    root, found = str(Path(__file__).parents[2]), blake2b(digest_size=_DIGEST_BYTES)
    names = [f"{folder}/{name}" for folder, _, names in os.walk(root) for name in names]
    for name in sorted(name for name in names if name.endswith((".py", ".html", ".css", ".js"))):
        found.update(name.removeprefix(root).encode() + b"\0" + read_small(name) + b"\0")
    return found.hexdigest()


def _summary_key(name: str) -> str:
    return f"summary of {name}"


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def _digest_table(content: Mapping[str, Any]) -> str:
    return _digest(json.dumps(content, sort_keys=True).encode())
