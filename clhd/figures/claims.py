"""`draw_claims`: the figure of each claim, from the summaries that it rests on and its entry in claims.json.

A figure is a function of the summaries, by role, and the entry, that returns a figure and its caption; it is named in
`CLAIM_FIGURES`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from clhd.claims.judge import ClaimSettings, read_summaries
from clhd.errors import explain_unwritable
from clhd.figures.style import save_figure, use_style
from clhd.sweep.results.summary_reader import Summary
from clhd.systems.contrastive.figures.attraction import plot_attraction
from clhd.systems.contrastive.figures.convergence import plot_convergence
from clhd.systems.contrastive.figures.correlation import plot_correlation
from clhd.systems.contrastive.figures.learnability import plot_learnability
from clhd.systems.contrastive.figures.matrix import plot_matrix, plot_universality
from clhd.systems.contrastive.figures.noise import plot_noise
from clhd.systems.contrastive.figures.reduction import plot_reduction
from clhd.systems.contrastive.figures.weights import plot_weights

ClaimFigure = Callable[[Mapping[str, Summary], Mapping[str, Any]], tuple[Figure, str]]
CLAIM_FIGURES: dict[str, ClaimFigure] = {
    "C1": plot_weights,
    "C2": plot_reduction,
    "C3": plot_convergence,
    "C4": plot_learnability,
    "C5": plot_attraction,
    "C6": plot_noise,
    "C7": plot_correlation,
}


def draw_claims(claims: Mapping[str, Any], settings: Mapping[str, ClaimSettings], results: Path) -> list[Path]:
    """Draw the figure of every claim.

    Parameters
    ----------
    claims : mapping
        What `clhd.claims.judge.judge_claims` returned.
    settings : mapping of claim to ClaimSettings
    results : Path
        Folder of all results; the figures go to its folder ``figures``.

    Returns
    -------
    list of Path
        Of each claim, such as C1: ``C1.pdf``, ``C1.png``, ``C1.svg`` and its caption, ``C1.rst``.

    Raises
    ------
    ClhdError
        If the files cannot be written.
    """
    paths = []
    for entry in claims["claims"]:
        name = entry["id"]
        with use_style():
            figure, caption = CLAIM_FIGURES[name](read_summaries(settings[name], results), entry)
            paths += _save(figure, caption, results / "figures" / name)
    return paths


def draw_cases(matrix: Mapping[str, Any], results: Path) -> list[Path]:
    """Draw the matrix of cases, and universality.

    Parameters
    ----------
    matrix : mapping
        What `clhd.claims.judge.judge_cases` returned.
    results : Path
        Folder of all results; the figures go to its folder ``figures``.

    Returns
    -------
    list of Path
        Of each figure as of a claim's.

    Raises
    ------
    ClhdError
        If the files cannot be written.
    """
    paths = []
    for name, plot in (("matrix", plot_matrix), ("universality", plot_universality)):
        with use_style():
            paths += _save(*plot(matrix), results / "figures" / name)
    return paths


def _save(figure: Figure, caption: str, stem: Path) -> list[Path]:
    """Write a figure in three formats, and its caption."""
    with explain_unwritable(stem.parent):
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = save_figure(figure, stem, ("pdf", "png", "svg"))
        paths.append(stem.with_suffix(".rst"))
        paths[-1].write_text(caption, encoding="utf-8")
    return paths
