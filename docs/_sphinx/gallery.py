"""The gallery: every figure with the YAML that makes it.

Figures that results/ holds are shown as they are. For each kind of figure of which results/ holds none, a small
experiment in docs/gallery is run, into build/gallery: a second build finds its results there.
"""

import shutil
from collections.abc import Iterator
from os.path import relpath
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.util import logging

from clhd.core.text import format_count
from clhd.figures.plot import find_figure, plot_experiment
from clhd.sweep.cluster.place import Cluster
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.config import read_config
from clhd.sweep.spec.experiment import read_experiment, stage_path
from clhd.sweep.store.match import ChangedError

ROOT = Path(__file__).parents[2]
DOCS, BUILT = ROOT / "docs", ROOT / "build" / "gallery"
PLACE = "```{gallery}\n```"
_LOGGER = logging.getLogger(__name__)


def find_drawn() -> Iterator[tuple[str, Path, Path]]:
    """Figure, experiment and picture of all experiments of config/config.yaml whose figures results/ holds."""
    config = read_config(ROOT / "config" / "config.yaml", check=False)
    for name, experiment in config.experiments.items():
        picture = ROOT / config.results / name / "figures" / f"{name}.png"
        if picture.is_file():
            yield find_figure(experiment), ROOT / config.files[name], picture


def draw_small(known: set[str]) -> Iterator[tuple[str, Path, Path]]:
    """Run the small experiments of the figures that are not known; yield figure, experiment and picture."""
    cluster = Cluster(workers=1)
    for path in sorted((DOCS / "gallery").glob("*.yaml")):
        experiment = read_experiment(path)
        figure, folder = find_figure(experiment), BUILT / experiment.name
        if figure not in known:
            _LOGGER.info("gallery: %s", experiment.name)
            try:
                run_experiment(experiment, cluster=cluster, results=BUILT)
            except ChangedError:  # of an earlier version, or of another text of the file
                shutil.rmtree(folder)
                run_experiment(experiment, cluster=cluster, results=BUILT)
            plot_experiment(stage_path(folder, "summary"), folder / "figures", experiment)
            yield figure, path, folder / "figures" / f"{experiment.name}.png"


def show(figure: str, experiment: Path, picture: Path) -> str:
    """One entry, as Markdown."""
    caption = picture.with_suffix(".rst").read_text(encoding="utf-8").strip()
    name = experiment.stem
    return "\n".join(
        [
            f"### {name}" + (f" (figure: {figure})" if figure != name else ""),
            "",
            f"```{{image}} {relpath(picture, DOCS)}\n:alt: {read_experiment(experiment, check=False).description}\n```",
            "",
            f"```{{eval-rst}}\n{caption}\n```",
            "",
            f"```{{literalinclude}} {relpath(experiment, DOCS)}\n:language: yaml\n```",
            "",
        ]
    )


def find_claims() -> list[Path]:
    """Pictures of the claims, if results/ holds them."""
    results = ROOT / read_config(ROOT / "config" / "config.yaml", check=False).results
    return sorted(results.glob("figures/*.png"))


def show_claims(pictures: list[Path]) -> str:
    """The figures of claims, and the file that makes them."""
    if not pictures:
        return "## Of claims\n\nThey need more runs than a page: `make` draws them into `results/report.html`.\n"
    parts = ["## Of claims\n\nFigures of the claims in `config/claims.yaml`, as `clhd claims` drew them.\n"]
    for picture in pictures:
        caption = picture.with_suffix(".rst").read_text(encoding="utf-8").strip()
        image = f"```{{image}} {relpath(picture, DOCS)}\n:alt: claim {picture.stem}\n```"
        parts.append(f"### {picture.stem}\n\n{image}\n\n```{{eval-rst}}\n{caption}\n```\n")
    return "\n".join([*parts, "```{literalinclude} ../config/claims.yaml\n:language: yaml\n```\n"])


def compose() -> tuple[str, list[Path]]:
    """The gallery as Markdown, and the files that it rests on."""
    drawn = list(find_drawn())
    small = list(draw_small({figure for figure, *_ in drawn}))
    parts = []
    if drawn:
        count = format_count(len(drawn), "figure")
        parts += [f"## From results/\n\n{count} of the experiments of `make`, as they were found.\n"]
        parts += [show(*entry) for entry in drawn]
    if small:
        count = format_count(len(small), "figure")
        parts += [f"## From small experiments\n\n{count} of experiments that were run for this page: too few runs to\n"]
        parts[-1] += "conclude anything. They show what each kind of figure looks like.\n"
        parts += [show(*entry) for entry in small]
    claims = find_claims()
    parts.append(show_claims(claims))
    shown = [path for _, experiment, picture in drawn + small for path in (experiment, picture)]
    return "\n".join(parts), [*shown, *claims]


def _fill(app: Sphinx, _name: str, content: list[str]) -> None:
    if PLACE in content[0]:
        text, files = compose()
        content[0] = content[0].replace(PLACE, text)
        for path in files:
            app.env.note_dependency(relpath(path, DOCS))


def setup(app: Sphinx) -> dict[str, bool]:
    """Join Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
