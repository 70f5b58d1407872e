"""Links of the Markdown files, which lead from file to file of the repository, lead from page to page of the site.

A page may show a file from outside of docs/ by an ``include``. Its links then start from another folder; and a link to
such a file, from any page, has to lead to the page that shows it. Links to other files of the repository stay: MyST
makes a download of them.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# What is shown by which page.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CITATION.cff": "index.md#citation",
    "LICENSE": "index.md#licence",
    "SECURITY.md": "security.md",
    "config/README.md": "configuration.md",
    "docs/systems": "mathematics.md",
    "examples": "own-model.md#the-two-files",
    "results/README.md": "results.md",
}
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", flags=re.DOTALL)
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")


def rewrite_links(text: str, folder: Path, page: Path) -> str:
    """Return Markdown with the links that start from a folder starting from a page, all outside of code."""

    def rewrite(match: re.Match[str]) -> str:
        path, anchor = (folder / match[1]).resolve(), match[2] or ""
        if not path.exists():
            return match[0]  # MyST says so
        shown = PAGES.get(path.relative_to(ROOT).as_posix()) if path.is_relative_to(ROOT) else None
        if shown is not None:
            target, _, place = shown.partition("#")
            path, anchor = DOCS / target, anchor or (f"#{place}" if place else "")
        return f"]({os.path.relpath(path, page.parent)}{anchor})"

    parts = _CODE.split(text)
    return "".join(part if number % 2 else _LINK.sub(rewrite, part) for number, part in enumerate(parts))


def _rewrite_page(app: Sphinx, name: str, content: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    if page.suffix == ".md":
        content[0] = rewrite_links(content[0], page.parent, page)


def _rewrite_included(app: Sphinx, included: Path, name: str, content: list[str]) -> None:
    path = (DOCS / included).resolve()
    if path.suffix == ".md":
        content[0] = rewrite_links(content[0], path.parent, Path(app.env.doc2path(name)))


def setup(app: Sphinx) -> dict[str, bool]:
    """Join Sphinx."""
    app.connect("source-read", _rewrite_page)
    app.connect("include-read", _rewrite_included)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
