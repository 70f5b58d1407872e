"""`write_page`: results/EXPERIMENT/show.html, one file to look around in the results of an experiment.

The axes of the experiment are the controls of the page. Its content security policy allows its own script and style, by
their digests, and nothing else: no network, no other script. Results come as JSON, which the script shows as text.
"""

import json
import shlex
from base64 import b64encode
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, PackageLoader
from markupsafe import Markup

from clhd.core.files import write_file
from clhd.errors import ClhdError, explain_unwritable
from clhd.report.write import make_environment
from clhd.show.content import describe_results
from clhd.sweep.results.inspect import explain_points
from clhd.sweep.results.products import page_path, page_record, write_record
from clhd.sweep.results.state import find_stale
from clhd.sweep.results.summary_reader import Summary, read_summary
from clhd.sweep.spec.experiment import Experiment, parse_experiment, stage_path
from clhd.sweep.store.provenance import describe_code, now

_RESULTS = Path("results")  # where `clhd why` looks without --results


def write_page(name: str, file: Path, results: Path) -> Path:
    """Write the page of an experiment; the commands on it name its YAML file, which is not read.

    Raises
    ------
    ClhdError
        If there is no summary, it is damaged, or the page cannot be written.
    """
    path = page_path(results, name)
    summary = read_summary(stage_path(results / name, "summary"))
    page = _compose_page(summary, name, file, results)
    with explain_unwritable(path):
        write_file(path, page)
        write_record(page_record(results, name), [path], {name: summary.identity})
    return path


def _compose_page(summary: Summary, name: str, file: Path, results: Path) -> str:
    """Return the page as text; see `write_page`."""
    experiment = parse_experiment(summary.experiment, check=False).model_copy(update={"name": name})
    answers, notes = _find_answers(summary, experiment, results)
    if stale := find_stale(summary.dataset.attrs, experiment, results / name):
        notes.insert(0, stale)
    command = ["clhd", "why", str(file), *([] if results == _RESULTS else ["--results", str(results)])]
    return render_page(summary, experiment, answers, notes, shlex.join(command))


def render_page(
    summary: Summary, experiment: Experiment, answers: Collection[Mapping[str, Any]], notes: Sequence[str], command: str
) -> str:
    """Return the page as text; for experiment and answers see `describe_results`.

    Notes are what readers must know before they look; the command is one that tells about a point, without the point.
    """
    content = describe_results(summary, experiment, answers)
    templates = make_environment().overlay(
        loader=ChoiceLoader([PackageLoader("clhd.show"), PackageLoader("clhd.report")])
    )
    style, script = (Markup(templates.get_template(part).render()) for part in ("look.css", "look.js"))
    return templates.get_template("look.html").render(
        name=experiment.name,
        description=experiment.description,
        system=summary.declaration.title or experiment.system,
        notes=[*notes, *content["left_out"]],
        made=now(),
        version=describe_code(),
        identity=summary.identity,
        style=style,
        style_digest=digest_source(style),
        script=script,
        script_digest=digest_source(script),
        data=embed_json(content | {"command": command}),
    )


def _find_answers(
    summary: Summary, experiment: Experiment, results: Path
) -> tuple[Collection[Mapping[str, Any]], list[str]]:
    """What `clhd why` says of each point, and a note if that cannot be said."""
    if not summary.has_simulation:
        return [], []
    try:
        return explain_points(experiment, results, {}, computes=False), []
    except ClhdError as error:
        return [], [f"What is known of single runs cannot be read: {error}"]


def digest_source(text: str) -> str:
    """Return the digest by which a content security policy allows a script or a style."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode('ascii')}"


def embed_json(content: Any) -> Markup:
    """Return JSON that can stand in a script element: no text in it ends the element or opens a comment."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
