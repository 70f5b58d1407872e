"""The docstrings of clhd in the form that numpydoc reads: tables of Markdown, and text after what is returned."""

import re
from typing import Any

from sphinx.application import Sphinx

_ROW = re.compile(r"^(\s*)\|(.*)\|\s*$")
_RULE = re.compile(r"^[\s|:-]+$")


def convert_tables(lines: list[str]) -> list[str]:
    """Return the lines with each table of Markdown as a list-table, and other bars escaped."""
    found: list[str] = []
    in_table = False
    for line in lines:
        row = _ROW.match(line)
        if row is None:
            # Between backticks, a bar is a bar; elsewhere it would begin a substitution.
            parts = re.split(r"(``.*?``|`.*?`)", line)
            found.append("".join(part if number % 2 else part.replace("|", r"\|") for number, part in enumerate(parts)))
        elif not _RULE.match(line):
            if not in_table:
                found += [f"{row[1]}.. list-table::", f"{row[1]}   :header-rows: 1", ""]
            cells = [cell.strip() for cell in re.split(r"\s+\|(?=\s)", row[2])]
            found += [f"{row[1]}   {'* -' if number == 0 else '  -'} {cell}" for number, cell in enumerate(cells)]
        in_table = row is not None
    return found


def indent_returns(lines: list[str]) -> list[str]:
    """Return the lines with all that follows the first paragraph of Returns indented: it describes the same value."""
    found: list[str] = []
    state = ""
    for number, line in enumerate(lines):
        is_title = number + 1 < len(lines) and bool(re.fullmatch(r"-{3,}", lines[number + 1].strip()))
        if is_title:
            state = "title" if line.strip() in {"Returns", "Yields"} else ""
        elif state == "title" and not line.strip():
            state = "described"
        found.append(f"    {line}" if state == "described" and line.strip() else line)
    return found


def _mend(_app: Sphinx, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    lines[:] = convert_tables(indent_returns(lines))


def setup(app: Sphinx) -> dict[str, bool]:
    """Join Sphinx, before numpydoc."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _mend, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
