"""`describe_systems`: title, equations and sources of the systems of the experiments, without importing any of them.

| system | title | equations and sources |
|---|---|---|
| all | what the results declare, else the name in the experiment | plain text that the results declare |
| installed, with pages of its own | the same | HTML: report/equations.html and report/sources.html in its package |

The pages of an installed system are part of the package and stand in the report as they are. They need no ids. Text in
results, also that of a system in a file beside an experiment, is escaped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from markupsafe import Markup

from clhd.report.experiments import Record
from clhd.sweep.spec.config import ConfigContent
from clhd.systems.registry import is_file_name, list_systems
from clhd.systems.stored import Declaration

PAGES = ("equations", "sources")


@dataclass(frozen=True)
class Page:
    """Equations or sources as a template shows them, as HTML or as plain text."""

    title: str
    html: Markup = field(default_factory=Markup)
    text: str = ""


def describe_systems(config: ConfigContent, records: Mapping[str, Record]) -> tuple[list[str], dict[str, list[Page]]]:
    """Return the titles of all systems, and the pages of each kind; systems of one package share its pages."""
    declared: dict[tuple[str, str], Declaration | None] = {}
    for name, experiment in config.experiments.items():
        system = experiment.system
        key = system, str(config.files[name].parent) if is_file_name(system) else ""
        declared[key] = declared.get(key) or records[name].declaration
    titles = {key: found.title if found and found.title else key[0] for key, found in declared.items()}
    pages: dict[str, list[Page]] = {}
    for kind in PAGES:
        shared: dict[Path, list[str]] = {}
        own = []
        for key, found in declared.items():
            file = _find_page(key[0], kind)
            if file is not None:
                shared.setdefault(file, []).append(titles[key])
            elif found:
                text = found.equations if kind == "equations" else "\n".join(found.sources)
                own += [Page(titles[key], text=text)] if text else []
        html = [
            Page(", ".join(dict.fromkeys(names)), Markup(file.read_text(encoding="utf-8")))
            for file, names in shared.items()
        ]
        pages[kind] = [*html, *own]
    return list(dict.fromkeys(titles.values())), pages


def _find_page(system: str, kind: str) -> Path | None:
    """The page in the package of an installed system, nearest to its module; nothing is imported."""
    if is_file_name(system) or system not in list_systems():
        return None
    top, *inner = list_systems()[system].partition(":")[0].split(".")
    spec = find_spec(top)
    for root in (spec.submodule_search_locations if spec else None) or ():
        for depth in range(len(inner), -1, -1):
            path = Path(root, *inner[:depth], "report", f"{kind}.html")
            if path.is_file():
                return path
    return None
