"""Headless Chromium for the tests of pages; it reaches this machine alone."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import unescape
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]


class _Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and the probe that was set last."""

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


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run_chromium(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Chromium with a profile in a folder."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    return subprocess.run(
        [*command, *arguments], check=True, capture_output=True, text=True, timeout=200, encoding="utf-8"
    )


def probe(address: str, folder: Path, page: str, *, seconds: int, arguments: tuple[str, ...] = ()) -> tuple[Any, str]:
    """Return what a page beside the served ones writes into its title as JSON, and the complaints of the browser.

    Parameters
    ----------
    address : str
        Of the served folder.
    folder : Path
        For the profile of the browser.
    page : str
        HTML of the page, which shows a served one in a frame.
    seconds : int
        After so much time of the page, the title is read.
    arguments : tuple of str
        Further arguments of Chromium.
    """
    _Handler.probe = page
    done = run_chromium(
        folder,
        *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr", "--dump-dom"),
        *(f"--virtual-time-budget={1000 * seconds}", "--window-size=1300,1000", *arguments, f"{address}/probe"),
    )
    complaints = "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)
    return json.loads(unescape(re.findall(r"<title>(.*?)</title>", done.stdout)[0])), complaints
