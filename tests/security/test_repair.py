"""What is said of damaged metadata, one by one, and what `--repair` and `summarise` make of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.results import open_results
from tests.security.test_metadata import compare, read_all, right  # noqa: F401  # a fixture

Change = Callable[[dict[str, Any]], Any]


def change(file: Path, edit: Change) -> None:
    document = json.loads(file.read_bytes())
    edit(document)
    file.write_text(json.dumps(document))


def put(*path: Any, value: Any) -> Change:
    """An edit that replaces what stands at a path."""

    def edit(document: dict[str, Any]) -> None:
        inner: Any = document
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return edit


ARRAYS: list[tuple[str, Change, str]] = [
    ("height", put("data_type", value="float32"), "data_type = 'float32', not 'float64'"),
    ("height", put("codecs", 0, "configuration", "endian", value="big"), "codecs = "),
    ("height", put("codecs", 1, "configuration", "checksum", value=False), "codecs = "),
    ("height", put("fill_value", value=0.0), "fill_value = 0.0, not 'NaN'"),
    ("height", put("shape", 0, value=10**12), "shape = [1000000000000"),
    ("height", put("chunk_grid", "configuration", "chunk_shape", 0, value=1), "chunk_grid = "),
    ("height", put("dimension_names", 0, value="pair"), "dimension_names = ['pair'"),
    ("height", put("attributes", "scale_factor", value=2.0), "the attribute 'scale_factor' = 2.0"),
    ("height", put("attributes", "units", value="days since 2000-01-01"), "the attribute 'units'"),
    ("status", put("fill_value", value=1), "fill_value = 1, not 0"),
    ("status", put("chunk_key_encoding", "configuration", "separator", value="."), "chunk_key_encoding = "),
    ("status", put("dimension_names", 0, value={}), "dimension_names = [{}"),
    ("seconds", put("zarr_format", value=2), "zarr_format = 2"),
    ("time", put("storage_transformers", value=[{"name": "x"}]), "storage_transformers = "),
]


@pytest.mark.parametrize(("name", "edit", "message"), ARRAYS, ids=[f"{name} {text[:25]}" for name, _, text in ARRAYS])
def test_metadata_of_an_array_are_refused_by_name_and_mended_from_their_second_copy(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    name: str,
    edit: Change,
    message: str,
) -> None:
    folder = work()
    file = Path("results/toy/simulation.zarr") / name / "zarr.json"
    change(file, edit)
    assert main(["summarise", "toy.yaml"]) == 2
    assert capsys.readouterr().err.startswith(f"{file}: {message}")
    assert main(["run", "toy.yaml", "--repair"]) == 0
    compare(read_all(folder), right)


def test_gathered_metadata_are_mended_from_those_of_the_arrays(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
) -> None:
    folder = work()
    file = Path("results/toy/theory.zarr/zarr.json")
    change(file, put("consolidated_metadata", "metadata", "height", "data_type", value="float32"))
    with pytest.raises(ClhdError, match=r"theory\.zarr/zarr\.json: contradicts height/zarr\.json"):
        open_results(folder / "results" / "toy")
    assert main(["run", "toy.yaml", "--repair"]) == 0
    compare(read_all(folder), right)


GROUP: list[tuple[Change, str]] = [
    (put("attributes", "kind", value="theory"), "kind = 'theory' is not that of this store"),
    (put("attributes", "dims", value=["pair", "slope", "size", "replica"]), "dims = pair, slope, size, replica, not"),
    (put("attributes", "experiment", "replicas", value=10**18), "experiment: replicas = "),
    (put("attributes", "experiment", value=[]), "experiment is no table"),
    (put("attributes", "experiment", "times", value=[0.0, 1.0, 3.0]), "holds other values than the experiment has"),
    (put("attributes", "experiment", "axes", "slope", value=[0.0, 1.0, 3.0]), "holds other values"),
    (put("attributes", "runs", value=[{}]), "runs is no list of runs"),
    (put("attributes", "coordinates", value="height"), "coordinates are not those of the axes"),
    (put("zarr_format", value=2), "is no group of Zarr format 3"),
]


@pytest.mark.parametrize(("edit", "message"), GROUP, ids=[message[:30] for _, message in GROUP])
def test_attributes_of_a_store_that_are_wrong_are_refused_and_fresh_loses_nothing(
    work: Callable[[], Path], capsys: pytest.CaptureFixture[str], edit: Change, message: str
) -> None:
    folder = work()
    change(Path("results/toy/simulation.zarr/zarr.json"), edit)
    for options in ([], ["--repair"]):
        assert main(["run", "toy.yaml", *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith("results/toy/simulation.zarr/")
        assert message in error
        assert "--fresh" in error
    assert main(["run", "toy.yaml", "--fresh"]) == 0
    assert len(list((folder / "results" / "toy").glob("simulation-until-*.zarr"))) == 1


def test_a_summary_of_which_a_chunk_is_gone_is_refused_and_made_again(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = work()
    chunk = next((folder / "results/toy/summary.zarr/replica_count/c").rglob("0/0/0/0"))
    chunk.unlink()
    assert main(["plot", "toy.yaml"]) == 2
    assert capsys.readouterr().err.startswith("results/toy/summary.zarr/replica_count: is not what was written")
    assert main(["summarise", "toy.yaml"]) == 0
    compare(read_all(folder), right)
