"""Figures inside the page: SVG as markup, PNG as data.

| word | meaning |
|---|---|
| prefix | what the ids of one drawing begin with: drawings share the ids of the page, and must not share any |
"""

import base64
import re
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

from clhd.errors import ClhdError
from clhd.report.markup import render_caption, render_note, render_scroller

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_DROPPED = ("metadata", "script", "title", "foreignObject")
_PNG_DOTS_PER_INCH = 200  # as figures are saved
_PIXELS = {"pt": 4 / 3, "px": 1.0, "in": 96.0, "": 1.0}
# A figure is never drawn smaller than it was made, lest its words be too small, nor much larger.
_LARGEST = 1.45


def render_figure(path: Path, prefix: str, text: str) -> str:
    """A picture with the caption that stands beside it, if there is one; parameters as for `render_picture`."""
    file = path.with_suffix(".rst")
    caption = render_caption(file.read_text(encoding="utf-8")) if file.is_file() else ""
    return f"<figure>{render_picture(path, prefix, text)}<figcaption>{caption}</figcaption></figure>"


def render_picture(path: Path, prefix: str, text: str) -> str:
    """A figure in a box, in which it scrolls if it is wider; or a note that it is not there.

    Parameters
    ----------
    path : Path
        An SVG or a PNG.
    prefix : str
        Unique on the page.
    text : str
        What is to be seen, for those who do not see.

    Raises
    ------
    ClhdError
        If the file is none of the two.
    """
    if not path.is_file():
        return render_note(f"The figure {path.name} is not there.")
    html = inline_svg(path, prefix, text) if path.suffix == ".svg" else _embed_png(path, text)
    return render_scroller(f"figure: {text}", html, "card")


def inline_svg(path: Path, prefix: str, text: str) -> str:
    """The drawing as markup, its ids made unique and its style kept to itself."""
    try:
        root = ET.fromstring(path.read_text(encoding="utf-8"))
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise ClhdError(f"{path}: is no SVG: {error}") from None
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        if element.tag == f"{{{_SVG}}}style":
            element.text = re.sub(r"(^|\})\s*([^{}]+)\{", rf"\1#{prefix} \2{{", element.text or "")
        for name, value in list(element.attrib.items()):
            if name.lower().startswith("on"):
                del element.attrib[name]
            else:
                element.set(name, _rename(name, value, prefix))
    width = root.get("width", "")
    root.set("id", prefix)
    root.set("role", "img")
    root.set("aria-label", text)
    root.set("style", _limit_width(_to_pixels(width)))
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    return ET.tostring(root, encoding="unicode")


def _rename(name: str, value: str, prefix: str) -> str:
    """An attribute whose ids, defined or referred to, begin with the prefix."""
    if name == "id":
        return f"{prefix}-{value}"
    if name in {"href", f"{{{_XLINK}}}href"}:
        return f"#{prefix}-{value[1:]}" if value.startswith("#") else value if value.startswith("data:image/") else "#"
    return re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", value)


def _to_pixels(length: str) -> float:
    match = re.fullmatch(r"([0-9.]+)(pt|px|in|)", length.strip())
    return float(match[1]) * _PIXELS[match[2]] if match else 640.0


def _limit_width(pixels: float) -> str:
    return f"min-width:{pixels:.0f}px;max-width:{_LARGEST * pixels:.0f}px"


def _embed_png(path: Path, text: str) -> str:
    data = path.read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise ClhdError(f"{path}: is no PNG")
    width, height = (int.from_bytes(data[k : k + 4], "big") for k in (16, 20))
    source = base64.b64encode(data).decode("ascii")
    style = _limit_width(width * 96 / _PNG_DOTS_PER_INCH)
    return (
        f'<img alt="{escape(text)}" width="{width}" height="{height}" style="{style}" '
        f'src="data:image/png;base64,{source}">'
    )
