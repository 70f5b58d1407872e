"""The report in headless Chromium: `python -m pytest -m browser tests/report`.

Screenshots stay in pytest's temporary folder, to be looked at.
"""

import re
from pathlib import Path

import pytest

from clhd.report.write import write_report
from clhd.sweep.spec.config import ConfigContent
from tests.chromium import MARKS, run_chromium

PROBE = """<script>
addEventListener("load", () => {
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("main > section > *, main section > section > *")]
    .filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
  parent.postMessage(`${innerWidth} ${root.scrollWidth} ${wide.length}`, "*");
});
</script>"""
# A frame can be narrower than the least window of Chromium.
FRAME = """<!DOCTYPE html><title></title><script>
addEventListener("message", (event) => { document.title = event.data; });
</script><iframe src="probe.html" width="%d" height="900" style="border: 0"></iframe>"""

pytestmark = MARKS


@pytest.mark.parametrize(("width", "medium"), [(1280, "screen"), (390, "screen"), (688, "print")])
def test_the_page_fits_its_window_and_its_paper(
    project: ConfigContent, tmp_path: Path, width: int, medium: str
) -> None:
    """What is wider than the paper would make all of a print smaller."""
    path = write_report(project, project.results).absolute()
    html = path.read_text(encoding="utf-8")
    if medium == "print":
        html = html.replace("@media print", "@media all").replace("<details>", "<details open>")
    copy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', PROBE, html)
    (tmp_path / "probe.html").write_text(copy, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME % width, encoding="utf-8")
    dom = run_chromium(tmp_path, "--virtual-time-budget=5000", "--dump-dom", frame.as_uri()).stdout
    inner, scroll, wide = map(int, re.findall(r"<title>(\d+) (\d+) (\d+)</title>", dom)[0])
    assert (inner, wide) == (width, 0)
    assert scroll <= width
    screenshot = tmp_path / f"report-{width}.png"
    run_chromium(tmp_path, f"--window-size={width},1000", f"--screenshot={screenshot}", path.as_uri())
    assert screenshot.stat().st_size > 10_000


def test_the_page_prints(project: ConfigContent, tmp_path: Path) -> None:
    path = write_report(project, project.results).absolute()
    pdf = tmp_path / "report.pdf"
    run_chromium(tmp_path, f"--print-to-pdf={pdf}", path.as_uri())
    assert pdf.read_bytes().startswith(b"%PDF")
