"""The report speaks of the systems of the experiments, and imports none of them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import clhd.report
import clhd.systems.registry
from clhd.report.experiments import Record
from clhd.report.systems import describe_systems
from clhd.report.write import compose_report
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.config import ConfigContent, read_config
from clhd.systems.registry import list_systems
from tests.clients import open_threads
from tests.report.page import Page

MODEL = """\
from clhd.systems.declarations import Output, Parameter, describe
from clhd.systems.protocol import System


class Walk(System):
    title = "walk <b>of</b> a point"
    parameters = {"step": Parameter(kind="number", default=1.0, meaning="step")}
    outputs = {"place": Output(dims=("time",), words=describe("place"))}
    equations = "dx/dt = step <script>alert(1)</script> & 1 < 2"
    sources = ("A. <img src=x onerror=alert(2)>", "B. Author")

    def simulate(self, values, time, random):
        return {"place": values.step * time}
"""
TRAP = 'open("hacked", "w").close()\nraise RuntimeError\n'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigContent:
    """An experiment with a system of its own was run; then its file was changed into one that must not run."""
    monkeypatch.chdir(tmp_path)
    Path("model.py").write_text(MODEL, encoding="utf-8")
    Path("walk.yaml").write_text(
        "system: model.py:Walk\naxes: {step: [1, 2]}\ntimes: [0, 1]\nreplicas: 2\n", encoding="utf-8"
    )
    Path("config.yaml").write_text("experiments: [walk.yaml]\n", encoding="utf-8")
    experiment = read_config("config.yaml").experiments["walk"]
    with open_threads(1) as client:
        run_experiment(experiment, client)
    Path("model.py").write_text(TRAP, encoding="utf-8")
    return read_config("config.yaml", check=False)


def test_a_system_in_a_file_is_shown_from_what_the_results_declare(own: ConfigContent) -> None:
    html = compose_report(own, own.results)
    page = Page(html)
    assert page.faults == []
    assert not Path("hacked").exists()
    assert page.text.count("clhd: results (walk <b>of</b> a point)") == 2
    assert "System: walk <b>of</b> a point. Written" in page.plain
    assert "<pre><code>dx/dt = step &lt;script&gt;alert(1)&lt;/script&gt; &amp; 1 &lt; 2</code></pre>" in html
    assert "A. <img src=x onerror=alert(2)>\nB. Author" in page.text
    assert not {"script", "b"} & set(page.tags)
    assert "<img src=x" not in html
    assert {"equations", "sources"} <= set(page.ids)


def test_without_results_a_system_is_shown_by_its_name(own: ConfigContent, tmp_path: Path) -> None:
    page = Page(compose_report(own, tmp_path / "nothing"))
    assert page.faults == []
    assert "System: model.py:Walk. Written" in page.plain
    assert not {"equations", "sources"} & set(page.ids)
    assert not Path("hacked").exists()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with two systems, whose modules must not run, and one page."""
    folder = tmp_path / "site" / "walkers"
    (folder / "inner").mkdir(parents=True)
    for module in ("__init__.py", "inner/__init__.py", "inner/walk.py"):
        (folder / module).write_text(TRAP, encoding="utf-8")
    (folder / "report").mkdir()
    (folder / "report" / "equations.html").write_text("<p><math><mi>x</mi></math></p>", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setitem(list_systems(), "walk", "walkers.inner.walk:Walk")
    monkeypatch.setitem(list_systems(), "run", "walkers.inner.walk:Run")
    yield folder
    assert "walkers" not in sys.modules


def make_config(*systems: str) -> tuple[ConfigContent, dict[str, Record]]:
    folder = Path("experiments")
    folder.mkdir()
    for number, system in enumerate(systems):
        (folder / f"e{number}.yaml").write_text(f"system: {system}\n", encoding="utf-8")
    files = [f"experiments/e{number}.yaml" for number in range(len(systems))]
    Path("config.yaml").write_text(f"experiments: {files}\n", encoding="utf-8")
    config = read_config("config.yaml", check=False)
    return config, {name: Record({}, {}, {}, declaration=None) for name in config.experiments}


@pytest.mark.usefixtures("package")
def test_systems_of_one_installed_package_share_its_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    titles, pages = describe_systems(*make_config("walk", "run", "walk", "unknown"))
    assert titles == ["walk", "run", "unknown"]
    (page,) = pages["equations"]
    assert (page.title, str(page.html)) == ("walk, run", "<p><math><mi>x</mi></math></p>")
    assert pages["sources"] == []


@pytest.mark.usefixtures("package")
def test_a_file_cannot_have_the_pages_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(list_systems(), "model.py:Walk", "walkers.inner.walk:Walk")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "equations.html").write_text("<script>alert(1)</script>", encoding="utf-8")
    assert describe_systems(*make_config("model.py:Walk"))[1] == {"equations": [], "sources": []}


def test_every_page_of_clhd_is_well_formed() -> None:
    pages = list(Path(clhd.__file__).parent.glob("systems/*/report/*.html"))
    assert pages
    for path in pages:
        page = Page(path.read_text(encoding="utf-8"))
        assert page.faults == []
        assert page.ids == []
        assert set(page.headings) <= {4}  # below the title of the system
        assert all(target.startswith("https://") for _, target in page.references)


def test_a_title_names_a_few_systems(project: ConfigContent, tmp_path: Path) -> None:
    first = project.experiments["first"]
    names = [f"system_{number}" for number in range(5)]
    experiments = {name: first.model_copy(update={"name": name, "system": name}) for name in names}
    files = dict.fromkeys(names, tmp_path / "x.yaml")
    html = compose_report(replace(project, experiments=experiments, files=files, claims=None), tmp_path)
    assert "<h1>clhd: results (5 systems)</h1>" in html
    assert f"<p>Systems: {'; '.join(names)}. Written" in html


def test_the_report_names_no_system() -> None:
    words = r"contrastive|feature|dimension|overlap|cosine|latent|kurtosis|infonce|letter|\bloss(es)?\b|universality"
    folder = Path(clhd.report.__file__).parent
    for path in [*folder.glob("*.py"), *folder.glob("templates/*")]:
        text = path.read_text(encoding="utf-8")
        assert not re.findall(words, text, re.IGNORECASE), path


def test_the_report_waits_for_no_compiler_and_no_system() -> None:
    code = "import clhd.report.write, sys; print(sorted({'numba', 'clhd.systems.contrastive'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"
