"""The report is well-formed, self-contained and complete, and says what is missing."""

import base64
import json
import re
import shutil
from dataclasses import replace
from html import escape
from pathlib import Path

import pytest

from clhd.errors import ClhdError
from clhd.report import write
from clhd.report.write import compose_report, make_environment, write_report
from clhd.sweep.spec.config import ConfigContent
from tests.report.conftest import CLAIMS
from tests.report.page import Page


@pytest.fixture(scope="module")
def html(project: ConfigContent) -> str:
    return write_report(project, project.results).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_the_markup_is_well_formed(page: Page, html: str) -> None:
    assert page.faults == []
    assert html.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert sorted(page.ids) == sorted(set(page.ids))
    assert page.tags.count("h1") == page.tags.count("title") == page.tags.count("main") == 1


def test_headings_never_skip_a_level(page: Page) -> None:
    assert page.headings[0] == 1
    assert all(below <= above + 1 for above, below in zip(page.headings, page.headings[1:], strict=False))


def test_the_file_needs_nothing_but_itself(page: Page, html: str) -> None:
    for tag, target in page.references:
        is_inside = target.startswith(("#", "data:image/png;base64,", "data:image/svg+xml;base64,"))
        assert is_inside or (tag == "a" and target.startswith("https://arxiv.org/")), (tag, target)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not re.search(r"@import|@font-face|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_every_reference_within_the_page_arrives(page: Page, html: str) -> None:
    targets = {target[1:] for _, target in page.references if target.startswith("#")}
    targets |= {value for _, name, value in page.attributes if name == "aria-labelledby"}
    targets |= set(re.findall(r"url\(#([^)]*)\)", html))
    assert targets <= set(page.ids)
    assert {"claim-C1", "experiment-first"} <= targets, "no power: the page refers to nothing"


def test_a_drawing_is_an_image_and_no_part_of_the_page(page: Page, html: str) -> None:
    """A browser runs no script of an image, and its ids and styles are its own."""
    (drawing, *_) = [value for tag, value in page.references if value.startswith("data:image/svg+xml")]
    assert b"<svg" in base64.b64decode(drawing.partition(",")[2])
    assert {value for tag, name, value in page.attributes if (tag, name) == ("svg", "viewbox")} == {"0 0 16 16"}
    assert "img-src data:" in html


def test_what_files_hold_stays_text(page: Page, html: str) -> None:
    assert "<script" not in html
    assert "<i>x" not in html
    assert "Heights of <script>alert(1)</script> & others" in page.text
    assert "# <b>a comment</b> & more" in page.text
    assert "with a < b & c." in page.text
    assert "<strong>What &lt;is&gt; shown.</strong> The <code>code</code>, the <em>word</em> &amp; 3 * 4 * 5." in html


def test_every_claim_and_part_appears_with_its_verdict(html: str) -> None:
    overview = html[html.index('id="overview"') : html.index('id="claims"')]
    for entry in CLAIMS:
        for claim in (entry, *entry.get("parts", [])):
            for place in (overview, find_section(html, f"claim-{entry['id']}")):
                after = place[place.index(escape(claim["statement"])) :]
                found = re.search(r'class="verdict ([a-z-]+)"><svg.*?</svg>([a-z ]+)</span>', after)
                assert found is not None
                assert found.groups() == (claim["verdict"].replace(" ", "-"), claim["verdict"]), claim["id"]
    assert "Of 3 statements 1 holds, 1 does not hold, 1 is undecided." in html


def test_numbers_thresholds_files_and_sources_of_a_claim_are_there(html: str) -> None:
    text = describe_cells(find_section(html, "claim-C1"))
    for row in (
        "exponent | -0.512 | -0.551 to -0.473",
        "largest error | 3.2x10-7",
        "not had | not known",
        "1,000 | 0.0350 (0.0330 to 0.0370)",
        "exponent range | -0.6 to -0.4",
        "allowance | 0.03 | what <counts>",
        "main | first | the first & best",
        "seed | first: 0",
        "stores | first/summary.zarr",
        "first.yaml",
        "replicas: 4",
    ):
        assert row in text, row


def test_experiments_show_state_counts_and_cost(html: str) -> None:
    assert '<span class="state">complete</span>' in html
    assert '<span class="state">pending</span>' in html
    text = describe_cells(find_section(html, "experiments"))
    assert "first | simulation | 24 | 16 | 0 | 8 | 0 | 0" in text
    assert "second | simulation | 24 | 0 | 0 | 0 | 24 | " in text
    assert re.search(r"In total \S+ s of core time, \S+ s of wall time, and \S+ kB on disk", text)


def test_experiments_of_which_nothing_is_known_come_last_and_miss_no_figure(project: ConfigContent) -> None:
    names = ["second", "first"]
    turned = replace(project, experiments={name: project.experiments[name] for name in names})
    html = compose_report(turned, project.results)
    assert html.index("experiment-first") < html.index("experiment-second")
    assert "The figure second.png does not exist." not in Page(html).text


def find_section(html: str, name: str) -> str:
    return html[html.index(f'<section class="claim" id="{name}"' if "claim-" in name else f'id="{name}"') :].partition(
        "</section>"
    )[0]


def describe_cells(html: str) -> str:
    """The text, cells apart."""
    return Page(re.sub(r"</t[hd]>(?!</tr>)", " | ", html)).plain


def test_a_table_of_cases_has_its_title_verdicts_and_reasons(page: Page) -> None:
    for text in ("Other <laws>", "SGD agrees", "no theory", "for <once>", "The law of the noise does not matter."):
        assert text in page.text


def test_what_is_not_there_is_said(page: Page, project: ConfigContent, tmp_path: Path) -> None:
    assert "The figure C5.svg does not exist." in page.text
    copy = shutil.copytree(project.results, tmp_path / "copy")
    (copy / "first" / "figures" / "first.png").unlink()
    assert "The figure first.png does not exist." in Page(compose_report(project, copy)).text
    empty = Page(compose_report(project, tmp_path))
    assert empty.faults == []
    assert "The claims have not been judged yet" in empty.text
    assert "claim-C1" not in empty.ids


def test_a_list_without_claims_has_a_report_of_its_experiments(project: ConfigContent) -> None:
    page = Page(compose_report(replace(project, claims=None), project.results))
    assert page.faults == []
    assert "experiment-first" in page.ids
    assert not {"overview", "claims", "cases"} & set(page.ids)


def test_a_file_that_was_changed_since_is_named(project: ConfigContent) -> None:
    first = project.experiments["first"].model_copy(update={"seed": 7})
    changed = replace(project, experiments={**project.experiments, "first": first})
    html = compose_report(changed, project.results)
    assert '<span class="state">changed</span>' in html
    assert "was computed with seed = 0; the file now says seed = 7. Restore the file, or" in html


def test_what_is_wrong_with_a_store_stands_beside_its_experiment(project: ConfigContent, tmp_path: Path) -> None:
    """A sentence in a column of numbers would make the table, and all of a print, too wide."""
    store = tmp_path / "first" / "simulation.zarr"
    store.mkdir(parents=True)
    (store / "zarr.json").write_text("{", encoding="utf-8")
    html = compose_report(project, tmp_path)
    assert "first | simulation | unreadable | " in describe_cells(find_section(html, "experiments"))
    assert re.search(rf'<p class="note">{re.escape(str(store))}\S* ', find_section(html, "experiment-first"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("claims.json", "{", "is not a file of claims; write it again with `clhd claims`"),
        (
            "claims.json",
            json.dumps({"claims": [{"id": "C1"}]}),
            "is not a file of claims; write it again with `clhd claims`",
        ),
        ("claims.json", json.dumps({"claims": [CLAIMS[0] | {"thresholds": []}]}), "is not a file of claims"),
        ("claims_matrix.json", json.dumps({"rows": [{}]}), "is not a table of cases"),
        ("figures/C1.svg", "<svg", "is no SVG"),
        ("figures/C1.svg", '<svg width="9pt"><g/>', "is no SVG"),
    ],
    ids=["no JSON", "no claims", "no table of thresholds", "no table of cases", "no SVG", "half an SVG"],
)
def test_a_broken_file_is_one_line(project: ConfigContent, tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "claims.json").write_text(json.dumps({"claims": CLAIMS}))
    (tmp_path / name).write_text(text)
    with pytest.raises(ClhdError, match=message) as error:
        write_report(project, tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_templates_are_compiled_once_and_their_code_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(write.__file__).parent / "__pycache__").mkdir(exist_ok=True)
    make_environment.__wrapped__().get_template("page.html")
    environment = make_environment.__wrapped__()
    monkeypatch.setattr(environment, "compile", lambda *_: pytest.fail("the template is compiled again"))
    environment.get_template("page.html")
    monkeypatch.setattr("clhd.report.write.os.access", lambda path, mode: False)
    assert make_environment.__wrapped__().bytecode_cache is None
