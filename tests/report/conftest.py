"""A project with two experiments of the toy system, one of them run, and claims that are made up."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clhd.systems.registry
from clhd.claims.verdict import Estimate
from clhd.figures.style import make_figure, save_figure, use_style
from clhd.sweep.results.products import claims_record, figure_record, find_identity, write_record
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.config import ConfigContent, read_config
from tests.clients import open_threads

EXPERIMENT = """\
# <b>a comment</b> & more
system: toy
description: Heights of <script>alert(1)</script> & others
axes: {slope: [-1, 0, 1], size: [4, 16]}
times: [0, 1]
replicas: 4
"""


def make_estimate(value: float, low: float, high: float) -> dict[str, float]:
    """An estimate as claims.json holds it."""
    return Estimate(value, low, high).as_dict()


def make_claim(name: str, verdict: str, **changes: Any) -> dict[str, Any]:
    """A claim as claims.json holds it."""
    claim = {
        "id": name,
        "statement": f"Statement of {name}, with a < b & c.",
        "verdict": verdict,
        "evidence": {
            "exponent": make_estimate(-0.5123, -0.5511, -0.4735),
            "is_steep": True,
            "largest_error": 3.2e-7,
            "not_had": None,
            "dimension": [100, 1000, 10000],
            "distance": [
                make_estimate(0.11, 0.1, 0.12),
                make_estimate(0.035, 0.033, 0.037),
                make_estimate(0.011, 0.0104, 0.0116),
            ],
            "verdicts": {"slope": "holds", "spread": "undecided"},
            "cases": {"l2": {"slope": 1.5, "kind": "<i>x</i>"}, "elastic_net": {"slope": 2, "kind": "y"}},
        },
        "thresholds": {"exponent_range": [-0.6, -0.4], "allowance": 0.03},
        "experiments": {"main": "first", "large": "second"},
        "rests_on": {
            "points": 6,
            "replicas": 24,
            "seed": {"first": 0},
            "stores": ["first/summary.zarr"],
            "code": ["1"],
        },
        "meanings": {"thresholds": {"allowance": "what <counts>"}, "experiments": {"main": "the first & best"}},
        "figures": [name],
    }
    return claim | changes


CLAIMS = [
    make_claim("C1", "holds"),
    make_claim("C5", "undecided"),
    make_claim(
        "C7",
        "does not hold",
        parts=[
            {
                "id": "C7a",
                "statement": "Its order.",
                "verdict": "holds",
                "evidence": {"share": make_estimate(0.97, 0.96, 0.98)},
            },
            {"id": "C7b", "statement": "Its reason.", "verdict": "does not hold", "evidence": {"part": 0.1}},
        ],
    ),
]
CELL = {"verdict": "holds", "reason": "", "evidence": {}}
TABLE = {
    "title": "Other <laws>",
    "columns": [{"id": "C3", "statement": "SGD agrees"}, {"id": "C7b", "statement": "by the variance"}],
    "rows": [
        {"loss": "bilinear", "weight_decay": 0.6, "cells": {"C3": CELL, "C7b": CELL | {"verdict": "no theory"}}},
        {"loss": "spectral", "weight_decay": 0.6, "cells": {"C3": CELL | {"reason": "for <once>"}, "C7b": CELL}},
    ],
    "universality": {
        "statement": "The law of the noise does not matter.",
        "verdict": "holds",
        "evidence": {"ratio": 1},
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfigContent]:
    """Experiment `first` is run and has a figure, `second` is not; claims are judged and drawn, but for C5's figure."""
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
        for name in ("first", "second"):
            Path(f"{name}.yaml").write_text(EXPERIMENT, encoding="utf-8")
        Path("config.yaml").write_text(
            "experiments: [first.yaml, second.yaml]\nclaims: claims.yaml\n", encoding="utf-8"
        )
        config = read_config("config.yaml", check=False)
        with open_threads(1) as client:
            run_experiment(config.experiments["first"], client, results=config.results)
        draw(config.results / "first" / "figures", "first", "png")
        for name in ("C1", "C7"):
            draw(config.results / "figures", name, "svg")
        write_json(config.results / "claims.json", {"claims": CLAIMS})
        write_json(config.results / "claims_matrix.json", TABLE)
        figures = [path for path in (config.results / "figures").iterdir() if path.suffix in {".svg", ".rst"}]
        made = [*figures, config.results / "claims.json", config.results / "claims_matrix.json"]
        identity = find_identity(config.results, "first")
        Path("claims.yaml").write_text("C1: {}\n", encoding="utf-8")
        write_record(claims_record(config.results), made, {"first": identity}, b"C1: {}\n")
        folder = config.results / "first" / "figures"
        write_record(figure_record(folder, "first"), [folder / "first.png", folder / "first.rst"], {"first": identity})
        yield config


def draw(folder: Path, name: str, suffix: str) -> None:
    folder.mkdir(exist_ok=True)
    with use_style():
        figure = make_figure(3, 2)
        axes = figure.subplots()
        axes.plot([1, 2, 3], clip_on=True, marker="o")
        save_figure(figure, folder / name, (suffix,))
    caption = "**What <is> shown.** The ``code``, the *word* & 3 * 4 * 5.\n\nExperiment first.\n"
    (folder / f"{name}.rst").write_text(caption, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
