"""Readers of every kind beside a writer that grows a store, begins it afresh, and summarises it, again and again.

`python -m tests.chaos.readers --seconds 60` counts the reads, the wrong values (those of another point, or none where
the status is ok), and the errors that are no sentence of clhd's.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import clhd.systems.registry
from clhd.errors import ClhdError
from clhd.sweep.cluster.cluster import Cluster
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.status import describe_status
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.run_experiment import run_experiment
from clhd.sweep.spec.experiment import Experiment, parse_experiment

SLOPES = tuple(range(12))
_PAUSE = 0.3  # between opening and reading, at most
Truth = Mapping[float, list[float]]  # the mean height of each slope
Read = Callable[[Path], list[tuple[float, Any]]]


def make(slopes: Sequence[int]) -> Experiment:
    """The experiment with some slopes; the toy must be known in this process."""
    clhd.systems.registry.list_systems()["toy"] = "tests.sweep.toy:ToySystem"
    axes = {"slope": list(slopes), "size": [4]}
    table = {"system": "toy", "name": "toy", "axes": axes, "times": [0, 1], "replicas": 2, "constants": {"work": 0.001}}
    return parse_experiment(table)


def write(results: Path, until: float) -> dict[str, int]:
    """Change the results until some time; return how often."""
    draw, count = random.Random(0), 0  # no secret
    while time.time() < until:
        count += 1
        slopes = sorted(draw.sample(SLOPES, draw.randint(2, 9)))
        run_experiment(make(slopes), results=results, cluster=Cluster(workers=1), fresh=count % 7 == 0)
    return {"changes": count}


def read_lazily(results: Path) -> list[tuple[float, Any]]:
    """Open the tree, wait, then read the runs that are ok."""
    tree = open_results(results / "toy")
    time.sleep(random.random() * _PAUSE)
    if "simulation" not in tree.children:  # moved aside just now
        return []
    data = tree["simulation"].to_dataset()
    status, height = data["status"].load(), data["height"].load()
    ok = (status == 1).all(["size", "replica"])
    return [(slope, height.sel(slope=slope).mean("replica")) for slope in data["slope"].values[ok.values]]


def read_plainly(results: Path) -> list[tuple[float, Any]]:
    """Open the summary with xarray alone, wait, then read it."""
    data = xr.open_zarr(str(results / "toy" / "summary.zarr"))
    time.sleep(random.random() * _PAUSE)
    return _list_means(data)


def read_by_tree(results: Path) -> list[tuple[float, Any]]:
    """Open all parts with xarray."""
    return _list_means(xr.open_datatree(str(results / "toy"))["summary"].to_dataset())


def read_at_once(results: Path) -> list[tuple[float, Any]]:
    """Read the summary as figures and claims do."""
    return _list_means(read_summary(results / "toy" / "summary.zarr").dataset)


def read_status(results: Path) -> list[tuple[float, Any]]:
    """Ask for the status, which shows no values."""
    describe_status(make(SLOPES), results, deep=True)
    return []


def _list_means(data: xr.Dataset) -> list[tuple[float, Any]]:
    means = data["height_mean"].load()
    return [(slope, means.sel(slope=slope)) for slope in data["slope"].values]


READERS: dict[str, Read] = {
    "open_results": read_lazily,
    "xarray.open_zarr": read_plainly,
    "xarray.open_datatree": read_by_tree,
    "read_summary": read_at_once,
    "status --deep": read_status,
}


def read(name: str, results: Path, until: float, truth: Truth) -> dict[str, int]:
    """Read until some time, in one way; count what is seen."""
    make(SLOPES)
    found = {"reads": 0, "wrong": 0, "sentences": 0, "other errors": 0}
    while time.time() < until:
        try:
            values = READERS[name](results)
            found["reads"] += 1
            found["wrong"] += sum(not np.allclose(mean.values.ravel(), truth[float(slope)]) for slope, mean in values)
        except (ClhdError, FileNotFoundError):  # the second where xarray finds no folder: it was moved aside just now
            found["sentences"] += 1
        except Exception as error:  # what must not happen is counted and shown
            found["other errors"] += 1
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    return found


def play(seconds: float, folder: Path) -> dict[str, dict[str, int]]:
    """Let a writer and readers of every kind work beside each other; return what each has counted."""
    results = folder / "results"
    means = run_experiment(make(SLOPES), results=results, cluster=Cluster(workers=1))["summary"]["height_mean"].load()
    truth = {float(slope): means.sel(slope=slope).values.ravel().tolist() for slope in means["slope"].values}
    shutil.rmtree(results)
    run_experiment(make(SLOPES[:2]), results=results, cluster=Cluster(workers=1))
    until = time.time() + seconds
    with ProcessPoolExecutor(len(READERS) + 1, get_context("spawn")) as pool:
        writer = pool.submit(write, results, until)
        readers = {name: pool.submit(read, name, results, until, truth) for name in READERS}
        return {"writer": writer.result()} | {name: reader.result() for name, reader in readers.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play once; exit code 1 if anything wrong was read."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.readers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, by default 60")
    with tempfile.TemporaryDirectory(prefix="clhd-readers-") as folder:
        found = play(parser.parse_args(arguments).seconds, Path(folder))
    for name, counts in found.items():
        print(f"{name}: {', '.join(f'{count} {word}' for word, count in counts.items())}")
    return int(any(counts.get("wrong", 0) or counts.get("other errors", 0) for counts in found.values()))


if __name__ == "__main__":
    sys.exit(main())
