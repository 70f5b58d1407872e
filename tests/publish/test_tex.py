"""Numbers and texts for LaTeX, and the macros that a paper takes them by."""

from typing import Any

import pytest

from clhd.publish.paper import compose_macros, compose_table
from clhd.publish.tex import escape_tex, format_tex
from clhd.report.evidence import Table
from clhd.report.text import mark_number

CLAIM = {
    "id": "C1",
    "statement": "a_b < 5 %",
    "verdict": "holds",
    "thresholds": {"range": [-0.6, -0.4]},
    "evidence": {"exponent": {"value": -0.5123, "low": -0.5511, "high": -0.4731}, "is_steep": True, "sizes": [10, 1e6]},
    "parts": [{"id": "C1a", "statement": "x", "verdict": "undecided", "evidence": {"share": None}}],
}


@pytest.mark.parametrize(
    ("value", "text", "interval"),
    [
        (3.2e-7, r"\ensuremath{3.2\times10^{-7}}", ""),
        (-0.5, r"\ensuremath{-0.5}", ""),
        (1234567, r"\ensuremath{1{,}234{,}567}", ""),
        (True, "yes", ""),
        (None, "not known", ""),
        ("50 % of a_b", r"50 \% of a\_b", ""),
        ({"value": 2.0, "low": 2.0, "high": 2.0}, r"\ensuremath{2}", "exact"),
        (
            {"value": 0.1234, "low": 0.1, "high": 0.15},
            r"\ensuremath{0.123}",
            r"\ensuremath{0.100} to \ensuremath{0.150}",
        ),
        ({"value": None, "low": None, "high": None}, "not known", "not known"),
    ],
)
def test_a_value_is_rounded_and_escaped(value: Any, text: str, interval: str) -> None:
    assert format_tex(value) == (text, interval)


def test_a_number_of_the_report_is_no_html() -> None:
    assert (
        format_tex(mark_number(-1.2e-9))[0]
        == r"\ensuremath{-}1.2\ensuremath{\times}10\textsuperscript{\ensuremath{-}9}"
    )


def test_a_power_stands_high() -> None:
    assert escape_tex("n^(-1/2), 10^4, a^b") == (
        r"n\textsuperscript{-1/2}, 10\textsuperscript{4}, a\textasciicircum{}b"
    )


def test_a_text_cannot_give_latex_commands() -> None:
    assert escape_tex(r"\input{/etc/passwd}") == r"\textbackslash{}input\{/etc/passwd\}"


def test_every_number_has_a_macro() -> None:
    lines = compose_macros([CLAIM], {}).splitlines()
    assert r"\clhdset{C1.exponent}{\ensuremath{-0.512}}{\ensuremath{-0.551} to \ensuremath{-0.473}}" in lines
    names = {line.split("}")[0].removeprefix(r"\clhdset{") for line in lines if line.startswith(r"\clhdset{")}
    assert {"C1.verdict", "C1.thresholds.range.2", "C1.is_steep", "C1.sizes.1", "C1a.share"} <= names


def test_a_table_needs_no_package() -> None:
    table = Table("C_1", ["quantity", "value"], [["share", 0.5], ["sizes", [10, 100]]])
    assert compose_table(table) == (
        "% C\\_1\n\\begin{tabular}{ll}\n\\hline\nquantity & value \\\\\n\\hline\n"
        "share & \\ensuremath{0.5} \\\\\nsizes & \\ensuremath{10}, \\ensuremath{100} \\\\\n\\hline\n\\end{tabular}\n"
    )
