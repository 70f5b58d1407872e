"""`describe_crate`: what an archive holds, as RO-Crate 1.1 says it for repositories and search engines."""

from collections.abc import Mapping, Sequence
from typing import Any

METADATA = "ro-crate-metadata.json"
_VERSION = "https://w3id.org/ro/crate/1.1"
_ENCODINGS = {".json": "application/json", ".yaml": "application/yaml", ".html": "text/html", ".txt": "text/plain"}


def describe_crate(
    title: str, date: str, code: str, experiments: Mapping[str, str], files: Sequence[str], licence: str | None
) -> dict[str, Any]:
    """Return the metadata of an archive.

    Parameters
    ----------
    title, date : str
        The date as ISO 8601 writes it.
    code : str
        Version of clhd, with its commit.
    experiments : mapping of folder to description
        Folders of results.
    files : sequence of str
        Other files that are worth a name.
    licence : str, optional
        Its address, such as ``https://creativecommons.org/licenses/by/4.0/``.
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
        "conformsTo": {"@id": _VERSION},
        "about": {"@id": "./"},
    }
    parts = [{"@id": name, "@type": "Dataset", "name": name, "description": text} for name, text in folders.items()]
    graph = [about, root, chosen, clhd, run, *map(_describe_file, files), *parts]
    return {"@context": f"{_VERSION}/context", "@graph": graph}


def _describe_file(name: str) -> dict[str, str]:
    suffix = f".{name.rpartition('.')[2]}"
    return {
        "@id": name,
        "@type": "File",
        "name": name,
        "encodingFormat": _ENCODINGS.get(suffix, "application/octet-stream"),
    }
