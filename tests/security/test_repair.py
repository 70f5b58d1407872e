"""The messages about damaged metadata, one by one, and the effect of `--repair` and `summarise` on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.results.open_results import open_results
from tests.security.test_metadata import compare, read_all, right  # noqa: F401  # a fixture

Change = Callable[[dict[str, Any]], Any]
DAMAGED = "was changed or damaged after clhd wrote it (checksum differs)"


def change(file: Path, edit: Change) -> None:
    document = json.loads(file.read_bytes())
    edit(document)
    file.write_text(json.dumps(document))


def put(*path: Any, value: Any) -> Change:
    """An edit that replaces what stands at a path."""

    def edit(document: dict[str, Any]) -> None:
        replace(document, path)

    def replace(inner: Any, steps: tuple[Any, ...]) -> Any:
        table = json.loads(inner) if isinstance(inner, str) else inner  # attributes hold tables as texts
        table[steps[0]] = replace(table[steps[0]], steps[1:]) if steps[1:] else value
        return json.dumps(table) if isinstance(inner, str) else table

    return edit


ARRAYS: list[tuple[str, Change, str]] = [
    ("height", put("data_type", value="float32"), "data_type = 'float32', not 'float64'"),
    ("height", put("data_type", value={"name": "float64"}), "data_type = {"),
    ("height", put("codecs", 0, "configuration", "endian", value="big"), "codecs = "),
    ("height", put("codecs", 1, "configuration", "checksum", value=False), "codecs = "),
    ("height", put("fill_value", value=0.0), "fill_value = 0.0, not 'NaN'"),
    ("height", put("shape", 0, value=10**12), "shape = [1000000000000"),
    ("height", put("chunk_grid", "configuration", "chunk_shape", 0, value=1), "chunk_grid = "),
    ("height", put("dimension_names", 0, value="pair"), "dimension_names = ['pair'"),
    ("height", put("attributes", "scale_factor", value=2.0), "attributes = {"),
    ("height", put("attributes", "units", value="days since 2000-01-01"), "attributes = {"),
    ("status", put("fill_value", value=1), "fill_value = 1, not 0"),
    ("status", put("chunk_key_encoding", "configuration", "separator", value="."), "chunk_key_encoding = "),
    ("status", put("dimension_names", 0, value={}), "dimension_names = [{}"),
    ("seconds", put("zarr_format", value=2), "zarr_format = 2"),
    ("time", put("storage_transformers", value=[{"name": "x"}]), "storage_transformers = "),
    ("time", put("data_type", value="int64"), "data_type = 'int64', not 'float64'"),
    ("feature", put("fill_value", value=1), "fill_value = 1, not 0"),
    ("feature", put("attributes", "long_name", value="x"), "attributes = {'long_name': 'x'}, not"),
]


@pytest.mark.parametrize(("name", "edit", "message"), ARRAYS, ids=[f"{name} {text[:25]}" for name, _, text in ARRAYS])
def test_metadata_of_an_array_for_other_programs_are_named_and_restored_from_the_record_of_the_group(
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
    assert main(["status", "config.yaml", "--check"]) == 1
    assert f"damaged   {file}: {message}" in capsys.readouterr().out
    compare(read_all(folder), right)  # clhd reads the record
    assert main(["run", "toy.yaml"]) == 0
    assert main(["status", "config.yaml", "--check"]) == 0
    compare(read_all(folder), right)


def test_the_record_of_the_arrays_is_restored_from_their_own_files(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
) -> None:
    folder = work()
    file = Path("results/toy/theory.zarr/zarr.json")
    change(file, put("consolidated_metadata", "metadata", "height", "data_type", value="float32"))
    with pytest.raises(
        ClhdError, match=r"theory\.zarr/zarr\.json: was changed or damaged .*; `clhd run FILE --repair` restores it"
    ):
        open_results(folder / "results" / "toy")
    assert main(["run", "toy.yaml", "--repair"]) == 0
    compare(read_all(folder), right)


GROUP: list[tuple[Change, str]] = [
    (put("attributes", "kind", value="theory"), DAMAGED),
    (put("attributes", "dims", value=["pair", "slope", "size", "replica"]), DAMAGED),
    (put("attributes", "experiment", "seed", value=77), DAMAGED),
    (put("attributes", "experiment", "replicas", value=10**18), DAMAGED),
    (put("attributes", "experiment", value=[]), DAMAGED),
    (put("attributes", "experiment", "times", value=[0.0, 1.0, 3.0]), DAMAGED),
    (put("attributes", "runs", value=[{}]), DAMAGED),
    (put("attributes", "runs", 0, "seconds", value=10**350), DAMAGED),
    (put("attributes", "metadata_checksum", value=None), DAMAGED),
    (put("attributes", "metadata_checksum", "files", value=[]), DAMAGED),
    (put("attributes", "metadata_checksum", "digest", value="0"), DAMAGED),
    (put("attributes", "clhd_store", value=9), DAMAGED),
    (put("attributes", value=[]), "has no attributes"),
    (put("zarr_format", value=2), "is not a group of Zarr format 3"),
    (put("storage_transformers", value=[]), "is not a group of Zarr format 3"),
]


@pytest.mark.parametrize(("edit", "message"), GROUP)
def test_attributes_of_a_store_that_are_wrong_are_refused_and_fresh_loses_nothing(
    work: Callable[[], Path], capsys: pytest.CaptureFixture[str], edit: Change, message: str
) -> None:
    folder = work()
    file = Path("results/toy/simulation.zarr/zarr.json")
    change(file, edit)
    for options in ([], ["--repair"]):
        assert main(["run", "toy.yaml", *options]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"{file}: {message}; ")
        assert error.count("\n") == 1
        assert "--fresh" in error
    assert main(["run", "toy.yaml", "--fresh"]) == 0
    assert len(list((folder / "results" / "toy").glob("simulation-until-*.zarr"))) == 1


@pytest.mark.parametrize("name", ["feature", "time", "replica", "colour", "slope"])
def test_a_coordinate_whose_file_is_gone_is_named_and_written_again(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    folder = work()
    file = Path("results/toy/simulation.zarr") / name / "c" / "0"
    before = file.read_bytes()
    file.unlink()
    for command in ("run", "summarise"):
        assert main([command, "toy.yaml"]) == 2
        assert capsys.readouterr().err == f"{file}: is missing; `clhd run FILE --repair` restores it\n"
    assert main(["run", "toy.yaml", "--repair"]) == 0
    assert file.read_bytes() == before
    compare(read_all(folder), right)


@pytest.mark.parametrize("part", ["simulation", "summary"])
@pytest.mark.parametrize("name", ["feature", "time"])
def test_a_coordinate_that_is_damaged_is_named_by_whatever_reads_it(
    work: Callable[[], Path], capsys: pytest.CaptureFixture[str], part: str, name: str
) -> None:
    folder = work()
    path = Path("results/toy") / f"{part}.zarr" / name
    (path / "c" / "0").write_bytes(b"")
    with pytest.raises(ClhdError, match=f"{path}/c/0: is damaged, or another file .*(restores it|writes it again)"):
        open_results(folder / "results" / "toy")
    command = "summarise" if part == "simulation" else "plot"
    assert main([command, "toy.yaml"]) == 2
    assert capsys.readouterr().err.startswith(f"{path}/c/0: is damaged, ")
    assert main(["run", "toy.yaml", "--repair"]) == 0
    open_results(folder / "results" / "toy")


def test_a_store_of_an_older_clhd_is_refused_and_upgraded_by_repair(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = work()
    for part in ("simulation", "theory"):
        change(
            Path(f"results/toy/{part}.zarr/zarr.json"), lambda document: document["attributes"].pop("metadata_checksum")
        )
    assert main(["run", "toy.yaml"]) == 2
    assert "was written by an older clhd; `clhd run FILE --repair` upgrades it" in capsys.readouterr().err
    assert main(["run", "toy.yaml", "--repair"]) == 0
    assert "24 ok; 0 computed now" in capsys.readouterr().out
    compare(read_all(folder), right)


def test_a_summary_of_which_a_chunk_is_gone_is_refused_and_made_again(
    work: Callable[[], Path],
    right: dict[str, xr.Dataset],  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = work()
    chunk = next((folder / "results/toy/summary.zarr/replica_count/c").rglob("0/0/0/0"))
    chunk.unlink()
    assert main(["plot", "toy.yaml"]) == 2
    assert capsys.readouterr().err.startswith("results/toy/summary.zarr/replica_count/c/0/0/0/0: is missing")
    assert main(["summarise", "toy.yaml"]) == 0
    compare(read_all(folder), right)
