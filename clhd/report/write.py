"""`write_report`: results/report.html, one file that needs nothing but itself.

| part | from |
|---|---|
| overview, claims | results/claims.json, results/figures |
| matrix | results/claims_matrix.json, if it is there |
| experiments | their files, ledgers, figures |
| equations, what is whose | equations.html beside this module |

The page has no script and fetches nothing: its content security policy forbids both. What is not there is said in its
place, so that a report can be made at any time.
"""

from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from clhd.errors import explain_unwritable
from clhd.report.claims import (
    Entry,
    count_verdicts,
    read_judged_claims,
    render_claim,
    render_overview,
)
from clhd.report.experiments import read_record, render_costs, render_experiment
from clhd.report.markup import make_anchor, render_note, render_shape
from clhd.sweep.spec.config import ConfigContent
from clhd.sweep.store.provenance import describe_code, now
from clhd.systems.contrastive.report.matrix import render_matrix


def write_report(config: ConfigContent, results: Path) -> Path:
    """Write the report of all that is known.

    Parameters
    ----------
    config : ConfigContent
        The experiments, and whether there are claims.
    results : Path
        Folder of all results.

    Returns
    -------
    Path
        ``results/report.html``.

    Raises
    ------
    ClhdError
        If a file holds what it should not, or the report cannot be written.
    """
    path = results / "report.html"
    page = compose_report(config, results)
    unfinished = path.with_name(f".{path.name}.new")
    with explain_unwritable(path):
        results.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(page, encoding="utf-8")
        unfinished.replace(path)
    return path


def compose_report(config: ConfigContent, results: Path) -> str:
    """The report as text."""
    claims = _read_claims(config, results)
    sections = {
        "Verdicts": ("overview", _compose_overview(config, claims)),
        "Claims": ("claims", "".join(render_claim(entry, config.files, results) for entry in claims)),
        "Other losses and units": ("matrix", _compose_matrix(config, results)),
        "Experiments": ("experiments", _compose_experiments(config, results)),
        "Equations": ("equations", _read("equations.html", "clhd.systems.contrastive.report")),
        "What is the letter's, and what is ours": ("sources", _read("sources.html", "clhd.systems.contrastive.report")),
    }
    shown = {title: (name, html) for title, (name, html) in sections.items() if html}
    what = "results" if config.claims is None else "claims and verdicts"
    return Template(_read("page.html")).substitute(
        title=f"Contrastive learning in high dimension: {what}",
        style=_read("style.css"),
        made=f"Written {escape(now())} by clhd {escape(describe_code())}.",
        navigation="".join(_compose_link(title, name, claims) for title, (name, _) in shown.items()),
        sections="".join(_compose_section(title, name, html) for title, (name, html) in shown.items()),
    )


def _compose_section(title: str, name: str, html: str) -> str:
    head = f'<h2 id="{name}-title">{escape(title)}</h2>'
    return f'<section id="{name}" aria-labelledby="{name}-title">{head}{html}</section>'


def _read(name: str, package: str = "clhd.report") -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _read_claims(config: ConfigContent, results: Path) -> list[Entry]:
    path = results / "claims.json"
    return read_judged_claims(path) if config.claims is not None and path.is_file() else []


def _compose_overview(config: ConfigContent, claims: list[Entry]) -> str:
    if config.claims is None:
        return ""
    if not claims:
        return render_note("The claims have not been judged yet: clhd claims does that.")
    return f'<p class="lead">{escape(count_verdicts(claims))}</p>{render_overview(claims)}{_read("verdicts.html")}'


def _compose_matrix(config: ConfigContent, results: Path) -> str:
    path = results / "claims_matrix.json"
    return render_matrix(path, results) if config.claims is not None and path.is_file() else ""


def _compose_experiments(config: ConfigContent, results: Path) -> str:
    records = {name: read_record(experiment, results) for name, experiment in config.experiments.items()}
    return render_costs(records) + "".join(
        render_experiment(experiment, config.files[name], records[name], results)
        for name, experiment in config.experiments.items()
    )


def _compose_link(title: str, name: str, claims: list[Entry]) -> str:
    """An entry of the navigation; that of the claims has one below it for each."""
    below = ""
    if name == "claims":
        links = (
            f'<li><a href="#{make_anchor("claim", entry["id"])}">{render_shape(entry["verdict"])}{escape(entry["id"])}'
            f'<span class="hidden">, {escape(entry["verdict"])}</span></a></li>'
            for entry in claims
        )
        below = f"<ul>{''.join(links)}</ul>"
    return f'<li><a href="#{name}">{escape(title)}</a>{below}</li>'
