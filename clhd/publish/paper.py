r"""`write_paper_assets`: what a paper cites, written from results alone, so that no number is typed.

| file in results/latex | content |
|---|---|
| clhd.tex | ``\clhd{C3.bias_exponent}``: every number of claims.json; ``\clhdinterval{...}``: its 95 % interval |
| tables/C3.tex, tables/C3-spread-exponent.tex, ... | the numbers of a claim as tables |
| figures/NAME.pdf | figures of claims and experiments, as wide as a column or a page, with fonts like those of TeX |
| clhd.bib | clhd, the letter, and the sources of the systems |
"""

import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from clhd.claims.judge import read_claims
from clhd.core.files import make_folder, write_file
from clhd.core.text import cut_lines
from clhd.errors import InputError, ResultsError, explain_unwritable
from clhd.figures.claims import draw_claims
from clhd.figures.plot import NO_FIGURE, draw_summary, find_figure
from clhd.figures.style import TEX_FONTS, save_figure, use_style
from clhd.publish.tex import escape_tex, flatten, format_tex
from clhd.report.evidence import Remark, Table, arrange_evidence
from clhd.sweep.results.products import find_claims_faults
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.config import ConfigContent
from clhd.sweep.spec.experiment import stage_path
from clhd.sweep.store.provenance import describe_code

FOLDER = "latex"
_HEAD = r"""% Written by clhd paper, {code}. Do not edit: the next clhd paper writes it again.
% \clhd{{C3.bias_exponent}} is a number, \clhdinterval{{...}} its interval, \clhdwith{{...}} both.
\makeatletter
\newcommand\clhdset[3]{{\@namedef{{clhd@value@#1}}{{#2}}\@namedef{{clhd@interval@#1}}{{#3}}}}
\newcommand\clhd@get[2]{{\@ifundefined{{clhd@#1@#2}}{{%
  \PackageError{{clhd}}{{claims.json holds no `#2'}}{{clhd.tex lists all names.}}??}}{{\@nameuse{{clhd@#1@#2}}}}}}
\newcommand\clhd[1]{{\clhd@get{{value}}{{#1}}}}
\newcommand\clhdinterval[1]{{\clhd@get{{interval}}{{#1}}}}
\newcommand\clhdwith[1]{{\clhd{{#1}} (95\,\% interval: \clhdinterval{{#1}})}}
\makeatother
"""
# As CITATION.cff says it, which an installed clhd does not have.
_CLHD = """@misc{{clhd,
  author = {{{{The clhd developers}}}},
  title = {{{{clhd: the high-dimensional limit of contrastive learning, simulated and solved}}}},
  version = {{{version}}}
}}
"""
_LETTER = """@article{MengWang2024,
  author = {Meng, L. and Wang, C.},
  title = {{Training Dynamics of Nonlinear Contrastive Learning Model in the High Dimensional Limit}},
  journal = {arXiv:2406.06909},
  year = {2024}
}
"""


def write_paper_assets(config: ConfigContent, results: Path) -> list[Path]:
    """Write macros, tables, figures and the bibliography of a paper.

    Raises
    ------
    ClhdError
        If claims.json does not exist although the list names claims, is no file of claims or rests on what has changed
        since, the files cannot be written, or a figure cannot be drawn: then all else has been written.
    """
    judged, tables = _read_judged(results, has_claims=config.claims is not None)
    faults = find_claims_faults(config, results)
    if faults:  # old numbers must not get into a paper
        raise ResultsError(cut_lines(list(dict.fromkeys(faults.values()))))
    folder = results / FOLDER
    with explain_unwritable(folder):
        for place in (folder, folder / "tables", folder / "figures"):
            make_folder(place)
        paths = [folder / "clhd.tex", folder / "clhd.bib"]
        write_file(paths[0], compose_macros(judged["claims"], tables))
        write_file(paths[1], compose_bibliography(config, results))
        paths += _write_tables(judged["claims"], folder / "tables")
        drawn, problems = _draw(config, judged, tables, results)
    if problems:
        raise InputError(cut_lines(problems))
    return paths + drawn


def _read_judged(results: Path, *, has_claims: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What claims.json and the files of tables hold; nothing where the list names no claims."""
    path = results / "claims.json"
    if not (path.is_file() or has_claims):
        return {"claims": []}, {}
    if not path.is_file():
        raise ResultsError(f"{path}: does not exist; create it with `clhd claims`")
    try:
        judged = json.loads(path.read_text(encoding="utf-8"))
        claims = {entry["id"]: entry for entry in judged["claims"]}
        tables = {
            file.stem.removeprefix("claims_"): json.loads(file.read_text(encoding="utf-8"))
            for file in sorted(results.glob("claims_*.json"))
        }
    except (ValueError, KeyError, TypeError):
        raise ResultsError(f"{path}: is not a file of claims; write it again with `clhd claims`") from None
    return {"claims": list(claims.values())}, tables


def compose_macros(claims: Iterable[Mapping[str, Any]], tables: Mapping[str, Any]) -> str:
    """Return clhd.tex: verdicts, numbers and thresholds of claims, their parts and tables, by their paths."""
    lines = []
    for entry in claims:
        parts = {part["id"]: part for part in entry.get("parts", ())}
        for name, content in {entry["id"]: entry, **parts}.items():
            kept = {key: content[key] for key in ("statement", "verdict", "thresholds", "rests_on") if key in content}
            kept.get("rests_on", {}).pop("summaries", None)
            lines += [*flatten(kept, name), *flatten(content["evidence"], name)]
    for name, table in tables.items():
        lines += flatten({key: value for key, value in table.items() if key not in ("rests_on", "meanings")}, name)
    macros = [rf"\clhdset{{{path}}}{{{text}}}{{{interval}}}" for path, (text, interval) in _format(lines).items()]
    return _HEAD.format(code=describe_code()) + "\n".join(macros) + "\n"


def _format(lines: Iterable[tuple[str, Any]]) -> dict[str, tuple[str, str]]:
    return {path: format_tex(value) for path, value in lines}


def _write_tables(claims: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Write each table of each claim."""
    paths = []
    for entry in claims:
        blocks = arrange_evidence(entry["evidence"], entry["id"])
        tables = [block for block in blocks if not isinstance(block, Remark)]
        names: list[str] = []
        for table in tables:
            inner = "" if table.caption == entry["id"] else "-" + re.sub(r"\W+", "-", table.caption)
            name = f"{entry['id']}{inner}"
            repeated = names.count(name)
            names.append(name)
            paths.append(folder / f"{name}{f'-{repeated + 1}' if repeated else ''}.tex")
            write_file(paths[-1], compose_table(table))
    return paths


def compose_table(table: Table) -> str:
    """Return a table as a ``tabular`` that needs no package; an estimate has its interval in brackets."""

    def show(value: Any) -> str:
        values = value if isinstance(value, list) else [value]
        found = [f"{text} ({interval})" if interval else text for text, interval in map(format_tex, values)]
        return ", ".join(found)

    rows = [" & ".join(map(show, row)) + r" \\" for row in table.rows]
    head = [" & ".join(map(escape_tex, table.head)) + r" \\", r"\hline"] if any(table.head) else []
    columns = "l" * max((len(row) for row in table.rows), default=1)
    body = "\n".join([r"\hline", *head, *rows, r"\hline"])
    return f"% {escape_tex(table.caption)}\n\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n"


def compose_bibliography(config: ConfigContent, results: Path) -> str:
    """Return BibTeX; a source that a system names in one text is a ``@misc`` with this text as its title."""
    sources: dict[str, str] = {}
    for name in config.experiments:
        path = stage_path(results / name, "summary")
        if path.is_dir():
            summary = read_summary(path)
            system = str(summary.experiment["system"]).rpartition(":")[2]
            for number, source in enumerate(summary.declaration.sources, 1):
                sources.setdefault(source, f"{system}{number}")
    others = [f"@misc{{{key},\n  title = {{{{{escape_tex(source)}}}}}\n}}\n" for source, key in sources.items()]
    return "\n".join([_CLHD.format(version=version("clhd")), _LETTER, *others])


def _draw(
    config: ConfigContent, judged: Mapping[str, Any], tables: Mapping[str, Any], results: Path
) -> tuple[list[Path], list[str]]:
    """Draw the figures of the claims, and of the experiments that have a summary; and say which cannot be drawn."""
    folder = results / FOLDER / "figures"
    paths, problems = list[Path](), list[str]()
    if config.claims is not None:
        settings = read_claims(config.claims, config.experiments)
        known = {entry["id"] for entry in judged["claims"]} | set(tables)
        if set(settings) - known:
            missing = ", ".join(sorted(set(settings) - known))
            raise InputError(f"{results / 'claims.json'}: lacks {missing}; write it again with `clhd claims`")
        paths, problems = draw_claims(judged, tables, settings, results, for_paper=folder)
    for name in config.experiments:
        path = stage_path(results / name, "summary")
        if not path.is_dir():
            continue
        summary = read_summary(path)
        figure_name = find_figure(summary.experiment)
        if figure_name != NO_FIGURE and (figure_name != "lines" or summary.axes):  # of one point there are no lines
            with use_style(TEX_FONTS):
                try:
                    figure, _ = draw_summary(summary)
                except InputError as error:
                    (folder / f"{name}.pdf").unlink(missing_ok=True)
                    problems.append(f"{name}: {error}")
                    continue
                paths += save_figure(figure, folder / name, ("pdf",))
    return paths, problems
