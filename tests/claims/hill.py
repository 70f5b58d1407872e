"""Systems with claims whose verdicts are known, and summaries to judge them by."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from clhd.claims.claim import CaseTable, Claim, Judgement, Part
from clhd.claims.verdict import Estimate, above
from clhd.figures.style import make_figure
from clhd.sweep.results.summary_reader import Summary
from clhd.sweep.spec.experiment import Experiment, parse_experiment
from clhd.sweep.store.create import write_dataset
from clhd.systems.declarations import Status
from clhd.systems.protocol import NoHalf, System

HILL = {"name": "hill", "system": "hills", "times": [0], "replicas": 8, "seed": 3}
SYSTEMS = {"hills": "HillSystem", "valleys": "ValleySystem", "rivals": "RivalSystem", "plains": "PlainSystem"}


def judge_slope(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> Judgement:
    value = Estimate.with_error(float(summaries["slope"].dataset["slope_mean"].mean()), 0.1)
    verdict = above(value, thresholds.get("least", 0.0))
    part = Part(id="T1a", statement="There is a hill.", verdict=verdict, evidence={"slope": value, "nothing": np.nan})
    return Judgement(verdict=verdict, evidence={"slope": value, "count": np.int64(3)}, parts=(part,))


def judge_hills(summaries: Mapping[str, Summary], thresholds: Mapping[str, Any]) -> dict[str, Any]:
    slope = float(summaries["slope"].dataset["slope_mean"].mean())
    cell = {
        "verdict": str(above(Estimate.exact(slope), thresholds["least"])),
        "reason": "",
        "evidence": {"slope": slope},
    }
    return {"columns": [{"id": "T1", "statement": "It is steep."}], "rows": [{"x": 0, "cells": {"T1": cell}}]}


def plot_slope(summaries: Mapping[str, Summary], claim: Mapping[str, Any]) -> tuple[Figure, str]:
    return make_figure(1, 1), f"{claim['verdict']}, by {summaries['slope'].name}\n"


def plot_hills(table: Mapping[str, Any]) -> tuple[Figure, str]:
    return make_figure(1, 1), f"{len(table['rows'])} hill\n"


STEEP = Claim(
    statement="The hill is steep.",
    experiments={"slope": "a hill"},
    thresholds={"least": "least slope", "slope_range": "slopes that there are"},
    judge=judge_slope,
    figure=":plot_slope",
)
PLAIN = Claim(statement="It is a hill.", experiments={"slope": "a hill"}, thresholds={}, judge=judge_slope)
HILLS = CaseTable(
    experiments={"slope": "a hill"},
    optional_experiments={"other": "another hill"},
    thresholds={"least": "least slope"},
    judge=judge_hills,
    figures={"map": ":plot_hills", "profile": ":plot_hills"},
)
TWICE = CaseTable(experiments={}, thresholds={}, judge=judge_hills, figures={"T1": ":plot_hills"})


class HillSystem(System):
    """Lists all claims of this module, by names in it."""

    simulation = NoHalf()
    claims = {
        "T1": ":STEEP",
        "T2": ":PLAIN",
        "hills": ":HILLS",
        "twice": ":TWICE",
        "lost": ":LOST",
        "odd": ":judge_slope",
        "untold": 3,  # type: ignore[dict-item]
    }


class ValleySystem(System):
    """Shares a claim with HillSystem."""

    simulation = NoHalf()
    claims = {"T1": f"{__name__}:STEEP", "V1": ":PLAIN"}


class RivalSystem(System):
    """Has another claim of the same name."""

    simulation = NoHalf()
    claims = {"T1": ":PLAIN"}


class PlainSystem(System):
    """Has no claims."""

    simulation = NoHalf()


def make_experiments(**systems: str) -> dict[str, Experiment]:
    """Experiments by name, each with the name of its system."""
    return {
        name: parse_experiment(HILL | {"name": name, "system": system}, check=False) for name, system in systems.items()
    }


def write_hill(results: Path, slope: float, quantity: str = "slope") -> None:
    counts = np.array([[0, 8, 0, 0, 0], [0, 8, 0, 0, 0]])
    dataset = xr.Dataset(
        {"slope_mean": ("x", [slope, slope]), "replica_count": (("x", "status"), counts)},
        {"x": [0, 1], "status": np.array([status.name.lower() for status in Status], np.dtypes.StringDType())},
        {"experiment": HILL, "code": "1.0", "created": "2020-01-01T00:00:00Z"},
    ).rename(slope_mean=f"{quantity}_mean")
    write_dataset(dataset, results / "hill" / "summary.zarr")
