"""Claims: settings that are checked, entries that say what they rest on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import clhd.claims.judge
from clhd.claims.claim import Claim, Judgement, Part
from clhd.claims.judge import judge_claims, read_claims, write_claims
from clhd.claims.verdict import Estimate, Verdict, above
from clhd.errors import ClhdError
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.store.create import write_dataset
from clhd.systems.declarations import Status

SETTINGS = """
T1:
  experiments: {slope: hill}
  thresholds: {least: 0.5, slope_range: [0, 2]}
"""


def judge_slope(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    value = Estimate.with_error(float(summaries["slope"].dataset["slope_mean"].mean()), 0.1)
    verdict = above(value, thresholds["least"])
    part = Part(id="T1a", statement="There is a hill.", verdict=verdict, evidence={"slope": value, "nothing": np.nan})
    return Judgement(verdict=verdict, evidence={"slope": value, "count": np.int64(3)}, parts=(part,))


@pytest.fixture(autouse=True)
def toy_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    claim = Claim(
        statement="The hill is steep.",
        experiments={"slope": "a hill"},
        thresholds={"least": "least slope", "slope_range": "slopes that there are"},
        judge=judge_slope,
    )
    monkeypatch.setattr(clhd.claims.judge, "CLAIMS", {"T1": claim})


@pytest.fixture
def claims_file(tmp_path: Path) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(SETTINGS)
    return path


HILL = {"name": "hill", "system": "contrastive", "times": [0], "replicas": 8, "seed": 3}


def write_hill(results: Path, slope: float, quantity: str = "slope") -> None:
    counts = np.array([[0, 8, 0, 0, 0], [0, 8, 0, 0, 0]])
    dataset = xr.Dataset(
        {"slope_mean": ("x", [slope, slope]), "replica_count": (("x", "status"), counts)},
        {"x": [0, 1], "status": np.array([status.name.lower() for status in Status], np.dtypes.StringDType())},
        {"experiment": HILL, "code": "1.0", "created": "2020-01-01T00:00:00Z"},
    ).rename(slope_mean=f"{quantity}_mean")
    write_dataset(dataset, results / "hill" / "summary.zarr")


@pytest.mark.parametrize(("slope", "verdict"), [(1.0, "holds"), (0.5, "undecided"), (0.0, "does not hold")])
def test_a_claim_says_what_it_found_and_what_it_rests_on(
    claims_file: Path, tmp_path: Path, slope: float, verdict: Verdict
) -> None:
    write_hill(tmp_path, slope)
    path = write_claims(judge_claims(read_claims(claims_file, ["hill"]), tmp_path), tmp_path / "claims.json")
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
        "code": ["1.0"],
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("T1:", "T9:", "T9: is no claim; the claims are T1"),
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
        read_claims(claims_file, ["hill"])
    assert str(error.value).splitlines()[0].startswith(f"{claims_file}: {message}")


def test_a_summary_without_what_a_judge_needs_is_named(claims_file: Path, tmp_path: Path) -> None:
    settings = read_claims(claims_file, ["hill"])
    with pytest.raises(ClhdError, match="is not there"):
        judge_claims(settings, tmp_path)
    write_hill(tmp_path, 1.0, "height")
    with pytest.raises(ClhdError, match=r"T1: an experiment \(slope = hill\) lacks"):
        judge_claims(settings, tmp_path)
