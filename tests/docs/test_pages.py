"""The pages of the site show existing things, and their Markdown becomes the right HTML."""

import re
import sys
from pathlib import Path

import pytest

import clhd

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(DOCS / "_sphinx"), *sys.path])


def test_the_reference_has_every_public_name_once() -> None:
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"auto\w+:: (\w+)", text)) == sorted(clhd.__all__)


def test_a_table_of_a_docstring_becomes_one_of_sphinx() -> None:
    docstrings = pytest.importorskip("docstrings", reason="Sphinx is not installed: make docs does it")
    lines = ["| a | b |", "|---|---|", "| 1 | |", "", "|x| and ``|y|``"]
    assert docstrings.convert_tables(lines) == [
        *(".. list-table::", "   :header-rows: 1", ""),
        *("   * - a", "     - b", "   * - 1", "     - ", "", r"\|x\| and ``|y|``"),
    ]


def test_what_a_cell_prints_in_pieces_is_one_output() -> None:
    streams = pytest.importorskip("streams", reason="Sphinx is not installed: make docs does it")
    pieces = [("stdout", "results/li"), ("stderr", "a warning\n"), ("stdout", "nes\n")]
    outputs = [{"output_type": "stream", "name": name, "text": text} for name, text in pieces]
    joined = streams.join_streams([*outputs, {"output_type": "execute_result"}])
    assert [output.get("text") for output in joined] == ["results/lines\n", "a warning\n", None]
