"""The page docs/extending.md is true: its package is a system with figure and claim; a latent law is one dataclass."""

import json
import math
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import clhd
from clhd.core.checks import parse_number
from clhd.systems.contrastive.model.latents import Latent

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# Every block of code begins with the name of its file.
FILES = dict(re.findall(r"^```\w+\n# (\S+)\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all files of the page, and what `pip install -e .` would leave: the entry points."""
    folder = tmp_path_factory.mktemp("package")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    lines = [f"{name} = {target}" for name, target in project["entry-points"]["clhd.systems"].items()]
    installed = folder / f"{project['name']}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("\n".join(["[clhd.systems]", *lines, ""]))
    for command in (
        ["run", "hills.yaml"],
        ["plot", "hills.yaml"],
        ["claims", "config.yaml"],
        ["report", "config.yaml"],
    ):
        run_command(folder, *command)
    return folder


def run_command(folder: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    done = subprocess.run(
        [sys.executable, "-m", "clhd", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_shows_a_whole_package() -> None:
    assert set(FILES) == {
        *(f"hill/{name}.py" for name in ("__init__", "simulation", "theory", "figures", "claims")),
        *("pyproject.toml", "hills.yaml", "config.yaml", "claims.yaml"),
    }


def test_the_system_of_the_page_is_swept(package: Path) -> None:
    results = clhd.open_results(package / "results" / "hills")
    assert dict(results["simulation"].to_dataset()["height"].sizes) == {"slope": 3, "size": 2, "replica": 16, "time": 2}
    assert np.abs(results["summary"].to_dataset()["height_z_score"]).max() < 4  # 12 of them, with a fixed seed
    assert json.loads(results["summary"].attrs["declaration"])["title"] == "a noisy hill"
    assert "32 runs with the same bits" in run_command(package, "verify", "hills.yaml", "--fraction", "0.3")


def test_the_figure_of_the_page_is_drawn(package: Path) -> None:
    caption = (package / "results" / "hills" / "figures" / "hills.rst").read_text()
    assert "Height at the last time, against slope." in caption


def test_the_claim_of_the_page_is_judged(package: Path) -> None:
    (claim,) = json.loads((package / "results" / "claims.json").read_text())["claims"]
    assert (claim["id"], claim["verdict"]) == ("H1", "holds")
    assert "The steepest hill is high." in (package / "results" / "report.html").read_text()


def test_results_of_a_package_are_read_where_it_is_not_installed(package: Path) -> None:
    """Here it is not: only its subprocesses find it."""
    assert "hill" not in clhd.list_systems()
    assert clhd.open_results(package / "results" / "hills")["summary"]["height_mean"].notnull().all()


def test_every_place_that_the_page_names_exists() -> None:
    named = re.findall(r"`((?:clhd|tests|config|docs)/[\w./-]+)`", PAGE)
    assert len(set(named)) > 25
    assert [name for name in named if not (ROOT / name).exists() and name != "clhd/systems/NAME"] == []
    code = "".join(path.read_text() for folder in ("clhd", "tests") for path in (ROOT / folder).rglob("*.py"))
    words = re.findall(r"`(_?[a-z]+_[a-z_]+|_?[A-Z]+_?[A-Z]*)`", PAGE)
    assert [word for word in words if not re.search(rf"\b{word}\b", code)] == []


@dataclass(frozen=True, kw_only=True)
class FourPoint(Latent):
    """c in {-2a, -a, a, 2a}, the outer pair with the given probability."""

    second_moment: float = 1.0
    outer: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "outer", parse_number("outer", self.outer, minimum=0, maximum=1))

    def atoms(self):
        a = math.sqrt(self.second_moment / (1 + 3 * self.outer))
        inner = (1 - self.outer) / 2
        return a * np.array([-2.0, -1.0, 1.0, 2.0]), np.array([self.outer / 2, inner, inner, self.outer / 2])


def test_a_new_latent_law_is_one_dataclass_for_both_stages():
    model = clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5, outer=0.4)], weight_decay=0.6)
    assert (
        model.canonical() != clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5)], weight_decay=0.6).canonical()
    )
    run = {"overlap": [0.3], "time": [1, 4]}
    theory = clhd.integrate_ode(model, **run).cosine_similarity
    sgd = clhd.simulate_sgd(model, dimension=20_000, replicas=256, **run).cosine_similarity
    # 5 standard errors, and 1 / n times a number of order ten for the bias.
    tolerance = 5 * sgd.std("replica") / np.sqrt(256) + 10 / 20_000
    assert np.all(np.abs(sgd.mean("replica") - theory) < tolerance)
    # The law matters: with all mass on the inner pair the learning curve bends another way in the end.
    other = clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5, outer=0.0)], weight_decay=0.6)
    difference = clhd.integrate_ode(other, **run).cosine_similarity - theory
    assert np.all(np.abs(difference[-1]) > 2 * tolerance[-1])


def test_a_new_law_passes_the_common_threshold():
    # Only the second moment enters, whatever the law.
    settings = {"weight_decay": 0.6, "base_noise_variance": 0.5, "augmentation_noise_variance": 0.5}
    ours = clhd.ContrastiveModel(latents=[FourPoint(second_moment=1.5, outer=0.4)], **settings)
    known = clhd.ContrastiveModel(latents=[clhd.ThreePoint(second_moment=1.5, kurtosis=8.0)], **settings)
    assert np.allclose(clhd.learnability_threshold(ours), clhd.learnability_threshold(known), rtol=1e-10)
