"""Claims: found through systems of experiments; settings that are checked; entries that say what they rest on."""

import json
from pathlib import Path
from typing import Any

import pytest

from clhd.claims.judge import judge_claims, judge_tables, list_figures, list_files, read_claims, write_claims
from clhd.claims.verdict import Verdict
from clhd.errors import ClhdError
from clhd.figures.claims import draw_claims
from clhd.sweep.results.summary_reader import read_summary
from clhd.systems.registry import list_systems
from tests.claims.hill import SYSTEMS, make_experiments, write_hill

SETTINGS = """
T1:
  experiments: {slope: hill}
  thresholds: {least: 0.5, slope_range: [0, 2]}
"""
TABLE = "hills: {experiments: {slope: hill, other: dale}, thresholds: {least: 0.5}}\n"
PLAIN = "T2: {experiments: {slope: hill}, thresholds: {}}\n"
FILE = """
from tests.claims.hill import PLAIN, NoHalf, System

class Own(System):
    simulation = NoHalf()
    claims = {"O1": ":PLAIN"}
"""


@pytest.fixture(autouse=True)
def systems(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in SYSTEMS.items():
        monkeypatch.setitem(list_systems(), name, f"tests.claims.hill:{kind}")


@pytest.fixture
def claims_file(tmp_path: Path) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "holds"), (0.5, "undecided"), (0.0, "does not hold")])
def test_a_claim_says_what_it_found_and_what_it_rests_on(
    claims_file: Path, tmp_path: Path, slope: float, verdict: Verdict
) -> None:
    write_hill(tmp_path, slope)
    settings = read_claims(claims_file, make_experiments(hill="hills"))
    path = write_claims(judge_claims(settings, tmp_path), tmp_path / "claims.json")
    (entry,) = json.loads(path.read_text())["claims"]
    assert entry["id"] == "T1"
    assert entry["statement"] == "The hill is steep."
    assert entry["verdict"] == verdict
    assert entry["evidence"]["slope"]["value"] == slope
    assert entry["thresholds"] == {"least": 0.5, "slope_range": [0, 2]}
    assert entry["parts"][0]["evidence"]["nothing"] is None
    assert entry["rests_on"] == {
        "points": 2,
        "replicas": 16,
        "seed": {"hill": 3},
        "stores": ["hill/summary.zarr"],
        "summaries": {"hill": read_summary(tmp_path / "hill" / "summary.zarr").identity},
        "code": ["1.0"],
    }
    assert entry["meanings"] == {
        "thresholds": {"least": "least slope", "slope_range": "slopes that there are"},
        "experiments": {"slope": "a hill"},
    }
    assert entry["figures"] == ["T1"]


def test_a_table_is_judged_beside_the_claims_and_both_are_drawn(claims_file: Path, tmp_path: Path) -> None:
    claims_file.write_text(SETTINGS + TABLE + PLAIN)
    write_hill(tmp_path, 1.0)
    settings = read_claims(claims_file, make_experiments(hill="hills"))
    assert list_files(settings) == ["claims.json", "claims_hills.json"]
    assert list_figures(settings) == ["T1", "map", "profile"]
    judged, tables = judge_claims(settings, tmp_path), judge_tables(settings, tmp_path)
    assert [entry["id"] for entry in judged["claims"]] == ["T1", "T2"]
    (table,) = tables.values()
    assert table["rows"][0]["cells"]["T1"]["verdict"] == "holds"
    assert table["experiments"] == {"slope": "hill"}  # the optional one is not there
    assert table["rests_on"]["stores"] == ["hill/summary.zarr"]
    paths, problems = draw_claims(judged, tables, settings, tmp_path)
    assert problems == []
    assert {path.stem for path in paths} == {"T1", "map", "profile"}
    assert (tmp_path / "figures" / "T1.rst").read_text() == "holds, by hill\n"
    assert (tmp_path / "figures" / "map.rst").read_text() == "1 hill\n"


def test_an_optional_experiment_is_read_where_there_is_one(claims_file: Path) -> None:
    claims_file.write_text(TABLE)
    settings = read_claims(claims_file, make_experiments(hill="hills", dale="plains"))
    assert settings["hills"].experiments == {"slope": "hill", "other": "dale"}


def test_claims_that_two_systems_share_are_found_once(claims_file: Path) -> None:
    settings = read_claims(claims_file, make_experiments(hill="hills", dale="valleys"))
    assert settings["T1"].claim.list_figures("T1") == {"T1": ":plot_slope"}


def test_the_file_of_a_system_brings_claims(claims_file: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FILE)
    experiments = make_experiments(hill="own.py:Own")
    experiments["hill"]._folder = tmp_path
    claims_file.write_text(PLAIN.replace("T2", "O1"))
    assert list(read_claims(claims_file, experiments)) == ["O1"]


@pytest.mark.parametrize(
    ("old", "new", "kinds", "message"),
    [
        ("T1:", "T9:", {"hill": "hills"}, "T9: is no claim of these experiments; must be one of T1, T2, hills, twice,"),
        ("T1:", "T9:", {"hill": "plains"}, "T9: is no claim of these experiments; their systems have no claims"),
        (
            "T1:",
            "T9:",
            {"hill": "gone"},
            "T9: is no claim of these experiments; their systems have no claims; system",
        ),
        ("T1:", "T1:", {"hill": "hills", "dale": "rivals"}, "T1: the systems hills and rivals have different claims"),
        ("T1:", "lost:", {"hill": "hills"}, "lost: HillSystem: ':LOST': there is no LOST in that module"),
        ("T1:", "odd:", {"hill": "hills"}, "odd: ':judge_slope' must be a clhd.claims.claim.Claim, or a CaseTable"),
        ("T1:", "untold:", {"hill": "hills"}, "untold: HillSystem: 3 must be text such as 'MODULE:NAME', or ':NAME'"),
    ],
)
def test_a_claim_that_is_not_found_is_refused_in_one_line(
    claims_file: Path, old: str, new: str, kinds: dict[str, str], message: str
) -> None:
    claims_file.write_text(SETTINGS.replace(old, new))
    with pytest.raises(ClhdError) as error:
        read_claims(claims_file, make_experiments(**kinds))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{claims_file}: {message}")


def test_a_figure_that_two_would_draw_is_refused(claims_file: Path) -> None:
    claims_file.write_text(f"{SETTINGS}twice: {{experiments: {{}}, thresholds: {{}}}}\n")
    with pytest.raises(ClhdError, match="figure T1 is drawn twice"):
        read_claims(claims_file, make_experiments(hill="hills"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("least: 0.5, ", "", "T1.thresholds.least: must be given: least slope"),
        ("least: 0.5", "least: 0.5, most: 1", "T1.thresholds.most: is no key here"),
        ("least: 0.5", "least: some", "T1.thresholds.least = 'some': must be a number"),
        ("[0, 2]", "[2, 0]", "T1.thresholds.slope_range = [2, 0]: must be two numbers, the first not greater"),
        ("[0, 2]", "1", "T1.thresholds.slope_range = 1: must be two numbers, low and high"),
        ("hill", "dale", "T1.experiments.slope = 'dale': must be one of hill"),
        ("  experiments: {slope: hill}\n", "", "T1: must hold experiments and thresholds, and nothing else"),
    ],
)
def test_settings_that_are_wrong_are_refused_in_one_line(claims_file: Path, old: str, new: str, message: str) -> None:
    claims_file.write_text(SETTINGS.replace(old, new))
    with pytest.raises(ClhdError) as error:
        read_claims(claims_file, make_experiments(hill="hills"))
    assert str(error.value).splitlines()[0].startswith(f"{claims_file}: {message}")


@pytest.mark.parametrize(("text", "judge"), [(SETTINGS, judge_claims), (TABLE, judge_tables)])
def test_a_summary_without_what_a_judge_needs_is_named(
    claims_file: Path, tmp_path: Path, text: str, judge: Any
) -> None:
    claims_file.write_text(text)
    settings = read_claims(claims_file, make_experiments(hill="hills"))
    with pytest.raises(ClhdError, match="does not exist"):
        judge(settings, tmp_path)
    write_hill(tmp_path, 1.0, "height")
    with pytest.raises(ClhdError, match=r": an experiment \(slope = hill\) lacks"):
        judge(settings, tmp_path)
