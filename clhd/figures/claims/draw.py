"""`draw_claims`: the figure of each claim, from the summaries that it rests on and its entry in claims.json.

A figure is a function of the summaries, by role, and the entry, that returns a figure and its caption; it is named in
`CLAIM_FIGURES`.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from clhd.analysis.claims import ClaimSettings, read_summaries
from clhd.errors import ClhdError
from clhd.figures.claims.matrix import plot_matrix, plot_universality
from clhd.figures.style import save_figure, use_style

CLAIM_FIGURES: dict[str, str] = {
    "C1": "clhd.figures.claims.weights:plot_weights",
    "C2": "clhd.figures.claims.reduction:plot_reduction",
    "C3": "clhd.figures.claims.convergence:plot_convergence",
    "C4": "clhd.figures.claims.learnability:plot_learnability",
    "C5": "clhd.figures.claims.attraction:plot_attraction",
    "C6": "clhd.figures.claims.noise:plot_noise",
    "C7": "clhd.figures.claims.correlation:plot_correlation",
}


def draw_claims(claims: Mapping[str, Any], settings: Mapping[str, ClaimSettings], results: Path) -> list[Path]:
    """Draw the figure of every claim.

    Parameters
    ----------
    claims : mapping
        What `clhd.analysis.claims.judge_claims` returned.
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
        module, _, function = CLAIM_FIGURES[name].partition(":")
        plot: Any = getattr(import_module(module), function)
        with use_style():
            figure, caption = plot(read_summaries(settings[name], results), entry)
            paths += _save(figure, caption, results / "figures" / name)
    return paths


def draw_cases(matrix: Mapping[str, Any], results: Path) -> list[Path]:
    """Draw the matrix of cases, and universality.

    Parameters
    ----------
    matrix : mapping
        What `clhd.analysis.claims.judge_cases` returned.
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
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        paths = save_figure(figure, stem, ("pdf", "png", "svg"))
        paths.append(stem.with_suffix(".rst"))
        paths[-1].write_text(caption, encoding="utf-8")
    except OSError as error:
        raise ClhdError(f"{stem.parent}: cannot be written to: {error.strerror}") from None
    return paths
