"""The one style of all figures: sizes for a paper, colours that colour-blind readers tell apart, files that repeat.

| word | meaning |
|---|---|
| COLUMN, PAGE | widths of a column and of a page, in inches |
| MARKERS | one marker for each colour, so that a print in grey can be read too |
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clhd.core.files import write_file

COLUMN, PAGE = 3.4, 7.0
INK, MUTED, FAINT, ALARM = "#222222", "#767676", "#e4e4e4", "#b30000"
# Okabe and Ito's set without its yellow, which is too pale for lines.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
SEQUENTIAL = "viridis"
_PALEST = 0.88  # end of the sequential map that is used: its last yellow cannot be seen on white

# Metadata that differ each time a figure is written; they are left out.
_STAMPS = {"pdf": "CreationDate", "png": "Software", "svg": "Date"}
RC: Any = {  # matplotlib types its keys, each of them
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "figure.titlesize": 8,
    "font.family": "sans-serif",
    "mathtext.fontset": "dejavusans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "errorbar.capsize": 1.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "pdf.fonttype": 42,  # text stays text
    "svg.hashsalt": "clhd",
    "savefig.dpi": 200,
}


# For figures in a text that LaTeX sets: matplotlib ships these fonts, which look like Times.
TEX_FONTS: Any = {"font.family": "STIXGeneral", "mathtext.fontset": "stix"}


@contextmanager
def use_style(changes: Any = None) -> Iterator[None]:
    """Draw in the style of the project, with some changes, whatever the user's own settings are."""
    with mpl.rc_context():  # `rcdefaults` would read the files of all styles before
        mpl.rcParams.update({key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"})
        mpl.rcParams.update(RC | (changes or {}))
        yield


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, without a window and outside of matplotlib's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def pick_colours(count: int, *, ordered: bool) -> list[Any]:
    """Return colours for `count` series: along a colour map if they have an order, else as different as possible."""
    if not ordered and count <= len(CATEGORIES):
        return list(CATEGORIES[:count])
    colours = mpl.colormaps[SEQUENTIAL]
    return [colours(_PALEST * k / max(count - 1, 1)) for k in range(count)]


def pick_markers(count: int) -> list[str]:
    """Return markers for `count` series."""
    return [MARKERS[k % len(MARKERS)] for k in range(count)]


def pick_looks(count: int, *, ordered: bool) -> list[dict[str, Any]]:
    """Return how to draw the points of `count` series, as matplotlib takes it: colour, marker, and no line."""
    pairs = zip(pick_colours(count, ordered=ordered), pick_markers(count), strict=True)
    return [{"color": colour, "marker": marker, "linestyle": ""} for colour, marker in pairs]


def letter_panels(panels: Iterable[Axes]) -> None:
    """Write a, b, c, ... at the upper left corners of panels, in this order."""
    for axes, letter in zip(panels, ascii_lowercase, strict=False):
        axes.text(-0.02, 1.03, letter, transform=axes.transAxes, weight="bold", ha="right", va="bottom")


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = ("pdf", "png")) -> list[Path]:
    """Write a figure in each format; the same figure gives the same bytes."""
    _lay_out(figure, formats[0])
    paths = []
    for suffix in formats:
        path = stem.with_name(f"{stem.name}.{suffix}")
        content = BytesIO()  # if a disk is full in the middle, matplotlib fails while it closes the file
        with _embed_glyphs():
            figure.savefig(content, format=suffix, metadata={_STAMPS[suffix]: None})
        write_file(path, content.getvalue())
        paths.append(path)
    return paths


def _lay_out(figure: Figure, suffix: str) -> None:
    """Lay out the axes once, for one format: this takes as long as to draw, and all formats are to look alike.

    If matplotlib knew of a layout still, also of "none", it would draw each format twice.
    """
    layout, canvas = figure.get_layout_engine(), figure.canvas
    if layout is not None:
        get_registered_canvas_class(suffix)(figure)
        if figure.axes:  # else there is nothing to lay out, of which matplotlib would warn
            layout.execute(figure)
        figure.set_canvas(canvas)
        figure.set_layout_engine(None)


@contextmanager
def _embed_glyphs() -> Iterator[None]:
    """Embed no rules for kerning and ligatures in a PDF, which has its glyphs in place: half the time of a font.

    The list of tables is private: if it is gone, the rules stay in.
    """
    from fontTools.subset import Options  # noqa: PLC0415 (matplotlib loads it for a PDF, and a fifth of its time goes by)

    before = getattr(Options, "_drop_tables_default", [])
    Options._drop_tables_default = [*before, "GDEF", "GPOS", "GSUB", "kern"]
    try:
        yield
    finally:
        Options._drop_tables_default = before
