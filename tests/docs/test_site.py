"""The site of `make docs` in headless Chromium, without any network: `python -m pytest -m browser tests/docs`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import MARKS, probe, serve

SITE = Path(__file__).parents[2] / "build" / "docs"
PAGES = (
    "index",
    "tour",
    "theory",
    "api",
    "gallery",
    "glossary",
    "tutorials/results",
    "systems/saddle",
    "configuration",
)
# The page stands in a frame, which can be narrower than the least window of Chromium; the title tells what was found.
PROBE = """<!DOCTYPE html><title></title><script>
localStorage.setItem("mode", "%(mode)s");
localStorage.setItem("theme", "%(mode)s");
const look = (page) => ({
  width: page.documentElement.clientWidth,
  scroll: page.documentElement.scrollWidth,
  theme: page.documentElement.dataset.theme,
  ground: page.defaultView.getComputedStyle(page.body).backgroundColor,
  formulas: page.querySelectorAll(".math").length,
  drawn: page.querySelectorAll(".math mjx-container").length,
  broken: page.querySelectorAll("mjx-merror, [data-mjx-error]").length,
  pictures: [...page.images].filter((image) => image.loading !== "lazy" && !image.naturalWidth).length,
  results: [...page.querySelectorAll("#search-results li a")].map((link) => link.textContent),
});
addEventListener("load", () => setTimeout(() => {
  document.title = JSON.stringify(look(document.querySelector("iframe").contentDocument));
}, 20000));
</script><iframe src="/%(page)s" width="%(width)d" height="900" style="border: 0"></iframe>"""

pytestmark = [
    *MARKS,
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="there is no site: type make docs"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serve(SITE) as found:
        yield found


def look_at(address: str, folder: Path, page: str, *, width: int = 1280, mode: str = "light") -> dict[str, Any]:
    """What the probe finds on a page, and what the browser complains of."""
    text = PROBE % {"page": page, "width": width, "mode": mode}
    found, complaints = probe(address, folder, text, seconds=60)
    told = [line for line in complaints.splitlines() if '"[PST]: ' not in line]  # the theme tells what it does
    return dict(found) | {"console": told}


@pytest.mark.parametrize(("width", "mode"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_without_network(address: str, tmp_path: Path, page: str, width: int, mode: str) -> None:
    found = look_at(address, tmp_path, f"{page}.html", width=width, mode=mode)
    assert not found["console"]
    assert found["drawn"] == found["formulas"]
    assert not found["broken"]
    assert not found["pictures"]
    assert found["width"] <= width
    assert found["scroll"] <= found["width"]
    assert found["theme"] == mode
    ground = [int(number) for number in re.findall(r"\d+", found["ground"])[:3]]
    assert (sum(ground) < 384) == (mode == "dark")


@pytest.mark.parametrize(
    ("words", "title"), [("integrate_ode", "clhd.integrate_ode"), ("separatrix", "The mathematics that clhd computes")]
)
def test_the_search_finds_a_function_and_a_word(address: str, tmp_path: Path, words: str, title: str) -> None:
    found = look_at(address, tmp_path, f"search.html?q={words}")
    assert any(title in result for result in found["results"]), found["results"]
    assert not found["console"]


def test_the_formulas_are_those_of_the_mathematics(address: str, tmp_path: Path) -> None:
    assert look_at(address, tmp_path, "theory.html")["formulas"] > 500
