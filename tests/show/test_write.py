"""The page of an experiment: `clhd show` writes one file that can run nothing but its own script."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from clhd.cli import main
from clhd.show.write import embed_json, write_page
from clhd.sweep.results.listing import find_list
from clhd.sweep.results.products import find_product_faults, write_record
from tests.report.page import Page

pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture(name="html")
def page_of_first() -> str:
    return write_page("first", Path("first.yaml"), Path("results")).read_text(encoding="utf-8")


def test_the_policy_allows_the_own_script_and_style_only(html: str) -> None:
    page = Page(html)
    assert not page.faults
    assert len(page.ids) == len(set(page.ids))
    (policy,) = (value for _, name, value in page.attributes if name == "content" and "default-src" in value)
    for kind in ("script", "style"):
        text = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)[0]
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert [value for _, value in page.references] == ["#figure"]
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_text_of_the_results_is_no_markup(html: str) -> None:
    page = Page(html)
    assert page.tags.count("script") == 2
    assert "Heights of <script>alert(1)</script> & others" in page.text
    label = "</script><!--<script>&"
    embedded = str(embed_json({"label": label}))
    assert not set("<>&") & set(embedded)
    assert json.loads(embedded) == {"label": label}


def test_the_command_shows_an_experiment_by_name_or_by_file(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("first", "first.yaml"):
        assert main(["show", name]) == 0
        assert capsys.readouterr().out == "results/first/show.html\n"


def test_the_status_tells_that_a_page_was_changed_or_shows_an_earlier_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_page("first", Path("first.yaml"), Path("results"))
    config = find_list(Path("first.yaml"), None)
    assert find_product_faults(config, Path("results")) == []
    record = Path("results/first/.show.json")
    content = json.loads(record.read_bytes())
    write_record(record, [path], {"first": "of an earlier summary"})
    assert main(["status", "first.yaml", "--check"]) == 1
    message = (
        "results/first/show: rests on another summary of first than is there now; `clhd show first` makes it again"
    )
    assert capsys.readouterr().err == f"{message}\n"
    record.write_text(json.dumps(content))
    path.write_text(path.read_text(encoding="utf-8").replace("Heights", "Weights"), encoding="utf-8")
    (fault,) = find_product_faults(config, Path("results"))
    assert fault.startswith("results/first/show.html: was changed or damaged after clhd wrote it")
    path.unlink()
    assert find_product_faults(config, Path("results")) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("frist", "frist: is no experiment here; did you mean first?\n"),
        ("xyz", "xyz: is no experiment here; there are first\n"),
        ("missing.yaml", "missing.yaml: cannot be read: No such file or directory\n"),
    ],
)
def test_a_wrong_name_gets_one_line(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 2
    assert capsys.readouterr().err == message


def test_without_a_store_the_page_says_that_single_runs_are_not_known() -> None:
    store, away = Path("results/first/simulation.zarr"), Path("away")
    store.rename(away)
    try:
        text = Page(write_page("first", Path("first.yaml"), Path("results")).read_text(encoding="utf-8")).plain
    finally:
        away.rename(store)
    assert "What is known of single runs cannot be read: results/first/simulation.zarr: does not exist" in text
