"""The page of 10,000 points in headless Chromium, without any network: `python -m pytest -m browser tests/show`.

The page stands in a frame of the same origin, so that its content security policy is in force and the frame can be
narrower than the least window of Chromium. A script beside the frame uses the page and tells what it found.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from clhd.show.write import render_page
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.spec.experiment import parse_experiment
from tests.chromium import MARKS, probe, serve
from tests.show.conftest import make_large

PROBE = """<!DOCTYPE html><meta name="color-scheme" content="light dark"><title></title>
<iframe src="/show.html" width="%d" height="900" style="border: 0"></iframe><script>
addEventListener("load", () => setTimeout(async () => {
  const page = document.querySelector("iframe").contentDocument, view = page.defaultView;
  const figure = page.getElementById("figure");
  const read = (id) => page.getElementById(id).innerText;
  const set = (id, value) => {
    const control = page.getElementById(`control-${id}`);
    control.value = value;
    control.dispatchEvent(new view.Event(control.type === "range" ? "input" : "change"));
  };
  const press = (key) => figure.dispatchEvent(new view.KeyboardEvent("keydown", { key, bubbles: true }));
  const point = (type, share) => {
    const area = figure.querySelector("svg").getBoundingClientRect();
    figure.querySelector("svg").dispatchEvent(new view.PointerEvent(type, {
      clientX: area.left + share[0] * area.width, clientY: area.top + share[1] * area.height, bubbles: true,
    }));
  };
  const marks = () => [...figure.querySelectorAll(".markers")].map((path) => path.getAttribute("d"))
    .join("").split("M").length - 1;
  let found;
  try {
    found = await (async () => { %s })();
  } catch (error) {
    found = { fault: String(error.stack) };
  }
  document.title = JSON.stringify(found);
}, 300));
</script>"""

pytestmark = MARKS


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("page")
    summary, experiment = make_large()
    answers = [
        {"place": "", "parameters": {"rate": 0.5, "slope": slope, "size": size}, "ok": 4, "errors": []}
        | {"attempts": 1, "seconds": 2.0, "code": [f"code {slope} {size}"], "computed": []}
        for slope in range(100)
        for size in range(1, 101)
    ]
    html = render_page(summary, experiment, answers, ["<b>a note</b>"], "clhd why 'my file.yaml'")
    (folder / "show.html").write_text(html, encoding="utf-8")
    with serve(folder) as found:
        yield found


def use_page(address: str, folder: Path, script: str, *, width: int = 1280, dark: bool = False) -> Any:
    """What a script finds on the page; whatever the browser complains of fails the test."""
    scheme = f"--blink-settings=preferredColorScheme={1 - dark}"
    found, complaints = probe(address, folder, PROBE % (width, script), seconds=20, arguments=(scheme,))
    assert not complaints
    return found


def test_ten_thousand_points_are_drawn_at_once(address: str, tmp_path: Path) -> None:
    found = use_page(
        address,
        tmp_path,
        """set("colour", ""); set("panel", "size"); const panels = marks();
        set("panel", ""); set("colour", "size");
        return [panels, marks(), page.querySelectorAll("#figure svg *").length, read("legend")];""",
    )
    assert found[:2] == [24 * 100, 48 * 100]
    assert found[2] < 1000  # a series is one element, not one for each point
    assert "48 of 100 values of size are drawn" in found[3]


def test_the_pointer_shows_a_point_and_a_click_its_command_and_answer(address: str, tmp_path: Path) -> None:
    tip, point = use_page(
        address,
        tmp_path,
        """set("colour", ""); point("pointermove", [.5, .35]); const tip = read("tip");
        point("click", [.5, .35]); return [tip, read("point")];""",
    )
    slope = int(re.findall(r"slope = (\d+), size = 51", tip)[0])
    assert f"mean\n{slope + 51}.0 ± 1.0\n" in tip
    assert "theory\n" + str(slope) in tip
    assert "z-score\n102" in tip
    assert "replicas\n4 ok" in tip
    assert f"clhd why 'my file.yaml' slope={slope} size=51\n" in point
    assert f"parameters\nrate=0.5, slope={slope}, size=51\n" in point
    assert f"code\ncode {slope} 51" in point


def test_sliders_hold_the_other_axes(address: str, tmp_path: Path) -> None:
    titles = use_page(
        address,
        tmp_path,
        """set("colour", ""); set("at-size", 0); press("End"); const low = read("spoken");
        set("at-size", 99); press("Home"); press("End"); return [low, read("spoken")];""",
    )
    assert titles[0].startswith("slope = 0, size = 1; ")
    assert titles[1].startswith("slope = 99, size = 100; ")


def test_the_page_can_be_used_by_keyboard(address: str, tmp_path: Path) -> None:
    found = use_page(
        address,
        tmp_path,
        """const spoken = []; const say = (key) => { press(key); spoken.push(read("spoken").split(";")[0]); };
        ["ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp"].forEach(say);
        press("Enter");
        const labelled = [...page.querySelectorAll("select, input")].every((control) => control.labels.length === 1);
        return [spoken, page.activeElement.id, read("point-title").toLowerCase(), labelled];""",
    )
    assert found[0] == [
        *("slope = 0, size = 1", "slope = 1, size = 1", "slope = 1, size = 3"),
        *("slope = 0, size = 3", "slope = 0, size = 3", "slope = 0, size = 1"),
    ]
    assert found[1:] == ["point-title", "slope = 0, size = 1", True]


@pytest.mark.parametrize(("width", "dark"), [(390, True), (390, False), (1280, True)])
def test_the_page_fits_a_phone_and_the_dark(address: str, tmp_path: Path, width: int, dark: bool) -> None:
    inner, scroll, ground, note = use_page(
        address,
        tmp_path,
        """press("End"); press("Enter");
        return [view.innerWidth, page.documentElement.scrollWidth, view.getComputedStyle(page.body).backgroundColor,
          page.querySelector(".note").innerText];""",
        width=width,
        dark=dark,
    )
    assert inner == width
    assert scroll <= width
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 384) == dark
    assert note == "<b>a note</b>"


@pytest.mark.parametrize(
    ("scale", "shown"),
    [(1.0, "0 20,000 40,000"), (1e11, "0 2e+15 4e+15"), (np.nan, "no number is known; clhd why a.yaml tells why")],
)
def test_very_many_or_large_or_no_numbers(tmp_path: Path, scale: float, shown: str) -> None:
    table = {"name": "a", "system": "toy", "axes": {"slope": list(range(150_000))}, "times": [0], "replicas": 4}
    experiment = parse_experiment(table, "a.yaml", check=False)
    slope = np.arange(150_000) * np.nan_to_num(scale)
    counts = np.full((slope.size, 1), 4)
    variables = {"height_mean": (("slope",), slope * scale), "replica_count": (("slope", "status"), counts)}
    coordinates = {"slope": slope, "status": ["failed"]}
    dataset = xr.Dataset(variables, coordinates, {"experiment": experiment.resolved()})
    (tmp_path / "show.html").write_text(render_page(Summary(dataset), experiment, [], [], "clhd why a.yaml"))
    script = """const ticks = [...figure.querySelectorAll("text[text-anchor=middle]")].map((text) => text.textContent);
    return ticks.length ? ticks.join(" ") : page.getElementById("shown").textContent;"""
    with serve(tmp_path) as address:
        assert shown in use_page(address, tmp_path, script)
