"""Pieces of HTML: text that is escaped, tables, verdicts, captions, what unfolds.

Every function returns HTML. What it takes is plain text, which it escapes, unless the name of the parameter says html:
no text of a config, a caption or a result can become markup.
"""

import re
from collections.abc import Sequence
from html import escape

# Shapes beside the words and the colours: a disc, a square, a diamond.
_SHAPES = {
    "holds": '<circle cx="8" cy="8" r="7.5"/><path d="m4.3 8.4 2.6 2.5 4.8-5.4"/>',
    "does not hold": '<rect x="1" y="1" width="14" height="14" rx="2"/><path d="m4.8 4.8 6.4 6.4m0-6.4-6.4 6.4"/>',
    "undecided": '<path class="face" d="M8 .2 15.8 8 8 15.8.2 8z"/><path d="M8 4.2v4.6m0 1.9v1"/>',
}
VERDICTS = tuple(_SHAPES)


def render_verdict(verdict: str) -> str:
    """A verdict as shape, word and colour."""
    name = verdict.replace(" ", "-") if verdict in _SHAPES else "undecided"
    return f'<span class="verdict {name}">{render_shape(verdict)}{escape(verdict)}</span>'


def render_shape(verdict: str) -> str:
    """The shape of a verdict alone, which screen readers pass over."""
    shape = _SHAPES.get(verdict, _SHAPES["undecided"])
    name = verdict.replace(" ", "-") if verdict in _SHAPES else "undecided"
    return f'<svg class="shape {name}" viewBox="0 0 16 16" aria-hidden="true" focusable="false">{shape}</svg>'


def render_text(text: str) -> str:
    """A sentence; powers such as n^(-1/2) as mathematics."""
    return re.sub(
        r"\^(?:\((-?[\w/]+)\)|(-?\w+))",
        lambda found: f"<sup>{(found[1] or found[2]).replace('-', '&minus;')}</sup>",
        escape(text),
    )


def render_caption(text: str) -> str:
    """A caption in the little reStructuredText that captions use: paragraphs, bold, emphasis and code."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    return "".join(f"<p>{_render_inline(paragraph)}</p>" for paragraph in paragraphs)


def _render_inline(text: str) -> str:
    html = re.sub(r"``(.+?)``", r"<code>\1</code>", render_text(text))
    html = re.sub(r"\*\*(?=\S)(.+?)(?<=\S)\*\*", r"<strong>\1</strong>", html)
    return re.sub(r"(?<![\w*])\*(?=[^\s*])([^*]+?)(?<=\S)\*(?![\w*])", r"<em>\1</em>", html)


def render_table(
    caption: str, head: Sequence[str], html_rows: Sequence[Sequence[str]], *, numbers: bool = False, title: bool = True
) -> str:
    """A table in a box of its own, in which it scrolls if it is wide.

    Parameters
    ----------
    caption : str
    head : sequence of str
    html_rows : sequence of rows of cells
        The first cell of each row is its head.
    numbers : bool
        True aligns all cells but the first two of each row to the right.
    title : bool
        False hides the caption from all but screen readers, where a heading says the same.
    """
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    rows = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in html_rows
    )
    kind, hidden = ' class="numbers"' if numbers else "", "" if title else ' class="hidden"'
    return render_scroller(
        caption,
        f"<table{kind}><caption{hidden}>{escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>",
    )


def render_scroller(name: str, html: str, kind: str = "") -> str:
    """A box that scrolls by itself, by keyboard too, where the page must not."""
    classes = f"scroll {kind}".strip()
    return f'<div class="{classes}" role="region" aria-label="{escape(name)}" tabindex="0">{html}</div>'


def render_details(title: str, html: str) -> str:
    """What unfolds at a click or a key, and is unfolded in print."""
    return f"<details><summary>{escape(title)}</summary>{html}</details>"


def render_code(name: str, text: str) -> str:
    """A file, verbatim."""
    return render_scroller(name, f"<pre><code>{escape(text)}</code></pre>")


def render_note(text: str) -> str:
    """What is missing, said in place of it."""
    return f'<p class="note">{escape(text)}</p>'


def make_anchor(kind: str, name: str) -> str:
    """The id of a place, from any name."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}"
