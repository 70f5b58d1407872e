"""`read_picture`: a figure and its caption, for the page: the picture is an image whose data stand in the page."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from markupsafe import Markup

from clhd.errors import ResultsError
from clhd.report.text import mark_caption

_PNG_DOTS_PER_INCH = 200  # as figures are saved
_PIXELS = {"pt": 4 / 3, "px": 1.0, "in": 96.0, "": 1.0}
_LARGEST = 1.45  # a figure is shown at most this much larger than it was made


@dataclass(frozen=True)
class Picture:
    """A figure as templates show it."""

    file: str  # its name
    text: str  # description for readers who do not see the figure
    source: str  # the picture as a data URL; empty if the file does not exist. Browsers run no script of an image
    least: int  # width in pixels of the page
    most: int
    caption: Markup


def read_picture(path: Path, text: str) -> Picture:
    """Return a figure, from an SVG or PNG file, with the caption beside it; raise ClhdError if it is no picture."""
    file = path.with_suffix(".rst")
    caption = mark_caption(file.read_text(encoding="utf-8")) if file.is_file() else Markup()
    if not path.is_file():
        return Picture(path.name, text, "", 0, 0, caption)
    data = path.read_bytes()
    is_svg = path.suffix == ".svg"
    width = _measure_svg(path, data) if is_svg else _measure_png(path, data)
    kind = "svg+xml" if is_svg else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Picture(path.name, text, source, round(width), round(_LARGEST * width), caption)


def _measure_svg(path: Path, data: bytes) -> float:
    """Width of a drawing in pixels."""
    parser, elements = expat.ParserCreate(), list[dict[str, str]]()

    def begin(_: str, attributes: dict[str, str]) -> None:
        elements.append(attributes)
        parser.StartElementHandler = None  # the rest is only checked

    parser.StartElementHandler = begin
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ResultsError(f"{path}: is no SVG: {error}") from None
    match = re.fullmatch(r"([0-9.]+)(pt|px|in|)", elements[0].get("width", "").strip())
    return float(match[1]) * _PIXELS[match[2]] if match else 640.0


def _measure_png(path: Path, data: bytes) -> float:
    """Width of a PNG in pixels of the page."""
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise ResultsError(f"{path}: is no PNG")
    return int.from_bytes(data[16:20], "big") * 96 / _PNG_DOTS_PER_INCH
