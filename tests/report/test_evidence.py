"""Numbers as people read them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from clhd.claims.judge import make_plain
from clhd.claims.verdict import Estimate
from clhd.report.evidence import arrange_evidence
from clhd.report.text import is_estimate, mark_caption, mark_number, mark_powers
from clhd.report.write import make_environment
from tests.report.page import Page

CASES = {
    "a whole number": (10000, "10,000"),
    "a small number": (1e-6, "1x10-6"),
    "a negative number": (-0.25, "-0.25"),
    "yes": (True, "yes"),
    "nothing": (None, "not known"),
    "an estimate": ({"value": 0.61, "low": 0.6005, "high": 0.6194}, "0.6100 (0.6005 to 0.6194)"),
    "a wide one": ({"value": 1234.0, "low": 1000.0, "high": 1500.0}, "1,230 (1,000 to 1,500)"),
    "an exact one": ({"value": 0.5, "low": 0.5, "high": 0.5}, "0.5"),
    "an axis": ([100, 1000, 10000], "100, 1,000, 10,000"),
    "an estimate that could not be had": ({"value": None, "low": None, "high": None}, "not known"),
    "three thresholds": ([0.38, 0.38, 0.38], "0.38, 0.38, 0.38"),
    "a verdict": ("does not hold", "does not hold"),
    "an empty list": ([], "none"),
    "an empty mapping": ({}, "none"),
    "a table": ({"a_b": 1, "c": [1, 2]}, "a b: 1; c: 1, 2"),
}


def render_value(value: Any) -> str:
    return str(find_macro("value")(value))


def render_evidence(evidence: Mapping[str, Any], title: str) -> str:
    return str(find_macro("tables")(arrange_evidence(evidence, title)))


def find_macro(name: str) -> Any:
    return getattr(make_environment().get_template("macros.html").module, name)


@pytest.mark.parametrize("case", CASES)
def test_a_value_is_written_as(case: str) -> None:
    value, text = CASES[case]
    assert Page(render_value(value)).plain == text


def test_an_estimate_is_what_the_judges_make_of_one() -> None:
    for estimate in (Estimate.with_error(1.0, 0.1), Estimate.exact(float("nan"))):
        assert is_estimate(make_plain(estimate))
    for other in ([2, 1, 3], [0.38, 0.38, 0.38], {"value": 1, "low": 0}, {"value": 1, "low": 0, "high": 2, "n": 3}):
        assert not is_estimate(other)


def test_an_estimate_that_could_not_be_had_has_no_interval() -> None:
    html = render_evidence({"slope": make_plain(Estimate.exact(float("nan")))}, "C1, numbers")
    assert '<tr><th scope="row">slope</th><td>not known</td></tr>' in html


def test_estimates_by_name_are_rows_and_three_equal_numbers_are_a_list() -> None:
    slopes = {name: make_plain(Estimate.with_error(value, 0.01)) for name, value in (("q", -0.5), ("r", -0.6))}
    html = render_evidence({"slopes": slopes, "thresholds": [0.38, 0.38, 0.38]}, "C4, numbers")
    assert '<th scope="row">thresholds</th><td>0.38, 0.38, 0.38</td>' in html
    assert '<tr><th scope="row">q</th><td>\N{MINUS SIGN}0.500</td><td>\N{MINUS SIGN}0.520 to' in html


def test_lists_of_one_length_are_columns_and_mappings_of_the_same_keys_are_rows() -> None:
    evidence = {
        "n": [1, 2], "error": [0.1, 0.2], "lonely": [7, 8, 9, 10],
        "cases": {"l2": {"slope": 1}, "l1": {"slope": 2}}, "note": "a sentence that is too long for a cell of a table",
    }  # fmt: skip
    html = render_evidence(evidence, "C1, numbers")
    assert '<tr><th scope="row">1</th><td>0.1</td></tr>' in html
    assert '<tr><th scope="row">lonely</th><td>7, 8, 9, 10</td></tr>' in html
    assert '<tr><th scope="row">l1</th><td>2</td></tr>' in html
    assert '<p class="remark"><strong>note</strong>' in html
    assert html.count("<table") == 3
    assert Page(html).faults == []


def test_lists_that_only_have_the_same_length_are_no_table() -> None:
    """Two axes say nothing of each other."""
    html = render_evidence({"bias_dimensions": [30, 100], "spread_dimensions": [1000, 10000]}, "C3, numbers")
    assert '<tr><th scope="row">bias dimensions</th><td>30, 100</td></tr>' in html


def test_a_list_of_mappings_is_a_table() -> None:
    html = render_evidence({"support": [{"threshold": 0.3, "recall": 0.9}, {"threshold": 0.7, "recall": 0.5}]}, "C1")
    assert '<tr><th scope="row">2</th><td>0.7</td><td>0.5</td></tr>' in html


def test_mappings_in_a_list_that_hold_lists_are_tables_of_their_own() -> None:
    """Not all of them in one cell."""
    laws = [{"law": name, "dimension": [100, 300], "error": [0.1, 0.2]} for name in ("gaussian", "rademacher")]
    html = render_evidence({"laws": laws}, "universality")
    assert '<caption>laws: rademacher</caption><thead><tr><th scope="col">dimension</th>' in html
    assert html.count('<tr><th scope="row">300</th><td>0.2</td></tr>') == 2
    assert Page(html).faults == []


def test_powers_are_set_as_such() -> None:
    assert mark_powers("as n^(-1/2) or n^2 < 3") == "as n<sup>&minus;1/2</sup> or n<sup>2</sup> &lt; 3"
    assert mark_number(-3.2e-7) == "\N{MINUS SIGN}3.2\N{MULTIPLICATION SIGN}10<sup>&minus;7</sup>"


TAGS = {"p", "sup", "code", "strong", "em"}
UNTRUSTED = [
    "<script>alert(1)</script>",
    "**<b>** ``<i>`` *<u>*",
    "n^<script> n^(<b>) ^(-x) ``a^2`` *b^2*",
    "**a ``b** c`` *d **e* f**",
    "&lt;script&gt; \" onload='x' *\"*",
    ".. raw:: html\n\n  <img src=x>",
]


@pytest.mark.parametrize("text", UNTRUSTED)
@pytest.mark.parametrize("mark", [mark_powers, mark_caption], ids=["powers", "caption"])
def test_no_text_becomes_other_markup_than_its_own(mark: Callable[[str], str], text: str) -> None:
    html = str(mark(text))
    page = Page(html)
    assert set(page.tags) <= TAGS
    assert page.attributes == []
    assert "<" not in re.sub(rf"</?({'|'.join(TAGS)})>", "", html)


@pytest.mark.parametrize("value", ["<b>x", {"<b>": "<i>"}, ["<b>", {"value": "<i>"}], "holds<b>"])
def test_no_value_is_markup(value: Any) -> None:
    for html in (render_value(value), render_evidence({"<u>name": value, "list": [value, value]}, "<s>title")):
        assert not {"b", "i", "u", "s"} & set(Page(html).tags)
