"""Results of which a file is damaged: one line that names it, and never wrong numbers taken for right ones."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import clhd.systems.registry
from clhd.cli import main
from clhd.errors import ClhdError
from clhd.sweep.results.open_results import open_results
from clhd.sweep.results.summary_reader import read_summary
from tests.security.fuzz import VALUES, WEIRD_WORDS, campaign, mutated_bytes, mutated_values, no_hang, tally

COMMANDS = (
    ("run", "toy.yaml"),
    ("run", "toy.yaml", "--wait"),
    ("run", "toy.yaml", "--repair"),
    ("summarise", "toy.yaml"),
    ("status", "config.yaml"),
    ("why", "toy.yaml", "slope=1", "weight=1"),
    ("replay", "toy.yaml", "slope=1", "weight=1"),
    ("verify", "toy.yaml"),
    ("plot", "toy.yaml"),
    ("report", "config.yaml"),
    ("claims", "judged.yaml"),
    ("plan", "toy.yaml"),
)
_ANSWERS_ANYHOW = {"status", "report", "plan"}


def read_all(folder: Path) -> dict[str, xr.Dataset]:
    """All numbers of the results."""
    tree = open_results(folder / "results" / "toy")
    found = {name: node.to_dataset().load() for name, node in tree.children.items()}
    found["read"] = read_summary(folder / "results" / "toy" / "summary.zarr").dataset.load()
    return found


@pytest.fixture(scope="session")
def right(pristine: Path) -> dict[str, xr.Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(clhd.systems.registry.list_systems(), "toy", "tests.sweep.toy:ToySystem")
        return read_all(pristine)


# What may differ between two runs that did the same.
_OF_THE_RUN = ("attempts", "seconds", "run")


def compare(found: dict[str, xr.Dataset], right: dict[str, xr.Dataset]) -> None:
    assert set(found) == set(right)
    for name, dataset in right.items():
        known = [variable for variable in _OF_THE_RUN if variable in dataset]
        xr.testing.assert_equal(found[name].drop_vars(known), dataset.drop_vars(known))  # attributes apart


def answer(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and last line of a command, which is no traceback and names a file if it is a refusal."""
    with no_hang():
        code = main(command)
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    line = (printed.err.splitlines() or [""])[-1]
    assert code in {0, 2}, printed.err
    if code == 2:
        assert line.startswith("results/toy/"), printed.err
        assert line.isprintable()
        assert len(line) < 1000
    return code, line + printed.out


METADATA = st.one_of(
    VALUES,
    st.sampled_from(WEIRD_WORDS),
    st.sampled_from(
        (
            [], [0], [1], [2], [3], [4, 3], [3, 2, 4], [1, 1, 1], [10**12] * 3, [2**62], [-1], [3, 2, 4, 3, 1], 0, 1, 2,
            "int64", "int8", "float32", "float64", "complex128", "string", "bytes", "r64", {"name": "object"}, "NaN",
            [{"name": "bytes", "configuration": {"endian": "big"}}], [{"name": "bytes"}], {"scale_factor": 2}, "0x7ff",
            [{"name": "gzip", "configuration": {"level": 5}}], {"level": 3, "checksum": False}, {"separator": "."},
            [{"name": "transpose", "configuration": {"order": [2, 1, 0]}}], {"units": "days since 2000-01-01"},
            {"_FillValue": 1.0}, {"missing_value": 0}, {"coordinates": "height"}, "theory", "simulation", "replica",
            ["slope", "pair", "replica"], ["pair", "slope", "replica"], ["height"], ["status"],
            [{"name": "numcodecs.pickle"}],
        )
    ),
)  # fmt: skip


def damage_and_run(
    data: st.DataObject, capsys: pytest.CaptureFixture[str], files: Iterable[Path], damage: Any, what: str
) -> None:
    """Damage one of the files, and run a command, which must refuse in one line or come to what is right."""
    file = data.draw(st.sampled_from(sorted(files)))
    file.write_bytes(damage(data, file.read_bytes()))
    command = data.draw(st.sampled_from(COMMANDS))
    code, text = answer(command, capsys)
    tally(what, "refused in one line" if code else "done")
    if command[0] in _ANSWERS_ANYHOW:
        assert code == 0, text
    if command[0] == "claims" and code == 0:
        assert Path("results/claims.json").read_bytes() == Path("right-claims.json").read_bytes()


def compare_or_refuse(folder: Path, right: dict[str, xr.Dataset]) -> None:
    try:
        found = read_all(folder)
    except ClhdError as error:
        assert str(folder / "results" / "toy") in str(error)  # noqa: PT017
        return
    compare(found, right)


def change_bytes(data: st.DataObject, content: bytes) -> bytes:
    return data.draw(mutated_bytes(content))


def change_json(data: st.DataObject, content: bytes) -> bytes:
    return json.dumps(data.draw(mutated_values(json.loads(content), METADATA, most=2))).encode()


@campaign(30, one_in=2)
@given(st.data())
def test_metadata_with_other_values_are_refused_or_harmless(
    work: Callable[[], Path], right: dict[str, xr.Dataset], capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    folder = work()
    damage_and_run(data, capsys, Path("results").rglob("zarr.json"), change_json, "files of metadata")
    compare_or_refuse(folder, right)


@campaign(15, one_in=2)
@given(st.data())
def test_metadata_with_other_bytes_are_refused_or_harmless(
    work: Callable[[], Path], right: dict[str, xr.Dataset], capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    folder = work()
    damage_and_run(data, capsys, Path("results").rglob("zarr.json"), change_bytes, "files of metadata")
    compare_or_refuse(folder, right)


def list_other_files() -> list[Path]:
    """Chunks, and the hidden files beside the stores."""
    hidden = [path for path in Path("results/toy").glob(".*") if path.is_file()]
    return hidden + [path for path in Path("results/toy").glob("*.zarr/*/c/**/*") if path.is_file()]


@campaign(8, one_in=2)
@given(st.data())
def test_chunks_and_locks_with_other_bytes_are_refused_or_harmless_and_repaired_by_one_command(
    work: Callable[[], Path], right: dict[str, xr.Dataset], capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    folder = work()
    damage_and_run(data, capsys, list_other_files(), change_bytes, "chunks and locks")
    code, text = answer(("run", "toy.yaml", "--repair"), capsys)
    assert code == 0, text
    compare(read_all(folder), right)
