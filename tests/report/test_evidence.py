"""Numbers as people read them."""

import pytest

from clhd.report.evidence import is_estimate, render_evidence, render_value
from tests.report.page import Page

CASES = {
    "a whole number": (10000, "10,000"),
    "a small number": (1e-6, "1x10-6"),
    "a negative number": (-0.25, "-0.25"),
    "yes": (True, "yes"),
    "nothing": (None, "not known"),
    "an estimate": ([0.61, 0.6005, 0.6194], "0.6100 (0.6005 to 0.6194)"),
    "a wide one": ([1234.0, 1000.0, 1500.0], "1,230 (1,000 to 1,500)"),
    "an exact one": ([0.5, 0.5, 0.5], "0.5"),
    "an axis": ([100, 1000, 10000], "100, 1,000, 10,000"),
    "an estimate that could not be had": ([None, None, None], "not known, not known, not known"),
    "a verdict": ("does not hold", "does not hold"),
    "a table": ({"a_b": 1, "c": [1, 2]}, "a b: 1; c: 1, 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_value_is_written_as(case: str) -> None:
    value, text = CASES[case]
    assert Page(render_value(value)).plain == text


def test_an_axis_of_three_is_no_estimate() -> None:
    assert not is_estimate([100, 1000, 10000])
    assert not is_estimate([True, False, True])
    assert is_estimate([2, 1, 3])


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
