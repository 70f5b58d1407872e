"""`write_report`: results/report.html, one file that needs nothing but itself.

| section | from |
|---|---|
| overview, claims | results/claims.json, results/figures |
| cases | results/claims_ID.json |
| experiments | their files, ledgers, figures |
| equations, sources | what the results declare of their systems, or pages of installed systems |

The page has no script and fetches nothing: its content security policy forbids both. Templates make the HTML and escape
every text. The page says what does not exist yet, so that a report can be made at any time. Experiments without results
come last.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined

from clhd.core.files import write_file
from clhd.core.text import format_bytes, format_name, format_seconds, join_words
from clhd.errors import explain_unwritable
from clhd.report.claims import count_verdicts, read_judged_claims, read_tables
from clhd.report.evidence import Remark
from clhd.report.experiments import Record, prepare_experiment, read_record, sum_costs
from clhd.report.systems import describe_systems
from clhd.report.text import (
    is_estimate,
    is_verdict,
    make_anchor,
    mark_number,
    mark_powers,
    name_verdict,
    split_estimate,
)
from clhd.sweep.results.products import find_claims_faults, report_record, write_record
from clhd.sweep.run.children import map_in_children
from clhd.sweep.spec.config import ConfigContent
from clhd.sweep.store.provenance import describe_code, now

_TITLES_IN_HEAD = 3


def write_report(config: ConfigContent, results: Path) -> Path:
    """Write the report of everything that is known.

    The systems of the experiments need not be installed.

    Raises
    ------
    ClhdError
        If a file holds something else than it should, or the report cannot be written.
    """
    path = results / "report.html"
    records = _read_records(config, results)
    page = compose_report(config, results, records)
    with explain_unwritable(path):
        results.mkdir(parents=True, exist_ok=True)
        write_file(path, page)
        summaries = {name: record.identity for name, record in records.items() if record.identity}
        write_record(report_record(results), [path], summaries)
    return path


def _read_records(config: ConfigContent, results: Path) -> dict[str, Record]:
    records = map_in_children(lambda experiment: read_record(experiment, results), list(config.experiments.values()))
    return dict(zip(config.experiments, records, strict=True))


def compose_report(config: ConfigContent, results: Path, records: dict[str, Record] | None = None) -> str:
    """Return the report as text; `records` saves reading them again."""
    has_claims = config.claims is not None
    records = _read_records(config, results) if records is None else records
    faults = find_claims_faults(config, results, {name: record.identity for name, record in records.items()})
    claims = read_judged_claims(results, faults) if has_claims else []
    cases = read_tables(results) if has_claims else []
    systems, pages = describe_systems(config, records)
    sections = {
        "overview": ("Verdicts", has_claims),
        "claims": ("Claims", claims),
        "cases": ("Cases", cases),
        "experiments": ("Experiments", True),
        "equations": ("Equations", pages["equations"]),
        "sources": ("Sources", pages["sources"]),
    }
    return (
        make_environment()
        .get_template("page.html")
        .render(
            title=_make_title(systems),
            systems=systems,
            made=now(),
            version=describe_code(),
            sections={name: title for name, (title, is_shown) in sections.items() if is_shown},
            claims=claims,
            faults=list(faults.values()),
            claims_file=str(config.claims),
            cases=cases,
            files={name: _read_file(path) for name, path in config.files.items()},
            totals=sum_costs(records),
            experiments=[
                prepare_experiment(config.experiments[name], records[name], results)
                for name in sorted(config.experiments, key=lambda name: records[name].state == "pending")
            ],
            **pages,
        )
    )


def _make_title(systems: list[str]) -> str:
    """The title of the page; it names the systems if they are few."""
    named = join_words(systems) if len(systems) <= _TITLES_IN_HEAD else f"{len(systems)} systems"
    return f"clhd: results ({named})"


def _read_file(path: Path) -> dict[str, Any]:
    """A file verbatim; None for the text of a file that does not exist."""
    return {"path": str(path), "text": path.read_text(encoding="utf-8") if path.is_file() else None}


@cache
def make_environment() -> Environment:
    """Return the environment of the templates: it escapes every text, and an unknown name is an error."""
    compiled = Path(__file__).parent / "__pycache__"  # where Python keeps that of modules, if it may
    environment = Environment(
        loader=PackageLoader("clhd.report"),
        bytecode_cache=FileSystemBytecodeCache(str(compiled)) if os.access(compiled, os.W_OK) else None,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": make_anchor,
        "bytes": format_bytes,
        "count_verdicts": count_verdicts,
        "kind": name_verdict,
        "number": mark_number,
        "powers": mark_powers,
        "seconds": format_seconds,
        "split_estimate": split_estimate,
        "thousands": lambda count: f"{count:,}",
        "words": format_name,
    }
    environment.tests |= {
        "estimate": is_estimate,
        "remark": lambda block: isinstance(block, Remark),
        "verdict": is_verdict,
    }
    return environment
