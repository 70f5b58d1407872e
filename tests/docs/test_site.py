"""The site of `make docs` in headless Chromium, without any network: `python -m pytest -m browser tests/docs`."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SITE = Path(__file__).parents[2] / "build" / "docs"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
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
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="there is no site: type make docs"),
]


class Handler(SimpleHTTPRequestHandler):
    """Serves the site, and the probe that is set last."""

    probe = ""

    def do_GET(self) -> None:
        if self.path != "/probe":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.probe.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(SITE))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def look_at(address: str, folder: Path, page: str, *, width: int = 1280, mode: str = "light") -> dict[str, Any]:
    """What the probe finds on a page, and what the browser complains of."""
    Handler.probe = PROBE % {"page": page, "width": width, "mode": mode}
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        *("--enable-logging=stderr", "--virtual-time-budget=60000", "--window-size=1300,1000", "--dump-dom"),
    ]
    done = subprocess.run(
        [*command, f"{address}/probe"], check=True, capture_output=True, text=True, timeout=200, encoding="utf-8"
    )
    found: dict[str, Any] = json.loads(unescape(re.findall(r"<title>(\{.*?\})</title>", done.stdout)[0]))
    told = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return found | {"console": [line for line in told if '"[PST]: ' not in line]}  # the theme tells what it does


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
