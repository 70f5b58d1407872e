"""`draw_claims`: the figures of claims and tables, from the summaries and verdicts that they rest on.

`clhd.claims.claim` says what the functions take that draw them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clhd.claims.claim import CaseTable
from clhd.claims.judge import ClaimSettings, list_figures, read_summaries
from clhd.core.files import make_folder, write_file
from clhd.errors import InputError, explain_unwritable
from clhd.figures.named import draw_named
from clhd.sweep.run.children import map_in_children

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMATS = ("pdf", "png", "svg")


def draw_claims(
    claims: Mapping[str, Any],
    tables: Mapping[str, Any],
    settings: Mapping[str, ClaimSettings],
    results: Path,
    *,
    for_paper: Path | None = None,
) -> tuple[list[Path], list[str]]:
    """Draw the figures of every claim and every table, of which `clhd.claims.judge` has returned both.

    They go to the folder ``figures`` of all results; or to the folder `for_paper`, with fonts like those of TeX, as pdf
    alone, without captions. A function that fails stops no other figure; older files of its figure are removed.

    Returns
    -------
    (paths, problems) : list of Path, list of str
        Of each figure, such as C: ``C.pdf``, ``C.png``, ``C.svg`` and its caption, ``C.rst``. And one line for each
        figure that could not be drawn.

    Raises
    ------
    ClhdError
        If a summary cannot be read, or the files cannot be written.
    """
    from clhd.figures.style import TEX_FONTS, save_figure, use_style  # noqa: PLC0415 (only who draws needs matplotlib)

    judged = {entry["id"]: entry for entry in claims["claims"]} | dict(tables)

    def draw(figure: tuple[str, str, str]) -> list[Path] | str:
        """Draw one figure, given by the id of its claim, its name and the target of its function; or say why not."""
        name, stem, target = figure
        setting = settings[name]
        basis = () if isinstance(setting.claim, CaseTable) else (read_summaries(setting, results),)
        with use_style(TEX_FONTS if for_paper else None):
            try:
                drawn, caption = draw_named(stem, target, setting.system, *basis, judged[name])
            except InputError as error:
                for suffix in ("pdf",) if for_paper else (*_FORMATS, "rst"):
                    ((for_paper or results / "figures") / f"{stem}.{suffix}").unlink(missing_ok=True)
                return str(error)
            if for_paper:
                return save_figure(drawn, for_paper / stem, ("pdf",))
            return _save(drawn, caption, results / "figures" / stem)

    figures = [(name, *figure) for name in judged for figure in settings[name].claim.list_figures(name).items()]
    found = map_in_children(draw, figures)
    paths = [path for drawn in found if not isinstance(drawn, str) for path in drawn]
    return paths, [problem for problem in found if isinstance(problem, str)]


def list_paths(settings: Mapping[str, ClaimSettings], results: Path) -> list[Path]:
    """Return the files that `draw_claims` writes into the folder of all results."""
    folder = results / "figures"
    return [folder / f"{figure}.{suffix}" for figure in list_figures(settings) for suffix in (*_FORMATS, "rst")]


def _save(figure: "Figure", caption: str, stem: Path) -> list[Path]:
    """Write a figure in three formats, and its caption."""
    from clhd.figures.style import save_figure  # noqa: PLC0415

    with explain_unwritable(stem.parent):
        make_folder(stem.parent)
        paths = save_figure(figure, stem, _FORMATS)
        paths.append(stem.with_suffix(".rst"))
        write_file(paths[-1], caption)
    return paths
